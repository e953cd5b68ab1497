"""What a detection leaves behind: scores.csv, events.csv, timeline.png, side_by_side.webm.

All of it is written as rows come, in constant memory; a killed process leaves readable files.
"""

import csv
import math
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np

from ipad_jax.evaluation.alarm_rule import SUSTAINED
from ipad_jax.evaluation.report.data import Curve
from ipad_jax.evaluation.report.heatmap import heat_range
from ipad_jax.evaluation.report.plots import LIGHT, save_png, score_curve
from ipad_jax.evaluation.report.side_by_side import SideBySideWriter
from ipad_jax.video.detector.alarms import Alarm, AlarmFinder
from ipad_jax.video.detector.detector import Detector, FrameScore
from ipad_jax.video.scores.aggregate import BESIDE, COMPONENTS

FILES = ("scores.csv", "events.csv", "timeline.png", "side_by_side.webm")
CSV_COMPONENTS = (*COMPONENTS, *BESIDE)
TIMELINE_POINTS = 4000  # stretches of time the plot tells apart; each keeps its highest score
EVENT_COLUMNS = (
    "start_s", "end_s", "peak_s", "peak_score", "strength", "rule", "cause", "place",
    "left", "top", "right", "bottom",
)  # fmt: skip
VIDEO_FPS = 12.5  # pictures a second of the side-by-side video, about; VP9 takes 0.1 s for each


