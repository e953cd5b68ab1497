"""Normal frames that are renewed: what the machine looked like a while ago, when nothing was wrong with it.

Light that wanders over a day, dust and a camera that sags make frames of a sound machine unlike those of the
training: shadows that lie elsewhere are new pictures (docs/results.md, "Slow change"). So a detector that
runs takes up frames of its own footage, beside those of the training, which all stay:

    1. Of each phase of the cycle a frame waits now and then, unless an alarm is on or was within `CLEAR_S`.
    2. After `eval.renew_minutes` it is taken up, if no alarm came within `CLEAR_S` after it either.
    3. It takes the place of the oldest of its phase: memory and time a frame stay constant.
    4. While an alarm is on, and `CLEAR_S` longer, frames wait too, but are taken up only if it outlasts the
       wait, and without the fault: its places look as they did before it, in the light that has come around
       them. A place is the fault's from when it alone would raise an alarm until, for a wait, it would not
       keep one on. An alarm that has no such place, such as one of a machine that stands, lets none wait, and
       those that wait go on waiting.

So while a fault is an alarm no pixel of it is ever taken up, however long it lasts, and what surrounds it
follows the light. What takes longer than the wait to grow as far as the threshold is followed, slow wear as
well as light.
"""

import math
from collections import deque
from typing import NamedTuple

import cv2
import numpy as np

from ipad_jax.evaluation.alarm_rule import RELEASE
from ipad_jax.video.normal.frames import (
    BOX_PX,
    NormalFrames,
    nearest_in_phase,
    padded,
    without_border,
)

VERSION = 2  # of the way; 2: during an alarm all but the fault is taken up
PHASES = 60  # told apart
EACH = 24  # frames of a phase, compared with frames of it and of its two neighbours; chosen
WITHOUT_PHASE = 60  # frames in all where there is no cycle, as every one is compared
SPAN = 2.0  # waits that the frames of a phase are spread over; chosen
# Pixels, spread of the surroundings that say how light has changed at a fault; our choice.
AROUND_PX = 4.0
SMOOTHING = 0.5  # share of the newest frame in the strength of a phase's place; our choice
CLEAR_S = 2.0  # seconds before and after an alarm of which no frame is taken up; chosen

Arrays = dict[str, np.ndarray]


class _Waiting(NamedTuple):
    """A frame that waits: when and at which phase it was seen, and whether in an alarm."""

    seen: int
    at: int
    picture: np.ndarray
    in_alarm: bool


