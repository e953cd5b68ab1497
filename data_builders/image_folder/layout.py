"""Which images a folder in MVTec AD's layout holds, their kinds and masks; opens none of them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

from ipad_jax.data_builders.files import Problem
from ipad_jax.data_builders.photos import SUFFIXES, is_photo

GOOD = "good"
MASKS = "ground_truth"  # folder of masks
TREE = """
    DIR/train/good/<name>.png                good images; a folder of images alone is taken as these
    DIR/test/good/<name>.png                 optional
    DIR/test/<defect>/<name>.png             optional
    DIR/ground_truth/<defect>/<name>_mask.png    optional: white on the defect, as large as its image
An archive of many categories has one such folder a category: name it with --category."""


@dataclasses.dataclass(frozen=True)
class Photo:
    """An image before it is opened; `kind` is "good" or the name of a defect."""

    path: Path
    kind: str = GOOD
    mask: Path | None = None


@dataclasses.dataclass(frozen=True)
class Layout:
    """The images of a folder; masks that belong to none of them are in `unpaired`."""

    train: tuple[Photo, ...]
    test: tuple[Photo, ...]
    unpaired: tuple[Path, ...] = ()

    @property
    def kinds(self) -> tuple[str, ...]:
        """`good` and the defects, by name."""
        return (GOOD, *sorted({photo.kind for photo in self.test} - {GOOD}))


def category_folder(source: Path, category: str) -> Path:
    """The folder of a category of an archive, `source` itself for "".

    Raises: FileNotFoundError naming the categories that are there.
    """
    if not source.is_dir():
        raise FileNotFoundError(f"{source}: no such folder. Expected:{TREE}")
    if not category:
        return source
    if not (source / category).is_dir():
        there = ", ".join(categories(source)) or "none"
        raise FileNotFoundError(f"{source} has no category {category!r}; there are: {there}.")
    return source / category


def categories(source: Path) -> list[str]:
    """Folders of an archive that have a train/ of their own."""
    return sorted(p.name for p in source.iterdir() if (p / "train").is_dir())


def scan(source: Path) -> tuple[Layout, list[Problem]]:
    """What a folder holds, and what is wrong with it.

    Raises: FileNotFoundError where it has no such layout at all.
    """
    if not source.is_dir():
        raise FileNotFoundError(f"{source}: no such folder. Expected:{TREE}")
    problems: list[Problem] = []
    train_folder = source / "train"
    if not train_folder.is_dir():
        loose = photos_in(source)
        if loose and not (source / "test").is_dir():
            return Layout(tuple(map(Photo, loose)), ()), []
        if found := categories(source):
            raise FileNotFoundError(
                f"{source} holds {len(found)} categories: name one of them with --category: "
                f"{', '.join(found)}."
            )
        raise FileNotFoundError(f"{source}: has no train/good with images. Expected:{TREE}")
    good = photos_in(train_folder / GOOD) or photos_in(train_folder)
    if not good:
        problems.append(Problem(train_folder / GOOD, f"holds no image ({', '.join(SUFFIXES)})"))
    problems += [
        Problem(folder, "training images are good ones alone: move these to test/ of their defect")
        for folder in _folders(train_folder)
        if folder.name != GOOD and photos_in(folder)
    ]
    test, masks = [], set()
    if loose := photos_in(source / "test"):
        problems.append(
            Problem(
                source / "test",
                f"{len(loose)} images lie outside test/good and test/<defect>, so nobody knows what they are",
            )
        )
    for folder in _folders(source / "test"):
        truth = _masks(source / MASKS / folder.name)
        for path in photos_in(folder):
            mask = truth.get(f"{path.stem}_mask", truth.get(path.stem))
            if mask:
                masks.add(mask)
            test.append(Photo(path, folder.name, mask if folder.name != GOOD else None))
    unpaired = [
        mask
        for folder in _folders(source / MASKS)
        if folder.name != GOOD
        for mask in _masks(folder).values()
        if mask not in masks
    ]
    return Layout(tuple(map(Photo, good)), tuple(test), tuple(unpaired)), problems


def photos_in(folder: Path) -> list[Path]:
    """Image files of a folder, 2.png before 10.png."""
    if not folder.is_dir():
        return []
    return sorted((p for p in folder.iterdir() if p.is_file() and is_photo(p)), key=_key)


def _masks(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in photos_in(folder)}


def _folders(folder: Path) -> Sequence[Path]:
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _key(path: Path) -> list[tuple[int, str]]:
    """Sorts numbers in names by their value."""
    return [
        (int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)
    ]
