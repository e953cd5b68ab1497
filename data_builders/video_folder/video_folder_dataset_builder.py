"""A person's own footage of one machine, as folders of frames or as video files."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ipad_jax.data_builders import frame_folder, video_files
from ipad_jax.data_builders.bit_depth import describe_bit_depth
from ipad_jax.data_builders.decoding import VIDEO_SUFFIXES
from ipad_jax.data_builders.frame_folder import first_sizes, with_bit_depth
from ipad_jax.data_builders.frames import FrameBuilder, FrameConfig
from ipad_jax.data_builders.labels import LABEL_SUFFIXES
from ipad_jax.data_builders.timing import Cycle, Timing

TREE = """
    DIR/training/frames/<NN>/<frame>.jpg     folders of numbered frames, normal only (needs --fps)
    DIR/testing/frames/<NN>/<frame>.jpg
    DIR/test_label/<NNN>.npy                 optional, as below
or
    DIR/train/normal/<name>.mp4              video files (also avi, mkv, ts, ...), normal only
    DIR/calibrate/normal/<name>.mp4          optional, normal footage of another day: sets the alarm
    DIR/test/normal/<name>.mp4
    DIR/test/<kind>/<name>.mp4               every frame is anomalous, unless labels lie beside it:
                                             <name>.npy, .csv or .txt with one 0/1 a frame, or
                                             .csv or .txt with lines of start_s,end_s[,kind]"""


# What a dataset is made of, in either layout; other files may come and go.
PARTS = ("train", "test", "calibrate", "training", "testing", "test_label")


@dataclasses.dataclass(frozen=True, eq=False)
class MeasuredCycle:
    """The cycle that was found in the footage; training videos have phases, by name, test videos none.

    note: how it was found, for the metadata.
    """

    cycle_frames: float
    train: Mapping[str, Timing]
    note: str


@dataclasses.dataclass(eq=False)
class VideoFolderConfig(FrameConfig):
    """Where the footage is and what is known of its timing.

    source: folder; TFDS's manual_dir where empty. fps: rate of frame folders; for video files the
    rate to resample to (0: as recorded). cycle: seconds, every file then starts at a cycle's start;
    "folder": each training folder is exactly one cycle; "auto" or "auto:SECONDS": as `measured`
    says; None: unknown, no phase.
    """

    source: str = ""
    fps: float = 0.0
    cycle: Cycle | str = None
    measured: MeasuredCycle | None = None


class Builder(FrameBuilder):
    """Builds one dataset from one folder of footage."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = "Put your own footage into a folder DIR. Expected:" + TREE
    BUILDER_CONFIGS = [VideoFolderConfig(scene="footage")]  # noqa: RUF012 (TFDS's way)

    def read_videos(self, manual_dir: Any) -> tuple[dict[str, list[Any]], dict[str, Any]]:
        config = self.builder_config
        source = Path(config.source or manual_dir()).expanduser()
        if not str(config.cycle).startswith("auto"):
            scene, metadata = read(source, config.fps or None, config.cycle)
            return splits_of(scene), {**metadata, "source": source.name}
        if config.measured is None:
            raise ValueError(
                'cycle="auto" is measured by `ipad-jax prepare video_folder --cycle auto`; here give '
                "seconds, or `measured` itself."
            )
        scene, metadata = read(source, config.fps or None, None)
        length = Timing(config.measured.cycle_frames)
        videos = {
            split: [
                timed(v, config.measured.train[v.name] if split == "train" else length)
                for v in group
            ]
            for split, group in splits_of(scene).items()
        }
        metadata["notes"] = [*metadata["notes"], config.measured.note]
        return videos, {**metadata, "source": source.name}

    def request(self) -> dict[str, Any]:
        config = self.builder_config
        if not config.source:  # TFDS's manual_dir, which no one says here
            return {}
        paths = [p for part in PARTS for p in (Path(config.source) / part).rglob("[!.]*")]
        sizes = [path.stat().st_size for path in paths if path.is_file()]
        return {
            "source": config.source,
            "fps": config.fps or None,
            "cycle": config.cycle,
            "files": len(sizes),
            "bytes": sum(sizes),
            "labels": _labels_digest(Path(config.source), paths),
        }


