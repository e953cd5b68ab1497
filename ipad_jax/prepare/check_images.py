"""Is a folder of images usable? Every image and mask is opened: sizes, depth, pairs, copies, counts."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ipad_jax.data_builders.bit_depth import DEPTHS, describe_bit_depth, find_bit_depth
from ipad_jax.data_builders.files import Problem
from ipad_jax.data_builders.image_folder.layout import GOOD, Layout, Photo, scan
from ipad_jax.data_builders.photos import read_mask, read_photo
from ipad_jax.evaluation.false_alarms import conformal_bound
from ipad_jax.input.images import num_held_out
from ipad_jax.run.cluster import num_cores
from ipad_jax.run.progress import Bars

FEWEST = 4  # good images to train on, half of them held out
SQUARE = 256  # pixels, side of a network's input for square images
LONGEST = 1024  # pixels, longest side of its input for others
HOLDOUT, HOLDOUT_MIN, WISH = 0.2, 5, 0.05  # data.holdout_share and its like in configs/_images.py


@dataclasses.dataclass
class ImageFindings:
    """What a folder holds: problems make it unusable, notes do not. `defects`: kind -> (images, masks)."""

    name: str
    train: int = 0
    good: int = 0  # test images
    defects: dict[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    opened: int = 0
    sizes: dict[str, int] = dataclasses.field(default_factory=dict)  # "HEIGHTxWIDTH" -> images
    problems: list[Problem] = dataclasses.field(default_factory=list)
    notes: list[Problem] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Opened:
    """An image after it was opened, with the digest of its pixels."""

    photo: Photo
    size: tuple[int, int] | None = None
    digest: str = ""
    problem: Problem | None = None


def check_images(folder: Path, name: str, bars: Bars) -> ImageFindings:
    """Checks a folder as `prepare image_folder` reads it.

    Raises: FileNotFoundError where the folder has no such layout at all.
    """
    findings = ImageFindings(name)
    layout, findings.problems = scan(folder)
    findings.train = len(layout.train)
    findings.good = sum(photo.kind == GOOD for photo in layout.test)
    for kind in layout.kinds[1:]:
        of_kind = [photo for photo in layout.test if photo.kind == kind]
        findings.defects[kind] = (len(of_kind), sum(photo.mask is not None for photo in of_kind))
    findings.problems += [
        Problem(mask, f"is the mask of no image in test/{mask.parent.name}/")
        for mask in layout.unpaired
    ]
    photos = (*layout.train, *layout.test)
    try:
        bit_depth = find_bit_depth([photo.path for photo in photos])
    except ValueError as error:
        # 8-bit files among 16-bit ones are named here, what cannot be read below
        findings.problems += getattr(error, "problems", ())
        bit_depth = DEPTHS[-1]  # the other files are no problem
    else:
        if bit_depth:
            findings.notes.append(Problem(folder, describe_bit_depth(bit_depth)))
    opened = open_all(photos, bit_depth, bars, name)
    findings.opened = len(opened)
    findings.problems += [found.problem for found in opened if found.problem]
    findings.problems += _copies(opened, len(layout.train))
    sizes = collections.Counter(f"{f.size[0]}x{f.size[1]}" for f in opened if f.size)
    findings.sizes = dict(sizes.most_common())
    findings.notes += [Problem(folder, note) for note in _notes(layout, findings)]
    if findings.train < FEWEST:
        findings.problems.append(
            Problem(
                folder / "train" / GOOD, f"{findings.train} good images: at least {FEWEST} needed"
            )
        )
    return findings


def open_all(photos: Sequence[Photo], bit_depth: int | None, bars: Bars, name: str) -> list[Opened]:
    """Opens images and their masks, with a bar of that name."""
    bar = bars.add(name, len(photos), "images")
    opened = []
    with ThreadPoolExecutor(num_cores()) as pool:
        for found in pool.map(lambda photo: _open(photo, bit_depth), photos):
            opened.append(found)
            bar.advance()
    return opened


def _open(photo: Photo, bit_depth: int | None) -> Opened:
    """Opens an image and its mask."""
    try:
        image = read_photo(photo.path, bit_depth)
    except ValueError as error:
        return Opened(photo, problem=_problem(photo.path, error))
    size, digest = image.shape[:2], hashlib.sha256(image.tobytes()).hexdigest()
    problem = None
    if photo.mask is not None:
        try:
            mask = read_mask(photo.mask)
        except ValueError as error:
            return Opened(photo, size, digest, _problem(photo.mask, error))
        if mask.shape != size:
            (h, w), (rows, columns) = size, mask.shape
            problem = Problem(photo.mask, f"is {columns}x{rows}, its image {w}x{h}")
        elif not mask.any():
            problem = Problem(photo.mask, "marks no pixel, though its image is defective")
    return Opened(photo, size, digest, problem)


def _problem(path: Path, error: ValueError) -> Problem:
    return Problem(path, str(error).removeprefix(f"{path}: "))


def _copies(opened: Sequence[Opened], num_train: int) -> list[Problem]:
    """Test images that training has seen, by content."""
    trained = {found.digest: found.photo.path for found in opened[:num_train] if found.digest}
    return [
        Problem(
            found.photo.path,
            f"has the pixels of the training image {trained[found.digest].name}: what was trained on "
            "cannot be tested on; take one away",
        )
        for found in opened[num_train:]
        if found.digest in trained
    ]


def _notes(layout: Layout, findings: ImageFindings) -> list[str]:
    """What a person should know before relying on this set."""
    notes = []
    if promise := supported(findings.train):
        notes.append(promise)
    if len(findings.sizes) > 1:
        shown = ", ".join(f"{count} of {size}" for size, count in list(findings.sizes.items())[:4])
        notes.append(f"sizes differ (height x width): {shown}; each is judged at its own")
    missing = sum(images - masks for images, masks in findings.defects.values())
    if missing:
        notes.append(f"{missing} defective images have no mask: judged as images alone")
    if not layout.test:
        notes.append("no test images: a detector can be fitted, but not judged")
    elif not findings.good:
        notes.append("no good test images: nothing to compare the defective ones with")
    elif not findings.defects:
        notes.append("no defective test images: false alarms can be counted, misses cannot")
    return notes


def supported(num_good: int) -> str:
    """What a number of good images promises of a threshold, and what promises more; "" of less than two."""
    held = num_held_out(num_good, HOLDOUT, HOLDOUT_MIN)
    if not held:
        return ""
    others = ", ".join(
        f"{n}: {_promise(num_held_out(n, HOLDOUT, HOLDOUT_MIN))}" for n in (10, 30, 100)
    )
    return (
        f"{num_good} good images, {held} of them to set the threshold: with a wish of {100 * WISH:g} % "
        f"false alarms it promises at most {_promise(held)} of good parts (good images {others}). More of "
        "them for `ipad-jax calibrate`, or a larger data.holdout_share, promise better"
    )


def _promise(held: int) -> str:
    """False alarms at 95 % confidence, at most, in per cent."""
    return f"{100 * conformal_bound(held, WISH):.0f} %"


def fitting_size(sizes: Mapping[str, int]) -> tuple[int, int]:
    """Height and width of a network's input with the proportions that most images have.

    It has as many pixels as a square one of SQUARE, so that a wide image is seen no coarser and takes no
    longer than a square one; LONGEST is kept for any.

    Args:
        sizes: "HEIGHTxWIDTH" -> number of images.

    Returns: both multiples of 16, the stride of most deepest layers.
    """
    height, width = (int(side) for side in max(sizes, key=lambda size: sizes[size]).split("x"))
    scale = min(SQUARE / math.sqrt(height * width), LONGEST / max(height, width))
    rounded = [max(32, round(side * scale / 16) * 16) for side in (height, width)]
    return rounded[0], rounded[1]
