"""A person's own footage of one machine, as folders of frames or as video files."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from data_builders import frame_folder, video_files
from data_builders.frames import FrameBuilder, FrameConfig

TREE = """
    DIR/training/frames/<NN>/<frame>.jpg     folders of numbered frames, normal only (needs --fps)
    DIR/testing/frames/<NN>/<frame>.jpg
    DIR/test_label/<NNN>.npy                 one 0/1 a frame, optional
or
    DIR/train/normal/<name>.mp4              video files (mp4, avi, mov, mkv), normal only
    DIR/test/normal/<name>.mp4
    DIR/test/<kind>/<name>.mp4               every frame is anomalous, unless <name>.npy beside it
                                             holds one 0/1 a frame"""


@dataclasses.dataclass(eq=False)
class VideoFolderConfig(FrameConfig):
    """Where the footage is and what is known of its timing.

    source: folder; TFDS's manual_dir where empty. fps: rate of frame folders; for video files the
    rate to resample to (0: as recorded). cycle: seconds, every file then starts at a cycle's start;
    "folder": each training folder is exactly one cycle; None: unknown, no phase.
    """

    source: str = ""
    fps: float = 0.0
    cycle: frame_folder.Cycle = None


class Builder(FrameBuilder):
    """Builds one dataset from one folder of footage."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = "Put your own footage into a folder DIR. Expected:" + TREE
    BUILDER_CONFIGS = [VideoFolderConfig(scene="footage")]  # noqa: RUF012 (TFDS's way)

    def read_videos(self, manual_dir: Any) -> tuple[dict[str, list[Any]], dict[str, Any]]:
        config = self.builder_config
        source = Path(config.source or manual_dir()).expanduser()
        train, test, metadata = read_source(source, config.fps or None, config.cycle)
        return {"train": train, "test": test}, {**metadata, "source": source.name}


def read_source(
    source: Path, fps: float | None, cycle: frame_folder.Cycle
) -> tuple[list[Any], list[Any], dict[str, Any]]:
    """Videos of both splits in whichever layout the folder has.

    Returns: training videos, test videos, metadata (kinds, mislabelled).
    Raises: FileNotFoundError or files.DataError saying what was expected.
    """
    if not source.is_dir():
        raise FileNotFoundError(f"{source}: no such folder. Expected:{TREE}")
    if video_files.is_layout(source):
        scene = video_files.read_folder(source, fps=fps, cycle=cycle)
    elif (source / "training").is_dir() or (source / "testing").is_dir():
        scene = frame_folder.read_scene(source, fps=fps, cycle=cycle)
    else:
        raise FileNotFoundError(f"{source}: holds neither layout of footage. Expected:{TREE}")
    metadata = {"kinds": list(scene.kinds), "mislabelled": list(scene.mislabelled)}
    return list(scene.train), list(scene.test), metadata
