"""Reader of footage kept as video files; knows nothing of TFDS.

    <source>/train/normal/<name>.mp4     also directly in train/
    <source>/test/normal/<name>.mp4      label 0
    <source>/test/<kind>/<name>.mp4      label 1 in every frame, unless <name>.npy says 0/1
    <source>/test/<name>.mp4             label unknown, unless <name>.npy

A file may hold many cycles of the machine.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from data_builders.files import DataError, Problem, read_labels
from data_builders.frame_folder import Cycle, Frame, Scene, phase_of

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv")
NORMAL = "normal"
SAME_RATE = 0.01  # relative; 29.97 and 30 are one rate, 25 and 30 are not
# Containers state their frame count from the duration, so it may be off by a little.
COUNT_TOLERANCE = (2, 0.01)  # frames, share


@dataclasses.dataclass(frozen=True, eq=False)
class FileVideo:
    """One video file; `kind` is what its folder says (0 normal, -1 unknown)."""

    name: str
    path: Path
    fps: float  # of the frames handed out
    source_fps: float
    source_frames: int  # as the container states it; 0 unknown
    kind: int
    labels: np.ndarray | None = None  # int8, one a frame of the file
    counted: int | None = None  # frames really in the file, known where labels must match
    cycle_s: float | None = None

    @property
    def cycle_frames(self) -> float | None:
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
        """Decodes in order; for each tick of `fps` the nearest frame, the earlier of two as near."""
        ratio = self.source_fps / self.fps
        taken = 0
        for index, image in enumerate(decode(self.path, self.source_frames)):
            while math.ceil(taken * ratio - 0.5 - 1e-9) == index:
                label, kind = self._label(index)
                phase, cycle = float("nan"), -1
                if self.cycle_s is not None:
                    phases, cycles = phase_of(taken, 1, self.fps, self.cycle_s)
                    phase, cycle = float(phases[0]), int(cycles[0])
                yield Frame(
                    load=lambda image=image: image,
                    label=label,
                    phase=phase,
                    kind=kind,
                    cycle=cycle,
                )
                taken += 1

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
    Returns: the scene; kinds are "normal" and the folders of test/, by name.
    Raises: DataError naming every file that is wrong.
    """
    if cycle == "folder":
        raise ValueError(
            "cycle='folder' is for folders of frames; give the cycle of video files in seconds."
        )
    problems: list[Problem] = []
    kinds = [NORMAL]
    for path in _files(source / "test"):
        if path.parent != source / "test" and path.parent.name not in kinds:
            kinds.append(path.parent.name)
    kinds[1:] = sorted(kinds[1:])
    splits: dict[str, list[FileVideo]] = {"train": [], "test": []}
    for split, videos in splits.items():
        root = source / split
        for path in _files(root):
            folder = path.parent.name if path.parent != root else None
            if split == "train" and folder not in (None, NORMAL):
                problems.append(
                    Problem(path, f"training footage must be normal; move it to train/{NORMAL}/")
                )
                continue
            kind = kinds.index(folder) if folder else (0 if split == "train" else -1)
            try:
                source_fps, count = probe(path)
            except ValueError as error:
                problems.append(Problem(path, str(error)))
                continue
            video = FileVideo(
                name=f"{folder}-{path.stem}" if folder else path.stem,
                path=path,
                fps=fps or source_fps,
                source_fps=source_fps,
                source_frames=count,
                kind=kind,
                cycle_s=cycle,
            )
            sidecar = path.with_suffix(".npy")
            if split == "test" and sidecar.is_file():
                try:
                    labels = read_labels(sidecar)
                    counted = sum(1 for _ in decode(path, count))
                except ValueError as error:
                    problems.append(Problem(sidecar, str(error)))
                    continue
                video = dataclasses.replace(video, labels=labels, counted=counted)
            videos.append(video)
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


def probe(path: Path) -> tuple[float, int]:
    """Frame rate and the frame count the container states (0 unknown).

    Raises: ValueError where the file cannot be decoded.
    """
    if path.stat().st_size == 0:
        raise ValueError("is empty (0 bytes); copy the file again")
    capture = cv2.VideoCapture(str(path))
    try:
        opened = capture.isOpened() and capture.grab()
        fps = capture.get(cv2.CAP_PROP_FPS)
        count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    finally:
        capture.release()
    if not opened:
        raise ValueError(
            "cannot be decoded as a video (truncated, no video, or an unknown codec); "
            "convert it to H.264 mp4 or copy it again"
        )
    if not np.isfinite(fps) or not 0 < fps <= 1000:
        raise ValueError(f"states a frame rate of {fps}; convert it so that it has one")
    return float(fps), max(0, int(count)) if np.isfinite(count) else 0


def decode(path: Path, expected: int) -> Iterator[np.ndarray]:
    """Decodes a file to its end.

    Args: expected: frame count the container states, 0 unknown.
    Yields: [h, w, 3] uint8 BGR.
    Raises: ValueError naming the file where it ends before the stated count.
    """
    capture = cv2.VideoCapture(str(path))
    count = 0
    try:
        while True:
            ok, image = capture.read()
            if not ok:
                break
            count += 1
            yield image
    finally:
        capture.release()
    if count == 0 or expected - count > max(COUNT_TOLERANCE[0], COUNT_TOLERANCE[1] * expected):
        raise ValueError(
            f"{path}: stops early, {count} of {expected} frames could be decoded; copy the file "
            "again, or cut it to its readable part"
        )


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
