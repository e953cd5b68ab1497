"""What a detection leaves behind: scores.csv, events.csv, timeline.png, side_by_side.webm.

All of it is written as rows come, in constant memory; a killed process leaves readable files.
"""

import csv
import errno
import io
import math
from collections.abc import Sequence
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ipad_jax.evaluation.alarm_rule import SUSTAINED
from ipad_jax.evaluation.report.heatmap import heat_range
from ipad_jax.evaluation.report.side_by_side import SideBySideWriter
from ipad_jax.video.detector.alarms import Alarm, AlarmFinder
from ipad_jax.video.detector.detector import Detector, FrameScore
from ipad_jax.video.detector.timeline import Timeline
from ipad_jax.video.scores.aggregate import BESIDE, COMPONENTS

FILES = ("scores.csv", "events.csv", "timeline.png", "side_by_side.webm")
CSV_COMPONENTS = (*COMPONENTS, *BESIDE)
SCORE_COLUMNS = (
    *("frame", "time_s", "utc", "score", "sustained", "alarm"), *CSV_COMPONENTS, "note",
)  # fmt: skip
EVENT_COLUMNS = (
    "start_s", "end_s", "peak_s", "start_utc", "end_utc", "peak_score", "strength", "rule",
    "cause", "place", "left", "top", "right", "bottom",
)  # fmt: skip
MOST_ALARMS = 1000  # for the summary; a camera may run for months
VIDEO_FPS = 12.5  # pictures a second of the side-by-side video, about; VP9 takes 0.1 s for each


class CsvFile:
    """A CSV file that grows by whole rows, each of them on the disk when `add` returns."""

    def __init__(self, path: Path, columns: Sequence[str]):
        self._file = path.open("wb", buffering=0)
        self._size = 0
        self.add(columns)

    def add(self, values: Sequence[Any]) -> None:
        """Adds a row; raises OSError, and leaves no part of it behind, where the disk is full."""
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(values)
        data = line.getvalue().encode()
        try:
            if self._file.write(data) < len(data):
                raise OSError(errno.ENOSPC, "disk full")
        except OSError:
            self._file.truncate(self._size)
            self._file.seek(self._size)
            raise
        self._size += len(data)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class Record:
    """Writes scores.csv, events.csv, timeline.png and, if wanted, side_by_side.webm as rows come.

    Results of an earlier detection in the same folder are removed first. Leaving the block, also by an
    error, ends the last alarm and draws the timeline.

    Attributes:
      interrupted: the signal that ended it early; "" none.
      replaced: whether results of an earlier detection were there.
      num_gaps: stretches without pictures.
      num_lost: rows that a full disk had no room for.
    """

    def __init__(
        self, folder: Path, name: str, detector: Detector, pictures: bool, live: bool = False
    ):
        """Prepares; of a live source a full disk costs rows, of others it is an error."""
        self.folder, self.name, self.detector = folder, name, detector
        self.num_frames = self.num_unscored = self.num_alarms = self.num_gaps = self.num_lost = 0
        self.alarms: list[Alarm] = []
        self.interrupted, self.replaced = "", False
        self._pictures, self._live = pictures, live
        self._timeline = Timeline()
        self._stack = ExitStack()
        self._finder = None
        self._anchor: tuple[int, float] | None = None  # the last row's frame, and its UTC
        if detector.threshold is not None:
            self._finder = AlarmFinder(detector.calibration)

    def __enter__(self) -> "Record":
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in self.written:
            (self.folder / name).unlink()
            self.replaced = True
        with ExitStack() as stack:
            self._scores = self._open_csv(stack, "scores.csv", SCORE_COLUMNS)
            if self._finder is not None:
                self._events = self._open_csv(stack, "events.csv", EVENT_COLUMNS)
            self._video = stack.enter_context(self._writer()) if self._pictures else None
            self._stack = stack.pop_all()
        return self

    @property
    def written(self) -> list[str]:
        """Files of this detection, as far as they are whole."""
        return [name for name in FILES if (self.folder / name).exists()]

    @property
    def has_video(self) -> bool:
        """Whether it takes rows with pictures."""
        return self._video is not None

    @property
    def open_alarm(self) -> Alarm | None:
        """The alarm that is on."""
        return self._finder.open if self._finder else None

    def _open_csv(self, stack: ExitStack, name: str, columns: Sequence[str]) -> CsvFile:
        return stack.enter_context(closing(CsvFile(self.folder / name, columns)))

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

    def add(self, row: FrameScore, utc_s: float | None = None) -> Alarm | None:
        """Writes a row; returns an alarm that is over with it.

        Args:
          row: the next one.
          utc_s: when its frame was filmed, in seconds since 1970; None unknown.
        """
        self.num_frames += 1
        self.num_unscored += not math.isfinite(row.score)
        self._anchor = None if utc_s is None else (row.frame, utc_s)
        self._write(
            self._scores,
            [
                row.frame,
                f"{row.time_s:.3f}",
                utc(utc_s),
                number(row.score),
                number(row.sustained),
                int(row.alarm),
                *(number(row.components[name]) for name in CSV_COMPONENTS),
                "",
            ],
        )
        self._timeline.add(row.frame, row.score)
        alarm = self._finder.add(row) if self._finder else None
        if self._video is not None:
            self._write_picture(row)
        if alarm:
            self._write_alarm(alarm)
        return alarm

    def add_gap(self, time_s: float, utc_s: float, note: str) -> None:
        """Writes a row without a frame, which says why there is none or that there is one again."""
        row = dict.fromkeys(SCORE_COLUMNS, "")
        row |= {"time_s": f"{time_s:.3f}", "utc": utc(utc_s), "alarm": "0", "note": note}
        self._write(self._scores, list(row.values()))

    def end_alarm(self) -> Alarm | None:
        """Ends the alarm that is on, where the pictures stop."""
        alarm = self._finder.close() if self._finder else None
        if alarm:
            self._write_alarm(alarm)
        return alarm

    def _write(self, file: CsvFile, values: Sequence[Any]) -> None:
        try:
            file.add(values)
        except OSError:
            if not self._live:
                raise
            self.num_lost += 1

    def _utc_of(self, frame: int) -> float | None:
        """When a frame shortly before the last row was filmed."""
        if self._anchor is None:
            return None
        return self._anchor[1] + (frame - self._anchor[0]) / self.detector.fps

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
        if len(self.alarms) < MOST_ALARMS:
            self.alarms.append(alarm)
        self._write(
            self._events,
            [
                f"{event.start / fps:.3f}",
                f"{event.stop / fps:.3f}",
                f"{event.peak / fps:.3f}",
                utc(self._utc_of(event.start)),
                utc(self._utc_of(event.stop)),
                number(event.peak_score),
                number(event.strength),
                event.rule,
                alarm.cause,
                alarm.place,
                *("" if alarm.box is None else f"{edge:.3f}" for edge in alarm.box or 4 * (0.0,)),
            ],
        )

    def __exit__(self, *error: Any) -> None:
        try:
            self._finish()
        finally:
            self._stack.__exit__(*error)

    def _finish(self) -> None:
        self.end_alarm()
        if self.num_frames:
            fps = self.detector.fps
            events = [(a.event.start / fps, a.event.stop / fps) for a in self.alarms]
            path = self.folder / "timeline.png"
            self._timeline.save(path, self.name, fps, events, self.detector.threshold)


def utc(seconds: float | None) -> str:
    """Seconds since 1970 as 2026-11-28T22:15:03.120Z; empty where unknown."""
    if seconds is None:
        return ""
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


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
