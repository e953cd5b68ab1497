"""Events: what an operator sees; a run of frames above the threshold, gaps closed, is one alarm."""

from dataclasses import dataclass

import numpy as np

GAP_S = 0.5  # a gap shorter than this does not end an event


@dataclass(frozen=True)
class Event:
    """Frames [start, stop) of one video; the frame and value of the highest score in it."""

    start: int
    stop: int
    peak: int
    peak_score: float


class EventFinder:
    """Finds events in a stream of scores; `evaluate` and `detect` use the same."""

    def __init__(self, threshold: float, fps: float, gap_s: float = GAP_S) -> None:
        """Prepare; a score must be ABOVE `threshold`, gaps under `gap_s` seconds are closed."""
        if not fps > 0 or gap_s < 0:
            raise ValueError(f"fps={fps} must be positive and gap_s={gap_s} not negative.")
        self.threshold, self.fps, self.gap_s = threshold, fps, gap_s
        self._open: Event | None = None

    @property
    def open(self) -> Event | None:
        """The event that may still go on."""
        return self._open

    def add(self, frame: int, score: float) -> Event | None:
        """Take the next frame (indices rise; NaN is no alarm); return an event that is over."""
        finished = None
        if (
            self._open
            and (frame - self._open.stop) / self.fps >= self.gap_s
            and frame > self._open.stop
        ):
            finished, self._open = self._open, None
        if score > self.threshold:
            last = self._open
            if last is None:
                # the frame itself may come right after a finished event when gap_s is 0
                self._open = Event(frame, frame + 1, frame, float(score))
            elif score > last.peak_score:
                self._open = Event(last.start, frame + 1, frame, float(score))
            else:
                self._open = Event(last.start, frame + 1, last.peak, last.peak_score)
        return finished

    def close(self) -> Event | None:
        """End of the video: the event that was still open, if any."""
        finished, self._open = self._open, None
        return finished


def find_events(
    score: np.ndarray, frame: np.ndarray, threshold: float, fps: float, gap_s: float = GAP_S
) -> list[Event]:
    """Events of one video.

    Args:
      score: [n] anomaly score, NaN = unscored = no alarm.
      frame: int [n] rising frame indices.
      threshold: alarm above it.
      fps: frames a second.
      gap_s: gaps shorter than this many seconds are closed.
    """
    finder = EventFinder(threshold, fps, gap_s)
    found = [finder.add(int(f), float(s)) for f, s in zip(frame, score)]
    return [event for event in [*found, finder.close()] if event]


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
      false_alarms_per_hour: events that touch no true interval, an hour of normal time; NaN
        without any.
      event_recall: share of true intervals that an event touches; NaN without any.
      detection_delay_s: median time from a true interval's onset to the first alarm in it, of
        those found; 0 for an alarm already on at the onset. The detector's own latency comes on
        top.
      event_coverage: share of the time of the true intervals found that lies inside an event: a
        score that drifts back to normal within a long fault lowers it.
      end_delay_s: median time from a true interval's end to the end of the last alarm in it, of
        those found; negative where the alarm is over first.
      num_events, num_false_alarms, num_true, num_detected: counts.
      normal_hours: normal, scored time; where only every n-th frame has a row, it stands for n.
    """

    false_alarms_per_hour: float
    event_recall: float
    detection_delay_s: float
    event_coverage: float
    end_delay_s: float
    num_events: int
    num_false_alarms: int
    num_true: int
    num_detected: int
    normal_hours: float


def event_metrics(
    score: np.ndarray,
    label: np.ndarray,
    video: np.ndarray,
    frame: np.ndarray,
    fps: np.ndarray,
    threshold: float,
    gap_s: float = GAP_S,
) -> EventMetrics:
    """Judge the alarms of several videos.

    Args:
      score: [n] anomaly score; NaN = unscored, no alarm, and no normal time either.
      label: [n] 1 anomalous, 0 normal, -1 unknown. An event that touches neither a true interval
        nor any normal frame is not judged.
      video, frame: int [n] where each row belongs; frames rise within a video.
      fps: [number of videos] frames a second, indexed by `video`.
      threshold: alarm above it.
      gap_s: gaps shorter than this are closed.
    """
    score, label = np.asarray(score, np.float64), np.asarray(label)
    video, frame = np.asarray(video), np.asarray(frame)
    num_events = num_false = num_true = 0
    delays: list[float] = []
    ends: list[float] = []
    inside_s = found_s = normal_s = 0.0
    for v in np.unique(video):
        at = video == v
        scores, labels, frames, rate = score[at], label[at], frame[at], float(fps[v])
        events = find_events(scores, frames, threshold, rate, gap_s)
        intervals = true_intervals(labels, frames)
        normal_s += ((labels == 0) & np.isfinite(scores)).sum() * spacing(frames) / rate
        for event in events:
            if any(event.start < stop and start < event.stop for start, stop in intervals):
                num_events += 1
            elif (labels[(frames >= event.start) & (frames < event.stop)] == 0).any():
                num_events += 1
                num_false += 1
        num_true += len(intervals)
        for start, stop in intervals:
            touching = [e for e in events if e.start < stop and start < e.stop]
            if touching:
                delays.append((max(touching[0].start, start) - start) / rate)
                ends.append((touching[-1].stop - stop) / rate)
                found_s += (stop - start) / rate
                inside_s += sum(min(e.stop, stop) - max(e.start, start) for e in touching) / rate
    hours = normal_s / 3600
    return EventMetrics(
        false_alarms_per_hour=num_false / hours if hours else float("nan"),
        event_recall=len(delays) / num_true if num_true else float("nan"),
        detection_delay_s=float(np.median(delays)) if delays else float("nan"),
        event_coverage=inside_s / found_s if found_s else float("nan"),
        end_delay_s=float(np.median(ends)) if ends else float("nan"),
        num_events=num_events,
        num_false_alarms=num_false,
        num_true=num_true,
        num_detected=len(delays),
        normal_hours=hours,
    )
