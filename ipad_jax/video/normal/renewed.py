"""Normal frames that are renewed: what the machine looked like a while ago, when nothing was wrong with it.

Light that wanders over a day, dust and a camera that sags make frames of a sound machine unlike those of the
training: shadows that lie elsewhere are new pictures (docs/results.md, "Slow change"). So a detector that
runs takes up frames of its own footage, beside those of the training, which all stay:

    1. Of each phase of the cycle a frame waits now and then, unless an alarm is on or was within `CLEAR_S`.
    2. After `eval.renew_minutes` it is taken up, if no alarm came within `CLEAR_S` after it either. While one
       is on, and `CLEAR_S` longer, all that wait go on waiting.
    3. It takes the place of the oldest of its phase: memory and time a frame stay constant.

So while a fault is an alarm nothing is taken up, however long it lasts. What takes longer than the wait to
grow as far as the threshold is followed, slow wear as well as light.
"""

import math
from collections import deque

import numpy as np

from ipad_jax.video.normal.frames import NormalFrames, padded, without_border

PHASES = 60  # told apart
EACH = 24  # frames of a phase, compared with frames of it and of its two neighbours; chosen
WITHOUT_PHASE = 60  # frames in all where there is no cycle, as every one is compared
SPAN = 2.0  # waits that the frames of a phase are spread over; chosen
CLEAR_S = 2.0  # seconds before and after an alarm of which no frame is taken up; chosen

Arrays = dict[str, np.ndarray]


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
        self.restore(
            {
                "ring": np.zeros((*self._shape, *self._size), np.uint8),
                "count": np.zeros(self._shape[0], np.int64),  # taken up of each phase
            }
        )
        self._clear = max(1, round(CLEAR_S * fps))  # frames
        self._wait = max(round(60 * minutes * fps), self._clear)  # frames
        self._every = SPAN * self._wait / self._shape[1]  # frames between two of a phase that wait
        self._now = 0  # frames seen
        self._alarm = -math.inf  # the last one in an alarm
        self._last = np.full(self._shape[0], -math.inf)  # that waited, of each phase
        self._waiting: deque[tuple[int, int, np.ndarray]] = deque()

    def near(self, phase: float) -> np.ndarray | None:
        """Those of a phase and its neighbours as `NormalFrames.distance` takes them; None without any."""
        at = self._of(phase)
        if at is None:
            return None
        count = len(self._count)
        around = sorted({(at + away) % count for away in (-1, 0, 1)})
        found = [self._ring[:, one, : self._count[one]] for one in around if self._count[one]]
        return np.concatenate(found, axis=1) if found else None

    def add(self, picture: np.ndarray, phase: float, alarm: bool) -> None:
        """Takes the next frame, after it was judged.

        Args:
          picture: uint8 [h, w, 3], as `NormalFrames.picture` makes it.
          phase: of the frame, in [0, 1); NaN: unknown, or no cycle.
          alarm: whether an alarm is on.
        """
        now, self._now = self._now, self._now + 1
        if alarm:
            self._alarm = now
            while self._waiting and now - self._waiting[-1][0] < self._clear:
                self._waiting.pop()
        if now - self._alarm < self._clear:
            return
        while self._waiting and now - self._waiting[0][0] >= self._wait:
            _, at, waited = self._waiting.popleft()
            self._take(at, waited)
        at = self._of(phase)
        if at is not None and now - self._last[at] >= self._every:
            self._last[at] = now
            self._waiting.append((now, at, picture))

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

    def _of(self, phase: float) -> int | None:
        """Number of a phase; None: unknown."""
        if len(self._count) == 1:
            return 0
        return int(phase * PHASES) % PHASES if math.isfinite(phase) else None

    def _take(self, at: int, picture: np.ndarray) -> None:
        self._ring[:, at, self._count[at] % self._shape[1]] = padded(picture[None])[:, 0]
        self._count[at] += 1
        self.num_taken += 1


def check_renewal(minutes: float) -> None:
    """Raises ValueError for a value of `eval.renew_minutes` that is no wait."""
    if not 0 <= minutes < math.inf:
        raise ValueError(f"eval.renew_minutes={minutes} must be at least 0 (off).")
