"""A threshold that keeps false alarms below a wished rate, also where footage is too short to count them.

Units of normal footage (such as seconds) have each a largest score. Where there are enough
of them, the threshold is one of these scores (`false_alarms`). Else the tail is extrapolated by
a generalised Pareto distribution of the exceedances over a high level (Coles, "An Introduction to
Statistical Modeling of Extreme Values", 2001, ch. 4): not by its best fit, which a dozen exceedances leave
open by factors, but by all that fit, weighted by their likelihood, with equal weight on every shape
from a finite end to an infinite mean. The threshold is the upper end of what they say.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.special import betaincinv, boxcox, xlog1py

CONFIDENCE = 0.9  # that the wished rate holds; our choice
TAIL_SHARE = 0.25  # of the units that count as the tail; at least MIN_TAIL, at most MAX_TAIL
MIN_TAIL, MAX_TAIL = 10, 100
SHAPES = np.linspace(-0.5, 1.0, 61)  # of the distribution: below 0 it has an end, at 1 no mean
NUM_SCALES, SCALE_RANGE = 81, 8.0  # scales tried: the mean exceedance divided and multiplied by it
LARGEST_SHARE = 0.5  # of units that a wish may let above; more is no alarm


class Tail(NamedTuple):
    """Threshold for a wished share of units above it.

    Attributes:
      threshold: at `CONFIDENCE` at most the wished share lies above it.
      low, high: 90 % interval of the score that exactly the wished share exceeds; where units could be
        counted the scores between which it lies.
      extrapolated: whether it lies beyond what the units can show.
      largest: highest of the units' scores.
      num_units: units it rests on.
      alike: how many of them count as one, since high ones come together.
    """

    threshold: float
    low: float
    high: float
    extrapolated: bool
    largest: float
    num_units: int
    alike: float


def units_needed(share: float, confidence: float = CONFIDENCE) -> int:
    """Units without extrapolation: so many that the largest of them bounds the share above it."""
    return math.ceil(math.log1p(-confidence) / math.log1p(-min(share, LARGEST_SHARE)))


def tail_threshold(maxima: np.ndarray, group: np.ndarray, share: float) -> Tail:
    """The threshold that at most a share of units exceeds.

    Args:
      maxima: [n] largest score of each unit, in time's order.
      group: int [n], the recording that each is of; units of one lie side by side.
      share: of units that may lie above, in (0, 1); may be far below 1 / n.

    Raises:
      ValueError: no unit, a score that is not finite, a share outside (0, 1).
    """
    maxima, group = np.asarray(maxima, np.float64), np.asarray(group)
    if not 0 < share < 1:
        raise ValueError(f"share={share} of normal units must lie between 0 and 1.")
    if maxima.ndim != 1 or not len(maxima) or not np.isfinite(maxima).all():
        raise ValueError(
            f"A threshold needs the largest, finite score of at least one normal unit, got {maxima!r}."
        )
    alike = cluster_size(maxima, group) if len(maxima) > 1 else 1.0
    ranked, n = np.sort(maxima), len(maxima)
    share = min(share, LARGEST_SHARE)
    if n / alike >= units_needed(share):
        at, low, high = (
            float(ranked[_rank(n, alike, share, confidence) - 1])
            for confidence in (CONFIDENCE, 0.05, 0.95)
        )
        return Tail(at, low, high, False, float(ranked[-1]), n, alike)
    low, threshold, high = extrapolate(ranked, share, alike, (0.05, CONFIDENCE, 0.95))
    return Tail(threshold, low, high, True, float(ranked[-1]), n, alike)


def _rank(n: int, alike: float, share: float, confidence: float) -> int:
    """The lowest rank k at which, with a confidence, at most `share` of units exceed the k-th smallest of n.

    The share above it is Beta(n - k + 1, k) distributed (Vovk, 2012, prop. 2); n where none does.
    """
    rank = np.arange(1, n + 1)
    enough = betaincinv((n - rank + 1) / alike, rank / alike, confidence) <= share
    return int(rank[enough][0]) if enough.any() else n


def cluster_size(maxima: np.ndarray, group: np.ndarray) -> float:
    """How many high units come together, as compared with independent ones; at least 1.

    Where light or wear move slowly, units are not independent, and a bound that takes them for it
    promises too much. Exceedances of the tail's level side by side in one recording are one cluster (runs
    declustering, Coles, 2001, sec. 5.3.3); of independent units a share q above makes runs of 1 / (1 - q).
    """
    above = maxima > np.sort(maxima)[-_tail_count(len(maxima)) - 1]
    if not above.any():
        return 1.0
    begins = above & ~(np.r_[False, above[:-1]] & np.r_[False, group[1:] == group[:-1]])
    return max(1.0, above.sum() / begins.sum() * (1 - above.mean()))


def _tail_count(n: int) -> int:
    """Units whose exceedances describe the tail; one at least stays below."""
    return int(np.clip(round(TAIL_SHARE * n), min(MIN_TAIL, n - 1), min(MAX_TAIL, n - 1)))


def extrapolate(
    ranked: np.ndarray, share: float, alike: float, quantiles: tuple[float, ...]
) -> tuple[float, ...]:
    """Quantiles of the score that a share of units exceeds, over all tails that fit.

    Args:
      ranked: [n] largest scores of units, rising.
      share: of units above the score that is sought.
      alike: units that count as one in the likelihood.
      quantiles: in (0, 1).
    """
    n = len(ranked)
    count = _tail_count(n)
    if not count:  # a single unit shows no tail
        return tuple(math.inf for _ in quantiles)
    level = ranked[n - count - 1]
    above = ranked[n - count :] - level
    mean = max(float(above.mean()), 1e-9 * max(1.0, abs(float(level))))
    scales = mean * np.exp(np.linspace(-1, 1, NUM_SCALES) * math.log(SCALE_RANGE))
    shape, scale = np.meshgrid(SHAPES, scales, indexing="ij")
    fits = log_density(above[:, None, None], shape, scale).sum(0) / alike
    weight = np.exp(fits - fits.max()).ravel()
    rest = min(1.0, share * n / count)  # of the exceedances
    scores = level - (scale * boxcox(rest, -shape)).ravel()  # what a share `rest` exceeds
    order = np.argsort(scores)
    shares = np.cumsum(weight[order]) / weight.sum()
    return tuple(
        float(scores[order][min(len(order) - 1, int(np.searchsorted(shares, q)))])
        for q in quantiles
    )


def log_density(excess: np.ndarray, shape: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Logarithm of the generalised Pareto density, -inf beyond its end; arrays that broadcast.

    Not scipy.stats: its import costs each start of `train` 0.8 s.
    """
    x = excess / scale
    inside = 1 + shape * x > 0
    bent = np.where(shape == 0, 1.0, shape)  # no division by zero, see below
    curved = -xlog1py(bent + 1, np.where(inside, bent * x, 0.0)) / bent
    return np.where(inside, np.where(shape == 0, -x, curved), -np.inf) - np.log(scale)
