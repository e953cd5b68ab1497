"""What is left of a run's `max_seconds`, and for what."""

import math
import time
from collections.abc import Callable

CALIBRATION_SHARE = 0.1  # of max_seconds, held back for what comes after training; our choice


class Budget:
    """Seconds that training may still take.

    Counted from `started` they are the command's wall time: setting up, compiling, and a calibration that
    follows, for which a share is held back. It cannot be known before how long that takes: it compiles a
    forward pass, so at least half of what compiling the step took is held back too, half of all at most.
    Without `started` they are time in the loop over all resumes, for comparisons at equal training time.
    """

    def __init__(self, seconds: float, in_loop: Callable[[], float], started: float | None):
        """Of `seconds`, 0 for no limit.

        Args:
          seconds: `max_seconds` of the config.
          in_loop: seconds in the loop so far, over all resumes.
          started: when the command began, by `time.perf_counter`; None: time in the loop counts.
        """
        self.seconds, self.started, self._in_loop = seconds, started, in_loop
        self.held_back = 0.0

    def hold_back(self, compiling_s: float) -> None:
        """Sets time aside for the calibration, once it is known how long compiling took."""
        if self.started is not None:
            wanted = max(CALIBRATION_SHARE * self.seconds, compiling_s / 2)
            self.held_back = min(wanted, self.seconds / 2)

    def used(self) -> float:
        """Seconds that are gone or held back; training ends when they reach `seconds`."""
        if self.started is None:
            return self._in_loop()
        return time.perf_counter() - self.started + self.held_back

    def left(self) -> float:
        """Seconds of training; infinite without a limit."""
        return max(self.seconds - self.used(), 0.0) if self.seconds else math.inf

    def describe(self, compiling_s: float) -> str:
        """Where the time went until the first step, and what is left; "" where nobody asked for a limit."""
        if self.started is None or not self.seconds:
            return ""
        before = time.perf_counter() - self.started - compiling_s
        return (
            f"max_seconds={self.seconds:g}: compiling took {compiling_s:.0f} s, all before it "
            f"{before:.0f} s; {self.left():.0f} s are left for training and {self.held_back:.0f} s for "
            "calibration"
        )
