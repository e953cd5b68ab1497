"""Run folders as the page reads them: docs/run_folder.md says what lies in them. Nothing here is written."""

import csv
import hashlib
import io
import json
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ipad_jax.web.jobs import read_from
from ipad_jax.web.settings import NotThereError, within

MOST_FOLDERS = 5000  # looked at in search of runs
DEPTH = 4  # below a root
STEP_BYTES = 20_000  # of metrics.jsonl in which its last step is
# Files that may be fetched, below a run folder.
FETCHED = re.compile(
    r"(eval/[^/]+/(report\.html|[^/]+\.webm|metrics\.json)"
    r"|detect/[^/]+/([^/]+/)?(timeline\.png|events\.csv|scores\.csv|results\.csv|side_by_side\.webm"
    r"|alarms/[^/]+\.(jpg|mp4)|overlays/.+\.jpg))"
)
MARKS = ("normal", "fault", "unsure")


@dataclass(frozen=True)
class Run:
    """A run folder.

    Attributes:
      id: names it in addresses.
      folder: resolved.
      name: its path below the root.
      config: every leaf.
    """

    id: str
    folder: Path
    name: str
    config: dict[str, Any]

    @property
    def family(self) -> str:
        """video, image or pose."""
        return str(self.config.get("task", "")).partition(".")[0]

    @property
    def judges_images(self) -> bool:
        """Whether it judges single images, not videos."""
        return self.family in ("image", "pose")

    @property
    def method(self) -> str:
        """The method's name."""
        return str(self.config.get("task", "")).rpartition(".")[2]

    @property
    def data(self) -> str:
        """The dataset's name."""
        data = self.config.get("data")
        return str(data.get("name", "")) if isinstance(data, dict) else ""

    @property
    def total_steps(self) -> int:
        """Steps that were planned; 0 where there are none."""
        steps = self.config.get("total_steps")
        return steps if isinstance(steps, int) else 0

    @property
    def step(self) -> int | None:
        """The last step that was logged."""
        text, _ = read_from(self.folder / "metrics.jsonl", -STEP_BYTES)
        steps = [step for row in _objects(text) if isinstance(step := row.get("step"), int)]
        return steps[-1] if steps else None

    def metrics(self) -> list[dict[str, Any]]:
        """Lines of metrics.jsonl; one that is being written, or damaged, is left out."""
        return list(json_lines(self.folder / "metrics.jsonl"))

    def evaluations(self) -> dict[str, dict[str, Any]]:
        """metrics.json of each evaluation, the run's own first."""
        found = {}
        for path in sorted(self.folder.glob("eval/*/metrics.json")):
            if content := read_object(path):
                found[path.parent.name] = content
        return dict(sorted(found.items(), key=lambda item: item[0] not in ("strict", "test")))

    def reports(self) -> list[str]:
        """Names of evaluations that have a report."""
        return [path.parent.name for path in sorted(self.folder.glob("eval/*/report.html"))]

    def calibrations(self) -> list["Set"]:
        """Calibrations, the one in force first: the newest on other footage, else the run's own."""
        found = []
        for path in self.folder.glob("calibrations/*/calibration.json"):
            listed = read_json(path.parent / "footage.json")
            entries = listed if isinstance(listed, list) else []
            added = [str(entry.get("added", "")) for entry in entries if isinstance(entry, dict)]
            if content := read_object(path):
                found.append(Set(path.parent.name, max(added, default=""), content))
        found.sort(key=lambda one: one.added, reverse=True)
        own = read_object(self.folder / "calibration.json")
        return [*found, Set("held_out", "", own)] if own else found

    def image_calibrations(self) -> list[str]:
        """Names of those of a run on images, the newest first, which is in force."""
        files = list(self.folder.glob("calibrations/*/calibration.npz"))
        names = [p.parent.name for p in sorted(files, key=lambda p: -p.stat().st_mtime)]
        return [*names, *(["held_out"] if (self.folder / "calibration.npz").exists() else [])]

    def detections(self) -> list["Detection"]:
        """What `detect` wrote, the newest first."""
        folders = {p.parent for p in self.folder.glob("detect/*/*.csv")}
        folders |= {p.parent for p in self.folder.glob("detect/*/*/*.csv")}
        found = [Detection(self, folder.relative_to(self.folder).as_posix()) for folder in folders]
        return sorted(found, key=lambda one: one.changed, reverse=True)

    def detection(self, name: str) -> "Detection":
        """One of them by its path below the run.

        Raises:
          NotThereError: there is none.
        """
        folder = within(self.folder, name)
        found = Detection(self, folder.relative_to(self.folder).as_posix())
        if not re.fullmatch(r"detect/[^/]+(/[^/]+)?", found.name) or not folder.is_dir():
            raise NotThereError("there is no such detection.")
        return found

    def file(self, name: str) -> Path:
        """A file that may be fetched.

        Raises:
          NotThereError: it is none of them, or is not there.
        """
        path = within(self.folder, name)
        inside = path.relative_to(self.folder).as_posix()
        if not FETCHED.fullmatch(inside) or not path.is_file():
            raise NotThereError("there is no such file.")
        return path


