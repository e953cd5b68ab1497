"""Reader of IPAD's folder layout, with optional sidecar files; knows nothing of TFDS.

    <scene>/training/frames/<NN>/<frame>.jpg      normal only; in IPAD one folder is one cycle
    <scene>/testing/frames/<NN>/<frame>.jpg
    <scene>/test_label/<NNN>.npy                  one 0/1 a frame, 1 = anomalous

Frame numbers are contiguous and sorted as numbers, since zero padding differs between folders.
Sidecars, which IPAD lacks and the rendered machines (`factory`) carry:

    <scene>/scene.json                            {"fps", "kinds", "cycle_frames", ...}
    <scene>/{training,testing}/annotations/<NN>.npz   phase float32, cycle int32, kind int8 [n]
    <scene>/testing/masks/<NN>/<frame>.png        0/255, only for frames with a visible fault

Layout of IPAD: paper section 3; file names from several published loaders.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from ipad_jax.data_builders.files import IMAGE_SUFFIXES, DataError, Problem, read_image, read_labels
from ipad_jax.data_builders.sidecars import read_annotations, read_description

IGNORED_FILES = ("thumbs.db", "desktop.ini")  # and every hidden file
# Share of the scene's median below which a folder cannot hold a whole cycle (S05/training/19).
FAR_SHORTER = 0.5
SPLIT_FOLDERS = {"train": "training", "test": "testing"}

Cycle = float | Literal["folder"] | None


@dataclasses.dataclass(frozen=True, eq=False)
class Timing:
    """The machine's cycle in one video, as measured; without phase and cycle only its usual length.

    cycle_frames: frames of a usual cycle; phase float32 [n] in [0, 1); cycle int32 [n] from 0.
    """

    cycle_frames: float
    phase: np.ndarray | None = None
    cycle: np.ndarray | None = None

    def at(self, index: int) -> tuple[float, int]:
        """Phase and cycle of a frame; NaN and -1 unknown."""
        if self.phase is None or self.cycle is None:
            return float("nan"), -1
        return float(self.phase[index]), int(self.cycle[index])


@dataclasses.dataclass(frozen=True)
class Frame:
    """One frame before it is loaded; `load` returns [h, w, 3] uint8 BGR and may run in a thread.

    `load_jpeg`, where given, returns JPEG bytes of the wanted size and quality: stored as they are.
    """

    load: Callable[[], np.ndarray]
    label: int = -1
    phase: float = float("nan")
    kind: int = -1
    cycle: int = -1
    load_mask: Callable[[], np.ndarray] | None = None
    load_jpeg: Callable[[], bytes] | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class FolderVideo:
    """One folder of frames; every array has one entry a frame.

    label int8 (-1 unknown), phase float32 in [0, 1) (NaN unknown), kind int8 (0 normal, -1
    unknown), cycle int32 (-1 unknown); `num_labels` is None where no label file was found.
    """

    random_access: ClassVar[bool] = True

    name: str
    paths: tuple[Path, ...]
    fps: float
    label: np.ndarray
    phase: np.ndarray
    kind: np.ndarray
    cycle: np.ndarray
    masks: dict[int, Path]
    cycle_frames: float | None = None
    num_labels: int | None = None

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def mislabelled(self) -> bool:
        return self.num_labels is not None and self.num_labels != len(self.paths)

    def frames(self) -> Iterator[Frame]:
        """Frames in order, images not loaded yet."""
        for i, path in enumerate(self.paths):
            mask = self.masks.get(i)
            yield Frame(
                load=partial(read_image, path),
                load_mask=None if mask is None else partial(read_image, mask),
                label=int(self.label[i]),
                phase=float(self.phase[i]),
                kind=int(self.kind[i]),
                cycle=int(self.cycle[i]),
            )


@dataclasses.dataclass(frozen=True, eq=False)
class Scene:
    """A scene read from disk; `description` is scene.json as it stands ({} without one)."""

    path: Path
    kinds: tuple[str, ...]
    train: tuple[Any, ...]  # FolderVideo, or video_files.FileVideo
    test: tuple[Any, ...]
    description: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def mislabelled(self) -> tuple[str, ...]:
        """Names of test folders whose label count disagrees with their frames."""
        return tuple(video.name for video in self.test if video.mislabelled)


def read_scene(
    path: Path,
    *,
    fps: float | None = None,
    cycle: Cycle = None,
    require_labels: bool = False,
    first_numbers: Sequence[int] | None = None,
) -> Scene:
    """Reads one scene folder, raising on everything that would build a wrong dataset.

    Args: as `scan_scene`.
    Returns: the scene, at least one split not empty.
    Raises: DataError naming every file that is wrong; label counts that disagree are no error
        (IPAD has eleven such folders), see `Scene.mislabelled`.
    """
    scene, problems = scan_scene(
        path, fps=fps, cycle=cycle, require_labels=require_labels, first_numbers=first_numbers
    )
    if problems:
        raise DataError(problems)
    return scene


def scan_scene(
    path: Path,
    *,
    fps: float | None = None,
    cycle: Cycle = None,
    require_labels: bool = False,
    first_numbers: Sequence[int] | None = None,
) -> tuple[Scene, list[Problem]]:
    """Reads one scene folder without opening an image, collecting every problem.

    Args:
        path: folder that holds training/ and testing/ (one of them may be absent).
        fps: frames a second; scene.json's where None.
        cycle: "folder" where a training folder is exactly one cycle; seconds where every folder
            starts at a cycle's start; None where sidecars say it or nothing is known.
        require_labels: whether a test folder without labels is a problem.
        first_numbers: numbers a folder's first frame may have; None allows any.
    Returns: the scene as far as it could be read, and the problems.
    """
    path = Path(path)
    problems: list[Problem] = []
    if not path.is_dir():
        scene = Scene(path, ("normal",), (), ())
        return scene, [Problem(path, "no such folder; expected training/ and testing/ in it")]
    description: dict[str, Any] = {}
    try:
        description = read_description(path / "scene.json")
    except ValueError as error:
        problems.append(Problem(path / "scene.json", str(error)))
    kinds = tuple(description.get("kinds", ("normal",)))
    fps = fps or description.get("fps")
    if fps is None or not np.isfinite(fps) or fps <= 0:
        problems.append(
            Problem(path, f"fps is {fps}; frame folders need a positive rate, give one (--fps)")
        )
        fps = 1.0
    videos: dict[str, list[FolderVideo]] = {}
    for split, folder in SPLIT_FOLDERS.items():
        videos[split] = [
            _read_folder(path, split, entry, float(fps), len(kinds), problems)
            for entry in _frame_folders(path / folder / "frames", problems)
        ]
    for video in (*videos["train"], *videos["test"]):
        first = _number(video.paths[0]) if video.paths else None
        if first_numbers is not None and first is not None and first not in first_numbers:
            folder, allowed = video.paths[0].parent, " or ".join(map(str, first_numbers))
            message = f"begins with frame {first}; expected {allowed}, earlier frames are missing"
            problems.append(Problem(folder, message))
    if not videos["train"] and not videos["test"]:
        problems.append(
            Problem(
                path, "holds no frames; expected training/frames/NN/<n>.jpg or testing/frames/..."
            )
        )
    _check_labels(path, videos["test"], require_labels, problems)
    train, test = _with_cycles(videos["train"], videos["test"], cycle, description)
    return Scene(path, kinds, tuple(train), tuple(test), description), problems


def _frame_folders(root: Path, problems: list[Problem]) -> list[Path]:
    """Folders of one split in numeric order, else by name."""
    if not root.is_dir():
        if root.parent.is_dir():
            problems.append(Problem(root, "no such folder; expected one folder of frames a video"))
        return []
    folders = [p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")]
    if not folders:
        problems.append(Problem(root, "is empty; expected one folder of frames a video"))
    folders.sort(key=lambda p: (int(p.name) if p.name.isdecimal() else -1, p.name))
    for first, second in itertools.pairwise(folders):
        if (
            first.name.isdecimal()
            and second.name.isdecimal()
            and int(first.name) == int(second.name)
        ):
            message = (
                f"has the same number as {first.name}: one label file would mean both; rename one"
            )
            problems.append(Problem(second, message))
    return folders


def _number(path: Path) -> int | None:
    """Frame number of an image file: the digits its name ends with."""
    match = re.search(r"(\d+)$", path.stem)
    return int(match[1]) if match and path.suffix.lower() in IMAGE_SUFFIXES else None


def _numbered(folder: Path, problems: list[Problem]) -> list[tuple[int, Path]]:
    """Frame files with their numbers, in numeric order; reports gaps, strangers and twins."""
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name.lower() in IGNORED_FILES:
            continue
        number = _number(path)
        if number is None:
            problems.append(Problem(path, "is no numbered image (such as 0012.jpg); take it away"))
            continue
        if number in found:
            problems.append(
                Problem(path, f"has the same frame number as {found[number].name}; keep one")
            )
            continue
        if path.stat().st_size == 0:
            problems.append(Problem(path, "is empty (0 bytes); copy the file again"))
        found[number] = path
    return sorted(found.items())


def numbered_frames(folder: Path, problems: list[Problem]) -> list[tuple[int, Path]]:
    """Every frame of one folder with its number, in order; reports what would make the order a guess.

    `ipad-jax detect` reads folders by the same code.
    """
    files = _numbered(folder, problems)
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


def _read_folder(
    scene: Path, split: str, folder: Path, fps: float, num_kinds: int, problems: list[Problem]
) -> FolderVideo:
    """One folder with its labels and sidecars."""
    files = numbered_frames(folder, problems)
    numbers = [number for number, _ in files]
    n = len(files)
    known = 0 if split == "train" else -1
    label = np.full(n, known, np.int8)
    kind = np.full(n, known, np.int8)
    num_labels = None
    if split == "test" and (label_file := _label_file(scene, folder.name)):
        try:
            found = read_labels(label_file)
        except ValueError as error:
            problems.append(Problem(label_file, str(error)))
        else:
            num_labels = len(found)
            label[:num_labels] = found[:n]  # label i belongs to frame i; surplus dropped
            kind[label == 0] = 0
    phase = np.full(n, np.nan, np.float32)
    cycle = np.full(n, -1, np.int32)
    sidecar = scene / SPLIT_FOLDERS[split] / "annotations" / f"{folder.name}.npz"
    if sidecar.is_file():
        try:
            phase, cycle, kind = read_annotations(sidecar, n, num_kinds)
        except ValueError as error:
            problems.append(Problem(sidecar, str(error)))
    masks = {}
    mask_folder = scene / SPLIT_FOLDERS[split] / "masks" / folder.name
    if mask_folder.is_dir():
        index = {number: i for i, number in enumerate(numbers)}
        for number, path in _numbered(mask_folder, problems):
            if number not in index:
                problems.append(Problem(path, "is a mask of a frame that does not exist"))
            else:
                masks[index[number]] = path
    return FolderVideo(
        name=folder.name,
        paths=tuple(path for _, path in files),
        fps=fps,
        label=label,
        phase=phase,
        kind=kind,
        cycle=cycle,
        masks=masks,
        num_labels=num_labels,
    )


def _label_file(scene: Path, name: str) -> Path | None:
    """test_label/<NNN>.npy of folder <NN>, whatever the padding."""
    folder = scene / "test_label"
    if not folder.is_dir():
        return None
    for path in sorted(folder.glob("[!.]*.npy")):
        if path.stem == name or (
            path.stem.isdigit() and name.isdigit() and int(path.stem) == int(name)
        ):
            return path
    return None


def _check_labels(
    scene: Path, test: Sequence[FolderVideo], require: bool, problems: list[Problem]
) -> None:
    """Labels without a folder always, folders without labels where required."""
    folder = scene / "test_label"
    matched = set()
    unlabelled = []
    for video in test:
        path = _label_file(scene, video.name)
        if path is None:
            unlabelled.append(video.name)
        else:
            matched.add(path.name)
    if folder.is_dir():
        for path in sorted(folder.glob("[!.]*.npy")):
            if path.name not in matched:
                problems.append(
                    Problem(path, "labels a test folder that is missing from testing/frames/")
                )
    if require and unlabelled:
        problems.append(
            Problem(
                folder,
                f"no labels for test folder {', '.join(unlabelled)}; expected "
                f"{int(unlabelled[0]):03d}.npy and so on"
                if unlabelled[0].isdigit()
                else f"no labels for test folder {', '.join(unlabelled)}",
            )
        )


def _with_cycles(
    train: list[FolderVideo],
    test: list[FolderVideo],
    cycle: Cycle,
    description: dict[str, Any],
) -> tuple[list[FolderVideo], list[FolderVideo]]:
    """Fills in cycle_frames, and phase and cycle where no sidecar gave them."""
    replace = dataclasses.replace
    if cycle == "folder":
        lengths = [len(video) for video in train if len(video)]
        median = float(np.median(lengths)) if lengths else None
        out = []
        for video in train:
            n = len(video)
            if median is None or n < FAR_SHORTER * median:
                out.append(video)
                continue
            phase = np.arange(n, dtype=np.float32) / np.float32(n)
            out.append(
                replace(video, phase=phase, cycle=np.zeros(n, np.int32), cycle_frames=float(n))
            )
        return out, [replace(video, cycle_frames=median) for video in test]
    if cycle is not None:
        return _at_cycle(train, cycle), _at_cycle(test, cycle)
    length = description.get("cycle_frames")
    length = None if length is None else float(length)
    return (
        [replace(video, cycle_frames=length) for video in train],
        [replace(video, cycle_frames=length) for video in test],
    )


def _at_cycle(videos: list[FolderVideo], cycle_s: float) -> list[FolderVideo]:
    """Phase and cycle of folders that all start at a cycle's start."""
    out = []
    for video in videos:
        phase, cycle = phase_of(0, len(video), video.fps, cycle_s)
        out.append(
            dataclasses.replace(video, phase=phase, cycle=cycle, cycle_frames=video.fps * cycle_s)
        )
    return out


def phase_of(
    start: int, num_frames: int, fps: float, cycle_s: float
) -> tuple[np.ndarray, np.ndarray]:
    """Phase float32 [n] in [0, 1) and cycle int32 [n] of frames start, start + 1, ... of footage
    whose frame 0 has phase 0: phase = (t mod cycle) / cycle."""
    # Rounded: 3 * (1 / 3) cycles must be phase 0 of the next cycle, not 0.9999 of this one.
    position = np.round(np.arange(start, start + num_frames) / (fps * cycle_s), 9)
    cycle = np.floor(position)
    phase = np.minimum((position - cycle).astype(np.float32), np.nextafter(np.float32(1), 0))
    return phase, cycle.astype(np.int32)


def gaps(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """First and last number of each gap in rising numbers: [3, 4, 8, 10] -> [(5, 7), (9, 9)].

    Takes no memory for what is missing: a name may be a time in nanoseconds.
    """
    return [(a + 1, b - 1) for a, b in itertools.pairwise(numbers) if b > a + 1]


def as_ranges(ranges: Sequence[tuple[int, int]]) -> str:
    """[(5, 7), (9, 9)] -> '5-7, 9'."""
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in ranges)
