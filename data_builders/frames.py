"""The record that every video builder writes: one a frame, the same features for all of them.

A clip is cut at read time, so its length and stride never change the disk. Images are encoded here
and handed to TFDS as bytes, which keeps TensorFlow off the way.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from functools import partial
from typing import Any, ClassVar, Protocol

import numpy as np
import tensorflow_datasets as tfds

from ipad_jax.data_builders.encoding import encode_frames, encode_video
from ipad_jax.data_builders.frame_folder import Frame
from ipad_jax.data_builders.pieces import Piece, Records
from ipad_jax.data_builders.streaming import StreamingBuilder

DEFAULT_SIZE = (256, 256)  # width, height; paper section 5.1
DEFAULT_QUALITY = 95  # JPEG
PIECE_FRAMES = 64  # some seconds of work at full resolution, some MB of JPEG

Encode = Callable[[Iterable[Piece]], Records]


class Video(Protocol):
    """What a builder needs to know of one video, from a folder or from a file.

    random_access: whether `frames()` opens nothing, so that any frame can be loaded by anyone; else
    the video as a whole must pickle.
    """

    random_access: ClassVar[bool]

    @property
    def name(self) -> str: ...
    @property
    def fps(self) -> float: ...
    @property
    def cycle_frames(self) -> float | None: ...
    @property
    def num_labels(self) -> int | None: ...
    def frames(self) -> Iterator[Frame]: ...


@dataclasses.dataclass(eq=False)
class FrameConfig(tfds.core.BuilderConfig):
    """Scene, size and quality; all three are in the name, so two sizes never share a folder."""

    name: str = ""
    scene: str = ""
    width: int = DEFAULT_SIZE[0]
    height: int = DEFAULT_SIZE[1]
    quality: int = DEFAULT_QUALITY

    def __post_init__(self) -> None:
        if not 8 <= self.width <= 4096 or not 8 <= self.height <= 4096:
            raise ValueError(f"size {self.width}x{self.height}: each side must be in 8..4096.")
        if not 1 <= self.quality <= 100:
            raise ValueError(f"quality={self.quality} must be in 1..100 (JPEG).")
        self.name = self.name or config_name(self.scene, (self.width, self.height), self.quality)


def config_name(scene: str, size: tuple[int, int], quality: int = DEFAULT_QUALITY) -> str:
    """Name of a prepared dataset, such as S01_256x256_q95; size is (width, height)."""
    return f"{scene}_{size[0]}x{size[1]}_q{quality}"


def features(config: FrameConfig) -> tfds.features.FeaturesDict:
    """Features of a frame record; see the builders' README for their meaning."""
    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(
                shape=(config.height, config.width, 3), encoding_format="jpeg"
            ),
            "video": np.int32,
            "frame": np.int32,
            "label": np.int8,
            "phase": np.float32,
            "kind": np.int8,
            "cycle": np.int32,
            "mask": tfds.features.Text(),  # PNG bytes; an Image feature cannot be empty
        }
    )


def generate(
    videos: Sequence[Video], config: FrameConfig, entries: list[dict[str, Any]], encode: Encode
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Every frame of a split.

    Args:
        videos: in the order their index shall have.
        config: size and quality.
        entries: receives one metadata entry a video, complete once the generator is exhausted.
        encode: what turns pieces into records, in order.
    Yields: increasing integer key and record, in video then frame order.
    Raises: ValueError from a frame that cannot be loaded, naming the file.
    """
    entries += [
        {
            "name": video.name,
            "length": 0,
            "fps": float(video.fps),
            "cycle_frames": video.cycle_frames,
            "labels": video.num_labels,
            "labelled": False,
            "anomalous": 0,  # frames
            "kinds": [],  # of these frames, indices into metadata's kinds
        }
        for video in videos
    ]
    size = (config.width, config.height)
    pieces = (
        piece
        for index, video in enumerate(videos)
        for piece in cut(video, index, size, config.quality)
    )
    with contextlib.closing(encode(pieces)) as records:
        for key, (index, record) in enumerate(records):
            entry = entries[index]
            place = {"video": index, "frame": entry["length"]}
            yield key, {**record, **place, "image": io.BytesIO(record["image"])}
            entry["length"] += 1
            entry["labelled"] |= record["label"] >= 0
            entry["anomalous"] += record["label"] == 1
            if record["kind"] > 0 and record["kind"] not in entry["kinds"]:
                entry["kinds"] = sorted([*entry["kinds"], record["kind"]])


def cut(video: Video, index: int, size: tuple[int, int], quality: int) -> Iterator[Piece]:
    """A video's pieces: a file is decoded from its start, so it is one; frames are cut finely."""
    if not video.random_access:
        whole = partial(encode_video, video, size, quality)
        yield Piece(index, f"video {video.name}", whole)
        return
    frames = video.frames()
    for first in itertools.count(0, PIECE_FRAMES):
        part = list(itertools.islice(frames, PIECE_FRAMES))
        if not part:
            return
        name = f"video {video.name}, frames {first}..{first + len(part) - 1}"
        yield Piece(index, name, partial(encode_frames, part, size, quality))


def count_frames(videos: Sequence[Video]) -> int | None:
    """Frames in all videos as far as they are known without decoding, else None."""
    lengths = [len(video) if isinstance(video, Sized) else 0 for video in videos]
    return sum(lengths) if all(lengths) else None


class FrameBuilder(StreamingBuilder, skip_registration=True):
    """Base of `ipad`, `video_folder` and `factory`: they differ in where a scene comes from.

    A child gives `BUILDER_CONFIGS` and `read_videos`.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First version: one record a frame."}

    def read_videos(self, manual_dir: Any) -> tuple[dict[str, list[Video]], dict[str, Any]]:
        """Videos of each split, and metadata: kinds, mislabelled, source, anything plain.

        `manual_dir()` gives TFDS's folder of manual downloads, or raises where there is none.
        """
        raise NotImplementedError

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=features(self.builder_config),
            metadata=tfds.core.MetadataDict(),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        request = self.request()  # before reading: files may still be arriving
        videos, metadata = self.read_videos(lambda: dl_manager.manual_dir)
        self.info.metadata.update(metadata)
        self.info.metadata["request"] = request
        self.info.metadata["scene"] = self.builder_config.scene
        self.info.metadata["videos"] = {split: [] for split in {"train": 0, "test": 0} | videos}
        if self.progress:
            self.progress.start(count_frames([v for group in videos.values() for v in group]))
        # A split without a video is absent: TFDS refuses an empty one.
        return {
            split: self._generate_examples(split, split_videos)
            for split, split_videos in videos.items()
            if split_videos
        }

    def _generate_examples(self, split: str, videos: list[Video]) -> Iterator[tuple[int, Any]]:
        entries = self.info.metadata["videos"][split]
        encode = partial(self.encode, split, num_frames=count_frames(videos))
        return generate(videos, self.builder_config, entries, encode)
