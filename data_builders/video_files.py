"""Reader of footage kept as video files; knows nothing of TFDS.

    <source>/train/normal/<name>.mp4     also directly in train/
    <source>/test/normal/<name>.mp4      label 0
    <source>/test/<kind>/<name>.mp4      label 1 in every frame, unless <name>.npy says 0/1
    <source>/test/<name>.mp4             label unknown, unless <name>.npy

`good` and `ok` mean `normal`, in any case of letters (`Normal`, `OK`): no kind of fault is called so.
A file may hold many cycles of the machine. Frames are picked by the times the container gives them,
so footage of varying rate keeps its speed; `ipad-jax detect` reads files by the same code.
"""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar, TypeVar

import cv2
import numpy as np

from ipad_jax.data_builders.files import DataError, Problem, read_labels
from ipad_jax.data_builders.frame_folder import Cycle, Frame, Scene, Timing, phase_of

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv")
SQUEEZED = "squeezed into the dataset's shape"
NORMAL = "normal"
NORMAL_NAMES = (NORMAL, "good", "ok")  # of folders, compared without regard to case
SAME_RATE = 0.01  # relative; 29.97 and 30 are one rate, 25 and 30 are not
# Containers state their frame count from the duration, so it may be off by a little.
COUNT_TOLERANCE = (2, 0.01)  # frames, share
JUMP = (10.0, 10)  # seconds, frames: a longer step of a file's times is no slow camera

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, eq=False)
class FileVideo:
    """One video file; `kind` is what its folder says (0 normal, -1 unknown)."""

    random_access: ClassVar[bool] = False  # a file is decoded from its start

    name: str
    path: Path
    fps: float  # of the frames handed out
    source_fps: float
    source_frames: int  # as the container states it; 0 unknown
    source_size: tuple[int, int]  # width, height
    kind: int
    labels: np.ndarray | None = None  # int8, one a frame of the file
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
        return round(self.source_frames * self.fps / self.source_fps)

    def frames(self) -> Iterator[Frame]:
        """Decodes in order; for each tick of `fps` the frame nearest in time (`resample`)."""
        rate = self.source_fps if same_rate(self.source_fps, self.fps) else self.fps
        timed = timed_frames(self.path, self.source_fps, self.source_frames)
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
                load=lambda image=image: image, label=label, phase=phase, kind=kind, cycle=cycle
            )

    def _label(self, index: int) -> tuple[int, int]:
        """Label and kind of a frame of the file."""
        if self.labels is None:
            return min(self.kind, 1), self.kind
        if index >= len(self.labels):
            return -1, -1
        label = int(self.labels[index])
        return label, self.kind if label and self.kind > 0 else -label


def is_layout(source: Path) -> bool:
    """Whether a folder holds video files in train/ or test/."""
    return any(True for split in ("train", "test") for _ in _files(source / split))


