"""Folders of numbered images: their order, and what would make it a guess."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

from ipad_jax.data_builders.files import IMAGE_SUFFIXES, Problem

IGNORED_FILES = ("thumbs.db", "desktop.ini")  # and every hidden file
MANY_STRANGERS = 3  # of one folder; more are counted, not named


def frame_number(path: Path) -> int | None:
    """Frame number of an image file: the digits its name ends with."""
    match = re.search(r"(\d+)$", path.stem)
    return int(match[1]) if match and path.suffix.lower() in IMAGE_SUFFIXES else None


def numbered(folder: Path, problems: list[Problem]) -> list[tuple[int, Path]]:
    """Frame files with their numbers, in numeric order; reports gaps, strangers and twins."""
    found: dict[int, Path] = {}
    strangers: list[Path] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name.lower() in IGNORED_FILES:
            continue
        number = frame_number(path)
        if number is None:
            strangers.append(path)
            continue
        if number in found:
            problems.append(
                Problem(path, f"has the same frame number as {found[number].name}; keep one")
            )
            continue
        if path.stat().st_size == 0:
            problems.append(Problem(path, "is empty (0 bytes); copy the file again"))
        found[number] = path
    if len(strangers) > MANY_STRANGERS:
        suffixes = ", ".join(sorted({path.suffix or "no ending" for path in strangers})[:5])
        text = f"{len(strangers)} files are no numbered images (such as 0012.jpg) but {suffixes}; "
        problems.append(Problem(folder, text + f"read are {', '.join(IMAGE_SUFFIXES)}"))
    else:
        problems += [
            Problem(path, "is no numbered image (such as 0012.jpg); take it away")
            for path in strangers
        ]
    return sorted(found.items())


def numbered_frames(folder: Path, problems: list[Problem]) -> list[tuple[int, Path]]:
    """Every frame of one folder with its number, in order; reports what would make the order a guess.

    `ipad-jax detect` reads folders by the same code.
    """
    files = numbered(folder, problems)
    numbers = [number for number, _ in files]
    n = len(files)
    if not files:
        problems.append(Problem(folder, "holds no frames; expected 0.jpg, 1.jpg, ..."))
    elif missing := gaps(numbers):
        message = f"gap in frame numbers: {numbers[0]}..{numbers[-1]} but {n} files, "
        if 2 * len(missing) < n:
            message += f"missing {as_ranges(missing)}; restore them or split the folder in two"
        else:
            message += (
                f"{len(missing)} gaps: the names look like times, not frame numbers; "
                "rename the files 0, 1, 2, ... in order"
            )
        problems.append(Problem(folder, message))
    return files


def gaps(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """First and last number of each gap in rising numbers: [3, 4, 8, 10] -> [(5, 7), (9, 9)].

    Takes no memory for what is missing: a name may be a time in nanoseconds.
    """
    return [(a + 1, b - 1) for a, b in itertools.pairwise(numbers) if b > a + 1]


def as_ranges(ranges: Sequence[tuple[int, int]]) -> str:
    """[(5, 7), (9, 9)] -> '5-7, 9'."""
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in ranges)
