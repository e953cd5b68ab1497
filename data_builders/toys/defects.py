"""Three kinds of defects of a brick animal, MAD's: a stain, a burr on an edge, a missing part."""

from __future__ import annotations

import dataclasses

import numpy as np

from ipad_jax.data_builders.toys.animals import Animal
from ipad_jax.data_builders.toys.cast import BOX, Solid, Stain

KINDS = ("Burrs", "Missing", "Stains")  # MAD's names
STAIN_COLOURS = ((0.02, 0.02, 0.02), (0.16, 0.02, 0.01), (0.30, 0.28, 0.22), (0.10, 0.07, 0.02))
MISSING = -3  # number of the solids that are not there


@dataclasses.dataclass(frozen=True)
class Defect:
    """An animal with a defect: its solids, the stain, and the sound animal's numbers of its solids.

    Attributes:
        numbers: int [n], for each solid here its number there; a burr has one of its own.
    """

    solids: tuple[Solid, ...]
    numbers: np.ndarray
    stain: Stain | None = None


def draw(animal: Animal, kind: str, towards: np.ndarray, rng: np.random.Generator) -> Defect:
    """A random defect on the side of an animal that the camera in direction `towards` [3] can see."""
    solids, everything = animal.solids, np.arange(len(animal.solids))
    if kind == "Missing":
        group = animal.loose[rng.integers(len(animal.loose))]
        rest = [n for n in everything if n not in group]
        return Defect(tuple(solids[n] for n in rest), np.array(rest))
    brick = solids[rng.integers(animal.bricks)]
    place = _on_face(brick, towards, rng, edge=kind == "Burrs")
    if kind == "Stains":
        radius = float(np.exp(rng.uniform(np.log(0.05), np.log(0.22))))
        colour = STAIN_COLOURS[rng.integers(len(STAIN_COLOURS))]
        wave = tuple(rng.uniform(0, 2 * np.pi, 3))
        return Defect(solids, everything, Stain(tuple(place), radius, colour, wave))
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    half = (
        float(rng.uniform(0.05, 0.16)),
        float(rng.uniform(0.02, 0.05)),
        float(rng.uniform(0.008, 0.03)),
    )
    shade = np.clip(np.array(brick.colour) * rng.uniform(0.85, 1.1), 0, 1)
    burr = Solid(tuple(place), half, tuple(shade), BOX, turn * np.sign(np.linalg.det(turn)))
    return Defect((*solids, burr), np.append(everything, len(solids)))


def _on_face(solid: Solid, towards: np.ndarray, rng: np.random.Generator, edge: bool) -> np.ndarray:
    """A place on a face that looks at the camera, or on the edge of two: [3]."""
    half = np.array(solid.half)
    axis = rng.permutation(3)
    signs = np.where(towards >= 0, 1.0, -1.0)
    at = rng.uniform(-0.8, 0.8, 3)
    at[axis[0]] = signs[axis[0]]
    if edge:
        at[axis[1]] = signs[axis[1]]
    return np.array(solid.centre) + at * half


def mask_of(sound: np.ndarray, faulty: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Pixels of which at least half the samples show another part: bool [h, w].

    Args:
        sound, faulty: `Picture.shown` of the two. numbers: see `Defect`.
    """
    known = np.append(numbers, [-2, -1])  # the last two: what the negative numbers stand for
    return (known[faulty] != sound).mean(-1) >= 0.5
