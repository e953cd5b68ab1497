"""Where a run's wall time goes: steps, waiting for input, saving, evaluation, compiling."""

import contextlib
import math
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import jax

PHASES = ("steps", "input", "saving", "evaluation", "compiling")


class Stopwatch:
    """Wall time by phase; what no phase claims is "other".

    While the device runs a step, a phase of the host costs nothing: that time counts as "steps", and
    only the rest, when the device has nothing to do, as waiting for input, as saving and so on.
    """

    def __init__(self) -> None:
        self.start = time.perf_counter()
        self.seconds: dict[str, float] = dict.fromkeys(PHASES, 0.0)
        self._watcher = ThreadPoolExecutor(1)
        self._done: Future[float] | None = None

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            end = time.perf_counter()
            hidden = min(max(self._busy_until(end) - start, 0.0), end - start)
            self.seconds["steps"] += hidden
            self.seconds[phase] += end - start - hidden

    def stepping(self, result: jax.Array) -> None:
        """Says that the device has a step to run, and is done when `result` is there."""
        self._done = self._watcher.submit(_time_of, result)

    def _busy_until(self, now: float) -> float:
        """When the last step was done; `now` if it still runs."""
        if self._done is None:
            return -math.inf
        return self._done.result() if self._done.done() else now

    def read(self) -> dict[str, float]:
        """Seconds by phase and the rest."""
        rest = time.perf_counter() - self.start - sum(self.seconds.values())
        return {**self.seconds, "other": max(rest, 0.0)}


def _time_of(result: jax.Array) -> float:
    """When a result is there, on the clock of `time.perf_counter`."""
    with contextlib.suppress(Exception):  # the loop waits for it too, and raises
        jax.block_until_ready(result)
    return time.perf_counter()


INTERRUPTED = {"SIGTERM": 143, "SIGINT": 130}  # reason of a run's end -> exit status


@dataclass
class RunSummary:
    """How a run ended.

    Attributes:
      step: the last step done; total_steps: the step it was to reach.
      reason: "finished", "max_seconds", "SIGTERM" or "SIGINT".
      seconds: wall time by phase (see `Stopwatch`) and "other" (setting up, restoring), of this process.
      train_seconds: time in the loop over all runs of the folder, compiling left out.
      metrics: the figures of the last report.
    """

    step: int
    total_steps: int
    reason: str
    seconds: dict[str, float]
    train_seconds: float
    metrics: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        total = sum(self.seconds.values())
        shares = ", ".join(
            f"{name} {s:.1f} s ({s / total:.0%})" for name, s in self.seconds.items()
        )
        return f"{self.reason} at step {self.step} of {self.total_steps}; wall time {total:.1f} s: {shares}"
