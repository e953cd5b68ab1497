"""A threshold from normal data alone, and the share of false alarms that it supports.

Split conformal prediction (Vovk, "Conditional validity of inductive conformal predictors", 2012,
prop. 2): n independent normal units the model was not fitted on, the largest score of each. A unit
is whatever may raise one alarm: a cycle of a machine, a stretch of footage, an image, a view.
"""

import functools
import math
from typing import NamedTuple

import numpy as np
from scipy.special import betaincinv

FEW_UNITS = 20  # fewer bound the alarms by no better than 14 %
GOOD_BOUND = 0.10  # what the statement says how to reach


class Threshold(NamedTuple):
    """Alarm when a score is ABOVE `threshold`; at 95 % confidence at most `bound` of normal units do."""

    threshold: float
    bound: float
    statement: str


def threshold(
    maxima: np.ndarray, alpha: float, unit: str, *, unit_seconds: float | None = None
) -> Threshold:
    """Threshold of n normal units, the bound it supports, and both in a sentence.

    The threshold is the k-th smallest of `maxima` [n], the largest score of each unit, with
    k = ceil((n + 1)(1 - alpha)), at most n; `alpha` in (0, 1) is the share of units allowed above.
    `unit` and `unit_seconds` are worded as in `statement`.

    Raises:
      ValueError: no unit, a score that is not finite, alpha outside (0, 1).
    """
    maxima = np.asarray(maxima, np.float64)
    if not 0 < alpha < 1:
        raise ValueError(f"alpha={alpha} must lie between 0 and 1, e.g. 0.05.")
    if maxima.ndim != 1 or not len(maxima):
        raise ValueError(
            f"A threshold needs the largest score of at least one normal {unit}, got an array of "
            f"shape {maxima.shape}; hold out normal data."
        )
    if not np.isfinite(maxima).all():
        raise ValueError(
            f"{int((~np.isfinite(maxima)).sum())} of {len(maxima)} normal {plural(unit)} have a "
            "score that is NaN or infinite; leave unscored ones out first."
        )
    n = len(maxima)
    value = float(np.sort(maxima)[min(n, conformal_rank(n, alpha)) - 1])
    text = statement(value, n, alpha, unit, unit_seconds=unit_seconds)
    return Threshold(value, conformal_bound(n, alpha), text)


def conformal_rank(n: int, alpha: float) -> int:
    """ceil((n + 1)(1 - alpha)), above n where n units are too few."""
    # rounded: 20 * 0.95 is a little above 19
    return max(1, math.ceil(round((n + 1) * (1 - alpha), 9)))


def conformal_bound(n: int, alpha: float) -> float:
    """95 % upper bound of the share of further normal units above the threshold of n units.

    That share is Beta(n - k + 1, k) distributed if units are exchangeable. For k = n the bound is
    1 - 0.05^(1/n), about 3 / n.
    """
    k = min(n, conformal_rank(n, alpha))
    return float(betaincinv(n - k + 1, k, 0.95))


@functools.cache  # a search of hundreds of quantiles, asked for the same two numbers again
def units_for(bound: float, alpha: float) -> int | None:
    """Fewest units that support a bound; None where `alpha` asks for a looser one."""
    return next((n for n in range(1, 1000) if conformal_bound(n, alpha) <= bound), None)


def statement(
    threshold: float, num_units: int, alpha: float, unit: str, *, unit_seconds: float | None = None
) -> str:
    """In plain words, what a threshold rests on, and what would support a better bound.

    `unit` is a noun such as "cycle" or "image". `unit_seconds` is the length of one where units are
    pieces of running footage, which are less independent than the bound assumes.
    """
    number = f"{threshold:.2f}" if abs(threshold) >= 0.1 else f"{threshold:.3g}"
    enough = conformal_rank(num_units, alpha) <= num_units
    basis = f"the {100 * (1 - alpha):.0f} % conformal quantile" if enough else "the largest"
    caveat = "" if unit_seconds is None else ", as far as those of one video are independent"
    return (
        f"Threshold {number}, {basis} of the highest scores of {counted(num_units, unit)} held out "
        f"of training; with 95 % confidence, at most {100 * conformal_bound(num_units, alpha):.0f} % "
        f"of normal {plural(unit)} raise an alarm{caveat}."
        f"{provisional(num_units, alpha, unit, unit_seconds=unit_seconds)}"
    )


def provisional(
    num_units: int, alpha: float, unit: str, *, unit_seconds: float | None = None
) -> str:
    """Where a threshold rests on too few units: that, and how many would be enough; else ""."""
    if num_units >= FEW_UNITS:
        return ""
    needed = units_for(GOOD_BOUND, alpha)
    if needed is None:  # alpha itself allows more alarms than that
        return " The threshold is provisional."
    more = needed - num_units
    time = "" if unit_seconds is None else f" ({more * unit_seconds / 60:.1f} minutes)"
    return (
        f" The threshold is provisional: {more} more {plural(unit)}{time} held out would support "
        f"{100 * GOOD_BOUND:.0f} %."
    )


def counted(num_units: int, unit: str) -> str:
    """E.g. "1 normal cycle", "12 normal 10 s stretches"."""
    return f"{num_units} normal {unit if num_units == 1 else plural(unit)}"


def plural(unit: str) -> str:
    """The regular English plural of a unit's name."""
    return f"{unit}es" if unit.endswith(("ch", "sh", "s", "x")) else f"{unit}s"
