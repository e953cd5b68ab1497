"""Period error: do the clips around a frame advance through the cycle as they should (IPAD paper eq. 7-8)?

In two ways, both always stored. `period_error` is the paper's: the reference ramp rises at the normal speed.
A machine whose speed varies from cycle to cycle leaves that ramp although nothing is wrong, so
`fitted_period_error` lets the slope differ by `SPEED_TOLERANCE`; a freeze, a jump or a large change of speed
still does not fit.
"""

import math

import numpy as np

PHASE_CLASSES = 200  # the paper's number; the unit of the period error
MIN_WINDOW_CLIPS = 3  # two points always lie on some ramp, so fewer than 3 say nothing
SPEED_TOLERANCE = 0.25  # share by which the fitted slope may differ from the normal one; our choice


def circular_distance(
    a: np.ndarray, b: np.ndarray | float, circle: float = PHASE_CLASSES
) -> np.ndarray:
    """Shorter way round between two places on a circle of the given circumference."""
    difference = np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)) % circle
    return np.minimum(difference, circle - difference)


def period_error(phase: np.ndarray, start: np.ndarray, cycle_frames: float) -> float:
    """Mean distance of the clips' phases from the best ramp of normal speed (eq. 7-8).

    Args:
      phase: [n] predicted phase of each clip's first frame, in [0, 1); NaN entries are left out.
      start: [n] first frame of each clip.
      cycle_frames: length of a normal cycle in frames.

    Returns:
      The error in 1/200 cycle (0 to 50 or so); NaN if fewer than 3 phases are known.

    Deviation: the paper's ramp assumes a cycle as long as the number of classes, and counts a step
    over the cycle's end as an error of 200; here the slope follows the cycle and the distance is
    circular.
    """
    place, ramp = _places_and_ramp(phase, start, cycle_frames)
    return _distance_from_ramp(place, ramp)


def fitted_period_error(
    phase: np.ndarray, start: np.ndarray, cycle_frames: float, tolerance: float = SPEED_TOLERANCE
) -> float:
    """The same from the best ramp of any speed within `tolerance` of the normal one.

    Returns:
      At most `period_error`; equal to it for a tolerance of 0.
    """
    place, ramp = _places_and_ramp(phase, start, cycle_frames)
    if len(place) < MIN_WINDOW_CLIPS:
        return math.nan
    # The sum of distances is least for a line through two of the points, or, at a bound, through one.
    apart = ramp[None] - ramp[:, None]
    turn = (place[None] - place[:, None] - apart + PHASE_CLASSES / 2) % PHASE_CLASSES
    later = apart > 0
    speeds = 1 + (turn - PHASE_CLASSES / 2)[later] / apart[later]
    speeds = np.unique(np.clip(np.append(speeds, 1.0), 1 - tolerance, 1 + tolerance))
    bounds = (1 - tolerance, 1 + tolerance)
    return min(_distance_from_ramp(place, speed * ramp) for speed in {*speeds.tolist(), *bounds})


def _places_and_ramp(
    phase: np.ndarray, start: np.ndarray, cycle_frames: float
) -> tuple[np.ndarray, np.ndarray]:
    """Known phases in 1/200 cycle, and where a ramp of normal speed is at each, from 0."""
    known = np.isfinite(phase)
    start = np.asarray(start, np.float64)[known]
    return (
        PHASE_CLASSES * np.asarray(phase, np.float64)[known],
        PHASE_CLASSES * (start - start[:1]) / cycle_frames,
    )


def _distance_from_ramp(place: np.ndarray, ramp: np.ndarray) -> float:
    """Mean circular distance from the ramp at its best offset; NaN if fewer than 3 are known."""
    if len(place) < MIN_WINDOW_CLIPS:
        return math.nan
    residual = place - ramp
    # The sum of circular distances is smallest at one of the points: that point is the circular
    # median.
    return float(circular_distance(residual[:, None], residual[None, :]).mean(axis=0).min())
