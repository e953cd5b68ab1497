"""Reader of IPAD's folder layout, with optional sidecar files; knows nothing of TFDS.

    <scene>/training/frames/<NN>/<frame>.jpg      normal only; in IPAD one folder is one cycle
    <scene>/testing/frames/<NN>/<frame>.jpg
    <scene>/test_label/<NNN>.npy                  one 0/1 a frame, 1 = anomalous; or as `labels.py` says

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
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ipad_jax.data_builders.bit_depth import find_bit_depth, read_picture
from ipad_jax.data_builders.files import DataError, Problem, read_image
from ipad_jax.data_builders.labels import LABEL_SUFFIXES, read_labels, read_mask
from ipad_jax.data_builders.numbered_files import (
    IGNORED_FILES,
    frame_number,
    numbered,
    numbered_frames,
)
from ipad_jax.data_builders.sidecars import read_annotations, read_description
from ipad_jax.data_builders.timing import Cycle, phase_of

# Share of the scene's median below which a folder cannot hold a whole cycle (S05/training/19).
FAR_SHORTER = 0.5
SPLIT_FOLDERS = {"train": "training", "test": "testing"}


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
    mask_array: .npy [n, h, w], where masks came as labels. bit_depth: as `read_picture` takes it.
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
    mask_array: Path | None = None
    bit_depth: int | None = None

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def mislabelled(self) -> bool:
        return self.num_labels is not None and self.num_labels != len(self.paths)

    def frames(self) -> Iterator[Frame]:
        """Frames in order, images not loaded yet."""
        for i, path in enumerate(self.paths):
            load_mask = None
            if i in self.masks:
                load_mask = partial(read_image, self.masks[i])
            elif self.mask_array and self.label[i] == 1:
                load_mask = partial(read_mask, self.mask_array, i)
            yield Frame(
                load=partial(read_picture, path, self.bit_depth),
                load_mask=load_mask,
                label=int(self.label[i]),
                phase=float(self.phase[i]),
                kind=int(self.kind[i]),
                cycle=int(self.cycle[i]),
            )


@dataclasses.dataclass(frozen=True, eq=False)
class Scene:
    """A scene read from disk.

    description: scene.json as it stands ({} without one). calibrate: normal videos recorded apart from
    the training's, to set the alarm's thresholds on.
    """

    path: Path
    kinds: tuple[str, ...]
    train: tuple[Any, ...]  # FolderVideo, or video_files.FileVideo
    test: tuple[Any, ...]
    description: dict[str, Any] = dataclasses.field(default_factory=dict)
    calibrate: tuple[Any, ...] = ()

    @property
    def all(self) -> tuple[Any, ...]:
        """Videos of every split."""
        return (*self.train, *self.test, *self.calibrate)

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
    kinds = list(description.get("kinds", ("normal",)))
    fps = fps or description.get("fps")
    if fps is None or not np.isfinite(fps) or fps <= 0:
        problems.append(
            Problem(path, f"fps is {fps}; frame folders need a positive rate, give one (--fps)")
        )
        fps = 1.0
    if (path / "calibrate").is_dir():
        message = (
            "folders of frames have no such part; give the footage to `ipad-jax calibrate --video` after "
            "training, or take the folder away"
        )
        problems.append(Problem(path / "calibrate", message))
    videos: dict[str, list[FolderVideo]] = {}
    for split, folder in SPLIT_FOLDERS.items():
        videos[split] = [
            _read_folder(path, split, entry, float(fps), kinds, problems)
            for entry in _frame_folders(path / folder / "frames", problems)
        ]
    for video in (*videos["train"], *videos["test"]):
        first = frame_number(video.paths[0]) if video.paths else None
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
    return Scene(path, tuple(kinds), tuple(train), tuple(test), description), problems


def with_bit_depth(scene: Scene) -> Scene:
    """The scene with the depth of its pictures found: one for all of them, the largest.

    Raises: DataError where folders of 8 and of 16 bits are mixed; ValueError of a picture that cannot
        be read.
    """
    videos = [*scene.train, *scene.test]
    depths = {video.paths[0].parent: find_bit_depth(video.paths) for video in videos}
    known = [depth for depth in depths.values() if depth is not None]
    if not known:
        return scene
    message = "holds 8-bit pictures, other folders 16-bit ones; convert all alike"
    if odd := [Problem(path, message) for path, depth in depths.items() if depth is None]:
        raise DataError(odd)
    train, test = (
        tuple(dataclasses.replace(video, bit_depth=max(known)) for video in split)
        for split in (scene.train, scene.test)
    )
    return dataclasses.replace(scene, train=train, test=test)


def first_sizes(scene: Scene) -> dict[str, tuple[int, int]]:
    """Width and height of the first frame of each folder, by its path; all would take long."""
    sizes = {}
    for video in (*scene.train, *scene.test):
        height, width = read_picture(video.paths[0], video.bit_depth).shape[:2]
        sizes[str(video.paths[0].parent.relative_to(scene.path))] = (width, height)
    return sizes


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


def _read_folder(
    scene: Path, split: str, folder: Path, fps: float, kinds: list[str], problems: list[Problem]
) -> FolderVideo:
    """One folder with its labels and sidecars; adds the kinds that its labels name."""
    files = numbered_frames(folder, problems)
    numbers = [number for number, _ in files]
    n = len(files)
    known = 0 if split == "train" else -1
    label = np.full(n, known, np.int8)
    kind = np.full(n, known, np.int8)
    num_labels = mask_array = None
    if split == "test" and (label_file := _label_file(scene, folder.name, problems)):
        try:
            found = read_labels(label_file)
            known_labels, names = found.of(np.arange(n) / fps)
        except ValueError as error:
            problems.append(Problem(label_file, str(error)))
        else:
            num_labels = len(known_labels)
            label[:num_labels] = known_labels[:n]  # label i belongs to frame i; surplus dropped
            kind[label == 0] = 0
            _name_kinds(kind, names[:n], kinds)
            mask_array = label_file if found.has_masks else None
    phase = np.full(n, np.nan, np.float32)
    cycle = np.full(n, -1, np.int32)
    sidecar = scene / SPLIT_FOLDERS[split] / "annotations" / f"{folder.name}.npz"
    if sidecar.is_file():
        try:
            phase, cycle, kind = read_annotations(sidecar, n, len(kinds))
        except ValueError as error:
            problems.append(Problem(sidecar, str(error)))
    masks = {}
    mask_folder = scene / SPLIT_FOLDERS[split] / "masks" / folder.name
    if mask_folder.is_dir():
        index = {number: i for i, number in enumerate(numbers)}
        for number, path in numbered(mask_folder, problems):
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
        mask_array=mask_array,
    )


def _name_kinds(kind: np.ndarray, names: list[str], kinds: list[str]) -> None:
    """Fills in the kinds that labels name, in place; new ones go to the end of `kinds`."""
    for i, name in enumerate(names):
        if not name:
            continue
        if name not in kinds:
            kinds.append(name)
        kind[i] = kinds.index(name)


def _label_files(scene: Path) -> list[Path]:
    """Label files of a scene, by name."""
    folder = scene / "test_label"
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.glob("[!.]*") if path.suffix in LABEL_SUFFIXES)


def _label_file(scene: Path, name: str, problems: list[Problem]) -> Path | None:
    """test_label/<NNN>.npy of folder <NN>, whatever the padding; two of them are a problem."""
    found = [
        path
        for path in _label_files(scene)
        if path.stem == name
        or (path.stem.isdigit() and name.isdigit() and int(path.stem) == int(name))
    ]
    if len(found) > 1:
        problems.append(Problem(found[1], f"labels what {found[0].name} labels too; keep one"))
    return found[0] if found else None


def _check_labels(
    scene: Path, test: Sequence[FolderVideo], require: bool, problems: list[Problem]
) -> None:
    """Labels without a folder always, and what is no label; folders without labels where required."""
    folder = scene / "test_label"
    matched = set()
    unlabelled = []
    for video in test:
        path = _label_file(scene, video.name, [])
        if path is None:
            unlabelled.append(video.name)
        else:
            matched.add(path.name)
    for path in _label_files(scene):
        if path.name not in matched:
            message = "labels a test folder that is missing from testing/frames/"
            problems.append(Problem(path, message))
    for path in sorted(folder.glob("[!.]*")) if folder.is_dir() else []:
        if path.suffix not in LABEL_SUFFIXES and path.name.lower() not in IGNORED_FILES:
            message = f"is no labels ({', '.join(LABEL_SUFFIXES)}); convert it or take it away"
            problems.append(Problem(path, message))
    if require and unlabelled:
        message = f"no labels for test folder {', '.join(unlabelled)}"
        if unlabelled[0].isdigit():
            message += f"; expected {int(unlabelled[0]):03d}.npy and so on"
        problems.append(Problem(folder, message))


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
