"""Is a class of the MAD data usable? Layout, counts, masks paired by name, poses, and images that open."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from ipad_jax.data_builders.files import DataError, Problem, read_image
from ipad_jax.data_builders.mad.archive import (
    GOOD,
    REAL_CLASSES,
    SIM_CLASSES,
    View,
    find_class,
    posed,
    read_class,
    read_over_white,
)
from ipad_jax.data_builders.objects import HULL_PX, located, small_picture
from ipad_jax.run.cluster import num_cores
from ipad_jax.run.progress import Bars

SAMPLE = 100  # images of a class that are opened, where not all are
NO_POSES = (
    "no camera poses, as MAD-Real is published: methods that know no pose take it (bank), an object cannot "
    "be learned from it (omnipose)"
)
CARVING = 60  # training views whose silhouettes must agree with their poses


@dataclasses.dataclass
class ClassFindings:
    """What a class holds: problems make it unusable, notes do not. `opened` counts image files."""

    name: str
    train: int = 0
    good: int = 0  # test images
    defective: int = 0
    masks: int = 0
    poses: int = 0
    opened: int = 0
    problems: list[Problem] = dataclasses.field(default_factory=list)
    notes: list[Problem] = dataclasses.field(default_factory=list)


def classes_in(manual_dir: Path) -> list[str]:
    """The classes that are there, or should be: all of MAD-Sim or MAD-Real where one of them is."""
    found = []
    for names in (SIM_CLASSES, REAL_CLASSES):
        for name in names:
            try:
                find_class(manual_dir, name)
            except FileNotFoundError:
                continue
            found += names
            break
    return found or list(SIM_CLASSES)


def check_class(manual_dir: Path, name: str, full: bool, bars: Bars) -> ClassFindings:
    """Checks one class; of many images a sample is opened, with `full` all.

    Raises: ValueError where there is no class of that name.
    """
    findings = ClassFindings(name)
    try:
        folder = find_class(manual_dir, name)
    except FileNotFoundError as error:
        missing = Problem(manual_dir / "MAD-Sim" / name, "is missing")
        if name in REAL_CLASSES:  # taken by their order, so it cannot be said which one is missing
            missing = Problem(manual_dir / "MAD-Real", str(error).partition("; ")[0])
        findings.problems.append(missing)
        return findings
    real = name in REAL_CLASSES  # without masks and poses, as published
    try:
        views, _, angle = read_class(folder, require_poses=not real)
    except DataError as error:
        findings.problems += error.problems
        return findings
    train, test = views["train"], views["test"]
    defective = [view for view in test if view.defect]
    findings.train, findings.good = len(train), len(test) - len(defective)
    findings.defective = len(defective)
    findings.masks = sum(view.mask is not None for view in defective)
    findings.poses = sum(view.world_from_camera is not None for view in train)
    unmasked = [view.path for view in defective if view.mask is None]
    if real and unmasked:
        findings.notes.append(
            Problem(folder, f"{len(unmasked)} defective images have no mask: judged by image only")
        )
    elif unmasked:
        findings.problems += [Problem(path, "has no mask in ground_truth") for path in unmasked]
    if real and not findings.poses:
        findings.notes.append(Problem(folder, NO_POSES))
    findings.problems += _unpaired_masks(folder, defective)
    chosen = [*_sample(train, full), *_sample(test, full)]
    bar = bars.add(name, len(chosen), "images")
    with ThreadPoolExecutor(num_cores()) as pool:
        for problems in pool.map(_open, chosen):
            findings.problems += problems
            bar.advance()
    findings.opened = len(chosen)
    if angle is not None and not findings.problems:
        try:
            notes = _disagreement(train, angle)
            findings.notes += [Problem(folder, note) for note in notes]
        except ValueError as error:
            findings.problems.append(Problem(folder, str(error)))
    return findings


def _disagreement(train: Sequence[View], camera_angle_x: float) -> list[str]:
    """Notes of a doubt whether silhouettes and poses belong together.

    Raises: ValueError where they allow no object.
    """
    pictures = []
    for view in train[:: max(1, len(train) // CARVING)]:
        image = cv2.cvtColor(read_over_white(view.path), cv2.COLOR_BGR2RGB)
        size = (image.shape[1], image.shape[0])
        camera = posed(view.path, size, camera_angle_x, np.asarray(view.world_from_camera))
        pictures.append(small_picture(image, camera, HULL_PX))
    return located(pictures)[-1]


def _unpaired_masks(folder: Path, defective: Sequence[View]) -> list[Problem]:
    """Masks that belong to no test image; those of good images are not looked for."""
    paired = {view.mask for view in defective}
    masks = sorted((folder / "ground_truth").glob("*/*_mask.png"))
    return [
        Problem(mask, f"is the mask of no image in test/{mask.parent.name}/")
        for mask in masks
        if mask not in paired and mask.parent.name != GOOD
    ]


def _sample(views: Sequence[View], full: bool) -> Sequence[View]:
    """All of them, or a sample from the first to the last."""
    if full or len(views) <= SAMPLE:
        return views
    return [views[i] for i in np.linspace(0, len(views) - 1, SAMPLE).astype(int)]


def _open(view: View) -> list[Problem]:
    """What is wrong with an image and its mask."""
    try:
        size = read_image(view.path, cv2.IMREAD_UNCHANGED).shape[:2]
    except ValueError as error:
        return [Problem(view.path, str(error).removeprefix(f"{view.path}: "))]
    if view.mask is None:
        return []
    try:
        mask = read_image(view.mask, cv2.IMREAD_GRAYSCALE)
    except ValueError as error:
        return [Problem(view.mask, str(error).removeprefix(f"{view.mask}: "))]
    if mask.shape != size:
        (h, w), (rows, columns) = size, mask.shape
        return [Problem(view.mask, f"is {columns}x{rows}, its image {w}x{h}")]
    if not mask.any():
        return [Problem(view.mask, "marks no pixel, though its image is defective")]
    return []
