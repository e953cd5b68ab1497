"""An assembled plate seen from above, by the factory's renderer: screws, a socket with pins, a drum, a lead.

Normal images differ in light, aim of the camera and place of the plate, as under a real camera.
"""

import numpy as np

from ipad_jax.data_builders.factory.machine import Machine, turn
from ipad_jax.data_builders.factory.render import View, render

DEFECTS = ("colour", "missing", "scratch", "shifted", "stain")
SCREWS = ((-0.95, -0.60), (0.95, -0.60), (-0.95, 0.60), (0.95, 0.60))
PINS = tuple(0.25 + 0.16 * i for i in range(4))
TOP = 0.16  # height of the plate's upper side


def draw(rng: np.random.Generator, defects: list[str], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of as many plates as there are defects, "" for none, and the same plates without them.

    Returns:
        uint8 [n, size, size, 3] RGB each, without sensor noise.
    """
    n = len(defects)
    shift, yaw = rng.uniform(-0.04, 0.04, (n, 2)), rng.uniform(-0.05, 0.05, n)
    view = _view(rng, n)
    choice = rng.integers(0, 1 << 30, n)
    strength = rng.uniform(0, 1, (n, 3))
    wrong = np.array(defects)
    clean = np.full(n, "")
    faulty, whole = (
        render(_plate(d, choice, strength, shift, yaw).pack(), view, (size, size), textured=True)
        for d in (wrong, clean)
    )
    return faulty, whole


def _plate(
    wrong: np.ndarray, choice: np.ndarray, strength: np.ndarray, shift: np.ndarray, yaw: np.ndarray
) -> Machine:
    """The solids of n plates; `wrong` [n] names what is wrong with each."""
    m = Machine(len(wrong))
    rotation = turn("z", yaw)

    def place(x, y, z, half, colour, *, solid="box", angle=0.0, **options) -> None:
        """A solid in the plate's own axes."""
        dx, dy = np.cos(yaw) * x - np.sin(yaw) * y, np.sin(yaw) * x + np.cos(yaw) * y
        own = rotation @ turn("z", angle * np.ones(len(wrong)))
        m.add(solid, (dx + shift[:, 0], dy + shift[:, 1], z), half, colour, rotation=own, **options)

    def is_(name: str, number: int, of: int) -> np.ndarray:
        """Which plates have this defect at the part with this number."""
        return (wrong == name) & (choice % of == number)

    place(0, 0, TOP / 2, (1.2, 0.85, TOP / 2), (0.10, 0.30, 0.22), radius=0.05)
    for number, (x, y) in enumerate(SCREWS):
        shown = ~is_("missing", number, 8)
        place(
            x,
            y,
            TOP,
            (0.11, 0.11, 0.05),
            (0.55, 0.56, 0.58),
            solid="cylinder",
            shown=shown,
            gloss=0.8,
        )
        place(x, y, TOP + 0.05, (0.08, 0.018, 0.006), (0.1, 0.1, 0.1), angle=0.7, shown=shown)
    # the socket and its pins; shifted: it sits askew
    askew = is_("shifted", 0, 2) * (0.10 + 0.12 * strength[:, 0])
    place(0.49 + askew, 0.15, TOP + 0.09, (0.38, 0.17, 0.09), (0.75, 0.72, 0.62), angle=askew * 1.2)
    for number, x in enumerate(PINS):
        shown = ~is_("missing", number + 4, 8)
        place(x + askew, 0.15, TOP + 0.22, (0.028, 0.028, 0.06), (0.75, 0.55, 0.12), shown=shown)
    # the drum; colour: of another make
    drum = np.where(
        is_("colour", 0, 2)[:, None],
        np.array([0.55, 0.25, 0.05]) * (0.6 + 0.6 * strength[:, :1]),
        np.array([0.08, 0.12, 0.35]),
    )
    aside = is_("shifted", 1, 2) * (0.10 + 0.10 * strength[:, 1])
    place(
        -0.45 + aside,
        0.22 - aside,
        TOP + 0.16,
        (0.24, 0.24, 0.16),
        drum,
        solid="cylinder",
        radius=0.04,
    )
    lead = np.where(
        is_("colour", 1, 2)[:, None], np.array([0.75, 0.65, 0.05]), np.array([0.62, 0.06, 0.05])
    )
    place(0.0, -0.38, TOP + 0.03, (0.75, 0.045, 0.035), lead, radius=0.03)
    place(0.0, -0.55, TOP + 0.03, (0.75, 0.045, 0.035), (0.05, 0.05, 0.06), radius=0.03)
    # on the plate's free surface
    x = -0.75 + 1.5 * (choice % 97) / 96
    place(
        x, 0.65 - 0.1 * strength[:, 2], TOP + 0.004,
        (0.10 + 0.10 * strength[:, 0], 0.1, 0.004), (0.03, 0.02, 0.01),
        solid="cylinder", shown=wrong == "stain", gloss=0.05,
    )  # fmt: skip
    place(
        x, -0.1 - 0.1 * strength[:, 1], TOP + 0.003,
        (0.14 + 0.16 * strength[:, 0], 0.016, 0.003), (0.62, 0.66, 0.62),
        angle=6.0 * strength[:, 2], radius=0.002, shown=wrong == "scratch", gloss=0.6,
    )  # fmt: skip
    return m


def _view(rng: np.random.Generator, n: int) -> View:
    """A camera above the bench whose aim and light vary."""
    distance, elevation = 5.0, np.deg2rad(72) + rng.uniform(-0.01, 0.01, n)
    back = np.stack([np.zeros(n), -np.cos(elevation), np.sin(elevation)], -1)
    right = np.broadcast_to([1.0, 0.0, 0.0], (n, 3))
    axes = np.stack([right, np.cross(back, right), -back], 1)
    sun = np.stack([rng.uniform(-0.5, -0.3, n), rng.uniform(-0.4, -0.2, n), np.ones(n)], -1)
    sun /= np.linalg.norm(sun, axis=-1, keepdims=True)
    light = rng.uniform(0.88, 1.12, (n, 1))
    columns = {
        "origin": distance * back,
        "axes": axes,
        "focal": np.full(n, 3.6) * rng.uniform(0.99, 1.01, n),
        "sun": sun,
        "sun_colour": light * np.array([1.05, 1.0, 0.9]),
        "sky_colour": np.sqrt(light) * np.array([0.42, 0.45, 0.5]),
        "floor_colour": np.broadcast_to([0.40, 0.41, 0.42], (n, 3)),
        "wall_colour": np.broadcast_to([0.5, 0.5, 0.5], (n, 3)),
        "wall_y": np.full(n, 9.0),
        "grain": np.full(n, 0.08),
    }
    return View(**{name: np.asarray(column, np.float32) for name, column in columns.items()})
