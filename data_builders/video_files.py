"""Reader of footage kept as video files; knows nothing of TFDS.

    <source>/train/normal/<name>.mp4     also directly in train/
    <source>/calibrate/normal/<name>.mp4 normal, of another day: the alarm's thresholds rest on it
    <source>/test/normal/<name>.mp4      label 0
    <source>/test/<kind>/<name>.mp4      label 1 in every frame, unless labels lie beside it
    <source>/test/<name>.mp4             label unknown, unless labels lie beside it

Endings: `decoding.VIDEO_SUFFIXES`; labels: `labels.py`. `good` and `ok` mean `normal`, in any case of
letters (`Normal`, `OK`): no kind of fault is called so. A file may hold many cycles of the machine.
Frames are picked by the times the container gives them, so footage of varying rate keeps its speed.
"""

from __future__ import annotations

import collections
import dataclasses
import glob
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np

from ipad_jax.data_builders.damage import VideoInfo
from ipad_jax.data_builders.decoding import VIDEO_SUFFIXES, probe, timed_frames
from ipad_jax.data_builders.files import DataError, Problem
from ipad_jax.data_builders.frame_folder import Frame, Scene
from ipad_jax.data_builders.labels import (
    LABEL_SUFFIXES,
    NORMAL,
    is_normal,
    label_file,
    read_labels,
    read_mask,
)
from ipad_jax.data_builders.numbered_files import IGNORED_FILES
from ipad_jax.data_builders.timing import Cycle, Timing, phase_of, resample, same_rate

SQUEEZED = "squeezed into the dataset's shape"
SPLITS = ("train", "test", "calibrate")
MANY = 5  # files named one by one
MANY_ODD = 20


@dataclasses.dataclass(frozen=True, eq=False)
class FileVideo:
    """One video file; `kind` is what its folder says (0 normal, -1 unknown)."""

    random_access: ClassVar[bool] = False  # a file is decoded from its start

    name: str
    path: Path
    fps: float  # of the frames handed out
    info: VideoInfo
    kind: int
    labels: np.ndarray | None = None  # int8, one a frame of the file
    kinds: np.ndarray | None = None  # int8 likewise, where the labels name them
    masks: Path | None = None  # .npy [n, h, w], one a frame of the file
    counted: int | None = None  # frames really in the file, known where labels must match
    cycle_s: float | None = None
    timing: Timing | None = None  # of the frames handed out; instead of cycle_s

    @property
    def cycle_frames(self) -> float | None:
        if self.timing is not None:
            return self.timing.cycle_frames
        return None if self.cycle_s is None else self.cycle_s * self.fps

    @property
    def num_labels(self) -> int | None:
        return None if self.labels is None else len(self.labels)

    @property
    def mislabelled(self) -> bool:
        return self.labels is not None and self.counted != len(self.labels)

    def __len__(self) -> int:
        """Number of frames as the container states it, for a progress bar."""
        return round(self.info.frames * self.fps / self.info.fps)

    def frames(self) -> Iterator[Frame]:
        """Decodes in order; for each tick of `fps` the frame nearest in time (`resample`)."""
        rate = self.info.fps if same_rate(self.info.fps, self.fps) else self.fps
        timed = timed_frames(self.path, self.info, may_stand=self.kind > 0)
        numbered = ((time_s, (i, image)) for i, (time_s, image) in enumerate(timed))
        for taken, (index, image) in enumerate(resample(numbered, rate)):
            label, kind = self._label(index)
            phase, cycle = float("nan"), -1
            if self.timing is not None:
                phase, cycle = self.timing.at(taken)
            elif self.cycle_s is not None:
                phases, cycles = phase_of(taken, 1, rate, self.cycle_s)
                phase, cycle = float(phases[0]), int(cycles[0])
            yield Frame(
                load=lambda image=image: image,
                load_mask=partial(read_mask, self.masks, index)
                if self.masks and label == 1
                else None,
                label=label,
                phase=phase,
                kind=kind,
                cycle=cycle,
            )

    def _label(self, index: int) -> tuple[int, int]:
        """Label and kind of a frame of the file."""
        if self.labels is None:
            return min(self.kind, 1), self.kind
        if index >= len(self.labels):
            return -1, -1
        label = int(self.labels[index])
        if label and self.kinds is not None and self.kinds[index] > 0:
            return label, int(self.kinds[index])
        return label, self.kind if label and self.kind > 0 else -label


def is_layout(source: Path) -> bool:
    """Whether a folder holds video files in train/ or test/."""
    return any(True for split in ("train", "test") for _ in _files(source / split))


def read_folder(source: Path, *, fps: float | None = None, cycle: Cycle = None) -> Scene:
    """Reads which files there are and what their folders and labels say; decodes only to count.

    Args:
        source: folder that holds train/ and test/ (one of them may be absent).
        fps: rate to resample to; None keeps the recorded one, which all files must then share.
        cycle: seconds, if every file starts at a cycle's start; None unknown.
    Returns: the scene; kinds are "normal", then the other folders of test/ and what labels name.
    Raises: DataError naming every file that is wrong.
    """
    scene, problems = scan_folder(source, fps=fps, cycle=cycle)
    if problems:
        raise DataError(problems)
    return scene


