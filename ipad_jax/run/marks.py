"""What a person says of results: normal, fault or unsure; marks.jsonl beside them, only ever added to."""

import getpass
import json
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

NORMAL, FAULT, UNSURE = MARKS = ("normal", "fault", "unsure")
FILE = "marks.jsonl"

T = TypeVar("T")


def append_marks(folder: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Adds marks in one write, each with who made it and when.

    Raises:
      ValueError: the `mark` of a line is none; nothing is then written.
    """
    for line in lines:
        if line["mark"] not in MARKS:
            raise ValueError(f"mark {line['mark']!r}: give one of {', '.join(MARKS)}.")
    said = {"by": _user(), "utc": datetime.now(UTC).isoformat(timespec="milliseconds")}
    with (folder / FILE).open("a") as file:
        file.write("".join(json.dumps({**line, **said}) + "\n" for line in lines))


def read_marks(folder: Path, make: Callable[[dict[str, Any]], T]) -> list[T]:
    """What `make` makes of each line, in the order they were added; [] where there are none.

    Raises:
      ValueError: a line that is no mark, with its number.
    """
    path = folder / FILE
    found = []
    for number, line in enumerate(path.read_text().splitlines() if path.exists() else (), 1):
        try:
            content = json.loads(line)
            if content["mark"] not in MARKS:
                raise ValueError(f"mark {content['mark']!r}")
            found.append(make(content))
        except (TypeError, KeyError, ValueError) as error:
            raise ValueError(f"{path}, line {number}, is no mark: {error}") from error
    return found


def marked_folders(workdir: str | os.PathLike[str]) -> Sequence[Path]:
    """Folders of detections below a local run folder that have marks."""
    return sorted(path.parent for path in (Path(workdir) / "detect").rglob(FILE))


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return ""
