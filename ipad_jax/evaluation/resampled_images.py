"""Bootstrap intervals over IMAGES of what ranks images or pixels: pixels of an image hang together."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ipad_jax.evaluation import areas
from ipad_jax.evaluation.intervals import can_resample, percentile_interval, resample_counts
from ipad_jax.evaluation.score_cells import Cells

NUM_RESAMPLES = 1000
LEVEL = 0.95
CHUNK = 100  # resamples at a time: bounds the memory
GRID_CELLS = 256  # of either class


def image_numbers(
    score: np.ndarray, label: np.ndarray, counts: np.ndarray
) -> dict[str, np.ndarray]:
    """AUROC, AP and F1-max of images.

    Args:
      score: [n] higher is more anomalous.
      label: bool [n].
      counts: [r, n] how often each image is drawn in each resample.

    Returns:
      [r] each.
    """
    order = np.argsort(-score, kind="stable")
    falling = score[order]
    starts = np.flatnonzero(np.concatenate([[True], falling[1:] != falling[:-1]]))
    drawn = counts[:, order]
    background = np.add.reduceat(drawn * ~label[order], starts, axis=1)
    foreground = np.add.reduceat(drawn * label[order], starts, axis=1)
    return {
        "image_auroc": areas.auroc(background, foreground),
        "average_precision": areas.average_precision(background, foreground),
        "f1_max": areas.f1_max(background, foreground),
    }


def image_intervals(score: np.ndarray, label: np.ndarray, seed: int) -> dict[str, list[float]]:
    """[low, high] of each of `image_numbers`."""
    return _intervals(
        lambda counts: image_numbers(score, label, counts), label, ~label, seed, estimates={}
    )


def pixel_intervals(
    sketches: Sequence[tuple[Cells, Cells]],
    limits: Mapping[str, float],
    estimates: Mapping[str, float],
    seed: int,
) -> dict[str, list[float]]:
    """[low, high] of `pixel_auroc` and of AUPRO to each of `limits`, around `estimates`.

    Resamples are drawn from curves of at most 512 cells, whose own small error the interval is
    shifted by.

    Args:
      sketches: (normal, defective pixels) of each image; keys with no bits dropped.
      limits: name -> largest false-positive rate.
      estimates: the numbers themselves.
    """
    grid = np.unique(np.concatenate([_grid([pair[i] for pair in sketches]) for i in (0, 1)]))
    if not len(grid):
        grid = np.zeros(1, np.uint32)
    shape = (len(sketches), len(grid))
    normal, defect, regions = (np.zeros(shape, np.float32) for _ in range(3))
    for row, (background, foreground) in enumerate(sketches):
        # a cell of the grid holds the scores up to its key; columns fall
        _put(normal[row], grid, background.keys, background.counts)
        _put(defect[row], grid, foreground.keys, foreground.counts)
        _put(regions[row], grid, foreground.keys, foreground.weights)

    def numbers(counts: np.ndarray) -> dict[str, np.ndarray]:
        counts = counts.astype(np.float32)
        above, with_cell = areas.rates((counts @ normal).astype(np.float64))
        shares = {name: areas.share_below(above, with_cell, x) for name, x in limits.items()}
        drawn = counts @ regions
        auroc = areas.mean_share(counts @ defect, areas.share_below(above, with_cell, 1.0))
        return {"pixel_auroc": auroc} | {k: areas.mean_share(drawn, x) for k, x in shares.items()}

    return _intervals(numbers, defect.sum(1), normal.sum(1), seed, estimates)


def mean_interval(values: np.ndarray, seed: int) -> list[float]:
    """[low, high] of the mean of one value an image [n]; NaN for fewer than two."""
    if len(values) < 2:
        return [np.nan, np.nan]
    drawn = resample_counts(len(values), NUM_RESAMPLES, seed) @ values / len(values)
    found = percentile_interval(drawn, float(values.mean()), len(values), LEVEL)
    return [found.low, found.high]


def _grid(cells: Sequence[Cells]) -> np.ndarray:
    """At most GRID_CELLS keys that part the pooled cells into equal counts; the last one included."""
    keys = np.concatenate([np.zeros(0, np.uint32), *(c.keys for c in cells)])
    order = np.argsort(keys)
    passed = np.cumsum(np.concatenate([np.zeros(0, np.int64), *(c.counts for c in cells)])[order])
    distinct = np.unique(keys)
    if len(distinct) <= GRID_CELLS:
        return distinct
    levels = np.linspace(0, passed[-1], GRID_CELLS + 1)[1:]
    return np.unique(keys[order][np.searchsorted(passed, levels)])


def _put(row: np.ndarray, grid: np.ndarray, keys: np.ndarray, values: np.ndarray) -> None:
    np.add.at(row, len(grid) - 1 - np.searchsorted(grid, keys), values)


def _intervals(
    numbers: Callable[[np.ndarray], dict[str, np.ndarray]],
    positives: np.ndarray,
    negatives: np.ndarray,
    seed: int,
    estimates: Mapping[str, float],
) -> dict[str, list[float]]:
    """Percentile intervals of `numbers(counts [r, n])`, moved to `estimates` where there are some."""
    num_images = len(positives)
    undrawn = {k: float(v[0]) for k, v in numbers(np.ones((1, num_images))).items()}
    if not can_resample(positives, negatives):
        return {name: [np.nan, np.nan] for name in undrawn}
    counts = resample_counts(num_images, NUM_RESAMPLES, seed)
    chunks = [numbers(counts[i : i + CHUNK]) for i in range(0, NUM_RESAMPLES, CHUNK)]
    result = {}
    for name, value in undrawn.items():
        shift = estimates.get(name, value) - value
        values = np.concatenate([chunk[name] for chunk in chunks]) + shift
        found = percentile_interval(values, value + shift, num_images, LEVEL)
        result[name] = [float(np.clip(end, 0, 1)) for end in (found.low, found.high)]
    return result