def scan_folder(
    source: Path, *, fps: float | None = None, cycle: Cycle = None
) -> tuple[Scene, list[Problem]]:
    """As `read_folder`, collecting every problem; the scene has the files that can be opened."""
    if cycle == "folder":
        raise ValueError(
            "cycle='folder' is for folders of frames; give the cycle of video files in seconds."
        )
    problems: list[Problem] = []
    found = {split: _read_split(source, split, fps, cycle, problems) for split in SPLITS}
    named = {found.folder for found in found["test"]} | {
        kind for found in found["test"] for kind in found.kinds
    }
    kinds = [NORMAL, *sorted(kind for kind in named if kind and not is_normal(kind))]
    train, test, calibrate = (
        tuple(_with_kinds(f, kinds) for f in found[split]) for split in SPLITS
    )
    problems += _strangers(source)
    if not train and not test and not problems:
        problems.append(Problem(source, f"holds no video files ({', '.join(VIDEO_SUFFIXES)})"))
    if fps is None:
        problems += _odd_rates((*train, *test, *calibrate))
    return Scene(source, tuple(kinds), train, test, calibrate=calibrate), problems


@dataclasses.dataclass(frozen=True, eq=False)
class _Found:
    """A file as read, before the kinds have numbers: its folder's name, and the kind of each frame."""

    video: FileVideo
    folder: str
    kinds: list[str]


def _read_split(
    source: Path, split: str, fps: float | None, cycle: float | None, problems: list[Problem]
) -> list[_Found]:
    """Files of a split, with their labels."""
    root = source / split
    named: dict[str, Path] = {}
    found: list[_Found] = []
    for path in _files(root):
        folder = path.parent.name if path.parent != root else ""
        if split != "test" and folder and not is_normal(folder):
            use = "training" if split == "train" else "calibration"
            problems.append(
                Problem(path, f"{use} footage must be normal; move it to {split}/{NORMAL}/")
            )
            continue
        name = f"{folder}-{path.stem}" if folder else path.stem
        twin = named.setdefault(name, path)
        if twin != path:
            problems.append(
                Problem(path, f"has the same name as {twin.relative_to(source)}; rename one")
            )
            continue
        try:
            info = probe(path)
        except ValueError as error:
            problems.append(Problem(path, str(error)))
            continue
        video = FileVideo(name, path, fps or info.fps, info, kind=-1, cycle_s=cycle)
        kinds: list[str] = []
        if split != "test":
            folder = NORMAL
        elif sidecar := label_file(path.parent, path.stem, problems):
            try:
                video, kinds = _labelled(video, sidecar)
            except DataError as error:
                problems += error.problems
                continue
        found.append(_Found(video, folder, kinds))
    return found


def _labelled(video: FileVideo, sidecar: Path) -> tuple[FileVideo, list[str]]:
    """A video with what its label file says, and the kind of each label.

    Raises: DataError, of the file at fault.
    """
    try:
        labels = read_labels(sidecar)
    except ValueError as error:
        raise DataError([Problem(sidecar, str(error))]) from error
    try:
        times = np.array(
            [time_s for time_s, _ in timed_frames(video.path, video.info, may_stand=True)]
        )
    except ValueError as error:
        message = str(error).removeprefix(f"{video.path}: ")
        raise DataError([Problem(video.path, message)]) from error
    try:
        numbers, kinds = labels.of(times)
    except ValueError as error:
        raise DataError([Problem(sidecar, str(error))]) from error
    masks = sidecar if labels.has_masks else None
    return dataclasses.replace(video, labels=numbers, masks=masks, counted=len(times)), kinds


def _with_kinds(found: _Found, kinds: list[str]) -> FileVideo:
    """A video with its kinds as numbers."""

    def number(name: str) -> int:
        return -1 if not name else 0 if is_normal(name) else kinds.index(name)

    named = np.array([number(kind) for kind in found.kinds], np.int8) if any(found.kinds) else None
    return dataclasses.replace(found.video, kind=number(found.folder), kinds=named)


