"""When scores become an alarm: two thresholds and hysteresis.

Causal and in constant memory; calibration, evaluation and detection use the same. An alarm begins when
the score of a single frame, or its running median over about a second, is above its threshold. It ends
after a quiet time in which both stay below `RELEASE` of them. Both numbers are choices of ours.
"""

import bisect
import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

QUIET_S = 1.0  # seconds below the release level that end an alarm
RELEASE = 0.8  # of a threshold; below it an alarm may end
FRAME, SUSTAINED = "frame", "sustained"  # the rule that raised an alarm


@dataclass(frozen=True)
class AlarmRule:
    """From where on a score is an alarm.

    Attributes:
      threshold: alarm when the score of a frame is ABOVE it.
      sustained: alarm when the running median of the score is ABOVE it; infinite: never.
      sustained_s: seconds of the running median; 0: none.
      level: usual score on normal footage.
    """

    threshold: float
    sustained: float = math.inf
    sustained_s: float = 0.0
    level: float = 0.0


@dataclass(frozen=True)
class Event:
    """Frames [start, stop) of one video.

    Attributes:
      start, stop: from the first frame above a threshold to the last above a release level, inclusive.
      peak: frame of the highest score.
      peak_score: the score there.
      rule: FRAME or SUSTAINED, whichever raised it.
      strength: highest ratio of a score to its own threshold; NaN where that is not positive.
    """

    start: int
    stop: int
    peak: int
    peak_score: float
    rule: str = FRAME
    strength: float = math.nan


class RunningMedian:
    """Median of the values of the last `length` frames; NaN until so many frames have passed.

    Frames may come at a stride; a value that is not finite is left out, and where more than half are
    left out there is no median.
    """

    def __init__(self, length: int):
        self._length = length
        self._held: deque[tuple[int, float]] = deque()
        self._sorted: list[float] = []
        self._first: int | None = None

    def add(self, frame: int, value: float) -> float:
        """Takes the next frame, indices rise."""
        if self._held and frame - self._held[-1][0] >= self._length:  # a hole as long as the window
            self._held.clear()
            self._sorted.clear()
            self._first = None
        self._first = frame if self._first is None else self._first
        self._held.append((frame, value))
        if math.isfinite(value):
            bisect.insort(self._sorted, value)
        while self._held[0][0] <= frame - self._length:
            _, old = self._held.popleft()
            if math.isfinite(old):
                del self._sorted[bisect.bisect_left(self._sorted, old)]
        count = len(self._sorted)
        if 2 * count < len(self._held) or not count or frame - self._first < self._length - 1:
            return math.nan
        middle = count // 2
        low = self._sorted[middle if count % 2 else middle - 1]
        return (low + self._sorted[middle]) / 2


class Verdict(NamedTuple):
    """What the rule makes of one frame.

    Attributes:
      sustained: running median of the score; NaN where there is none.
      alarm: whether this frame belongs to an alarm.
      over: the alarm that ended before this frame.
    """

    sustained: float
    alarm: bool
    over: Event | None


class AlarmStream:
    """Follows the scores of one video; frames rise, a score that is not finite is no alarm."""

    def __init__(self, rule: AlarmRule, fps: float):
        if not fps > 0:
            raise ValueError(f"fps={fps} must be positive.")
        self.rule, self.fps = rule, fps
        self._quiet = max(1, round(QUIET_S * fps))
        self._median = None
        if rule.sustained_s > 0:
            self._median = RunningMedian(max(1, round(rule.sustained_s * fps)))
        self._open: Event | None = None

    @property
    def open(self) -> Event | None:
        """The alarm that is on."""
        return self._open

    def add(self, frame: int, score: float) -> Verdict:
        """Takes the next frame's score."""
        sustained = math.nan if self._median is None else self._median.add(frame, score)
        over = self._follow(frame, score, sustained)
        within = self._open is not None and self._open.stop == frame + 1
        return Verdict(sustained, within, over)

    def close(self) -> Event | None:
        """End of the video: the alarm that was on, if any."""
        finished, self._open = self._open, None
        return finished

    def _follow(self, frame: int, score: float, sustained: float) -> Event | None:
        rule, finished = self.rule, None
        if self._open and frame - self._open.stop >= self._quiet:
            finished, self._open = self._open, None
        by = FRAME if score > rule.threshold else SUSTAINED if sustained > rule.sustained else ""
        if self._open is None:
            if by:
                strength = max(_ratio(score, rule.threshold), _ratio(sustained, rule.sustained))
                peak = score if math.isfinite(score) else sustained
                self._open = Event(frame, frame + 1, frame, peak, by, _or_nan(strength))
        elif score > _release(rule.threshold) or sustained > _release(rule.sustained):
            old = self._open
            higher = score > old.peak_score
            strength = max(
                old.strength if math.isfinite(old.strength) else -math.inf,
                _ratio(score, rule.threshold),
                _ratio(sustained, rule.sustained),
            )
            self._open = Event(
                old.start,
                frame + 1,
                frame if higher else old.peak,
                score if higher else old.peak_score,
                old.rule,
                _or_nan(strength),
            )
        return finished


def _release(threshold: float) -> float:
    return RELEASE * threshold if threshold > 0 else threshold


def _ratio(score: float, threshold: float) -> float:
    known = threshold > 0 and math.isfinite(threshold) and math.isfinite(score)
    return score / threshold if known else -math.inf


def _or_nan(value: float) -> float:
    return value if math.isfinite(value) else math.nan


class Followed(NamedTuple):
    """Scores of one video after the rule.

    Attributes:
      sustained: float64 [n], running median of the score, NaN where there is none.
      alarm: bool [n], whether a frame lies in an event.
      events: in order.
    """

    sustained: np.ndarray
    alarm: np.ndarray
    events: list[Event]


def follow(score: Iterable[float], frame: Iterable[int], rule: AlarmRule, fps: float) -> Followed:
    """The rule over one video: `score` [n], NaN = unscored, at rising frame indices [n]."""
    frames = [int(f) for f in frame]
    stream = AlarmStream(rule, fps)
    verdicts = [stream.add(f, float(s)) for f, s in zip(frames, score)]
    events = [e for e in (*(v.over for v in verdicts), stream.close()) if e]
    at = np.asarray(frames)
    alarm = np.zeros(len(frames), bool)
    for event in events:
        alarm |= (at >= event.start) & (at < event.stop)
    return Followed(
        np.array([v.sustained for v in verdicts], np.float64),
        alarm,
        events,
    )
