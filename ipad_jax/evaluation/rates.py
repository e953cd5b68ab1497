"""How far a count can be trusted: exact intervals of rates and shares, where videos are too few to resample.

False alarms in a few minutes of normal time say little about an hour, and 6 of 9 faults found little about
the next: both are printed with the interval that the count itself supports.
"""

import math

from scipy.special import betaincinv, gammaincinv


def rate_interval(count: float, hours: float, level: float = 0.95) -> tuple[float, float]:
    """Exact (Garwood) interval of the rate of events that come independently.

    Args:
      count: events seen; a mean over repeated trials on the same footage need not be whole.
      hours: in this time.
      level: coverage, at least.

    Returns:
      Events an hour, (low, high); (nan, nan) without time.
    """
    if not hours > 0:
        return math.nan, math.nan
    tail = (1 - level) / 2
    low = float(gammaincinv(count, tail)) if count else 0.0
    return low / hours, float(gammaincinv(count + 1, 1 - tail)) / hours


def share_interval(count: float, total: float, level: float = 0.95) -> tuple[float, float]:
    """Exact (Clopper-Pearson) interval of a share of independent trials.

    Args:
      count: trials that came out; a mean over repetitions need not be whole.
      total: trials.
      level: coverage, at least.

    Returns:
      (low, high) in [0, 1]; (nan, nan) without trials.
    """
    if not 0 <= count <= total:
        raise ValueError(f"count={count} must lie in 0..total={total}.")
    if not total:
        return math.nan, math.nan
    tail = (1 - level) / 2
    low = float(betaincinv(count, total - count + 1, tail)) if count else 0.0
    return low, float(betaincinv(count + 1, total - count, 1 - tail)) if count < total else 1.0
