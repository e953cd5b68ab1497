"""MAD: LEGO toys seen from any side, one TFDS config a class (PAD paper, sections 3.1-3.3).

One record an image: training views with camera pose, test views without. Poses are camera-to-world
matrices of an OpenGL camera (x right, y up, looking along -z), as in transforms.json.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from ipad_jax.data_builders.frames import PIECE_FRAMES, FrameConfig
from ipad_jax.data_builders.mad.archive import (
    REAL_CLASSES,
    SIM_CLASSES,
    TREE,
    View,
    encode_views,
    find_class,
    read_class,
)
from ipad_jax.data_builders.pieces import Piece
from ipad_jax.data_builders.streaming import StreamingBuilder

SIZE = 400  # pixels; the archive's 800x800 is used at half size by the published code


class Builder(StreamingBuilder):
    """Builds one class of MAD from the unpacked archives."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {
        "1.0.0": "One record an image. Images are PNG since ipad_jax 0.3, JPEG before: readers take both."
    }
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "MAD cannot be downloaded for you (CC BY-NC-SA 4.0). Get MAD-Sim or MAD-Real from "
        "https://github.com/EricLee0224/PAD, unpack it into a folder DIR and give that folder as "
        "--manual-dir DIR. Expected:" + TREE
    )
    BUILDER_CONFIGS: ClassVar = [
        FrameConfig(scene=name, width=SIZE, height=SIZE) for name in SIM_CLASSES + REAL_CLASSES
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(
                        shape=(config.height, config.width, 3), encoding_format="png"
                    ),
                    "name": tfds.features.Text(),  # path below the class folder
                    "label": np.int8,
                    "defect": np.int8,
                    "mask": tfds.features.Text(),  # PNG bytes; an Image feature cannot be empty
                    "world_from_camera": tfds.features.Tensor(shape=(4, 4), dtype=np.float32),
                    "focal_px": np.float32,
                }
            ),
            metadata=tfds.core.MetadataDict(),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        folder = find_class(Path(dl_manager.manual_dir), self.builder_config.scene)
        real = self.builder_config.scene in REAL_CLASSES
        views, defects, camera_angle_x = read_class(folder, require_poses=not real)
        self.info.metadata.update(
            {
                "scene": self.builder_config.scene,
                "source": f"{folder.parent.name}/{folder.name}",
                "defects": defects,
                "camera_angle_x": camera_angle_x,  # radians across the width; None without poses
                "without_mask": [
                    str(view.path.relative_to(folder))
                    for view in views["test"]
                    if view.defect and view.mask is None
                ],
            }
        )
        if self.progress:
            self.progress.start(sum(map(len, views.values())))
        return {
            split: self._generate_examples(split, folder, split_views, camera_angle_x)
            for split, split_views in views.items()
            if split_views
        }

    def _generate_examples(
        self, split: str, folder: Path, views: list[View], camera_angle_x: float | None
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        config = self.builder_config
        size = (config.width, config.height)
        parts = (views[i : i + PIECE_FRAMES] for i in range(0, len(views), PIECE_FRAMES))
        pieces = (
            Piece(
                0,  # no videos here
                f"{part[0].path} and the {len(part) - 1} after it",
                partial(encode_views, part, folder, camera_angle_x, size),
            )
            for part in parts
        )
        with contextlib.closing(self.encode(split, pieces, len(views))) as records:
            for key, (_, record) in enumerate(records):
                yield key, {**record, "image": io.BytesIO(record["image"])}
