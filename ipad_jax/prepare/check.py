"""`ipad-jax validate NAME`: says whether a downloaded archive or a folder of footage is usable.

IPAD is checked against what is known of the archive (data_builders/ipad/scenes.py): folders, frames
where known exactly, and the paper's totals. Every image is opened unless `--quick`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.progress import Progress

from ipad_jax.data_builders import frame_folder, video_files
from ipad_jax.data_builders.files import DataError, Problem, read_image
from ipad_jax.data_builders.frame_folder import FolderVideo, Scene
from ipad_jax.data_builders.ipad import scenes as ipad
from ipad_jax.data_builders.ipad.ipad_dataset_builder import READ_OPTIONS, find_scene
from ipad_jax.data_builders.video_folder.video_folder_dataset_builder import layout
from ipad_jax.run.cluster import num_cores


@dataclasses.dataclass
class Findings:
    """What was found of one scene: problems make it unusable, notes do not."""

    name: str
    train_videos: int = 0
    train_frames: int = 0
    test_videos: int = 0
    test_frames: int = 0
    anomalous: float = float("nan")  # share of the labelled test frames
    fps: tuple[float, ...] = ()  # rates that occur; none where none is known
    seconds: float = float("nan")  # of all videos
    problems: list[Problem] = dataclasses.field(default_factory=list)
    notes: list[Problem] = dataclasses.field(default_factory=list)


def check_ipad_scene(manual_dir: Path, name: str, quick: bool, bar: Progress) -> Findings:
    """Checks one scene of IPAD against what is known of it."""
    try:
        folder = find_scene(manual_dir, name)
    except FileNotFoundError:
        return Findings(name, problems=[Problem(manual_dir / "IPAD_dataset" / name, "is missing")])
    scene, problems = frame_folder.scan_scene(folder, **READ_OPTIONS)
    findings = _count(name, scene.train, scene.test)
    findings.problems += problems
    _compare(scene, ipad.EXPECTED[name], findings)
    for video in scene.test:
        if video.mislabelled:
            counted = (len(video), video.num_labels)
            known = ipad.KNOWN_MISLABELLED.get((name, video.name)) == counted
            message = f"{counted[0]} frames, {counted[1]} labels" + (
                " (as in the archive)" if known else "; the archive's own agree, copy both again"
            )
            note = Problem(folder / "testing" / "frames" / video.name, message)
            (findings.notes if known else findings.problems).append(note)
    if not quick:
        findings.problems += _unreadable((*scene.train, *scene.test), name, bar)
    return findings


def check_footage(source: Path, fps: float | None, quick: bool, bar: Progress) -> Findings:
    """Checks a person's own footage as `prepare video_folder` reads it.

    Raises: FileNotFoundError showing both layouts where the folder has neither.
    """
    name = source.name
    if layout(source) == "files":
        findings, files = _read_files(source, fps)
        if not quick:
            findings.problems += _undecodable(files, bar)
        return findings
    scene, problems = frame_folder.scan_scene(source, fps=fps)
    findings = _count(name, scene.train, scene.test)
    if not (fps or scene.description.get("fps")):  # named among the problems
        findings.fps, findings.seconds = (), float("nan")
    findings.problems += problems
    findings.notes += [
        Problem(video.paths[0].parent, _off_count(len(video), video.num_labels))
        for video in scene.test
        if video.mislabelled and video.paths
    ]
    unlabelled = [video.name for video in scene.test if video.num_labels is None]
    if unlabelled:
        message = f"no labels for test folder {', '.join(unlabelled)}: detection only"
        findings.notes.append(Problem(source / "test_label", message))
    if not quick:
        findings.problems += _unreadable((*scene.train, *scene.test), name, bar)
    return findings


def _read_files(source: Path, fps: float | None) -> tuple[Findings, dict[Path, int]]:
    """What video files there are; and the frame count that each readable one states."""
    try:
        scene = video_files.read_folder(source, fps=fps)
    except DataError as error:
        # The others are counted and opened all the same: one bad file must not hide a second.
        findings, files = Findings(source.name, problems=list(error.problems)), {}
        for split in ("train", "test"):
            for path in sorted((source / split).rglob("[!.]*")):
                if path.suffix.lower() not in video_files.VIDEO_SUFFIXES or not path.is_file():
                    continue
                try:
                    rate, count, _ = video_files.probe(path)
                except ValueError:  # already among the problems
                    continue
                files[path] = count
                frames = round(count * (fps or rate) / rate)
                videos, total = f"{split}_videos", f"{split}_frames"
                setattr(findings, videos, getattr(findings, videos) + 1)
                setattr(findings, total, getattr(findings, total) + frames)
        return findings, files
    findings = _count(source.name, scene.train, scene.test)
    findings.notes += [
        Problem(video.path, _off_count(video.counted, video.num_labels))
        for video in scene.test
        if video.mislabelled
    ]
    findings.notes += [Problem(source, note) for note in video_files.uneven(scene)]
    return findings, {video.path: video.source_frames for video in (*scene.train, *scene.test)}


def _off_count(frames: int, labels: int | None) -> str:
    """What becomes of a video whose labels are not as many as its frames."""
    return f"{frames} frames, {labels} labels; kept, surplus labels dropped, missing ones unknown"


def _count(name: str, train: Sequence[Any], test: Sequence[Any]) -> Findings:
    """Videos, frames, the anomalous share and the time they take."""
    findings = Findings(name, len(train), sum(map(len, train)), len(test), sum(map(len, test)))
    labels = [_labels(video) for video in test]
    known = np.concatenate([label[label >= 0] for label in labels]) if labels else np.zeros(0)
    if len(known):
        findings.anomalous = float(known.mean())
    videos = [video for video in (*train, *test) if len(video)]
    findings.fps = tuple(sorted({video.fps for video in videos}))
    findings.seconds = sum(len(video) / video.fps for video in videos)
    return findings


def _labels(video: Any) -> np.ndarray:
    """Labels of a test video, -1 unknown."""
    if isinstance(video, FolderVideo):
        return video.label
    if video.labels is not None:
        return video.labels
    return np.full(len(video), min(video.kind, 1))


def _compare(scene: Scene, expected: ipad.ExpectedScene, findings: Findings) -> None:
    """Folder counts, exact frame counts where known, usual lengths of training folders."""
    for split, videos, folders, frames in (
        ("training", scene.train, expected.train_folders, expected.train_frames),
        ("testing", scene.test, expected.test_folders, expected.test_frames),
    ):
        root = scene.path / split / "frames"
        if len(videos) != folders:
            numbers = {int(video.name) for video in videos if video.name.isdigit()}
            missing = frame_folder.gaps(sorted({0, folders + 1} | numbers))
            message = f"{len(videos)} folders; the archive has {folders}"
            message += f", missing {frame_folder.as_ranges(missing)}" if missing else ""
            findings.problems.append(Problem(root, message))
        found = sum(map(len, videos))
        if frames is not None and found != frames:
            findings.problems.append(Problem(root, f"{found:,} frames; the archive has {frames:,}"))
    lowest, highest = expected.typical_length
    for video in scene.train:
        known = ipad.KNOWN_SHORT.get((findings.name, video.name)) == len(video)
        if known or not lowest <= len(video) <= highest:
            usual = f"{lowest}" if lowest == highest else f"{lowest}..{highest}"
            message = f"{len(video)} frames, usual {usual}" + (" (as in the archive)" * known)
            folder = scene.path / "training" / "frames" / video.name
            findings.notes.append(Problem(folder, message))


def _unreadable(videos: Iterable[FolderVideo], name: str, bar: Progress) -> Iterator[Problem]:
    """Opens every image, at an eighth of its size: the whole file is parsed, few pixels are made."""
    paths = [p for video in videos for p in (*video.paths, *video.masks.values())]
    task = bar.add_task(name, total=len(paths))
    with ThreadPoolExecutor(num_cores()) as pool:
        for path, message in zip(paths, pool.map(_open, paths, chunksize=1)):
            bar.advance(task)
            if message:
                yield Problem(path, message)


def _open(path: Path) -> str | None:
    """What is wrong with an image, None where nothing is."""
    try:
        read_image(path, cv2.IMREAD_REDUCED_COLOR_8)
    except ValueError as error:
        return str(error).removeprefix(f"{path}: ")
    return None


def _undecodable(files: dict[Path, int], bar: Progress) -> Iterator[Problem]:
    """Decodes every video file to its end; the numbers are the frame counts they state."""
    for path, count in files.items():
        task = bar.add_task(path.name, total=count or None)
        try:
            for _ in video_files.decode(path, count):
                bar.advance(task)
        except ValueError as error:
            yield Problem(path, str(error).removeprefix(f"{path}: "))


def totals_problem(findings: Sequence[Findings], root: Path) -> list[Problem]:
    """The paper's totals, once every scene is there."""
    found = [sum(getattr(f, name) for f in findings) for name in TOTALS]
    if len(findings) != len(ipad.SCENES) or found == list(TOTALS.values()):
        return []
    pairs = [
        f"{n:,} of {m:,} {name.replace('_', ' ')}" for n, (name, m) in zip(found, TOTALS.items())
    ]
    return [Problem(root, "totals differ from the paper's: " + ", ".join(pairs))]


TOTALS = {
    "train_videos": ipad.TOTAL_TRAIN_FOLDERS,
    "test_videos": ipad.TOTAL_TEST_FOLDERS,
    "train_frames": ipad.TOTAL_TRAIN_FRAMES,
    "test_frames": ipad.TOTAL_TEST_FRAMES,
}
