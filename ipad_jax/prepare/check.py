"""`ipad-jax validate NAME`: says whether a downloaded archive or a folder of footage is usable.

IPAD is checked against what is known of the archive (data_builders/ipad/scenes.py): folders, frames
where known exactly, and the paper's totals. Of each folder of frames and each long video a sample is
decoded, with `--full` all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from ipad_jax.data_builders import frame_folder, video_files
from ipad_jax.data_builders.bit_depth import describe_bit_depth
from ipad_jax.data_builders.damage import Reading
from ipad_jax.data_builders.decoding import sample, timed_frames
from ipad_jax.data_builders.files import DataError, Problem, read_image
from ipad_jax.data_builders.frame_folder import FolderVideo, Scene, with_bit_depth
from ipad_jax.data_builders.ipad import scenes as ipad
from ipad_jax.data_builders.ipad.ipad_dataset_builder import READ_OPTIONS, find_scene
from ipad_jax.data_builders.numbered_files import as_ranges, gaps
from ipad_jax.data_builders.video_files import FileVideo, odd_ones
from ipad_jax.data_builders.video_folder.video_folder_dataset_builder import layout
from ipad_jax.run.cluster import num_cores
from ipad_jax.run.progress import Bars

CLIP = 16  # frames of a clip in our configs; shorter videos give none
SAMPLE_IMAGES = 100  # of a folder
SAMPLE_VIDEO = (
    10,
    150,
)  # stretches of a video file, frames each; shorter files are decoded to the end
FROZEN = 0.9  # share of frames that repeat the one before: the source hung, its encoder went on
DOUBLED = 0.4  # the same where frames were only repeated to reach a rate


@dataclasses.dataclass
class Findings:
    """What was found of one scene: problems make it unusable, notes do not.

    decoded: frames of which every byte was read.
    """

    name: str
    train_videos: int = 0
    train_frames: int = 0
    test_videos: int = 0
    test_frames: int = 0
    calibrate_frames: int = 0
    decoded: int = 0
    anomalous: float = float("nan")  # share of the labelled test frames
    fps: tuple[float, ...] = ()  # rates that occur; none where none is known
    seconds: float = float("nan")  # of all videos
    problems: list[Problem] = dataclasses.field(default_factory=list)
    notes: list[Problem] = dataclasses.field(default_factory=list)


def check_ipad_scene(manual_dir: Path, name: str, full: bool, bars: Bars) -> Findings:
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
    _open_images((*scene.train, *scene.test), findings, full, bars)
    return findings


def check_footage(source: Path, fps: float | None, full: bool, bars: Bars) -> Findings:
    """Checks a person's own footage as `prepare video_folder` reads it.

    Raises: FileNotFoundError showing both layouts where the folder has neither.
    """
    name = source.name
    if layout(source) == "files":
        return _check_files(source, fps, full, bars)
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
    _open_images((*scene.train, *scene.test), findings, full, bars)
    if not findings.problems:
        try:
            read = with_bit_depth(scene)
            depth = (*read.train, *read.test)[0].bit_depth
        except DataError as error:
            findings.problems += error.problems
        else:
            if depth:
                findings.notes.append(Problem(source, describe_bit_depth(depth)))
    _name_short(
        [(v.paths[0].parent, len(v)) for v in scene.train if v.paths],
        [(v.paths[0].parent, len(v)) for v in scene.test if v.paths],
        findings,
    )
    return findings


def _check_files(source: Path, fps: float | None, full: bool, bars: Bars) -> Findings:
    """Checks video files; one that is bad hides neither the others nor what is wrong with them."""
    scene, problems = video_files.scan_folder(source, fps=fps)
    findings = _count(source.name, scene.train, scene.test, scene.calibrate)
    findings.problems += problems
    findings.notes += [
        Problem(video.path, _off_count(video.counted, video.num_labels))
        for video in scene.test
        if video.mislabelled
    ]
    findings.notes += [Problem(source, note) for note in video_files.uneven(scene)]
    for video in scene.train:
        findings.train_frames += _decode(video, findings, full, bars)
    for video in scene.test:
        findings.test_frames += _decode(video, findings, full, bars)
    for video in scene.calibrate:
        findings.calibrate_frames += _decode(video, findings, full, bars)
    train, test, calibrate = (
        [(v.path, len(v)) for v in split] for split in (scene.train, scene.test, scene.calibrate)
    )
    _name_short(train, test, findings, calibrate)
    return findings


def _decode(video: FileVideo, findings: Findings, full: bool, bars: Bars) -> int:
    """Decodes a file: all of it, or where it is long and nothing is wrong a sample.

    Returns: by how many frames it is longer than it states, where all were counted.
    """
    places, frames = SAMPLE_VIDEO
    bar = bars.add(video.path.name, video.info.frames or None)
    if not full and video.info.frames > places * frames:
        count, good = sample(video.path, video.info, places, frames)
        if good:
            findings.decoded += count
            bar.update(video.info.frames)
            return 0
    reading = Reading()
    try:
        may_stand = video.kind > 0 or video.labels is not None
        for _ in timed_frames(video.path, video.info, may_stand=may_stand, reading=reading):
            bar.advance()
    except ValueError as error:
        message = str(error).removeprefix(f"{video.path}: ")
        findings.problems.append(Problem(video.path, message))
    findings.decoded += reading.frames
    _judge(video, reading, findings)
    return round(reading.frames * video.fps / video.info.fps) - len(video)


def _judge(video: FileVideo, reading: Reading, findings: Findings) -> None:
    """What is odd about a file that was decoded to its end."""
    count, repeats = reading.frames, reading.repeats
    if not reading.complete or count < 2:
        return
    share = repeats / (count - 1)
    rate = video.info.fps * (1 - share)
    stands = f"shows one picture from {_places(reading.hung)}: the camera or its encoder hung"
    if (
        share == 1 and video.kind > 0
    ):  # of a working camera no two frames are the same, of no machine
        message = f"its {count} frames are all one picture, bit for bit; record it again"
        findings.problems.append(Problem(video.path, message))
    elif reading.shows_one_picture and video.kind <= 0 and video.labels is None:
        pass  # raised while it was decoded
    elif share >= FROZEN and repeats >= 10:
        message = (
            f"{repeats} of its {count} frames repeat the one before: the camera hung, or recorded "
        )
        message += f"about {rate:.2g} frames a second and not {video.info.fps:.4g}; record it again"
        findings.problems.append(Problem(video.path, message))
    elif reading.hung and video.kind == 0:
        findings.problems.append(Problem(video.path, f"{stands}; cut this out"))
    elif reading.hung:  # or this is the fault that it shows
        findings.notes.append(Problem(video.path, f"{stands}, or the machine stood still"))
    elif share >= DOUBLED and repeats >= 10:
        message = f"{repeats} of its {count} frames repeat the one before: its true rate is about "
        findings.notes.append(Problem(video.path, f"{message}{rate:.3g} fps (--fps)"))
    if reading.interlaced:
        message = (
            f"{reading.interlaced} of its {count} frames are interlaced; they are deinterlaced"
        )
        findings.notes.append(Problem(video.path, message))
    if reading.uneven_s is not None and not reading.lost:
        message = (
            f"its frames come unevenly from {reading.uneven_s:.2f} s on; picked by their times"
        )
        findings.notes.append(Problem(video.path, message))


def _places(spans: Sequence[tuple[float, float]]) -> str:
    """[(1.0, 3.5)] -> '1.0 to 3.5 s'."""
    more = f" and {len(spans) - 5} times more" if len(spans) > 5 else ""
    return ", ".join(f"{start:.1f} to {end:.1f} s" for start, end in spans[:5]) + more


def _name_short(
    train: Sequence[tuple[Path, int]],
    test: Sequence[tuple[Path, int]],
    findings: Findings,
    calibrate: Sequence[tuple[Path, int]] = (),
) -> None:
    """Names videos that are shorter than a clip; a problem where all of training or calibration are."""
    for videos, use in ((train, "trained on"), (test, "scored"), (calibrate, "calibrated on")):
        short = [(path, count) for path, count in videos if count < CLIP]
        all_short = videos is not test and len(short) == len(videos)
        for path, count in short:
            message = f"{count} frames: shorter than a clip of {CLIP}, nothing of it is {use}"
            (findings.problems if all_short else findings.notes).append(Problem(path, message))


def _off_count(frames: int, labels: int | None) -> str:
    """What becomes of a video whose labels are not as many as its frames."""
    return f"{frames} frames, {labels} labels; kept, surplus labels dropped, missing ones unknown"


def _count(
    name: str, train: Sequence[Any], test: Sequence[Any], calibrate: Sequence[Any] = ()
) -> Findings:
    """Videos, frames, the anomalous share and the time they take."""
    findings = Findings(name, len(train), sum(map(len, train)), len(test), sum(map(len, test)))
    labels = [_labels(video) for video in test]
    known = np.concatenate([label[label >= 0] for label in labels]) if labels else np.zeros(0)
    if len(known):
        findings.anomalous = float(known.mean())
    findings.calibrate_frames = sum(map(len, calibrate))
    if calibrate:
        seconds = sum(len(video) / video.fps for video in calibrate)
        text = f"calibrate: {len(calibrate)} videos, {seconds / 60:.1f} minutes of normal footage"
        findings.notes.append(Problem(calibrate[0].path.parent, text))
    videos = [video for video in (*train, *test, *calibrate) if len(video)]
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
            missing = gaps(sorted({0, folders + 1} | numbers))
            message = f"{len(videos)} folders; the archive has {folders}"
            message += f", missing {as_ranges(missing)}" if missing else ""
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


def _open_images(videos: Sequence[FolderVideo], findings: Findings, full: bool, bars: Bars) -> None:
    """Opens images, at an eighth of their size: the whole file is parsed, few pixels are made."""
    frames = [path for video in videos for path in _chosen(video.paths, full)]
    masks = [path for video in videos for path in _chosen(tuple(video.masks.values()), full)]
    bar = bars.add(findings.name, len(frames) + len(masks))
    sizes: dict[str, str] = {}
    with ThreadPoolExecutor(num_cores()) as pool:
        opened = zip((*frames, *masks), pool.map(_open, (*frames, *masks)))
        for index, (path, (size, message)) in enumerate(opened):
            bar.advance()
            if message:
                findings.problems.append(Problem(path, message))
            elif index < len(frames):
                sizes["/".join(path.parts[-4:])] = size
    findings.decoded += len(sizes)
    if videos:
        root = videos[0].paths[0].parent.parent if videos[0].paths else Path(findings.name)
        odd = odd_ones("frame size", sizes, video_files.SQUEEZED, "pictures")
        findings.notes += [Problem(root, note) for note in odd]


def _chosen(paths: Sequence[Path], full: bool) -> Sequence[Path]:
    """All of a folder's files, or a sample from the first to the last."""
    if full or len(paths) <= SAMPLE_IMAGES:
        return paths
    return [paths[i] for i in np.linspace(0, len(paths) - 1, SAMPLE_IMAGES).astype(int)]


def _open(path: Path) -> tuple[str, str]:
    """Size of an image, and what is wrong with it ("" nothing)."""
    try:
        read_image(path, cv2.IMREAD_REDUCED_COLOR_8)
        with Image.open(path) as image:  # the header alone
            return "{}x{}".format(*image.size), ""
    except (ValueError, OSError) as error:
        return "", str(error).removeprefix(f"{path}: ")


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