class Timeline:
    """The course of a score of any length in at most `TIMELINE_POINTS` stretches, each with its maximum."""

    def __init__(self, points: int = TIMELINE_POINTS):
        if points < 2 or points % 2:
            raise ValueError(f"points={points} must be even and at least 2.")
        self.points = points
        self._frames_each = 1
        self._highest = np.full(points, np.nan)
        self._num_frames = 0

    def add(self, score: float) -> None:
        """Takes the next frame's score; NaN is none."""
        if self._num_frames == self.points * self._frames_each:
            pairs = self._highest.reshape(-1, 2)
            self._highest = np.full(self.points, np.nan)
            self._highest[: self.points // 2] = np.fmax(pairs[:, 0], pairs[:, 1])
            self._frames_each *= 2
        place = self._num_frames // self._frames_each
        self._highest[place] = np.fmax(self._highest[place], score)
        self._num_frames += 1

    def curve(self, fps: float) -> tuple[np.ndarray, np.ndarray]:
        """(seconds at which each stretch starts, its highest score)."""
        used = -(-self._num_frames // self._frames_each)
        return np.arange(used) * self._frames_each / fps, self._highest[:used]


class Record:
    """Writes scores.csv, events.csv, timeline.png and, if wanted, side_by_side.webm as rows come.

    Results of an earlier detection in the same folder are removed first. Leaving the block, also by an
    error, ends the last alarm and draws the timeline.

    Attributes:
      interrupted: the signal that ended it early; "" none.
      replaced: whether results of an earlier detection were there.
    """

    def __init__(self, folder: Path, name: str, detector: Detector, pictures: bool):
        self.folder, self.name, self.detector = folder, name, detector
        self.num_frames = self.num_unscored = self.num_alarms = 0
        self.alarms: list[Alarm] = []
        self.interrupted, self.replaced = "", False
        self._pictures = pictures
        self._timeline = Timeline()
        self._stack = ExitStack()
        self._finder = None
        if detector.threshold is not None:
            self._finder = AlarmFinder(detector.calibration)

    def __enter__(self) -> "Record":
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in self.written:
            (self.folder / name).unlink()
            self.replaced = True
        with ExitStack() as stack:
            self._scores_file = self._open_csv(stack, "scores.csv")
            self._scores = csv.writer(self._scores_file)
            self._scores.writerow(
                ["frame", "time_s", "score", "sustained", "alarm", *CSV_COMPONENTS]
            )
            if self._finder is not None:
                self._events_file = self._open_csv(stack, "events.csv")
                self._events = csv.writer(self._events_file)
                self._events.writerow(EVENT_COLUMNS)
                self._events_file.flush()
            self._video = stack.enter_context(self._writer()) if self._pictures else None
            self._stack = stack.pop_all()
        return self

    @property
    def written(self) -> list[str]:
        """Files of this detection, as far as they are whole."""
        return [name for name in FILES if (self.folder / name).exists()]

    @property
    def open_alarm(self) -> Alarm | None:
        """The alarm that is on."""
        return self._finder.open if self._finder else None

    def _open_csv(self, stack: ExitStack, name: str) -> IO[str]:
        return stack.enter_context((self.folder / name).open("w", newline=""))

    def _writer(self) -> SideBySideWriter:
        """The side-by-side video, on the calibration's scales."""
        detector, calibration = self.detector, self.detector.calibration
        heat, scores = (0.0, 0.3), (0.0, 0.5)
        if calibration is not None:
            scores = (-3.0, 10.0)
            if usual := calibration.components.get(calibration.mapped):
                heat = heat_range(usual.location, usual.scale)
        return SideBySideWriter(
            self.folder / "side_by_side.webm",
            detector.image_size,
            detector.fps,
            heat,
            threshold=detector.threshold,
            score_range=scores,
            every=max(1, round(detector.fps / VIDEO_FPS)),
            title=self.name,
        )

    def add(self, row: FrameScore) -> Alarm | None:
        """Writes a row; returns an alarm that is over with it."""
        self.num_frames += 1
        self.num_unscored += not math.isfinite(row.score)
        values = [row.components[name] for name in CSV_COMPONENTS]
        self._scores.writerow(
            [
                row.frame,
                f"{row.time_s:.3f}",
                number(row.score),
                number(row.sustained),
                int(row.alarm),
                *map(number, values),
            ]
        )
        self._scores_file.flush()
        self._timeline.add(row.score)
        alarm = self._finder.add(row) if self._finder else None
        if self._video is not None:
            self._write_picture(row)
        if alarm:
            self._write_alarm(alarm)
        return alarm

    def _write_picture(self, row: FrameScore) -> None:
        pictures = row.pictures
        if self._video is None or pictures is None:
            return
        self._video.write(
            pictures.frame,
            pictures.reconstruction,
            pictures.error,
            time_s=row.time_s,
            score=row.score,
            alarm=self.open_alarm is not None,
        )

    def _write_alarm(self, alarm: Alarm) -> None:
        event, fps = alarm.event, self.detector.fps
        self.num_alarms += 1
        if len(self.alarms) < 1000:  # for the summary; a camera may run for months
            self.alarms.append(alarm)
        self._events.writerow(
            [
                f"{event.start / fps:.3f}",
                f"{event.stop / fps:.3f}",
                f"{event.peak / fps:.3f}",
                number(event.peak_score),
                number(event.strength),
                event.rule,
                alarm.cause,
                alarm.place,
                *("" if alarm.box is None else f"{edge:.3f}" for edge in alarm.box or 4 * (0.0,)),
            ]
        )
        self._events_file.flush()

    def __exit__(self, *error: Any) -> None:
        try:
            self._finish()
        finally:
            self._stack.__exit__(*error)

    def _finish(self) -> None:
        alarm = self._finder.close() if self._finder else None
        if alarm:
            self._write_alarm(alarm)
        if self.num_frames:
            fps = self.detector.fps
            time_s, score = self._timeline.curve(fps)
            events = [(a.event.start / fps, a.event.stop / fps) for a in self.alarms]
            curve = Curve(self.name, time_s, score, events=events)
            figure = score_curve(curve, self.detector.threshold, palette=LIGHT)
            figure.set_size_inches(11, 3)
            figure.patch.set(alpha=1, facecolor=LIGHT.paper)
            save_png(figure, self.folder / "timeline.png")


def number(value: float) -> str:
    """A number for a CSV file; empty where there is none."""
    return f"{value:.6g}" if math.isfinite(value) else ""


def clock(seconds: float) -> str:
    """75.25 -> '1:15.2'; hours where there are some."""
    tenths = math.floor(seconds * 10 + 1e-6)
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    text = f"{minutes}:{tenths / 10:04.1f}"
    return f"{hours}:{text:>07}" if hours else text


def describe_alarm(alarm: Alarm, detector: Detector) -> str:
    """One line for a person on an alarm that is over."""
    event, fps = alarm.event, detector.fps
    return (
        f"{clock(event.start / fps):>9} to {clock(event.stop / fps):>9}   peak {clock(event.peak / fps)}"
        f" ({_strong(alarm)})"
    )


def describe_open_alarm(alarm: Alarm, detector: Detector) -> str:
    """One line for a person on an alarm that is on."""
    since = clock(alarm.event.start / detector.fps)
    return f"ALARM since {since} (highest {_strong(alarm)})"


def _strong(alarm: Alarm) -> str:
    """How high so far, by which rule, and what and where it is."""
    event = alarm.event
    times = f"{event.strength:.1f} x threshold" if math.isfinite(event.strength) else ""
    lasting = "lasting" if event.rule == SUSTAINED else ""
    parts = (f"score {event.peak_score:.2f}", times, lasting, alarm.cause, alarm.place)
    return ", ".join(part for part in parts if part)
