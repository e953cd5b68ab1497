"""What a detection leaves behind: scores.csv, events.csv, timeline.png, side_by_side.webm.

All of it is written as rows come, in constant memory; a killed process leaves readable files.
"""

import csv
import errno
import io
import math
from collections.abc import Sequence
from contextlib import ExitStack, closing, nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np

from ipad_jax.evaluation.report.heatmap import heat_range
from ipad_jax.evaluation.report.side_by_side import SideBySideWriter
from ipad_jax.video.detector.alarm_log import AlarmLog, Wanted
from ipad_jax.video.detector.alarms import Alarm, AlarmFinder
from ipad_jax.video.detector.clips import Shown
from ipad_jax.video.detector.detector import Detector, FrameScore
from ipad_jax.video.detector.live_picture import LivePicture
from ipad_jax.video.detector.timeline import Timeline
from ipad_jax.video.detector.wording import number, utc
from ipad_jax.video.scores.aggregate import BESIDE, COMPONENTS

FILES = ("scores.csv", "events.csv", "timeline.png", "side_by_side.webm")
CSV_COMPONENTS = (*COMPONENTS, *BESIDE)
SCORE_COLUMNS = (
    *("frame", "time_s", "utc", "score", "sustained", "alarm"), *CSV_COMPONENTS, "note",
)  # fmt: skip
EVENT_COLUMNS = (
    "number", "start_s", "end_s", "peak_s", "start_utc", "end_utc", "peak_score", "strength", "rule",
    "cause", "place", "left", "top", "right", "bottom",
)  # fmt: skip
MOST_ALARMS = 1000  # for the summary; a camera may run for months
ROOM_EVERY = 100  # frames between two looks whether the disk has room for a camera's video
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

    Alarms get a picture and a clip each in `alarms/`, and are told as they begin and end. Results of an
    earlier detection in the same folder are removed first. Leaving the block, also by an error, ends the
    last alarm and draws the timeline.

    Attributes:
      interrupted: the signal that ended it early; "" none.
      replaced: whether results of an earlier detection were there.
      num_gaps: stretches without pictures.
      num_lost: rows that a full disk had no room for.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        detector: Detector,
        side_by_side: bool = False,
        wanted: Wanted | None = None,
        live: bool = False,
    ):
        """Prepares; of a live source a full disk costs rows, of others it is an error."""
        self.folder, self.name, self.detector = folder, name, detector
        self.num_frames = self.num_unscored = self.num_alarms = self.num_gaps = self.num_lost = 0
        self.alarms: list[Alarm] = []
        self.interrupted, self.replaced = "", False
        self._side_by_side, self._wanted, self._live = side_by_side, wanted, live
        self._video: SideBySideWriter | None = None
        self._log: AlarmLog | None = None
        self._now: LivePicture | None = None
        self._timeline = Timeline()
        self._stack = ExitStack()
        self._finder = None
        self._anchor: tuple[int, float] | None = None  # the last row's frame, and its UTC
        self._start_utc_s: float | None = None  # of the alarm that is on
        if detector.threshold is not None:
            self._finder = AlarmFinder(detector.calibration)

    def __enter__(self) -> "Record":
        self.folder.mkdir(parents=True, exist_ok=True)
        old = [self.folder / name for name in FILES if (self.folder / name).exists()]
        for path in (
            *old,
            *(p for end in ("jpg", "mp4") for p in self.folder.glob(f"alarms/*.{end}")),
        ):
            path.unlink()
            self.replaced = True
        with ExitStack() as stack:
            self._scores = self._open_csv(stack, "scores.csv", SCORE_COLUMNS)
            if self._finder is not None:
                self._events = self._open_csv(stack, "events.csv", EVENT_COLUMNS)
            if self._side_by_side:
                self._video = stack.enter_context(self._writer())
            if self._finder is not None and self._wanted is not None:
                self._log = AlarmLog(
                    self.folder,
                    self.name,
                    self.detector.fps,
                    self._scales()[0],
                    self._wanted,
                    self._live,
                )
                stack.callback(self._log.close)
            if self._live:
                self._now = LivePicture(self.folder, self.detector.fps, self._scales()[0])
                stack.callback(self._now.close)
            self._stack = stack.pop_all()
        return self

    @property
    def written(self) -> list[str]:
        """Files of this detection, as far as they are whole."""
        alarms = ["alarms/"] if self._log is not None and self.num_alarms else []
        return [name for name in FILES if (self.folder / name).exists()] + alarms

    @property
    def takes_pictures(self) -> bool:
        """Whether rows should come with pictures."""
        return self._video is not None or self._log is not None or self._now is not None

    @property
    def num_left_out(self) -> int:
        """Pictures and clips of alarms for which there was no room or no time."""
        return self._log.files.num_left_out if self._log else 0

    def see(self, frame: int, image: np.ndarray) -> None:
        """Takes a frame [h, w, 3] uint8 RGB of the source before it is judged, for clips."""
        if self._log is not None:
            self._log.see(frame, image)

    @property
    def open_alarm(self) -> Alarm | None:
        """The alarm that is on."""
        return self._finder.open if self._finder else None

    def _open_csv(self, stack: ExitStack, name: str, columns: Sequence[str]) -> CsvFile:
        return stack.enter_context(closing(CsvFile(self.folder / name, columns)))

    def _scales(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Ranges of heat maps and scores, from the calibration."""
        calibration = self.detector.calibration
        heat, scores = (0.0, 0.3), (0.0, 0.5)
        if calibration is not None:
            scores = (-3.0, 10.0)
            if usual := calibration.components.get(calibration.mapped):
                heat = heat_range(usual.location, usual.scale)
        return heat, scores

    def _writer(self) -> SideBySideWriter:
        """The side-by-side video."""
        detector, (heat, scores) = self.detector, self._scales()
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
        if on := self.open_alarm:
            self._start_utc_s = self._start_utc_s or self._utc_of(on.event.start)
        if self._now is not None:
            self._now.show(row.frame, lambda: self._shown_now(row, utc_s))
        if self._log is not None:
            if on:
                self._log.on(on, row, self._start_utc_s)
            self._log.files.judged(row.frame)
        return alarm

    def _shown_now(self, row: FrameScore, utc_s: float | None) -> Shown:
        """A row as the running picture shows it."""
        on = self.open_alarm
        words = ["ALARM"] if on else []
        words += [f"score {row.score:.2f}" if math.isfinite(row.score) else "not scored"]
        words += [f"{utc(utc_s)[:19].replace('T', ' ')} UTC"] if utc_s is not None else []
        jpeg = self._log.files.jpeg_of(row.frame) if self._log else b""
        return Shown("   ".join(words), jpeg, row.pictures, on.box if on else None)

    def add_gap(self, time_s: float, utc_s: float, note: str) -> None:
        """Writes a row without a frame, which says why there is none or that there is one again."""
        row = dict.fromkeys(SCORE_COLUMNS, "")
        row |= {"time_s": f"{time_s:.3f}", "utc": utc(utc_s), "alarm": "0", "note": note}
        self._write(self._scores, list(row.values()))

    def end_alarm(self) -> Alarm | None:
        """Ends the alarm that is on and the clips, where the pictures stop."""
        alarm = self._finder.close() if self._finder else None
        if alarm:
            self._write_alarm(alarm)
        if self._log is not None:
            self._log.files.cut()
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
        if self._live and self._log is not None:
            if self.num_frames % ROOM_EVERY == 0:
                self._log.files.has_room()
            if self._log.files.full:
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
        start_utc_s, self._start_utc_s = self._start_utc_s, None
        stop_utc_s = self._utc_of(event.stop)
        if self._log is not None:
            self._log.over(alarm, stop_utc_s)
        if len(self.alarms) < MOST_ALARMS:
            self.alarms.append(alarm)
        self._write(
            self._events,
            [
                self.num_alarms,
                f"{event.start / fps:.3f}",
                f"{event.stop / fps:.3f}",
                f"{event.peak / fps:.3f}",
                utc(start_utc_s),
                utc(stop_utc_s),
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
            # Beside a camera a full disk costs it the picture, not the good end.
            with suppress(OSError) if self._live else nullcontext():
                self._timeline.save(path, self.name, fps, events, self.detector.threshold)
