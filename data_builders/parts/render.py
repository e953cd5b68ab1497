"""Sets of rendered parts in MVTec AD's layout, defects with exact masks.

A mask marks the pixels that the defect changes by at least `MASK_LEVELS` grey levels, its shadow with
them: the same part is rendered with and without it.
"""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from ipad_jax.data_builders.parts import cloth, plate

SETS = {"plate": plate, "cloth": cloth}
SIZE = 160  # pixels, both sides
MASK_LEVELS = 14  # of 255, as data_builders/factory/write.py
MIN_MASK_PIXELS = 20  # of an image of SIZE; what shows less is drawn again
NOISE = 2.0  # standard deviation of the sensor's noise, in grey levels
COUNTS = (60, 20, 6)  # training images, good test images, test images of each defect

Progress = Callable[[int, int], None]


def write_set(
    folder: Path,
    name: str,
    seed: int = 0,
    counts: tuple[int, int, int] = COUNTS,
    size: int = SIZE,
    progress: Progress | None = None,
) -> None:
    """Writes train/, test/ and ground_truth/ of a set; the same seed gives the same bytes.

    Raises:
        ValueError: there is no such set.
    """
    if name not in SETS:
        raise ValueError(f"parts has no set {name!r}; choose from {', '.join(SETS)}.")
    module = SETS[name]
    train, good, faulty = counts
    wanted = ["train/good"] * train + ["test/good"] * good
    wanted += [f"test/{defect}" for defect in module.DEFECTS for _ in range(faulty)]
    done, numbers = 0, dict.fromkeys(wanted, 0)
    rng = np.random.default_rng([seed, list(SETS).index(name)])
    waiting = wanted
    while waiting:
        part, waiting = waiting[:8], waiting[8:]
        kinds = [place.rpartition("/")[2] for place in part]
        defects = ["" if kind == "good" else kind for kind in kinds]
        images, whole = module.draw(rng, defects, size)
        levels = np.abs(images.astype(np.int16) - whole).max(-1)
        masks = [without_specks(level >= MASK_LEVELS) for level in levels]
        for place, defect, image, mask in zip(part, defects, images, masks):
            if defect and mask.sum() < MIN_MASK_PIXELS * (size / SIZE) ** 2:
                waiting.append(place)  # hidden behind something: another one
                continue
            noise = rng.standard_normal(image.shape, np.float32) * NOISE
            noisy = np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)
            file = f"{numbers[place]:03d}"
            numbers[place] += 1
            _write(folder / place / f"{file}.png", cv2.cvtColor(noisy, cv2.COLOR_RGB2BGR))
            if defect:
                _write(folder / "ground_truth" / defect / f"{file}_mask.png", mask * np.uint8(255))
            done += 1
        if progress:
            progress(done, len(wanted))


def without_specks(mask: np.ndarray) -> np.ndarray:
    """A mask, bool [h, w], without regions of under 4 pixels: rounding of a shadow's rim, no defect."""
    _, regions, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    large = stats[:, cv2.CC_STAT_AREA] >= 4
    large[0] = False
    return large[regions]


def _write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), image):
        raise OSError(f"{path} could not be written; is the disk full?")