class RenewedFrames:
    """Frames taken up from a detector's own footage, for one camera.

    Attributes:
      num_taken: frames taken up so far, those that others took the place of included.
    """

    def __init__(self, frames: NormalFrames, fps: float, minutes: float):
        """Begins without any.

        Args:
          frames: those of the training.
          fps: frames a second.
          minutes: that a frame waits.

        Raises:
          ValueError: a rate or a wait that is not positive.
        """
        check_renewal(minutes)
        if not (minutes and fps > 0):
            raise ValueError(f"{minutes} minutes at {fps} frames a second: both must be positive.")
        self.num_taken = 0
        self._shape = (PHASES, EACH) if frames.has_phase else (1, WITHOUT_PHASE)
        self._size = frames.pictures.shape[1:]
        self._training = frames
        self.restore(
            {
                "ring": np.zeros((*self._shape, *self._size), np.uint8),
                "count": np.zeros(self._shape[0], np.int64),  # taken up of each phase
            }
        )
        self._clear = max(2, round(CLEAR_S * fps))  # frames
        self._wait = max(round(60 * minutes * fps), self._clear)  # frames
        self._every = SPAN * self._wait / self._shape[1]  # frames between two of a phase that wait
        self._now = 0  # frames seen
        self._alarm = -math.inf  # the last one in an alarm
        self._placed = -math.inf  # the last one in an alarm that had a place
        # of the alarm, by phase and place: its strength, and when it was last the fault's
        self._strength = np.zeros((self._shape[0], *self._size[:2]), np.float32)
        self._fault = np.full_like(self._strength, -math.inf)
        self._before: list[np.ndarray] = []  # the newest frame of each phase as the alarm began
        self._last = np.full(self._shape[0], -math.inf)  # that waited, of each phase
        self._waiting: deque[_Waiting] = deque()

    def near(self, phase: float) -> np.ndarray | None:
        """Those of a phase and its neighbours as `NormalFrames.distance` takes them; None without any."""
        at = self._of(phase)
        if at is None:
            return None
        around = self._around(at)
        found = [self._ring[:, one, : self._count[one]] for one in around if self._count[one]]
        return np.concatenate(found, axis=1) if found else None

    def add(
        self, picture: np.ndarray, phase: float, alarm: bool, strength: np.ndarray | None = None
    ) -> None:
        """Takes the next frame, after it was judged.

        Args:
          picture: uint8 [h, w, 3], as `NormalFrames.picture` makes it.
          phase: of the frame, in [0, 1); NaN: unknown, or no cycle.
          alarm: whether an alarm is on.
          strength: float32 [h, w], of each place: above 1 it alone would raise an alarm; None: unknown.
        """
        now, self._now = self._now, self._now + 1
        at = self._of(phase)
        after = now - self._alarm >= self._clear
        if alarm:
            if after:
                self._begin_alarm(now)
            self._alarm = now
            if at is not None and strength is not None:
                self._mark(at, strength, now)
        elif after:
            while self._waiting and self._waiting[-1].in_alarm:
                self._waiting.pop()
        near_alarm = now - self._alarm < self._clear
        if near_alarm and now - self._placed >= self._clear:
            return
        while self._waiting and now - self._waiting[0].seen >= self._wait:
            waited = self._waiting.popleft()
            taken = waited.picture
            if near_alarm:
                fault = self._fault_at(waited.at, now)
                taken = without_fault(taken, self._before[waited.at], fault)
            self._take(waited.at, taken)
        if at is not None and now - self._last[at] >= self._every:
            self._last[at] = now
            self._waiting.append(_Waiting(now, at, picture, near_alarm))

    def _begin_alarm(self, now: int) -> None:
        """Forgets frames of just before an alarm, and the places of the one before."""
        while self._waiting and now - self._waiting[-1].seen < self._clear:
            self._waiting.pop()
        self._strength[:] = 0
        self._fault[:] = -math.inf
        self._before = [self._newest(at) for at in range(len(self._count))]

    def _mark(self, at: int, strength: np.ndarray, now: int) -> None:
        """Notes which places of a phase are the fault's; a single frame's noise does not count."""
        smooth = self._strength[at]
        smooth += SMOOTHING * (strength - smooth)
        known = now - self._fault[at] < self._wait
        fault = smooth > np.where(known, RELEASE, 1.0)
        self._fault[at][fault] = now
        if fault.any():
            self._placed = now

    def _fault_at(self, at: int, now: int) -> np.ndarray:
        """Pixels of a phase that the fault's places see: bool [h, w]."""
        places = now - self._fault[self._around(at)].max(axis=0) < self._wait
        seen = cv2.dilate(places.astype(np.uint8), np.ones((BOX_PX, BOX_PX), np.uint8))
        return seen > 0

    def _newest(self, at: int) -> np.ndarray:
        """The newest picture of a phase that was taken up; without one, the training's nearest."""
        if self._count[at]:
            newest = (self._count[at] - 1) % self._shape[1]
            return without_border(self._ring[:, at, newest]).copy()
        if not self._training.has_phase:
            return self._training.pictures[0]
        middle = (at + 0.5) / PHASES
        return self._training.pictures[nearest_in_phase(self._training.phase, middle, 1.0)[0]]

    def arrays(self) -> Arrays:
        """A copy of what was taken up, for `restore`."""
        return {"ring": without_border(self._ring).copy(), "count": self._count.copy()}

    def restore(self, arrays: Arrays) -> None:
        """Goes on with what was taken up before; what waited then is gone.

        Raises:
          ValueError: it is of other pictures.
        """
        ring, count = arrays["ring"], arrays["count"]
        wanted = (*self._shape, *self._size)
        if ring.shape != wanted or ring.dtype != np.uint8 or len(count) != len(ring):
            raise ValueError(
                f"renewed frames are {ring.dtype} {ring.shape}, expected uint8 {wanted}."
            )
        self._ring = np.stack([padded(one) for one in ring], axis=1)
        self._count = count.astype(np.int64)

    def _around(self, at: int) -> list[int]:
        """Numbers of a phase and its neighbours."""
        return sorted({(at + away) % len(self._count) for away in (-1, 0, 1)})

    def _of(self, phase: float) -> int | None:
        """Number of a phase; None: unknown."""
        if len(self._count) == 1:
            return 0
        return int(phase * PHASES) % PHASES if math.isfinite(phase) else None

    def _take(self, at: int, picture: np.ndarray) -> None:
        self._ring[:, at, self._count[at] % self._shape[1]] = padded(picture[None])[:, 0]
        self._count[at] += 1
        self.num_taken += 1


def without_fault(picture: np.ndarray, before: np.ndarray, fault: np.ndarray) -> np.ndarray:
    """A picture in which the fault's place looks as before, in the light that has come around it.

    Args:
      picture, before: uint8 [h, w, 3], with the fault and without it.
      fault: bool [h, w], pixels that are not used.

    Returns:
      uint8 [h, w, 3]: at the fault, `before` and the mean change of the pixels around, the nearer the more.
    """
    if not fault.any():
        return picture
    used = (~fault).astype(np.float32)
    change = (picture.astype(np.float32) - before) * used[..., None]
    around = cv2.GaussianBlur(used, (0, 0), AROUND_PX)
    change = cv2.GaussianBlur(change, (0, 0), AROUND_PX) / np.maximum(around, 1e-6)[..., None]
    lit = np.clip(np.rint(before + change), 0, 255).astype(np.uint8)
    return np.where(fault[..., None], lit, picture)


def check_renewal(minutes: float) -> None:
    """Raises ValueError for a value of `eval.renew_minutes` that is no wait."""
    if not 0 <= minutes < math.inf:
        raise ValueError(f"eval.renew_minutes={minutes} must be at least 0 (off).")
