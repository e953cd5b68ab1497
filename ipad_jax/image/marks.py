"""What a person says of images that were judged; marks.jsonl beside results.csv.

An image is known by its content: a mark counts wherever a copy of it is judged again, and the last mark of it
counts.
"""

import csv
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ipad_jax.run.files import write_atomic
from ipad_jax.run.marks import append_marks, read_marks

TABLE, SOURCE = "results.csv", "source.json"


@dataclass(frozen=True)
class Listed:
    """A row of results.csv.

    Attributes:
      image: its name there.
      score: of its map; NaN where the image was not judged.
      alarm: whether it was one.
      mark: what was last said of it; "" nothing.
    """

    image: str
    score: float
    alarm: bool
    mark: str = ""

    def describe(self, number: int) -> str:
        """One line, for a person."""
        alarm = "alarm" if self.alarm else ""
        return f"{number:>4}  {self.mark or '-':<6}  {self.score:9.4g}  {alarm:<5}  {self.image}"


@dataclass(frozen=True)
class Mark:
    """What a person said of an image.

    Attributes:
      image: its name in results.csv.
      path: absolute, as it was when marked.
      sha256: of the file's bytes.
      mark: one of `run.marks.MARKS`.
      by, utc: who said it, and when.
      folder: of the detection.
    """

    image: str
    path: str
    sha256: str
    mark: str
    by: str
    utc: str
    folder: Path


def write_source(folder: Path, place: Path) -> None:
    """Writes down which file or folder of images a detection read."""
    write_atomic(folder / SOURCE, (json.dumps({"path": str(place.resolve())}) + "\n").encode())


def listed(results: Path) -> list[Listed]:
    """The images of a results.csv, each with its mark.

    Raises:
      FileNotFoundError: no such file.
      ValueError: it is no results.csv.
    """
    if not results.is_file():
        raise FileNotFoundError(
            f"{results} does not exist; give the results.csv that `ipad-jax detect --images` wrote."
        )
    marks = {mark.image: mark.mark for mark in marks_of(results.parent)}
    try:
        with results.open(newline="") as file:
            return [
                Listed(
                    row["image"],
                    float(row["score"] or "nan"),
                    bool(int(row["alarm"] or 0)),
                    marks.get(row["image"], ""),
                )
                for row in csv.DictReader(file)
            ]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{results} is not a results.csv of `ipad-jax detect --images`: no {error}"
        ) from error


def add_marks(results: Path, marks: Mapping[int, str]) -> list[Listed]:
    """Adds marks to the file beside a results.csv, in one write.

    Args:
      results: the results.csv.
      marks: one of `run.marks.MARKS` by the image's number, counted from 1.

    Returns:
      The images with their marks.

    Raises:
      FileNotFoundError: an image is no longer there.
      ValueError: no such image or mark, or nobody wrote down where the images are; nothing is then written.
    """
    found, lines = listed(results), []
    source = results.parent / SOURCE
    if not source.is_file():
        raise ValueError(f"{source} is missing: judge the images again with `ipad-jax detect`.")
    place = Path(json.loads(source.read_text())["path"])
    for number, mark in marks.items():
        if not 1 <= number <= len(found):
            raise ValueError(f"there is no image {number}: {results} has 1 to {len(found)}.")
        image = found[number - 1].image
        path = place / image if place.is_dir() else place
        lines.append({"image": image, "path": str(path), "sha256": digest(path), "mark": mark})
    append_marks(results.parent, lines)
    return listed(results)


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def marks_of(folder: Path) -> list[Mark]:
    """Marks of a detection that count, in the order they were made; [] where there are none.

    Raises:
      ValueError: a line that is none, with its number.
    """
    return counting(read_marks(folder, lambda content: Mark(**content, folder=folder)))


def counting(marks: Iterable[Mark]) -> list[Mark]:
    """Of marks in the order they were made, the last one of each image."""
    found: dict[str, Mark] = {}
    for mark in marks:
        found.pop(mark.sha256, None)
        found[mark.sha256] = mark
    return list(found.values())