def read_folder(source: Path, *, fps: float | None = None, cycle: Cycle = None) -> Scene:
    """Reads which files there are and what their folders and sidecars say; decodes only to count.

    Args:
        source: folder that holds train/ and test/ (one of them may be absent).
        fps: rate to resample to; None keeps the recorded one, which all files must then share.
        cycle: seconds, if every file starts at a cycle's start; None unknown.
    Returns: the scene; kinds are "normal" and the other folders of test/, by name.
    Raises: DataError naming every file that is wrong.
    """
    if cycle == "folder":
        raise ValueError(
            "cycle='folder' is for folders of frames; give the cycle of video files in seconds."
        )
    problems: list[Problem] = []
    test = source / "test"
    folders = {path.parent.name for path in _files(test) if path.parent != test}
    kinds = [NORMAL, *sorted(name for name in folders if not _is_normal(name))]
    splits: dict[str, list[FileVideo]] = {"train": [], "test": []}
    for split, videos in splits.items():
        root = source / split
        named: dict[str, Path] = {}
        for path in _files(root):
            folder = path.parent.name if path.parent != root else None
            if split == "train" and folder and not _is_normal(folder):
                problems.append(
                    Problem(path, f"training footage must be normal; move it to train/{NORMAL}/")
                )
                continue
            name = f"{folder}-{path.stem}" if folder else path.stem
            twin = named.setdefault(name, path)
            if twin != path:
                problems.append(
                    Problem(path, f"has the same name as {twin.relative_to(source)}; rename one")
                )
                continue
            if folder:
                kind = 0 if _is_normal(folder) else kinds.index(folder)
            else:
                kind = 0 if split == "train" else -1
            try:
                source_fps, count, size = probe(path)
            except ValueError as error:
                problems.append(Problem(path, str(error)))
                continue
            video = FileVideo(
                name=name,
                path=path,
                fps=fps or source_fps,
                source_fps=source_fps,
                source_frames=count,
                source_size=size,
                kind=kind,
                cycle_s=cycle,
            )
            sidecar = path.with_suffix(".npy")
            if split == "test" and sidecar.is_file():
                at_fault = sidecar
                try:
                    labels = read_labels(sidecar)
                    at_fault = path
                    counted = sum(1 for _ in decode(path, count))
                except ValueError as error:
                    problems.append(Problem(at_fault, str(error)))
                    continue
                video = dataclasses.replace(video, labels=labels, counted=counted)
            videos.append(video)
    if test.is_dir():
        problems += [
            Problem(
                folder, f"holds files, but no videos ({', '.join(VIDEO_SUFFIXES)}); convert them"
            )
            for folder in sorted(test.iterdir())
            if folder.is_dir() and folder.name not in folders and any(_visible(folder))
        ]
    videos = [*splits["train"], *splits["test"]]
    if not videos and not problems:
        problems.append(Problem(source, f"holds no video files ({', '.join(VIDEO_SUFFIXES)})"))
    if fps is None and videos:
        first = videos[0]
        problems += [
            Problem(
                video.path,
                f"has {video.fps:.3g} fps, {first.path.name} {first.fps:.3g}; "
                "give one rate (--fps) to resample all files to it",
            )
            for video in videos
            if abs(video.fps - first.fps) > SAME_RATE * first.fps
        ]
    if problems:
        raise DataError(problems)
    return Scene(source, tuple(kinds), tuple(splits["train"]), tuple(splits["test"]))


def uneven(scene: Scene) -> list[str]:
    """What a scene's files were not recorded alike in; the dataset makes them alike."""
    rates: dict[str, float] = {}
    sizes: dict[str, str] = {}
    for video in (*scene.train, *scene.test):
        name = str(video.path.relative_to(scene.path))
        # The first of those that count as one rate stands for them.
        known = (rate for rate in rates.values() if same_rate(video.source_fps, rate))
        rates[name] = next(known, video.source_fps)
        sizes[name] = "{}x{}".format(*video.source_size)
    return [
        *_left_out(scene),
        *odd_ones("rate", {name: f"{fps:.4g} fps" for name, fps in rates.items()}, "resampled"),
        *odd_ones("frame size", sizes, SQUEEZED),
    ]


def _left_out(scene: Scene) -> list[str]:
    """A sentence that names the files that nothing is made of; none where all are used."""
    used = {video.path for video in (*scene.train, *scene.test)}
    used |= {video.path.with_suffix(".npy") for video in scene.test}
    found = [
        str(path.relative_to(scene.path))
        for split in ("train", "test")
        for path in sorted(_visible(scene.path / split))
        if path not in used
    ]
    if not found:
        return []
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    return [
        f"{len(found)} files are left out (no {', '.join(VIDEO_SUFFIXES)}, or a folder too deep): "
        f"{', '.join(found[:5])}{more}"
    ]


def _visible(folder: Path) -> Iterator[Path]:
    """Files at any depth, but for hidden ones (macOS writes ._a.mp4)."""
    for path in folder.rglob("*"):
        if path.is_file() and not any(p.startswith(".") for p in path.relative_to(folder).parts):
            yield path


def odd_ones(what: str, of: dict[str, str], done: str) -> list[str]:
    """A sentence that names the videos whose value is not that of most; none where all have one.

    Args: what differs; its value by video; what is done to those that differ.
    """
    counts = collections.Counter(of.values())
    if len(counts) < 2:
        return []
    usual = counts.most_common(1)[0][0]
    odd = [f"{name} ({value})" for name, value in of.items() if value != usual]
    return [
        f"{len(odd)} of {len(of)} videos differ in {what} from the usual {usual} and are {done}: "
        f"{', '.join(odd)}"
    ]


