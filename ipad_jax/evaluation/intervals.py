"""Bootstrap intervals that resample VIDEOS: frames of one video are anything but independent.

A micro AUC is a sum over pairs of (anomalous frame, normal frame), so it is computed once for each
pair of videos; a resample then only reweights that table, and is exact.
"""

from dataclasses import dataclass

import numpy as np

from ipad_jax.evaluation.ranking import check, num_outranked


@dataclass(frozen=True)
class Interval:
    """A bootstrap interval.

    Attributes:
      low, high: its ends; NaN if no resample held both classes, or all that did are the same.
      estimate: the value on the data itself.
      num_videos: how many videos were resampled.
      num_resamples: how many resamples held both classes and count.
    """

    low: float
    high: float
    estimate: float
    num_videos: int
    num_resamples: int


def pair_table(
    score: np.ndarray, label: np.ndarray, video: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """AUC split by pairs of videos.

    Returns:
      wins [v, v]: pairs (anomalous frame of row's video, normal frame of column's) in the right
      order, ties half; positives [v], negatives [v]: frames of each class.
    """
    score, label = check(score, label)
    names, index = np.unique(video, return_inverse=True)
    count = len(names)
    positives = np.bincount(index[label], minlength=count).astype(np.float64)
    negatives = np.bincount(index[~label], minlength=count).astype(np.float64)
    wins = np.zeros((count, count))
    for column in range(count):
        normal = np.sort(score[(index == column) & ~label])
        if len(normal):
            outranked = num_outranked(score[label], normal)
            wins[:, column] = np.bincount(index[label], outranked, minlength=count)
    return wins, positives, negatives


def resample_counts(num_videos: int, num_resamples: int, seed: int) -> np.ndarray:
    """How often each video is drawn in each resample: float64 [num_resamples, num_videos]."""
    draws = np.random.default_rng(seed).integers(num_videos, size=(num_resamples, num_videos))
    counts = np.zeros((num_resamples, num_videos))
    np.add.at(counts, (np.arange(num_resamples)[:, None], draws), 1.0)
    return counts


def can_resample(positives: np.ndarray, negatives: np.ndarray) -> bool:
    """Whether draws of videos that hold both classes can differ: not of one video, nor of one of each class.

    Args:
      positives, negatives: [v] frames of each class in each video.
    """
    mixed = (positives > 0) & (negatives > 0)
    return len(mixed) > 2 or (len(mixed) == 2 and bool(mixed.any()))


def weighted_auc(
    counts: np.ndarray, wins: np.ndarray, positives: np.ndarray, negatives: np.ndarray
) -> np.ndarray:
    """Micro AUC of each resample, NaN where it lacks a class; counts [r, v] -> [r]."""
    pairs = (counts @ positives) * (counts @ negatives)
    won = np.einsum("ri,ij,rj->r", counts, wins, counts, optimize=True)
    return np.divide(won, pairs, out=np.full(len(counts), np.nan), where=pairs > 0)


def auc_interval(
    score: np.ndarray,
    label: np.ndarray,
    video: np.ndarray,
    *,
    seed: int = 0,
    num_resamples: int = 2000,
    level: float = 0.95,
) -> Interval:
    """Percentile interval of the micro AUC over resampled videos.

    Args:
      score: [n] higher is more anomalous.
      label: [n] 0 or 1.
      video: int [n] which video a frame belongs to.
      seed: same seed, same interval.
      num_resamples: draws of as many videos as there are, with replacement.
      level: coverage aimed at; with under 20 videos the true one is a few points lower.
    """
    table = pair_table(score, label, video)
    num_videos = len(table[1])
    if not can_resample(*table[1:]):
        num_resamples = 0
    everything = np.ones((1, num_videos))
    draws = np.concatenate([everything, resample_counts(num_videos, num_resamples, seed)])
    values = weighted_auc(draws, *table)
    return percentile_interval(values[1:], float(values[0]), num_videos, level)


def percentile_interval(
    values: np.ndarray, estimate: float, num_videos: int, level: float
) -> Interval:
    """The middle `level` of the resamples that have a value."""
    if not 0 < level < 1:
        raise ValueError(f"level={level} must lie between 0 and 1, e.g. 0.95.")
    values = values[np.isfinite(values)]
    if not len(values):
        return Interval(np.nan, np.nan, estimate, num_videos, 0)
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), estimate, num_videos, len(values))
