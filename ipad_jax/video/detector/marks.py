"""What a person says of a detection's events: normal, fault or unsure; marks.jsonl beside events.csv.

Marks are only ever added. Each says when its event was and of which source, so it outlives an events.csv that
a later detection replaces; where marks of one source overlap in time, the last one counts.
"""

import csv
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ipad_jax.input.live import FrameFolder, VideoFile
from ipad_jax.run.files import write_atomic
from ipad_jax.run.marks import append_marks, read_marks

TABLE, SOURCE = "events.csv", "source.json"


@dataclass(frozen=True)
class Source:
    """The file or folder of frames that a detection read.

    Attributes:
      path: absolute; "" of a camera.
      size: bytes of the file, or files of the folder.
      fps: frames a second, where a person gave them; None: the file's own.
    """

    path: str = ""
    size: int = 0
    fps: float | None = None


@dataclass(frozen=True)
class Listed:
    """A row of events.csv.

    Attributes:
      start_s, end_s: seconds from the source's first frame.
      text: columns as they are there.
      mark: what was last said of it; "" nothing.
    """

    start_s: float
    end_s: float
    text: dict[str, str]
    mark: str = ""
    alarm = True  # an event is one

    def describe(self, number: int) -> str:
        """One line, for a person."""
        text = self.text
        utc = f"   {text['start_utc'][:19].replace('T', ' ')} UTC" if text.get("start_utc") else ""
        strength = f"{text['strength']} x threshold" if text.get("strength") else ""
        what = ", ".join(w for w in (strength, text.get("cause"), text.get("place")) if w)
        times = f"{self.start_s:9.1f} to {self.end_s:9.1f} s"
        return f"{number:>4}  {self.mark or '-':<6}  {times}{utc}   {what}".rstrip()


@dataclass(frozen=True)
class Mark:
    """What a person said of an event.

    Attributes:
      start_s, end_s: of the event, in seconds from the source's first frame.
      mark: one of `run.marks.MARKS`.
      by, utc: who said it, and when.
      source: of the event.
      folder: of the detection, which holds its scores.csv.
    """

    start_s: float
    end_s: float
    mark: str
    by: str
    utc: str
    source: Source
    folder: Path

    @property
    def key(self) -> str:
        """Names the event among all, 12 hexadecimal digits."""
        of = self.source.path or str(self.folder.resolve())
        text = json.dumps([of, self.start_s, self.end_s])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def overlaps(self, start_s: float, end_s: float, source: Source, folder: Path) -> bool:
        """Whether a stretch of a source shares time with it; a camera's times are those of one folder."""
        same = self.source.path == source.path and bool(source.path or self.folder == folder)
        return same and self.start_s < end_s and start_s < self.end_s


def write_source(folder: Path, source: VideoFile | FrameFolder) -> None:
    """Writes down which file or folder a detection read."""
    if isinstance(source, FrameFolder):
        size, fps = len(source.files), source.fps
    else:
        size, fps = source.path.stat().st_size, source.fps if source.rate_given else None
    found = Source(str(source.path.resolve()), size, fps)
    write_atomic(folder / SOURCE, (json.dumps(asdict(found)) + "\n").encode())


def source_of(folder: Path) -> Source:
    """What a detection read; that of a camera where nothing was written down."""
    path = folder / SOURCE
    return Source(**json.loads(path.read_text())) if path.exists() else Source()


def listed(events: Path) -> list[Listed]:
    """The events of an events.csv, each with its mark.

    Raises:
      FileNotFoundError: no such file.
      ValueError: it is no events.csv.
    """
    if not events.is_file():
        raise FileNotFoundError(
            f"{events} does not exist; give the events.csv that `ipad-jax detect` wrote."
        )
    folder = events.parent
    source, marks = source_of(folder), marks_of(folder)
    found = []
    try:
        with events.open(newline="") as file:
            rows = csv.DictReader(file)
            if "start_s" not in (rows.fieldnames or ()):
                raise ValueError("it has no column start_s")
            for row in rows:
                start_s, end_s = float(row["start_s"]), float(row["end_s"])
                said = [m.mark for m in marks if m.overlaps(start_s, end_s, source, folder)]
                found.append(Listed(start_s, end_s, row, said[-1] if said else ""))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{events} is not an events.csv of `ipad-jax detect`: {error}") from error
    return found


def add_marks(events: Path, marks: Mapping[int, str]) -> list[Listed]:
    """Adds marks to the file beside an events.csv, in one write.

    Args:
      events: the events.csv.
      marks: one of `run.marks.MARKS` by the event's number, counted from 1.

    Returns:
      The events with their marks.

    Raises:
      ValueError: no such event or mark; nothing is then written.
    """
    found, source = listed(events), source_of(events.parent)
    lines = []
    for number, mark in marks.items():
        if not 1 <= number <= len(found):
            raise ValueError(f"there is no event {number}: {events} has 1 to {len(found)}.")
        event = found[number - 1]
        times = {"start_s": event.start_s, "end_s": event.end_s}
        lines.append({**times, "mark": mark, "source": asdict(source)})
    append_marks(events.parent, lines)
    return listed(events)


def marks_of(folder: Path) -> list[Mark]:
    """Marks of a detection that count, in the order they were made; [] where there are none.

    Raises:
      ValueError: a line that is none, with its number.
    """

    def make(content: dict[str, Any]) -> Mark:
        source = Source(**content.pop("source"))
        return Mark(**content, source=source, folder=folder)

    return counting(read_marks(folder, make))


def counting(marks: Iterable[Mark]) -> list[Mark]:
    """Of marks in the order they were made, those that no later one overlaps."""
    found: list[Mark] = []
    for mark in marks:
        stretch = (mark.start_s, mark.end_s, mark.source, mark.folder)
        found = [m for m in found if not m.overlaps(*stretch)]
        found.append(mark)
    return found