def probe(path: Path) -> tuple[float, int, tuple[int, int]]:
    """Frame rate, the frame count the container states (0 unknown), and width and height.

    Raises: ValueError where the file cannot be decoded.
    """
    if path.stat().st_size == 0:
        raise ValueError("is empty (0 bytes); copy the file again")
    capture = cv2.VideoCapture(str(path.absolute()))
    try:
        opened = capture.isOpened() and capture.grab()
        fps = capture.get(cv2.CAP_PROP_FPS)
        count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        width, height = (
            int(capture.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        )
    finally:
        capture.release()
    if not opened:
        raise ValueError(
            "cannot be decoded as a video (truncated, no video, or an unknown codec); "
            "convert it to H.264 mp4 or copy it again"
        )
    if not np.isfinite(fps) or not 0 < fps <= 1000:
        raise ValueError(f"states a frame rate of {fps}; convert it so that it has one")
    return float(fps), max(0, int(count)) if np.isfinite(count) else 0, (width, height)


def timed_frames(
    path: Path, fps: float, expected: int, *, by_rate: bool = False
) -> Iterator[tuple[float, np.ndarray]]:
    """Decodes a file to its end, with the time of each frame.

    Args:
        fps: frames a second, for containers that carry no times.
        expected: frame count the container states, 0 unknown.
        by_rate: times by `fps` alone, whatever the container says.
    Yields: seconds from the first frame, rising; [h, w, 3] uint8 BGR.
    Raises: ValueError naming the file where it ends before the stated count, or its times jump.
    """
    capture = cv2.VideoCapture(str(path.absolute()))
    count, first_s, previous_s = 0, 0.0, 0.0
    try:
        while True:
            ok, image = capture.read()
            if not ok:
                break
            stated_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if not count:
                first_s, time_s = stated_s, 0.0
            elif by_rate:
                time_s = count / fps
            else:
                time_s = stated_s - first_s
                if not time_s > previous_s:  # no times, or a time that steps back
                    time_s = previous_s + 1 / fps
                if time_s - previous_s > max(JUMP[0], JUMP[1] / fps):
                    raise ValueError(
                        f"{path}: its times jump from {previous_s:.1f} to {time_s:.1f} s, and what lies "
                        "between was not filmed; cut the file there, or re-encode it at an even rate "
                        "(`ipad-jax detect --fps RATE` takes its frames without their times)"
                    )
            previous_s = time_s
            count += 1
            yield time_s, image
    finally:
        capture.release()
    short = expected - count > max(COUNT_TOLERANCE[0], COUNT_TOLERANCE[1] * expected)
    if count == 0 or (short and not is_whole(path)):
        raise ValueError(
            f"{path}: stops early, {count} of {expected} frames could be decoded; copy the file "
            "again, or re-encode it (`ffmpeg -i FILE OUT.mp4`) to keep what is readable"
        )


def is_whole(path: Path) -> bool:
    """Whether an mp4 or mov file has all its bytes: its boxes (ISO 14496-12, 4.2) end where it ends.

    One that was cut without re-encoding (`-c copy`, a phone's trim) counts frames that it hides.
    """
    size, at, names = path.stat().st_size, 0, []
    with path.open("rb") as file:
        while at + 8 <= size:
            file.seek(at)
            head = file.read(16)
            length, name = int.from_bytes(head[:4], "big"), head[4:8]
            if length == 1:  # too long for four bytes
                length = int.from_bytes(head[8:16], "big")
            if length < 8:  # 0: to the end, wherever that was
                return False
            names.append(name)
            at += length
    return at == size and b"moov" in names


def decode(path: Path, expected: int) -> Iterator[np.ndarray]:
    """The frames of `timed_frames` without their times."""
    return (image for _, image in timed_frames(path, 1.0, expected, by_rate=True))


def same_rate(fps: float, other_fps: float) -> bool:
    """Whether two rates are one: 29.97 and 30 are, 25 and 30 are not."""
    return abs(fps - other_fps) <= SAME_RATE * other_fps


def resample(frames: Iterable[tuple[float, T]], fps: float) -> Iterator[T]:
    """A frame for each tick of a clock: the nearest in time, the earlier of two equally near.

    Frames less than half a tick off their own tick all come through, once each. The choice depends
    on the times alone, and needs to look one frame ahead.

    Args:
        frames: (seconds, frame), times rising from about 0.
        fps: ticks a second; the first is at 0.
    """
    tick, previous, gap_s = 0, None, 0.0
    for time_s, frame in frames:
        if previous is None:
            previous = (time_s, frame)
            continue
        gap_s = time_s - previous[0]
        # a nanosecond of grace, so that rounding does not break ties
        while tick / fps <= (previous[0] + time_s) / 2 + 1e-9:
            yield previous[1]
            tick += 1
        previous = (time_s, frame)
    if previous is None:
        return
    while tick == 0 or tick / fps <= previous[0] + gap_s / 2 + 1e-9:
        yield previous[1]
        tick += 1


def _is_normal(folder: str) -> bool:
    return folder.casefold() in NORMAL_NAMES


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
