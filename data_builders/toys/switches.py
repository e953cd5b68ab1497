"""What can be harder in the test views of a toy than in those that train: one switch at a time."""

from __future__ import annotations

import dataclasses

import numpy as np

from ipad_jax.data_builders.toys.animals import COLOURS
from ipad_jax.data_builders.toys.cast import Picture, Solid, Stain, cast

ROLL, LIGHT, CLUTTER = "roll", "light", "clutter"
SWITCHES = (ROLL, LIGHT, CLUTTER)
DISTANCES = (0.9, 1.1)  # of a camera that rolls, times the training views'
LAMPS = (30.0, 90.0)  # degrees about the vertical by which lamps are moved, either way
BEHIND = 14  # bricks in front of a wall; none nearer than the far side of the object


@dataclasses.dataclass(frozen=True)
class View:
    """How a picture is taken.

    Attributes:
        pose: world_from_camera [4, 4].
        light: [3, 3], how the lamps are turned.
        behind: a picture of what stands behind, uint8 [h, w, 3]; None: white.
    """

    pose: np.ndarray
    light: np.ndarray | None = None
    behind: np.ndarray | None = None

    def picture(
        self, solids: tuple[Solid, ...], focal_px: float, size: int, stain: Stain | None = None
    ) -> Picture:
        """The picture of solids in front of what stands behind."""
        found = cast(solids, self.pose, focal_px, size, stain, self.light)
        if self.behind is None:
            return found
        free = (found.shown == -1).mean(-1)[..., None]  # of the white that shows: share of a pixel
        image = np.rint(found.image - free * (255.0 - self.behind))
        return Picture(np.clip(image, 0, 255).astype(np.uint8), found.shown)


def switched(
    pose: np.ndarray, switch: str, rng: np.random.Generator, focal_px: float, size: int
) -> View:
    """The test view from a pose with a switch on, for pictures of that size; "" leaves it as it is.

    Roll turns the camera about its axis by any angle and moves it nearer or farther. Light turns the lamps
    about the vertical. Clutter puts a wall and bricks behind the object.
    """
    if switch == ROLL:
        return View(rolled(pose, rng.uniform(-180, 180), rng.uniform(*DISTANCES)))
    if switch == LIGHT:
        angle = np.radians(rng.uniform(*LAMPS) * rng.choice([-1, 1]))
        return View(pose, light=_about_z(angle))
    if switch == CLUTTER:
        return View(pose, behind=cast(_behind(pose, rng), pose, focal_px, size).image)
    return View(pose)


def rolled(pose: np.ndarray, degrees: float, distance: float = 1.0) -> np.ndarray:
    """A camera [4, 4] turned about its own axis, its place scaled about the origin."""
    found = pose.copy()
    found[:3, :3] = pose[:3, :3] @ _about_z(np.radians(degrees))
    found[:3, 3] = pose[:3, 3] * distance
    return found


def _about_z(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def _behind(pose: np.ndarray, rng: np.random.Generator) -> tuple[Solid, ...]:
    """A wall and bricks at random, in the world; the object is nearer to the camera than all of them."""
    colours = list(COLOURS.values())
    reach = float(np.linalg.norm(pose[:3, 3]))

    def placed(at: np.ndarray, half: np.ndarray, turn: np.ndarray) -> Solid:
        colour = tuple(float(c) for c in colours[rng.integers(len(colours))])
        centre = pose[:3, 3] + pose[:3, :3] @ at
        return Solid(tuple(centre), tuple(half), colour, turn=pose[:3, :3] @ turn)  # type: ignore[arg-type]

    depth = reach + 5
    solids = [placed(np.array([0, 0, -depth]), np.array([6, 6, 0.1]), np.eye(3))]
    for _ in range(BEHIND):
        depth = reach + rng.uniform(1.8, 3.5)
        half = rng.uniform(0.1, 0.45, 3)  # the farthest corner is 0.78 away
        turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        across = rng.uniform(-0.4, 0.4, 2) * depth  # as far as the picture reaches
        solids.append(placed(np.array([*across, -depth]), half, turn * np.linalg.det(turn)))
    return tuple(solids)
