"""What becomes of an alarm as it begins, peaks and ends: its picture, its clip, its messages."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from ipad_jax.video.detector.alarms import Alarm
from ipad_jax.video.detector.clips import AlarmFiles, Keep, Shown
from ipad_jax.video.detector.detector import FrameScore
from ipad_jax.video.detector.notify import Message
from ipad_jax.video.detector.wording import clock, strong, utc

CLOSE_S = 0.8  # for pictures and clips of a camera that are not yet written at its end


@dataclass(frozen=True)
class Wanted:
    """What is to become of alarms beside events.csv.

    Attributes:
      clip_s: seconds of the clip before and after; 0: pictures alone.
      keep: how long pictures and clips of a camera stay.
      tell: called with each alarm as it begins and as it ends.
      say: called with what a person should read.
    """

    clip_s: float = 5.0
    keep: Keep | None = None
    tell: Callable[[Message], None] | None = None
    say: Callable[[str], None] = lambda text: None


@dataclass
class _Begun:
    """The alarm that is on: number from 1, name of its files, UTC of its start, picture of its peak."""

    number: int
    stem: str
    utc_s: float | None
    shown: Shown


class AlarmLog:
    """Follows the alarms of one detection, one at a time.

    Attributes:
      num_alarms: that began.
      files: their pictures and clips.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        fps: float,
        heat_range: tuple[float, float],
        wanted: Wanted,
        live: bool,
    ):
        """Prepares; `folder` is the detection's, `name` the source's."""
        self.num_alarms = 0
        self.files = AlarmFiles(
            folder / "alarms",
            fps,
            wanted.clip_s,
            heat_range,
            keep=wanted.keep,
            live=live,
            say=wanted.say,
        )
        self._folder, self._name, self._fps = folder, name, fps
        self._wanted, self._live = wanted, live
        self._begun: _Begun | None = None

    def see(self, frame: int, image: np.ndarray) -> None:
        """Takes a frame [h, w, 3] uint8 RGB of the source before it is judged."""
        self.files.see(frame, image)

    def on(self, alarm: Alarm, row: FrameScore, start_utc_s: float | None) -> None:
        """An alarm is on at a row; `start_utc_s` is the UTC of its first frame, None unknown."""
        if self._begun is None:
            self.num_alarms += 1
            when = clock(alarm.event.start / self._fps).replace(":", "m")
            if start_utc_s is not None:
                when = datetime.fromtimestamp(start_utc_s, UTC).strftime("%Y%m%dT%H%M%SZ")
            stem = f"{self.num_alarms:05}_{when}"
            begun = _Begun(self.num_alarms, stem, start_utc_s, self._shown(alarm, row))
            self._begun = begun
            self.files.begin(stem, alarm.event.start, self._captioned(begun, alarm))
            self._tell("on", begun, alarm, None)
        elif alarm.event.peak == row.frame:
            self._begun.shown = self._shown(alarm, row)

    def over(self, alarm: Alarm, stop_utc_s: float | None) -> None:
        """The alarm that was on is over; its picture becomes that of its peak."""
        begun, self._begun = self._begun, None
        if begun is None:
            return
        self.files.draw(begun.stem, self._captioned(begun, alarm))
        self.files.end(alarm.event.stop)
        self._tell("over", begun, alarm, stop_utc_s)

    def close(self) -> None:
        """Waits until pictures and clips are written, for a camera a moment at most."""
        self.files.close(CLOSE_S if self._live else None)

    def _shown(self, alarm: Alarm, row: FrameScore) -> Shown:
        return Shown("", self.files.jpeg_of(row.frame), row.pictures, alarm.box)

    def _captioned(self, begun: _Begun, alarm: Alarm) -> Shown:
        when = clock(alarm.event.start / self._fps)
        if begun.utc_s is not None:
            when = f"{utc(begun.utc_s)[:19].replace('T', ' ')} UTC"
        caption = f"alarm {begun.number}   {when}   {strong(alarm)}"
        return replace(begun.shown, caption=caption, box=alarm.box)

    def _tell(self, state: str, begun: _Begun, alarm: Alarm, stop_utc_s: float | None) -> None:
        if self._wanted.tell is None:
            return
        event, over, drawn = alarm.event, state == "over", not self.files.full
        files = self._folder / "alarms" / begun.stem
        self._wanted.tell(
            {
                "state": state,
                "source": self._name,
                "number": begun.number,
                "start_utc": utc(begun.utc_s) or None,
                "end_utc": utc(stop_utc_s) or None,
                "start_s": round(event.start / self._fps, 3),
                "end_s": round(event.stop / self._fps, 3) if over else None,
                "score": _finite(event.peak_score),
                "strength": _finite(event.strength),
                "rule": event.rule,
                "cause": alarm.cause,
                "place": alarm.place,
                "box": None if alarm.box is None else [round(edge, 3) for edge in alarm.box],
                "picture": f"{files}.jpg" if drawn else None,
                "clip": f"{files}.mp4" if drawn and self._wanted.clip_s else None,
                "folder": str(self._folder),
            }
        )


def _finite(value: float) -> float | None:
    """For JSON, which has no NaN."""
    return round(value, 4) if math.isfinite(value) else None
