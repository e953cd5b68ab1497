"""What a person says of a video, in a file beside it: which frames or which seconds are faulty.

    <name>.npy            one number a frame, 0 normal, 1 or 255 faulty; or masks [n, h, w], whose
                          frames are faulty where any pixel is set
    <name>.csv or .txt    one number a line as above; or a line `start_s,end_s[,kind]` for each
                          fault, in seconds from the first frame, a heading or not

Separators are commas, semicolons or tabs; lines end as on any system.
"""

from __future__ import annotations

import csv
import dataclasses
import math
from pathlib import Path

import numpy as np

from ipad_jax.data_builders.files import Problem

LABEL_SUFFIXES = (".npy", ".csv", ".txt")
EXPECTED = "expected one 0 or 1 a line, or lines of start_s,end_s[,kind]"
NORMAL = "normal"
NORMAL_NAMES = (NORMAL, "good", "ok")  # of folders and kinds, compared without regard to case
BEYOND_S = 1.0  # by which a fault may end after its video: times are written by hand


def is_normal(name: str) -> bool:
    """Whether a folder or a kind of this name means that nothing is wrong."""
    return name.casefold() in NORMAL_NAMES


@dataclasses.dataclass(frozen=True)
class Span:
    """One fault, from `start_s` to before `end_s`; kind is "" where the file does not say."""

    start_s: float
    end_s: float
    kind: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class Labels:
    """Labels of a video: int8 [n] of 0 and 1, one a frame, or spans of time; one of the two is None.

    has_masks: they come from pixel masks.
    """

    frames: np.ndarray | None
    spans: tuple[Span, ...] | None = None
    has_masks: bool = False

    def of(self, times: np.ndarray) -> tuple[np.ndarray, list[str]]:
        """Labels int8 of frames at `times` [n] (seconds), and the kind of each, "" unknown or normal.

        Labels of frames are handed out as they are, whatever their number.
        Raises: ValueError where a fault lies after the video's end.
        """
        if self.frames is not None:
            return self.frames, [""] * len(self.frames)
        labels, kinds = np.zeros(len(times), np.int8), [""] * len(times)
        end_s = float(times[-1]) if len(times) else 0.0
        for span in self.spans or ():
            if span.start_s > end_s or span.end_s > end_s + BEYOND_S:
                raise ValueError(
                    f"says {span.start_s:g} to {span.end_s:g} s, the video ends at {end_s:.2f} s; "
                    "give seconds, not frame numbers"
                )
            if is_normal(span.kind):
                continue
            for i in np.flatnonzero((times >= span.start_s) & (times < span.end_s)):
                labels[i], kinds[i] = 1, span.kind
        return labels, kinds


def label_file(folder: Path, name: str, problems: list[Problem]) -> Path | None:
    """The file that labels a video of a folder; two of them are a problem."""
    found = [path for suffix in LABEL_SUFFIXES if (path := folder / f"{name}{suffix}").is_file()]
    if len(found) > 1:
        problems.append(Problem(found[1], f"labels what {found[0].name} labels too; keep one"))
    return found[0] if found else None


def read_labels(path: Path) -> Labels:
    """Reads a label file.

    Raises: ValueError saying what is wrong, without the file's name; objects are never unpickled.
    """
    return _read_array(path) if path.suffix == ".npy" else _read_text(path)


def read_mask(path: Path, index: int) -> np.ndarray:
    """The mask of one frame, [h, w, 1] uint8 of 0 and 255, from a .npy of masks [n, h, w]."""
    mask = np.load(path, allow_pickle=False, mmap_mode="r")[index]
    faulty = np.any(mask.reshape(*mask.shape[:2], -1), axis=2, keepdims=True)
    return faulty.astype(np.uint8) * 255


def _read_array(path: Path) -> Labels:
    """Labels or masks of a .npy file."""
    try:
        # Mapped: masks of a long video are gigabytes.
        array = np.load(path, allow_pickle=False, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(
            f"not a plain array of numbers ({error}); expected a 1-D .npy of 0 and 1, "
            "files holding Python objects are never opened"
        ) from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        raise ValueError(f"holds {getattr(array, 'dtype', type(array))}; expected numbers 0 and 1")
    if array.ndim >= 3 and min(array.shape[1:3]) > 1:
        faulty = [bool(np.any(mask)) for mask in array]
        return Labels(np.array(faulty, np.int8), has_masks=True)
    array = np.squeeze(array)
    values = np.unique(array)
    if array.ndim != 1 or not _are_labels(values):
        raise ValueError(
            f"shape {array.shape}, values {values[:5].tolist()}; expected 1-D, only 0 and 1 (or 0 and "
            "255), or masks [n, h, w]"
        )
    return Labels((array != 0).astype(np.int8))


def _are_labels(values: np.ndarray) -> bool:
    """Whether numbers are 0 and 1, or 0 and 255."""
    return bool(np.isin(values, (0, 1)).all() or np.isin(values, (0, 255)).all())


def _read_text(path: Path) -> Labels:
    """Labels of a text file."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except ValueError as error:
        raise ValueError(f"is no UTF-8 text; {EXPECTED}") from error
    mark = next((mark for mark in ";\t" if mark in text), ",")
    comma_decimals = mark != ","
    rows = [
        [cell.strip().replace(",", ".") if comma_decimals else cell.strip() for cell in row]
        for row in csv.reader(text.splitlines(), delimiter=mark)
    ]
    rows = [row for row in rows if any(row)]
    if not rows:
        raise ValueError(f"is empty; {EXPECTED}")
    heading = rows[0] if _number(rows[0][0]) is None else None
    rows = rows[1:] if heading else rows
    if heading and len(heading) > 1 and not _names_spans(heading):
        raise ValueError(f"has the heading {','.join(heading)!r}; {EXPECTED}")
    if heading and not rows and len(heading) == 1:
        raise ValueError(f"holds no number; {EXPECTED}")
    first = 2 if heading else 1
    spans = len(heading or rows[0]) > 1
    if spans:
        return Labels(None, tuple(_span(row, i) for i, row in enumerate(rows, first)))
    numbers = [_number(row[0]) if len(row) == 1 else None for row in rows]
    for i, number in enumerate(numbers, first):
        if number not in (0, 1, 255):
            raise ValueError(f"line {i} is {','.join(rows[i - first])!r}; {EXPECTED}")
    array = np.array(numbers)
    if not _are_labels(np.unique(array)):
        raise ValueError(f"mixes 1 and 255; {EXPECTED}")
    return Labels((array != 0).astype(np.int8))


def _names_spans(heading: list[str]) -> bool:
    """Whether a heading's first two columns are a start and an end."""
    return "start" in heading[0].casefold() and "end" in heading[1].casefold()


def _span(row: list[str], line: int) -> Span:
    """A fault of a text file's row."""
    start_s, end_s = (_number(cell) for cell in (*row, "")[:2])
    if not 2 <= len(row) <= 3 or start_s is None or end_s is None or not 0 <= start_s < end_s:
        raise ValueError(
            f"line {line} is {','.join(row)!r}; {EXPECTED}, seconds from the first frame, the end "
            "after the start"
        )
    return Span(start_s, end_s, row[2] if len(row) == 3 else "")


def _number(text: str) -> float | None:
    """A finite number, or None."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
