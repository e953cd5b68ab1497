"""Brick animals of our own: where bricks lie, in studs and brick heights, and their colours.

`hound` and `duck` are for tuning; `cat`, `turtle` and `camel` are those that figures are reported of, and
`starfish`, which looks the same from four sides but for the tip of one arm.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ipad_jax.data_builders.toys.cast import BOX, CYLINDER, Solid

RADIUS = 1.0  # of the ball around the origin that holds an animal, MAD's
BRICK = 1.2  # height of a brick in studs
STUD_RADIUS, STUD_HEIGHT = 0.3, 0.2  # in studs
COLOURS = {
    "red": (0.60, 0.05, 0.04),
    "orange": (0.80, 0.25, 0.03),
    "yellow": (0.85, 0.62, 0.05),
    "green": (0.06, 0.33, 0.10),
    "lime": (0.38, 0.55, 0.06),
    "blue": (0.03, 0.14, 0.46),
    "azure": (0.10, 0.36, 0.62),
    "brown": (0.22, 0.10, 0.05),
    "tan": (0.62, 0.50, 0.30),
    "dark": (0.035, 0.035, 0.04),
    "grey": (0.30, 0.31, 0.32),
    "white": (0.80, 0.80, 0.77),
}
DARK, LIGHT = COLOURS["dark"], COLOURS["white"]


@dataclasses.dataclass(frozen=True)
class Brick:
    """A brick: lower corner x, y, z and size in studs, z in bricks; `loose` may be missing."""

    x: float
    y: float
    z: float
    w: float
    d: float
    h: float
    colour: str
    loose: bool = False
    round: bool = False


def _b(place: tuple, size: tuple, colour: str, loose: bool = False, round: bool = False) -> Brick:
    return Brick(*place, *size, colour, loose, round)


def _eyes(x: float, y: float, z: float, apart: float) -> tuple[Brick, ...]:
    """Two eyes on a face that looks along x."""
    white = [_b((x, y + s, z), (0.12, 0.7, 0.58), "white") for s in (0, apart)]
    places = [(x + 0.12, y + s + 0.2, z + 0.15) for s in (0, apart)]
    return (*white, *(_b(place, (0.08, 0.36, 0.3), "dark", True) for place in places))


def _arm(quarter: int, tip: str) -> tuple[Brick, ...]:
    """An arm along x, turned by so many right angles about the origin."""
    arm = (
        _b((1.5, -1, 0), (2, 2, 1), "orange"),
        _b((3.5, -0.75, 0), (1.2, 1.5, 0.8), "orange"),
        _b((4.7, -0.5, -0.1), (1, 1, 1), tip),
        _b((2, 1, 0.2), (1, 0.5, 0.5), "tan", True),
        _b((2, -1.5, 0.2), (1, 0.5, 0.5), "tan", True),
    )
    for _ in range(quarter):
        arm = tuple(dataclasses.replace(b, x=-b.y - b.d, y=b.x, w=b.d, d=b.w) for b in arm)
    return arm


ANIMALS: dict[str, tuple[Brick, ...]] = {
    "hound": (
        _b((0, 0, 0), (1, 1, 2), "brown"),
        _b((0, 2, 0), (1, 1, 2), "brown"),
        _b((5, 0, 0), (1, 1, 2), "brown"),
        _b((5, 2, 0), (1, 1, 2), "brown"),
        _b((0, 0, 2), (3, 3, 1), "tan"),
        _b((3, 0, 2), (3, 3, 1), "tan"),
        _b((0, 0, 3), (2, 3, 1), "tan"),
        _b((2, 0, 3), (2, 3, 1), "orange"),
        _b((4, 0, 3), (2, 3, 1), "tan"),
        _b((4, 0, 4), (3, 3, 1), "tan"),
        _b((4, 0, 5), (3, 3, 1), "tan"),
        _b((7, 0.5, 4), (1.5, 2, 1), "brown"),
        _b((8.5, 1, 4.5), (0.35, 1, 0.5), "dark", True),
        _b((4.5, -0.6, 4.6), (1, 0.6, 1.4), "brown", True),
        _b((4.5, 3, 4.6), (1, 0.6, 1.4), "brown", True),
        _b((-1, 1, 3.2), (1, 1, 0.7), "brown"),
        _b((-1.6, 1, 3.6), (0.7, 1, 1.2), "brown", True),
        _b((2.5, 1, 4), (1, 1, 0.4), "red", True, True),
        *_eyes(7, 0.2, 5.2, 1.9),
    ),
    "duck": (
        _b((0, 0, 0.4), (3, 4, 1), "yellow"),
        _b((3, 0, 0.4), (3, 4, 1), "yellow"),
        _b((-0.8, 0.5, 1.4), (3, 3, 1), "yellow"),
        _b((2.2, 0, 1.4), (3.8, 4, 1), "yellow"),
        _b((-1.4, 1, 2.4), (1.4, 2, 0.5), "white", True),
        _b((0.5, -0.6, 1.2), (3, 0.6, 1), "orange", True),
        _b((0.5, 4, 1.2), (3, 0.6, 1), "orange", True),
        _b((4, 1, 2.4), (2, 2, 1), "yellow"),
        _b((3.5, 0.5, 3.4), (3, 3, 1), "green"),
        _b((3.5, 0.5, 4.4), (3, 3, 1), "green"),
        _b((6.5, 1, 3.6), (1.6, 2, 0.5), "orange"),
        _b((4.5, 1.5, 5.4), (1, 1, 0.4), "lime", True, True),
        _b((1, 0.5, 0), (2.4, 1, 0.4), "orange"),
        _b((1, 2.5, 0), (2.4, 1, 0.4), "orange"),
        *_eyes(6.5, 0.7, 4.5, 1.9),
    ),
    "cat": (
        _b((0, 0, 0), (1, 1.2, 2), "dark"),
        _b((0, 2.8, 0), (1, 1.2, 2), "dark"),
        _b((4.5, 0, 0), (1, 1.2, 2), "white"),
        _b((4.5, 2.8, 0), (1, 1.2, 2), "white"),
        _b((0, 0, 2), (2.5, 4, 1), "grey"),
        _b((2.5, 0, 2), (3, 4, 1), "grey"),
        _b((0, 0.5, 3), (2, 3, 0.8), "dark"),
        _b((2, 0.5, 3), (3.5, 3, 0.8), "grey"),
        _b((3.5, 0, 3.8), (3, 4, 1), "grey"),
        _b((3.5, 0, 4.8), (3, 4, 1), "grey"),
        _b((6.5, 1, 3.8), (0.7, 2, 0.7), "white"),
        _b((7.2, 1.6, 4.2), (0.3, 0.8, 0.4), "red", True),
        _b((4, 0, 5.8), (1, 1, 0.9), "dark", True),
        _b((4, 3, 5.8), (1, 1, 0.9), "dark", True),
        _b((-0.9, 1.5, 2.2), (0.9, 1, 0.8), "dark"),
        _b((-0.9, 1.5, 3), (0.9, 1, 1.2), "dark"),
        _b((-0.9, 1.5, 4.2), (0.9, 1, 0.9), "white", True),
        _b((5.5, 1.2, 2.2), (0.3, 1.6, 0.6), "azure", True),
        *_eyes(6.5, 0.3, 4.85, 2.7),
    ),
    "turtle": (
        _b((0, 0.5, 0.3), (1.2, 1.2, 0.8), "lime"),
        _b((0, 4.3, 0.3), (1.2, 1.2, 0.8), "lime"),
        _b((5.2, 0, 0.3), (1.4, 1.4, 0.8), "lime"),
        _b((5.2, 4.6, 0.3), (1.4, 1.4, 0.8), "lime"),
        _b((0, 0.6, 1.1), (3.4, 4.8, 0.8), "brown"),
        _b((3.4, 0.6, 1.1), (3.4, 4.8, 0.8), "brown"),
        _b((0.5, 1, 1.9), (2.9, 4, 0.8), "green"),
        _b((3.4, 1, 1.9), (2.9, 4, 0.8), "green"),
        _b((1.4, 1.9, 2.7), (2, 2.2, 0.7), "green"),
        _b((3.4, 1.9, 2.7), (2, 2.2, 0.7), "green"),
        _b((2.9, 2.5, 3.4), (1, 1, 0.45), "yellow", True, True),
        _b((1, 1.2, 2.7), (1, 0.7, 0.3), "yellow", True),
        _b((4.8, 4, 2.7), (1, 0.8, 0.3), "orange", True),
        _b((6.8, 2, 1), (1, 2, 1), "lime"),
        _b((7.8, 1.75, 1.2), (1.8, 2.5, 1.3), "lime"),
        _b((-0.8, 2.6, 1), (0.8, 0.8, 0.5), "lime", True),
        *_eyes(9.6, 1.85, 1.8, 1.6),
    ),
    "camel": (
        _b((0, 0, 0), (1, 1, 3), "tan"),
        _b((0, 2, 0), (1, 1, 3), "tan"),
        _b((5, 0, 0), (1, 1, 3), "tan"),
        _b((5, 2, 0), (1, 1, 3), "tan"),
        _b((0, 0, 3), (3, 3, 1), "orange"),
        _b((3, 0, 3), (3, 3, 1), "orange"),
        _b((0.3, 0.3, 4), (1.9, 2.4, 1), "tan"),
        _b((0.8, 0.7, 5), (1, 1.6, 0.6), "brown", True),
        _b((3.5, 0.3, 4), (2, 2.4, 1), "tan"),
        _b((4, 0.7, 5), (1, 1.6, 0.6), "brown", True),
        _b((6, 0.8, 3.4), (1.2, 1.4, 1), "tan"),
        _b((6.2, 0.8, 4.4), (1, 1.4, 1.6), "tan"),
        _b((6, 0.5, 6), (2, 2, 1), "tan"),
        _b((8, 0.8, 6), (0.9, 1.4, 0.7), "brown"),
        _b((6.2, 0.3, 7), (0.6, 0.6, 0.5), "brown", True),
        _b((6.2, 2.1, 7), (0.6, 0.6, 0.5), "brown", True),
        _b((2.2, -0.25, 3.1), (1.3, 0.25, 1.2), "blue", True),
        _b((2.2, 3, 3.1), (1.3, 0.25, 1.2), "red", True),
        _b((-0.5, 1.2, 2.6), (0.5, 0.6, 1.3), "brown", True),
        *_eyes(8, 0.5, 6.45, 1.25),
    ),
    "starfish": (
        _b((-1.5, -1.5, 0.2), (3, 3, 1.6), "orange"),
        _b((-1, -1, 1.8), (2, 2, 0.8), "yellow"),
        _b((-0.5, -0.5, 2.6), (1, 1, 0.5), "red", True, True),
        *_arm(0, "lime"),
        *(brick for quarter in (1, 2, 3) for brick in _arm(quarter, "blue")),
    ),
}
TUNING, REPORTED = ("hound", "duck"), ("cat", "turtle", "camel", "starfish")
SYMMETRIC = ("starfish",)


@dataclasses.dataclass(frozen=True)
class Animal:
    """An animal in the ball of radius 1 about the origin.

    Attributes:
        solids: bricks, then their studs.
        loose: groups of numbers of solids, each of which can be missing without leaving any floating.
        bricks: how many of the solids are bricks.
    """

    solids: tuple[Solid, ...]
    loose: tuple[tuple[int, ...], ...]
    bricks: int


def build(name: str) -> Animal:
    """The animal of that name.

    Raises:
        ValueError: there is none.
    """
    if name not in ANIMALS:
        raise ValueError(f"toys has no animal {name!r}; choose from {', '.join(ANIMALS)}.")
    bricks = ANIMALS[name]
    boxes = [_box(brick) for brick in bricks]
    studs, loose = [], []
    for number, brick in enumerate(bricks):
        own = [_stud(x, y, brick) for x, y in _places(brick) if not _covered(x, y, brick, bricks)]
        first = len(bricks) + len(studs)
        numbers = tuple(range(first, first + len(own)))
        studs += own
        if brick.loose:
            loose.append((number, *numbers))
        else:
            loose += [(stud,) for stud in numbers]
    low = np.min([b[0] for b in boxes], axis=0)
    high = np.max([b[1] for b in boxes], axis=0)
    centre = (low + high) / 2
    corners = np.concatenate([np.stack([b[0] for b in boxes]), np.stack([b[1] for b in boxes])])
    scale = RADIUS / (np.linalg.norm(corners - centre, axis=1).max() + STUD_HEIGHT)
    rng = np.random.default_rng([list(ANIMALS).index(name), 3])
    shades = rng.uniform(0.9, 1.1, len(bricks))  # bricks of one colour differ a little
    if name in SYMMETRIC:
        shades[:] = 1
    solids = []
    for brick, (a, b), shade in zip(bricks, boxes, shades):
        kind = CYLINDER if brick.round else BOX
        solids.append(_solid((a + b) / 2, (b - a) / 2, brick.colour, kind, centre, scale, shade))
    for (place, half), number in studs:
        shade = shades[bricks.index(number)]
        solids.append(_solid(place, half, number.colour, CYLINDER, centre, scale, shade))
    return Animal(tuple(solids), tuple(loose), len(bricks))


def _box(brick: Brick) -> tuple[np.ndarray, np.ndarray]:
    low = np.array([brick.x, brick.y, brick.z * BRICK])
    return low, low + np.array([brick.w, brick.d, brick.h * BRICK])


def _places(brick: Brick) -> list[tuple[float, float]]:
    """Where its studs would be; parts thinner than a stud have none."""
    columns, rows = int(brick.w + 1e-6), int(brick.d + 1e-6)
    if brick.h < 0.35:
        return []
    x = brick.x + (brick.w - columns) / 2 + np.arange(columns) + 0.5
    y = brick.y + (brick.d - rows) / 2 + np.arange(rows) + 0.5
    return [(float(a), float(b)) for a in x for b in y]


def _covered(x: float, y: float, brick: Brick, bricks: tuple[Brick, ...]) -> bool:
    """Whether another brick stands on the place of a stud."""
    top = brick.z + brick.h
    return any(
        other is not brick
        and other.x - STUD_RADIUS < x < other.x + other.w + STUD_RADIUS
        and other.y - STUD_RADIUS < y < other.y + other.d + STUD_RADIUS
        and other.z < top + STUD_HEIGHT / BRICK
        and other.z + other.h > top + 1e-6
        for other in bricks
    )


def _stud(x: float, y: float, brick: Brick):
    top = (brick.z + brick.h) * BRICK
    half = (STUD_RADIUS, STUD_RADIUS, STUD_HEIGHT / 2)
    return (np.array([x, y, top + STUD_HEIGHT / 2]), np.array(half)), brick


def _solid(place, half, colour: str, kind: int, centre, scale: float, shade: float) -> Solid:
    lit = tuple(float(c) for c in np.clip(np.array(COLOURS[colour]) * shade, 0, 1))
    return Solid(
        tuple((np.asarray(place) - centre) * scale),
        tuple(np.asarray(half) * scale),
        lit,  # type: ignore[arg-type]
        kind,
    )
