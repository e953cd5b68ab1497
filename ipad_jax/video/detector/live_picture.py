"""The newest judged frame with its marks as a file, while somebody looks: the running picture of a watch.

Whoever looks sets the time of `LOOKING` beside the picture now and then (the page does), and reads `PICTURE`,
which is replaced in one step. Where nobody looks, nothing is drawn. The watch alone makes `LOOKING`, and
removes it at its end: who looks knows of the end, and leaves nothing behind.
"""

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from ipad_jax.evaluation.report.side_by_side import PICTURES_PER_S
from ipad_jax.video.detector.clips import Shown, alarm_picture

PICTURE, LOOKING = "now.jpg", ".looking"
LOOKS_S = 3.0  # after the last touch nobody looks any more
CHECK_S = 0.5  # between two looks at the touch
WAITING = 16  # pictures that may wait for the thread; then the oldest are left out
CATCH_UP = 0.9  # of their true distance in time, at which they are shown: none waits for long


class LivePicture:
    """Writes the pictures of one watch, one after the other: rows become final a stride at a time."""

    def __init__(self, folder: Path, fps: float, heat_range: tuple[float, float]):
        """Prepares; `folder` is the watch's, `fps` of its frames, `heat_range` of the heat map's colours."""
        self._picture, self._looking = folder / PICTURE, folder / LOOKING
        with contextlib.suppress(OSError):  # the disk is full: no running picture then
            self._looking.touch()
            os.utime(self._looking, (0, 0))  # nobody looks yet
        self._every = max(1, round(fps / PICTURES_PER_S))
        self._apart_s, self._heat = CATCH_UP * self._every / fps, heat_range
        self._checked_s, self._looked_at = -CHECK_S, False
        self._waiting: deque[Shown] = deque(maxlen=WAITING)
        self._there, self._ended = threading.Semaphore(0), False
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def show(self, frame: int, shown: Callable[[], Shown]) -> None:
        """Takes a judged frame; `shown` is called where it is to be drawn."""
        if frame % self._every == 0 and self._is_looked_at():
            self._waiting.append(shown())
            self._there.release()

    def close(self) -> None:
        """Ends the thread and removes the picture, which is none of now any more."""
        self._ended = True
        self._there.release()
        self._thread.join(1.0)
        for path in (self._picture, self._looking):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def _is_looked_at(self) -> bool:
        if time.monotonic() - self._checked_s >= CHECK_S:
            self._checked_s = time.monotonic()
            try:
                self._looked_at = time.time() - self._looking.stat().st_mtime < LOOKS_S
            except OSError:
                self._looked_at = False
        return self._looked_at

    def _work(self) -> None:
        with contextlib.suppress(OSError, AttributeError):  # not on every system
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        partial, shown_s = self._picture.with_name(f".{PICTURE}"), 0.0
        while self._there.acquire() and not self._ended:
            if not self._waiting:  # it was left out
                continue
            time.sleep(max(0.0, shown_s + self._apart_s - time.monotonic()))
            shown_s = time.monotonic()
            with contextlib.suppress(OSError):  # the disk is full; the next one may fit
                partial.write_bytes(alarm_picture(self._waiting.popleft(), self._heat))
                partial.replace(self._picture)
        partial.unlink(missing_ok=True)
