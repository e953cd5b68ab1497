"""When frames are: a machine's cycle in a video, and rates brought to one another."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Literal, TypeVar

import numpy as np

SAME_RATE = 0.01  # relative; 29.97 and 30 are one rate, 25 and 30 are not

Cycle = float | Literal["folder"] | None
T = TypeVar("T")


@dataclasses.dataclass(frozen=True, eq=False)
class Timing:
    """The machine's cycle in one video, as measured; without phase and cycle only its usual length.

    cycle_frames: frames of a usual cycle; phase float32 [n] in [0, 1); cycle int32 [n] from 0.
    """

    cycle_frames: float
    phase: np.ndarray | None = None
    cycle: np.ndarray | None = None

    def at(self, index: int) -> tuple[float, int]:
        """Phase and cycle of a frame; NaN and -1 unknown."""
        if self.phase is None or self.cycle is None:
            return float("nan"), -1
        return float(self.phase[index]), int(self.cycle[index])


def phase_of(
    start: int, num_frames: int, fps: float, cycle_s: float
) -> tuple[np.ndarray, np.ndarray]:
    """Phase float32 [n] in [0, 1) and cycle int32 [n] of frames start, start + 1, ... of footage
    whose frame 0 has phase 0: phase = (t mod cycle) / cycle."""
    # Rounded: 3 * (1 / 3) cycles must be phase 0 of the next cycle, not 0.9999 of this one.
    position = np.round(np.arange(start, start + num_frames) / (fps * cycle_s), 9)
    cycle = np.floor(position)
    phase = np.minimum((position - cycle).astype(np.float32), np.nextafter(np.float32(1), 0))
    return phase, cycle.astype(np.int32)


def same_rate(fps: float, other_fps: float) -> bool:
    """Whether two rates are one: 29.97 and 30 are, 25 and 30 are not."""
    return abs(fps - other_fps) <= SAME_RATE * other_fps


def resample(frames: Iterable[tuple[float, T]], fps: float) -> Iterator[T]:
    """A frame for each tick of a clock: the nearest in time, the earlier of two equally near.

    Frames less than half a tick off their own tick all come through, once each. The choice depends
    on the times alone, and needs to look one frame ahead.

    Args:
        frames: (seconds, frame), times rising from about 0.
        fps: ticks a second; the first is at 0.
    """
    tick, previous, gap_s = 0, None, 0.0
    for time_s, frame in frames:
        if previous is None:
            previous = (time_s, frame)
            continue
        gap_s = time_s - previous[0]
        # a nanosecond of grace, so that rounding does not break ties
        while tick / fps <= (previous[0] + time_s) / 2 + 1e-9:
            yield previous[1]
            tick += 1
        previous = (time_s, frame)
    if previous is None:
        return
    while tick == 0 or tick / fps <= previous[0] + gap_s / 2 + 1e-9:
        yield previous[1]
        tick += 1