def _labels_digest(source: Path, paths: Sequence[Path]) -> str:
    """Of all that says what the frames are: corrected labels often have as many bytes as the wrong ones."""
    digest = hashlib.sha256()
    found = [path for path in paths if path.suffix in (*LABEL_SUFFIXES, ".npz")]
    for path in sorted([*found, source / "scene.json"]):
        if path.is_file():
            digest.update(f"{path.relative_to(source)};{path.stat().st_size};".encode())
            digest.update(path.read_bytes())
    return f"sha256 {digest.hexdigest()[:16]}"


def timed(video: Any, timing: Timing) -> Any:
    """A video, of either layout, with a measured cycle."""
    if isinstance(video, video_files.FileVideo):
        return dataclasses.replace(video, timing=timing)
    video = dataclasses.replace(video, cycle_frames=timing.cycle_frames)
    if timing.phase is None:
        return video
    return dataclasses.replace(video, phase=timing.phase, cycle=timing.cycle)


def layout(source: Path) -> Literal["files", "frames"]:
    """Which of the two layouts a folder of footage has.

    Raises: FileNotFoundError showing both where it has neither.
    """
    if not source.is_dir():
        raise FileNotFoundError(f"{source}: no such folder. Expected:{TREE}")
    if video_files.is_layout(source):
        return "files"
    if any((source / folder).is_dir() for folder in ("training", "testing")):
        return "frames"
    loose = [path for path in source.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES]
    found = f", and {len(loose)} video files outside train/ and test/" if loose else ""
    raise FileNotFoundError(f"{source}: holds neither layout of footage{found}. Expected:{TREE}")


def read_source(
    source: Path, fps: float | None, cycle: Cycle
) -> tuple[list[Any], list[Any], dict[str, Any]]:
    """Training videos, test videos and metadata, as `read` gives them."""
    scene, metadata = read(source, fps, cycle)
    return list(scene.train), list(scene.test), metadata


def splits_of(scene: frame_folder.Scene) -> dict[str, list[Any]]:
    """Videos by split; "calibrate" only where there is such footage."""
    splits = {"train": list(scene.train), "test": list(scene.test)}
    return splits | ({"calibrate": list(scene.calibrate)} if scene.calibrate else {})


def read(
    source: Path, fps: float | None, cycle: Cycle
) -> tuple[frame_folder.Scene, dict[str, Any]]:
    """A folder of footage in whichever layout it has.

    Returns: its videos, metadata (kinds, mislabelled, notes; source_size: usual width
        and height before resizing; bit_depth: of 16-bit pictures, else None).
    Raises: FileNotFoundError or files.DataError saying what was expected.
    """
    bit_depth = None
    if layout(source) == "files":
        scene = video_files.read_folder(source, fps=fps, cycle=cycle)
        notes = video_files.uneven(scene)
        sizes = [video.info.size for video in scene.all]
    else:
        scene = with_bit_depth(frame_folder.read_scene(source, fps=fps, cycle=cycle))
        by_name = first_sizes(scene)
        sizes = list(by_name.values())
        shown = {name: f"{width}x{height}" for name, (width, height) in by_name.items()}
        notes = video_files.odd_ones("frame size", shown, video_files.SQUEEZED)
        bit_depth = (*scene.train, *scene.test)[0].bit_depth
        if bit_depth:
            notes.append(describe_bit_depth(bit_depth))
    metadata = {
        "kinds": list(scene.kinds),
        "mislabelled": list(scene.mislabelled),
        "notes": notes,
        "source_size": list(collections.Counter(sizes).most_common(1)[0][0]),
        "bit_depth": bit_depth,
    }
    return scene, metadata