@dataclass(frozen=True)
class Set:
    """A calibration: where thresholds are set. `content` is calibration.json."""

    name: str
    added: str
    content: dict[str, Any]

    def number(self, section: str, key: str) -> float:
        """A number of it; NaN where it has none."""
        found = self.content.get(section)
        return _float(found.get(key)) if isinstance(found, dict) else math.nan  # "inf" among them

    def says(self, section: str, key: str) -> bool:
        """Whether a switch of it is on."""
        return self.number(section, key) == 1


@dataclass(frozen=True)
class Event:
    """A row of events.csv: number from 1, columns, the mark that counts, names of picture and clip."""

    number: int
    text: dict[str, str]
    mark: str
    picture: str
    clip: str

    @property
    def start_s(self) -> float:
        """Seconds from the source's first frame."""
        return _float(self.text.get("start_s"))

    @property
    def strength(self) -> float:
        """Times the threshold; NaN where the file has none."""
        return _float(self.text.get("strength"))

    @property
    def end_s(self) -> float:
        """The same of its end."""
        return _float(self.text.get("end_s"))


@dataclass(frozen=True)
class Detection:
    """A folder that `detect` wrote.

    Attributes:
      run: of it.
      name: path below the run folder.
    """

    run: Run
    name: str

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self.run.folder / self.name

    @property
    def title(self) -> str:
        """Without `detect/`, an upload without the random part of its name."""
        return re.sub("-[0-9a-f]{16}$", "", self.name.partition("/")[2])

    @property
    def changed(self) -> float:
        """When something was last written, seconds since 1970."""
        times = [p.stat().st_mtime for p in self.folder.glob("*.csv") if p.exists()]
        return max(times, default=0.0)

    def has(self, name: str) -> bool:
        """Whether a file is there."""
        return (self.folder / name).is_file()

    def events(self) -> list[Event]:
        """Rows of events.csv with their marks and pictures."""
        rows = read_csv(self.folder / "events.csv")
        marks = list(json_lines(self.folder / "marks.jsonl"))
        pictures = {p.name: p.name for p in self.folder.glob("alarms/*")}
        found = []
        for number, row in enumerate(rows, 1):
            prefix = f"{int(row['number']) if row.get('number', '').isdigit() else number:05d}_"
            of = [name for name in sorted(pictures) if name.startswith(prefix)]
            found.append(
                Event(
                    number,
                    row,
                    _mark_of(row, marks),
                    next((name for name in of if name.endswith(".jpg")), ""),
                    next((name for name in of if name.endswith(".mp4")), ""),
                )
            )
        return found

    def images(self) -> list[dict[str, str]]:
        """Rows of results.csv: those that were not judged, without a score, then the most anomalous first.

        Besides the columns: `number` from 1 in the file, `title`, `mark` that counts, and the files `overlay`
        and `rebuilt` below the folder or "".
        """
        rows = read_csv(self.folder / "results.csv")
        marks = self._marks_of_images()
        for number, row in enumerate(rows, 1):
            image = row.get("image", "")
            row |= {"number": str(number), "mark": marks.get(image, "")}
            row["title"] = re.sub(r"-[0-9a-f]{16}(?=\.\w+$)", "", image)  # of an upload
            for name, end in (("overlay", ".jpg"), ("rebuilt", ".rebuilt.jpg")):
                path = f"overlays/{image}{end}"
                row[name] = path if (self.folder / path).is_file() else ""
        return sorted(rows, key=lambda row: -_float(row.get("score") or "inf"))

    def _marks_of_images(self) -> dict[str, str]:
        """The mark of each image that has one; copies of an image share their last (image/marks.py)."""
        last: dict[str, dict[str, Any]] = {}
        for line in json_lines(self.folder / "marks.jsonl"):
            content = str(line.get("sha256"))
            last.pop(content, None)
            last[content] = line
        found = {str(line.get("image")): line.get("mark") for line in last.values()}
        return {image: mark for image, mark in found.items() if mark in MARKS}


