"""Where a run's wall time goes: steps, waiting for input, saving, evaluation, compiling."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

PHASES = ("steps", "input", "saving", "evaluation", "compiling")


class Stopwatch:
    """Wall time by phase; what no phase claims is "other"."""

    def __init__(self) -> None:
        self.start = time.perf_counter()
        self.seconds: dict[str, float] = dict.fromkeys(PHASES, 0.0)

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[phase] += time.perf_counter() - start

    def read(self) -> dict[str, float]:
        """Seconds by phase and the rest."""
        rest = time.perf_counter() - self.start - sum(self.seconds.values())
        return {**self.seconds, "other": max(rest, 0.0)}


INTERRUPTED = {"SIGTERM": 143, "SIGINT": 130}  # reason of a run's end -> exit status


@dataclass
class RunSummary:
    """How a run ended.

    Attributes:
      step: the last step done; total_steps: the step it was to reach.
      reason: "finished", "max_seconds", "SIGTERM" or "SIGINT".
      seconds: wall time by phase, and "other" (setting up), of this process.
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
