"""Times that can be compared on a busy machine: calls in turn, medians, CPU seconds beside."""

import resource
import statistics
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Timing:
    """Medians over the repeats of a call.

    Attributes:
      seconds: wall time.
      cpu_seconds: of all threads of this process, and of child processes that ended meanwhile; less
        moved by what else the machine does.
    """

    seconds: float
    cpu_seconds: float


def alternate(calls: Mapping[Key, Callable[[], Any]], repeats: int) -> dict[Key, Timing]:
    """Runs all calls once uncounted, then all in turn `repeats` times.

    In turn, so that what else the machine does meets all of them alike.

    Raises:
      ValueError: repeats below 1.
    """
    if repeats < 1:
        raise ValueError(f"repeats={repeats} must be at least 1.")
    taken: dict[Key, list[tuple[float, float]]] = {name: [] for name in calls}
    for round_ in range(repeats + 1):
        for name, call in calls.items():
            wall, cpu = time.perf_counter(), cpu_seconds()
            call()
            spent = time.perf_counter() - wall, cpu_seconds() - cpu
            if round_:
                taken[name].append(spent)
    return {
        name: Timing(*(statistics.median(column) for column in zip(*spent)))
        for name, spent in taken.items()
    }


def cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """The power k of the law cost = c * size^k that fits best (least squares of logarithms)."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def number(value: float) -> str:
    """Three figures, without powers of ten."""
    return f"{value:#.3g}".rstrip(".") if abs(value) < 1000 else f"{value:,.0f}"