def _strangers(source: Path) -> list[Problem]:
    """What lies in test/ and is neither a video nor its labels; labels in train/; folders too deep.

    Nothing of it may be passed over: a video whose labels are not read counts as faulty throughout.
    """
    problems = []
    test = source / "test"
    for path in sorted([*_visible(source / "train"), *_visible(source / "calibrate")]):
        if path.suffix.lower() in LABEL_SUFFIXES and _labels_a_video(path):
            use = "calibration" if path.is_relative_to(source / "calibrate") else "training"
            message = (
                f"labels {use} footage, which must be normal throughout; move the video to test/"
            )
            problems.append(Problem(path, f"{message}, or take the labels away"))
    odd: dict[Path, list[Path]] = collections.defaultdict(list)
    for path in sorted(_visible(test)):
        known = path.suffix.lower() in VIDEO_SUFFIXES or (
            path.suffix in LABEL_SUFFIXES and _labels_a_video(path)
        )
        if not known:
            odd[path.parent].append(path)
    for folder, paths in odd.items():
        message = (
            f"is no video ({', '.join(VIDEO_SUFFIXES)}) and no labels of one beside it "
            f"(NAME{', NAME'.join(LABEL_SUFFIXES)}); convert it or take it away"
        )
        problems += [Problem(path, message) for path in paths[:MANY]]
        if len(paths) > MANY:
            problems.append(Problem(folder, f"{len(paths) - MANY} more such files"))
    for folder in sorted(test.iterdir()) if test.is_dir() else []:
        deep = [path for path in _visible(folder) if path.suffix.lower() in VIDEO_SUFFIXES]
        if deep and all(path.parent != folder for path in deep):
            message = (
                f"its videos lie one folder too deep ({deep[0].relative_to(folder)}); move them up"
            )
            problems.append(Problem(folder, message))
    return problems


def _labels_a_video(path: Path) -> bool:
    """Whether a video of a label file's name lies beside it."""
    return any(
        other.suffix.lower() in VIDEO_SUFFIXES
        for other in path.parent.glob(f"{glob.escape(path.stem)}.*")
    )


def _odd_rates(videos: Sequence[FileVideo]) -> list[Problem]:
    """The files whose rate is not that of most."""
    if not videos:
        return []
    rates = [video.fps for video in videos]
    usual = max(rates, key=lambda rate: sum(same_rate(other, rate) for other in rates))
    count = sum(same_rate(rate, usual) for rate in rates)
    return [
        Problem(
            video.path,
            f"has {video.fps:.3g} fps, {count} of {len(rates)} files have {usual:.3g}; "
            "give one rate (--fps) to resample all files to it",
        )
        for video in videos
        if not same_rate(video.fps, usual)
    ]


def uneven(scene: Scene) -> list[str]:
    """What a scene's files were not recorded alike in; the dataset makes them alike."""
    rates: dict[str, float] = {}
    sizes: dict[str, str] = {}
    for video in scene.all:
        name = str(video.path.relative_to(scene.path))
        # The first of those that count as one rate stands for them.
        known = (rate for rate in rates.values() if same_rate(video.info.fps, rate))
        rates[name] = next(known, video.info.fps)
        sizes[name] = "{}x{}".format(*video.info.size)
    return [
        *_left_out(scene),
        *odd_ones("rate", {name: f"{fps:.4g} fps" for name, fps in rates.items()}, "resampled"),
        *odd_ones("frame size", sizes, SQUEEZED),
    ]


def _left_out(scene: Scene) -> list[str]:
    """A sentence that names the files that nothing is made of; none where all are used."""
    found = []
    for split in SPLITS:
        read = set(_files(scene.path / split))
        for path in sorted(_visible(scene.path / split)):
            # Other files in test/ are problems.
            if path not in read and (split != "test" or path.suffix.lower() in VIDEO_SUFFIXES):
                found.append(path)
    if not found:
        return []
    names = ", ".join(str(path.relative_to(scene.path)) for path in found[:MANY])
    more = f" and {len(found) - MANY} more" if len(found) > MANY else ""
    return [f"{len(found)} files are left out (no video, or a folder too deep): {names}{more}"]


def _visible(folder: Path) -> Iterator[Path]:
    """Files at any depth, but for hidden ones (macOS writes ._a.mp4) and what systems add."""
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not hidden and path.name.lower() not in IGNORED_FILES:
            yield path


def odd_ones(what: str, of: dict[str, str], done: str, noun: str = "videos") -> list[str]:
    """A sentence that names the videos whose value is not that of most; none where all have one.

    Args: what differs; its value by video; what is done to those that differ; what they are.
    """
    counts = collections.Counter(of.values())
    if len(counts) < 2:
        return []
    usual = counts.most_common(1)[0][0]
    odd = [f"{name} ({value})" for name, value in of.items() if value != usual]
    more = f" and {len(odd) - MANY_ODD} more" if len(odd) > MANY_ODD else ""
    return [
        f"{len(odd)} of {len(of)} {noun} differ in {what} from the usual {usual} and are {done}: "
        f"{', '.join(odd[:MANY_ODD])}{more}"
    ]


def _files(root: Path) -> list[Path]:
    """Video files directly in a split's folder and one folder below, in natural order."""
    if not root.is_dir():
        return []
    found = [
        path
        for pattern in ("*", "*/*")
        for path in root.glob(pattern)
        if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file() and path.name[0] != "."
    ]
    return sorted(found, key=lambda p: [_natural(part) for part in p.relative_to(root).parts])


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key that puts 2 before 10."""
    return [
        (0, int(part), "") if part.isdigit() else (1, 0, part)
        for part in re.split(r"(\d+)", name)
        if part
    ]
