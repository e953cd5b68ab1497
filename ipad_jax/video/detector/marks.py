"""What a person says of a detection's events: normal, fault or unsure; marks.jsonl beside events.csv.

Marks are only ever added. Each says when its event was and of which source, so it outlives an events.csv that
a later detection replaces; where marks of one source overlap in time, the last one counts.
"""

import csv
import getpass
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from ipad_jax.input.live import FrameFolder, VideoFile
from ipad_jax.run.files import write_atomic

NORMAL, FAULT, UNSURE = MARKS = ("normal", "fault", "unsure")
FILE, SOURCE = "marks.jsonl", "source.json"


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


@dataclass(frozen=True)
class Mark:
    """What a person said of an event.

    Attributes:
      start_s, end_s: of the event, in seconds from the source's first frame.
      mark: one of `MARKS`.
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


def listed_events(events: Path) -> list[Listed]:
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
      marks: one of `MARKS` by the event's number, counted from 1.

    Returns:
      The events with their marks.

    Raises:
      ValueError: no such event or mark; nothing is then written.
    """
    found, source = listed_events(events), source_of(events.parent)
    lines = []
    for number, mark in marks.items():
        if not 1 <= number <= len(found):
            raise ValueError(f"there is no event {number}: {events} has 1 to {len(found)}.")
        if mark not in MARKS:
            raise ValueError(f"mark {mark!r} of event {number}: give one of {', '.join(MARKS)}.")
        event = found[number - 1]
        line = {
            "start_s": event.start_s,
            "end_s": event.end_s,
            "mark": mark,
            "by": _user(),
            "utc": datetime.now(UTC).isoformat(timespec="seconds"),
            "source": asdict(source),
        }
        lines.append(json.dumps(line) + "\n")
    with (events.parent / FILE).open("a") as file:
        file.write("".join(lines))
    return listed_events(events)


def marks_of(folder: Path) -> list[Mark]:
    """Marks of a detection that count, in the order they were made; [] where there are none.

    Raises:
      ValueError: a line that is none, with its number.
    """
    path = folder / FILE
    found: list[Mark] = []
    for number, line in enumerate(path.read_text().splitlines() if path.exists() else (), 1):
        try:
            content = json.loads(line)
            source = Source(**content.pop("source"))
            mark = Mark(**content, source=source, folder=folder)
            if mark.mark not in MARKS:
                raise ValueError(f"mark {mark.mark!r}")
        except (TypeError, KeyError, ValueError) as error:
            raise ValueError(f"{path}, line {number}, is no mark: {error}") from error
        found.append(mark)
    return counting(found)


def counting(marks: Iterable[Mark]) -> list[Mark]:
    """Of marks in the order they were made, those that no later one overlaps."""
    found: list[Mark] = []
    for mark in marks:
        stretch = (mark.start_s, mark.end_s, mark.source, mark.folder)
        found = [m for m in found if not m.overlaps(*stretch)]
        found.append(mark)
    return found


def marked_folders(workdir: str | os.PathLike[str]) -> Sequence[Path]:
    """Folders of detections below a local run folder that have marks."""
    return sorted(path.parent for path in (Path(workdir) / "detect").rglob(FILE))


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return ""
