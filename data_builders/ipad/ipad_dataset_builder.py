"""IPAD: sixteen industrial machines on video, one TFDS config a scene (paper section 3)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ipad_jax.data_builders import frame_folder
from ipad_jax.data_builders.frames import FrameBuilder, FrameConfig
from ipad_jax.data_builders.ipad.scenes import SCENES

# Deviation: the paper gives no frame rate; 25 is assumed. Only times in seconds depend on it.
FPS = 25.0
# A training folder is one cycle; every test folder is labelled; frames begin at 0 (some tools: 1).
READ_OPTIONS: dict[str, Any] = {
    "fps": FPS,
    "cycle": "folder",
    "require_labels": True,
    "first_numbers": (0, 1),
}

TREE = """
    DIR/IPAD_dataset/<scene>/training/frames/<NN>/<frame>.jpg
    DIR/IPAD_dataset/<scene>/testing/frames/<NN>/<frame>.jpg
    DIR/IPAD_dataset/<scene>/test_label/<NNN>.npy
with <scene> one of R01..R04, S01..S12 (one is enough)."""


class Builder(FrameBuilder):
    """Builds one scene of IPAD from the unpacked archive."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "IPAD cannot be downloaded for you. Get the archive from the authors' project page "
        "(https://ljf1113.github.io/IPAD_VAD), unpack it into a folder DIR and give that folder "
        "as --manual-dir DIR. Expected:" + TREE
    )
    BUILDER_CONFIGS = [FrameConfig(scene=scene) for scene in SCENES]  # noqa: RUF012 (TFDS's way)

    def read_videos(self, manual_dir: Any) -> tuple[dict[str, list[Any]], dict[str, Any]]:
        folder = find_scene(Path(manual_dir()), self.builder_config.scene)
        scene = frame_folder.read_scene(folder, **READ_OPTIONS)
        metadata = {
            "kinds": list(scene.kinds),
            "mislabelled": list(scene.mislabelled),
            "no_phase": [video.name for video in scene.train if np.isnan(video.phase).all()],
            "source": "IPAD",
        }
        return {"train": list(scene.train), "test": list(scene.test)}, metadata


def find_scene(manual_dir: Path, scene: str) -> Path:
    """Folder of a scene, whether or not the archive's IPAD_dataset folders are nested.

    Raises: ValueError on an unknown scene; FileNotFoundError naming the folders looked for.
    """
    if scene not in SCENES:
        raise ValueError(f"unknown IPAD scene {scene!r}; choose one of {', '.join(SCENES)}.")
    if manual_dir.name == scene and (manual_dir / "training").is_dir():
        return manual_dir
    looked = [
        manual_dir / scene,
        manual_dir / "IPAD_dataset" / scene,
        manual_dir / "IPAD_dataset" / "IPAD_dataset" / scene,
    ]
    for folder in looked:
        if folder.is_dir():
            return folder
    raise FileNotFoundError(
        f"IPAD scene {scene} was not found; looked for {', '.join(map(str, looked))}. Expected:"
        + TREE.replace("DIR", str(manual_dir))
    )
