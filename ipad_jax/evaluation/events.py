"""Alarms against the truth, in figures that an alarm which is always on cannot win."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ipad_jax.evaluation.alarm_rule import QUIET_S, AlarmRule, Event, follow

EARLY_S = 0.5  # an alarm that begins so shortly before a fault has found it; clips reach ahead
CALL_S = 60.0  # every started minute of a false alarm counts as one


def true_intervals(label: np.ndarray, frame: np.ndarray) -> list[tuple[int, int]]:
    """Runs [start, stop) of anomalous frames of one video; a hole in `frame` ends a run.

    Where only every n-th frame is there (see `spacing`), n frames from one to the next are no hole.
    """
    step = spacing(frame)
    runs: list[tuple[int, int]] = []
    for f in np.asarray(frame)[np.asarray(label) == 1].tolist():
        if runs and f <= runs[-1][1] - 1 + step:
            runs[-1] = (runs[-1][0], f + 1)
        else:
            runs.append((f, f + 1))
    return runs


def spacing(frame: np.ndarray) -> int:
    """Frames from one row of a video to the next, as a rule: 1, or a stride where only some have a score."""
    return int(np.median(np.diff(frame))) if len(frame) > 1 else 1


@dataclass(frozen=True)
class EventMetrics:
    """Alarms against the truth.

    Attributes:
      normal_time_in_alarm: share of normal, scored time inside an alarm, also where it outlasts its fault;
        NaN without any.
      false_alarms_per_hour: false alarms an hour of normal time, every started minute of one counted; 60
        for an alarm that is always on; NaN without normal time.
      event_recall: share of faults found; NaN without any. Found is a fault in which an alarm begins, or
        at most `EARLY_S` before it; an alarm that was on before has found nothing.
      detection_delay_s: median time from a fault's onset to that alarm, of those found; 0 where it
        came before. The detector's own latency comes on top.
      event_coverage: share of the time of the faults found that lies inside an alarm: a score that
        drifts back to normal within a long fault lowers it.
      end_delay_s: median time from a fault's end to the end of the last alarm in it, of those found;
        negative where the alarm is over first.
      num_events: alarms that were judged.
      num_false_alarms: those that found no fault and hold normal time.
      num_false_calls: the same with every started minute of normal time counted.
      num_true, num_detected: faults, and faults found. Those less than `QUIET_S` apart, in which an
        alarm cannot end, are one.
      normal_hours: normal, scored time; where only every n-th frame has a row, it stands for n.
      alarm_hours: of it inside an alarm.
    """

    normal_time_in_alarm: float
    false_alarms_per_hour: float
    event_recall: float
    detection_delay_s: float
    event_coverage: float
    end_delay_s: float
    num_events: int
    num_false_alarms: int
    num_false_calls: int
    num_true: int
    num_detected: int
    normal_hours: float
    alarm_hours: float


def events_of(
    score: np.ndarray,
    video: np.ndarray,
    frame: np.ndarray,
    fps: np.ndarray | Sequence[float],
    rule: AlarmRule,
) -> dict[int, list[Event]]:
    """Alarms by video, of scores [n] as they come from the model; frames rise within a video."""
    return {
        int(v): follow(score[video == v], frame[video == v], rule, float(fps[v])).events
        for v in np.unique(video)
    }


def event_metrics(
    events: Mapping[int, Sequence[Event]],
    label: np.ndarray,
    video: np.ndarray,
    frame: np.ndarray,
    fps: np.ndarray | Sequence[float],
    scored: np.ndarray | None = None,
) -> EventMetrics:
    """Judge the alarms of several videos.

    Args:
      events: alarms by video.
      label: [n] 1 anomalous, 0 normal, -1 unknown. An alarm that touches neither a fault nor any
        normal frame is not judged.
      video, frame: int [n] where each row belongs; frames rise within a video.
      fps: [number of videos] frames a second, indexed by `video`.
      scored: bool [n], False where a frame has no score and is no normal time; all by default.
    """
    label, video, frame = np.asarray(label), np.asarray(video), np.asarray(frame)
    scored = np.ones(len(label), bool) if scored is None else np.asarray(scored)
    num_events = num_false = num_calls = num_true = 0
    delays: list[float] = []
    ends: list[float] = []
    inside_s = found_s = normal_s = alarm_s = 0.0
    for v in np.unique(video):
        at = video == v
        labels, frames, rate = label[at], frame[at], float(fps[v])
        step_s = spacing(frames) / rate
        faults = merged(true_intervals(labels, frames), QUIET_S * rate)
        alarms = events.get(int(v), ())
        early = EARLY_S * rate
        normal = (labels == 0) & scored[at]
        normal_s += normal.sum() * step_s
        finders: set[Event] = set()
        for start, stop in faults:
            touching = [e for e in alarms if e.start < stop and start < e.stop]
            beginning = [e for e in touching if e.start >= start - early]
            if not beginning:
                continue
            finders.update(beginning)
            delays.append(max(beginning[0].start - start, 0) / rate)
            ends.append((touching[-1].stop - stop) / rate)
            found_s += (stop - start) / rate
            inside_s += sum(min(e.stop, stop) - max(e.start, start) for e in touching) / rate
        num_true += len(faults)
        for event in alarms:
            within = (frames >= event.start) & (frames < event.stop)
            false_s = (normal & within).sum() * step_s
            alarm_s += false_s
            if event in finders:
                num_events += 1
                num_calls += math.floor(false_s / CALL_S)  # it stays on long after its fault
            elif false_s or (labels[within] == 1).any():
                num_events += 1
                num_false += false_s > 0
                num_calls += math.ceil(false_s / CALL_S)
    hours = normal_s / 3600
    return EventMetrics(
        normal_time_in_alarm=alarm_s / normal_s if normal_s else math.nan,
        false_alarms_per_hour=num_calls / hours if hours else math.nan,
        event_recall=len(delays) / num_true if num_true else math.nan,
        detection_delay_s=float(np.median(delays)) if delays else math.nan,
        event_coverage=inside_s / found_s if found_s else math.nan,
        end_delay_s=float(np.median(ends)) if ends else math.nan,
        num_events=num_events,
        num_false_alarms=num_false,
        num_false_calls=num_calls,
        num_true=num_true,
        num_detected=len(delays),
        normal_hours=hours,
        alarm_hours=alarm_s / 3600,
    )


def merged(intervals: Sequence[tuple[int, int]], gap: float) -> list[tuple[int, int]]:
    """Intervals in order, those less than `gap` apart made one."""
    found: list[tuple[int, int]] = []
    for start, stop in intervals:
        if found and start - found[-1][1] < gap:
            found[-1] = (found[-1][0], stop)
        else:
            found.append((start, stop))
    return found
