"""A brick animal in the layout of one class of MAD: views with poses to train on, test views without.

The cameras are MAD's: 14 latitudes with 15 longitudes each and a hole of 40 degrees, crowded at the poles.
Test views look from random directions. Their poses are in a file of their own, for rows with the true pose.
A switch (`switches.py`) changes the test views alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from ipad_jax.data_builders.toys import animals, defects
from ipad_jax.data_builders.toys.switches import CLUTTER, SWITCHES, View, switched

SIZE = 200  # pixels, both sides
ANGLE = 0.6911111  # radians across the width, MAD's
DISTANCE = 3.0  # of the camera from the origin, MAD's for most classes
COUNTS = (210, 24, 12)  # training views, good test views, test views of each defect
NOISE = 1.0  # standard deviation of the sensor's noise on the object, in grey levels
SHARE = (0.0003, 0.033)  # of the picture that a defect takes, MAD's
MIN_LEVELS = 12  # of 255, by which at least half of a defect's pixels differ: one can point at it
TRUE_POSES = "test_poses.json"

Progress = Callable[[int, int], None]


def camera_grid() -> np.ndarray:
    """MAD's directions of training views, unit vectors [210, 3]."""
    latitude = np.radians(np.linspace(-85, 85, 14))
    longitude = np.radians(120 + np.arange(15) * (360 - 40) / 14)
    a, b = np.meshgrid(latitude, longitude, indexing="ij")
    directions = [np.cos(a) * np.cos(b), np.cos(a) * np.sin(b), np.sin(a)]
    return np.stack(directions, -1).reshape(-1, 3)


def looking_at_origin(eye: np.ndarray) -> np.ndarray:
    """world_from_camera [4, 4] of a camera at `eye` [3] without roll, z upwards, in OpenGL's axes."""
    back = eye / np.linalg.norm(eye)
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3] = np.stack([right, np.cross(back, right), back, eye], 1)
    return pose


def write_toy(
    folder: Path,
    name: str,
    seed: int = 0,
    counts: tuple[int, int, int] = COUNTS,
    size: int = SIZE,
    progress: Progress | None = None,
    switch: str = "",
) -> None:
    """Writes train/, test/, ground_truth/, transforms.json and test_poses.json of an animal.

    The same seed gives the same bytes, and with any switch the same training views.

    Raises:
        ValueError: there is no such animal or switch, or more training views are asked for than MAD has.
    """
    if switch and switch not in SWITCHES:
        raise ValueError(f"toys has no switch {switch!r}; choose from {', '.join(SWITCHES)}.")
    animal, grid = animals.build(name), camera_grid()
    train, good, faulty = counts
    if not 2 <= train <= len(grid):
        raise ValueError(f"{train} training views were asked for; there are 2 to {len(grid)}.")
    focal_px = size / 2 / np.tan(ANGLE / 2)
    number_of_animal = list(animals.ANIMALS).index(name)
    rng = np.random.default_rng([seed, number_of_animal])
    harder = np.random.default_rng([seed, number_of_animal, 5])
    total, done = train + good + faulty * len(defects.KINDS), 0
    frames: dict[str, list] = {"train": [], "test": []}

    def put(place: str, image: np.ndarray, pose: np.ndarray, shown: np.ndarray) -> None:
        nonlocal done
        noise = rng.standard_normal(image.shape, np.float32) * NOISE
        if switch != CLUTTER or place.startswith("train"):
            noise[(shown == -1).all(-1)] = 0  # the background is white, as MAD's
        noisy = np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)
        _write(folder / place, cv2.cvtColor(noisy, cv2.COLOR_RGB2BGR))
        split = place.partition("/")[0]
        frames[split].append({"file_path": f"./{place}", "transform_matrix": pose.tolist()})
        done += 1
        if progress:
            progress(done, total)

    for number, index in enumerate(np.linspace(0, len(grid) - 1, train).round().astype(int)):
        view = View(looking_at_origin(grid[index] * DISTANCE))
        picture = view.picture(animal.solids, focal_px, size)
        put(f"train/good/{number}.png", picture.image, view.pose, picture.shown)

    def drawn() -> View:
        pose = looking_at_origin(_direction(rng) * DISTANCE)
        return switched(pose, switch, harder, focal_px, size)

    for number in range(good):
        view = drawn()
        picture = view.picture(animal.solids, focal_px, size)
        put(f"test/good/{number}.png", picture.image, view.pose, picture.shown)
    for kind in defects.KINDS:
        number = 0
        while number < faulty:
            view = drawn()
            sound = view.picture(animal.solids, focal_px, size)
            for _ in range(8):  # of some views, few defects can be seen
                defect = defects.draw(animal, kind, view.pose[:3, 3], rng)
                picture = view.picture(defect.solids, focal_px, size, defect.stain)
                mask = defects.mask_of(sound.shown, picture.shown, defect.numbers)
                if not SHARE[0] < mask.mean() < SHARE[1]:
                    continue
                change = np.abs(picture.image.astype(np.int16) - sound.image).max(-1)
                if np.median(change[mask]) >= MIN_LEVELS:
                    put(f"test/{kind}/{number}.png", picture.image, view.pose, picture.shown)
                    place = folder / "ground_truth" / kind / f"{number}_mask.png"
                    _write(place, mask * np.uint8(255))
                    number += 1
                    break
    for file, split in (("transforms.json", "train"), (TRUE_POSES, "test")):
        content = {"camera_angle_x": ANGLE, "frames": frames[split]}
        (folder / file).write_text(json.dumps(content))


def _direction(rng: np.random.Generator) -> np.ndarray:
    """A direction, every one as likely: [3]."""
    found = rng.normal(size=3)
    return found / np.linalg.norm(found)


def _write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), image):
        raise OSError(f"{path} could not be written; is the disk full?")
