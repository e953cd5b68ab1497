"""Numbers of a ranking from histograms by falling score.

`background` and `foreground` [..., c] hold what each cell has of either class, from the highest score
to the lowest, c at least 1; leading axes are resamples. Scores of one cell are ties: the recall curve
is linear across it. NaN where a class is missing.
"""

import numpy as np


def auroc(background: np.ndarray, foreground: np.ndarray) -> np.ndarray:
    """Area under the ROC curve: chance that a foreground score is the higher one, ties half."""
    return partial_area(background, foreground, 1.0)


def partial_area(background: np.ndarray, foreground: np.ndarray, limit: float) -> np.ndarray:
    """Mean recall over false-positive rates from 0 to `limit`, the rate itself not rescaled.

    With a foreground of pixels weighted by 1 / size of their region this is AUPRO (Bergmann et al.
    2021, "The MVTec anomaly detection dataset", sect. 5.1).
    """
    return mean_share(foreground, share_below(*rates(background), limit))


def rates(background: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False-positive rates (above each cell, with it), [..., c] each."""
    passed = np.cumsum(background, axis=-1, dtype=np.float64)
    total = np.where(passed[..., -1:] > 0, passed[..., -1:], np.nan)
    return (passed - background) / total, passed / total


def share_below(above: np.ndarray, with_cell: np.ndarray, limit: float) -> np.ndarray:
    """Share of the rates from 0 to `limit` at which a score of each cell is found, [..., c].

    Across its own cell the chance to be found rises linearly, from 0 at `above` to 1 at `with_cell`.
    """
    end = np.minimum(with_cell, limit)
    inside = np.maximum(end - above, 0.0)
    rising = _divide(inside**2, 2 * (with_cell - above))
    return (rising + limit - end) / limit


def log_share_between(
    above: np.ndarray, with_cell: np.ndarray, low: float, high: float
) -> np.ndarray:
    """As `share_below`, over log(rate) from log(low) to log(high)."""
    start, end = np.clip(above, low, high), np.clip(with_cell, low, high)
    # the integral of (rate - above) / (with_cell - above) over d log(rate)
    rising = _divide(end - start - above * np.log(end / start), with_cell - above)
    return (rising + np.log(high / end)) / np.log(high / low)


def mean_share(foreground: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Mean of `share` [..., c] over the foreground [..., c]."""
    return _divide((foreground * share).sum(-1), foreground.sum(-1), np.nan)


def average_precision(background: np.ndarray, foreground: np.ndarray) -> np.ndarray:
    """Mean precision over the recall steps, no interpolation."""
    found, precision = _precision(background, foreground)
    one_class = (found[..., -1] == 0) | (background.sum(-1) == 0)
    mean = _divide((foreground * precision).sum(-1), found[..., -1])
    return np.where(one_class, np.nan, mean)


def f1_max(background: np.ndarray, foreground: np.ndarray) -> np.ndarray:
    """Largest F1 over all thresholds: an oracle, since these very labels choose the threshold."""
    found, precision = _precision(background, foreground)
    one_class = (found[..., -1] == 0) | (background.sum(-1) == 0)
    recall = _divide(found, found[..., -1:])
    best = _divide(2 * precision * recall, precision + recall).max(-1)
    return np.where(one_class, np.nan, best)


def _precision(background: np.ndarray, foreground: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(foreground found, precision) with each cell, [..., c]."""
    found = np.cumsum(foreground, axis=-1, dtype=np.float64)
    passed = found + np.cumsum(background, axis=-1, dtype=np.float64)
    return found, _divide(found, passed)


def _divide(a: np.ndarray, b: np.ndarray, otherwise: float = 0.0) -> np.ndarray:
    a, b = np.broadcast_arrays(np.asarray(a, np.float64), b)
    return np.divide(a, b, out=np.full(a.shape, otherwise), where=b != 0)
