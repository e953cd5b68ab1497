"""Rendered machines with known faults: the embedded default, one TFDS config a device and look."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ipad_jax.data_builders import frame_folder
from ipad_jax.data_builders.factory import scene, write
from ipad_jax.data_builders.factory.devices import DEVICES
from ipad_jax.data_builders.frame_folder import Frame
from ipad_jax.data_builders.frames import FrameBuilder, FrameConfig

DEFAULT_COUNTS = (10, 6, 12)  # single-cycle folders, long videos, test videos: about 3,000 frames


@dataclasses.dataclass(eq=False)
class FactoryConfig(FrameConfig):
    """Which machine, how it looks, how many videos; what is not the default is in the name.

    seed: of everything. keep_frames: folder where the rendered frames stay ("" = deleted once the
    dataset is built). on_render: called with (frames rendered, frames in all).
    """

    device: str = "conveyor"
    look: str = "synthetic"
    seed: int = 0
    num_single: int = DEFAULT_COUNTS[0]
    num_long: int = DEFAULT_COUNTS[1]
    num_test: int = DEFAULT_COUNTS[2]
    cycle_frames: int = write.CYCLE_FRAMES
    keep_frames: str = ""
    on_render: write.Progress | None = None

    def __post_init__(self) -> None:
        scene.new_scene(self.device, self.look, self.seed)  # says what is wrong with the three
        self.scene = self.scene or f"{self.device}_{self.look}"
        given = self.name
        super().__post_init__()
        counts = (self.num_single, self.num_long, self.num_test)
        if not given:
            self.name += f"_seed{self.seed}" if self.seed else ""
            self.name += "_n{}-{}-{}".format(*counts) if counts != DEFAULT_COUNTS else ""
            if self.cycle_frames != write.CYCLE_FRAMES:
                self.name += f"_cycle{self.cycle_frames}"


class Builder(FrameBuilder):
    """Renders one scene and stores it."""

    BUILDER_CONFIGS = [  # noqa: RUF012 (TFDS's way)
        FactoryConfig(device=device, look=look) for look in scene.LOOKS for device in DEVICES
    ]

    def download_and_prepare(self, **options: Any) -> None:
        """As TFDS's own; the rendered frames live as long as this call unless they are kept."""
        with contextlib.ExitStack() as stack:
            self._frames_dir = self.builder_config.keep_frames or stack.enter_context(
                tempfile.TemporaryDirectory(prefix="factory_")
            )
            super().download_and_prepare(**options)

    def read_videos(self, manual_dir: Any) -> tuple[dict[str, list[Any]], dict[str, Any]]:
        config = self.builder_config
        folder = write.render_scene(
            Path(self._frames_dir).expanduser(),
            config.device,
            config.look,
            config.seed,
            (config.width, config.height),
            config.num_single,
            config.num_long,
            config.num_test,
            cycle_frames=config.cycle_frames,
            quality=config.quality,
            progress=config.on_render,
        )
        found = frame_folder.read_scene(folder)
        metadata = {
            "kinds": list(found.kinds),
            "mislabelled": [],
            "source": "factory",
            "rendering": found.description,
            "stored_as_is": True,  # the frames' files, see StoredVideo; `ipad-jax detect` must know
        }
        return {
            "train": [StoredVideo(video) for video in found.train],
            "test": [StoredVideo(video) for video in found.test],
        }, metadata


class StoredVideo:
    """A folder of frames that already have the wanted size and quality: no second JPEG loss."""

    random_access = True

    def __init__(self, video: frame_folder.FolderVideo) -> None:
        self.name, self.fps = video.name, video.fps
        self.cycle_frames, self.num_labels = video.cycle_frames, video.num_labels
        self._video = video

    def __len__(self) -> int:
        return len(self._video)

    def frames(self) -> Iterator[Frame]:
        for path, frame in zip(self._video.paths, self._video.frames()):
            yield dataclasses.replace(frame, load_jpeg=path.read_bytes)
