"""What can be said of an alarm: where in the picture, and what about it, where that can be believed."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from ipad_jax.evaluation.alarm_rule import Event
from ipad_jax.video.detector.detector import FrameScore
from ipad_jax.video.scores.calibration import Calibration

Box = tuple[float, float, float, float]  # left, top, right, bottom in shares of the picture
BOX_LEVEL = 0.5  # of the highest value of the error map; what is above around it is the box
# Times that picture must be further out than timing, or the other way round, for a cause to be named: right
# for 42 of 48 named ones on the tuning scenes (lift and arm, seed 101), 5 not named.
CLEARLY = 1.5
TIMING, PICTURE = "timing or movement", "look of the picture"
GROUPS = {
    "period_error": TIMING,
    "fitted_period_error": TIMING,
    "motion": TIMING,
    "fastest": TIMING,
    "diff_mean": TIMING,
    "diff_pooled": TIMING,
}  # all others are of the picture


@dataclass(frozen=True)
class Alarm:
    """An event with what the detector can say about it.

    Attributes:
      event: frames, peak, strength and the rule that raised it.
      cause: in plain words; "" where it cannot be told.
      box: where in the picture the error is largest at the peak; None unknown.
    """

    event: Event
    cause: str = ""
    box: Box | None = None

    @property
    def place(self) -> str:
        """The box's middle as one of nine fields of the picture; "" unknown."""
        if self.box is None:
            return ""
        left, top, right, bottom = self.box
        down = ("top", "middle", "bottom")[min(2, int(3 * (top + bottom) / 2))]
        across = ("left", "centre", "right")[min(2, int(3 * (left + right) / 2))]
        return "centre" if (down, across) == ("middle", "centre") else f"{down} {across}"


class AlarmFinder:
    """Alarms of a stream of rows, with cause and place of their peaks; constant memory."""

    def __init__(self, calibration: Calibration | None):
        self._calibration = calibration
        self._open: Alarm | None = None

    def add(self, row: FrameScore) -> Alarm | None:
        """Takes the next row; returns an alarm that is over."""
        finished = None
        if row.over is not None:
            finished, self._open = self._with(row.over), None
        if row.event is not None:
            if self._open is None or row.event.peak == row.frame:
                self._open = Alarm(row.event, cause_of(row, self._calibration), box_of(row))
            else:
                self._open = self._with(row.event)
        return finished

    @property
    def open(self) -> Alarm | None:
        """The alarm that is on."""
        return self._open

    def close(self) -> Alarm | None:
        """The alarm that was on when the stream ended."""
        finished, self._open = self._open, None
        return finished

    def _with(self, event: Event) -> Alarm:
        return (
            Alarm(event) if self._open is None else Alarm(event, self._open.cause, self._open.box)
        )


def cause_of(row: FrameScore, calibration: Calibration | None) -> str:
    """What is unusual about a frame; "" where it cannot be told.

    Each component is compared with its own highest value on the calibration's footage; what goes
    furthest beyond it names the cause, if it does so clearly.
    """
    if calibration is None:
        return ""
    beyond = {PICTURE: 0.0, TIMING: 0.0}
    for name, share in row.shares.items():
        weight, highest = calibration.weights[name], calibration.highest.get(name, 0.0)
        if weight > 0 and highest > 0 and math.isfinite(share):
            group = GROUPS.get(name, PICTURE)
            beyond[group] = max(beyond[group], share / weight / highest)
    low, high = sorted(beyond, key=beyond.__getitem__)
    clear = beyond[high] > 1 and beyond[high] >= CLEARLY * beyond[low]
    return high if clear else ""


def box_of(row: FrameScore) -> Box | None:
    """Around the highest error at a frame: what hangs together above half of it."""
    if row.pictures is None:
        return None
    error = row.pictures.error
    height, width = error.shape
    y, x = np.unravel_index(int(np.argmax(error)), error.shape)
    high = (error >= BOX_LEVEL * error[y, x]).astype(np.uint8)
    _, parts = cv2.connectedComponents(high)
    ys, xs = np.nonzero(parts == parts[y, x])
    return (
        float(xs.min()) / width,
        float(ys.min()) / height,
        float(xs.max() + 1) / width,
        float(ys.max() + 1) / height,
    )