def _mark_of(row: dict[str, str], marks: Sequence[dict[str, Any]]) -> str:
    """The last mark that overlaps an event in time."""
    start, end = _float(row.get("start_s")), _float(row.get("end_s"))
    said = [
        m.get("mark", "")
        for m in marks
        if _float(m.get("start_s")) < end and start < _float(m.get("end_s"))
    ]
    return said[-1] if said and said[-1] in MARKS else ""


def _float(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def find_runs(roots: Sequence[Path]) -> list[Run]:
    """Run folders below the roots, the newest first; links and folders with a dot are passed over."""
    found = {}
    for root in roots:
        for folder in _folders(root):
            if run := _run_at(root, folder):
                found.setdefault(folder, run)
    return sorted(found.values(), key=lambda run: -_changed(run.folder))


def _changed(folder: Path) -> float:
    """When a run was last written; 0 where it is being removed."""
    try:
        return max(
            path.stat().st_mtime
            for name in ("config.json", "metrics.jsonl", ".")
            if (path := folder / name).exists()
        )
    except (OSError, ValueError):
        return 0.0


def find_run(roots: Sequence[Path], name: str) -> Run:
    """A run by its id.

    Raises:
      NotThereError: there is none.
    """
    for run in find_runs(roots):
        if run.id == name:
            return run
    raise NotThereError("there is no such run.")


def run_id(folder: Path) -> str:
    """Names a run folder in addresses, the same after every start."""
    return hashlib.sha256(str(folder).encode()).hexdigest()[:12]


def _run_at(root: Path, folder: Path) -> Run | None:
    config = read_object(folder / "config.json")
    if "task" not in config:
        return None
    relative = folder.relative_to(root).as_posix()
    return Run(run_id(folder), folder, root.name if relative == "." else relative, config)


def _folders(root: Path) -> Iterator[Path]:
    """Folders that may be runs: a run's own folders are not looked into."""
    waiting, seen = [(root, 0)], 0
    while waiting and seen < MOST_FOLDERS:
        folder, depth = waiting.pop(0)
        seen += 1
        try:
            with os.scandir(folder) as entries:
                inner = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            continue
        if any(entry.name == "config.json" for entry in inner):
            yield folder
            continue
        if depth < DEPTH:
            waiting += [
                (folder / entry.name, depth + 1)
                for entry in inner
                if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)
            ]


def read_json(path: Path) -> Any:
    """A JSON file's content; None where there is none or it is damaged."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return None


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file; {} where there is none."""
    found = read_json(path)
    return found if isinstance(found, dict) else {}


def json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Objects of a file with one a line; what is none is left out."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return
    yield from _objects(text)


def _objects(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        try:
            content = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(content, dict):
            yield content


def read_csv(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file; [] where there is none. A row that is being written lacks columns, which are ""."""
    try:
        rows = csv.DictReader(io.StringIO(path.read_text(errors="replace")), restval="")
        return [{k: v for k, v in row.items() if isinstance(k, str)} for row in rows]
    except (OSError, csv.Error):
        return []
