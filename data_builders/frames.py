"""The record that every video builder writes: one a frame, the same features for all of them.

A clip is cut at read time, so its length and stride never change the disk. Images are encoded here
and handed to TFDS as bytes, which keeps TensorFlow off the way.
"""

from __future__ import annotations

import collections
import dataclasses
import io
import os
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, ClassVar, Protocol, TypeVar

import cv2
import numpy as np
import tensorflow_datasets as tfds

from data_builders.frame_folder import Frame
from data_builders.streaming import StreamingBuilder

DEFAULT_SIZE = (256, 256)  # width, height; paper section 5.1
DEFAULT_QUALITY = 95  # JPEG
NUM_THREADS = os.cpu_count() or 1

T = TypeVar("T")
R = TypeVar("R")


class Video(Protocol):
    """What a builder needs to know of one video, from a folder or from a file."""

    @property
    def name(self) -> str: ...
    @property
    def fps(self) -> float: ...
    @property
    def cycle_frames(self) -> float | None: ...
    @property
    def num_labels(self) -> int | None: ...
    def frames(self) -> Iterator[Frame]: ...


class Progress(Protocol):
    """What a builder tells of its progress; `ipad-jax prepare` shows it as a bar."""

    def start(self, total: int | None) -> None: ...
    def advance(self, video: str) -> None: ...


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
    videos: Iterable[Video],
    config: FrameConfig,
    entries: list[dict[str, Any]],
    progress: Progress | None = None,
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Loads, resizes and encodes frames in threads, a few dozen in memory at a time.

    Args:
        videos: in the order their index shall have.
        config: size and quality.
        entries: receives one metadata entry a video, complete once the generator is exhausted.
        progress: told of each frame.
    Yields: increasing integer key and record, in video then frame order.
    Raises: ValueError from a frame that cannot be loaded, naming the file.
    """
    key = 0
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        for index, video in enumerate(videos):
            length, anomalous, labelled, kinds = 0, 0, False, set()
            for frame, (image, mask) in encode_ahead(
                pool, partial(_encode, config=config), video.frames()
            ):
                yield (
                    key,
                    {
                        "image": io.BytesIO(image),
                        "video": index,
                        "frame": length,
                        "label": frame.label,
                        "phase": frame.phase,
                        "kind": frame.kind,
                        "cycle": frame.cycle,
                        "mask": mask,
                    },
                )
                key += 1
                length += 1
                labelled |= frame.label >= 0
                anomalous += frame.label == 1
                kinds |= {frame.kind} - {-1, 0}
                if progress:
                    progress.advance(video.name)
            entries.append(
                {
                    "name": video.name,
                    "length": length,
                    "fps": float(video.fps),
                    "cycle_frames": video.cycle_frames,
                    "labels": video.num_labels,
                    "labelled": labelled,
                    "anomalous": anomalous,  # frames
                    "kinds": sorted(kinds),  # of these frames, indices into metadata's kinds
                }
            )


def encode_ahead(
    pool: ThreadPoolExecutor, encode_fn: Callable[[T], R], items: Iterable[T]
) -> Iterator[tuple[T, R]]:
    """Yields (item, encode_fn(item)) in order, a few ahead in threads; OpenCV frees the GIL."""
    pending: collections.deque[tuple[T, Future[R]]] = collections.deque()
    for item in items:
        pending.append((item, pool.submit(encode_fn, item)))
        if len(pending) > 4 * NUM_THREADS:
            first, future = pending.popleft()
            yield first, future.result()
    while pending:
        first, future = pending.popleft()
        yield first, future.result()


def _encode(frame: Frame, config: FrameConfig) -> tuple[bytes, bytes]:
    """JPEG of the resized image and PNG of the resized mask (b"" without one)."""
    size = (config.width, config.height)
    if frame.load_jpeg is not None:
        jpeg = frame.load_jpeg()
    else:
        image = cv2.resize(frame.load(), size, interpolation=cv2.INTER_AREA)
        jpeg = encode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, config.quality])
    if frame.load_mask is None:
        return jpeg, b""
    mask = resize_mask(frame.load_mask()[..., 0], size)
    return jpeg, encode(".png", mask) if mask.any() else b""


def resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes a mask [h, w] uint8 (above 127 is set) to size (width, height), values 0 and 255.

    A pixel is set where at least half of it is covered; where none is, every touched pixel is, so
    that a fault thinner than a pixel of the small picture stays a fault.
    """
    cover = cv2.resize((mask > 127).astype(np.float32), size, interpolation=cv2.INTER_AREA)
    kept = cover >= 0.5
    return (kept if kept.any() else cover > 0).astype(np.uint8) * 255


def encode(suffix: str, image: np.ndarray, options: list[int] | None = None) -> bytes:
    """Encodes a BGR or grey uint8 image; OpenCV writes JPEG and PNG files whose colours are RGB."""
    ok, data = cv2.imencode(suffix, image, options or [])
    if not ok:
        raise ValueError(f"OpenCV could not encode an image of shape {image.shape} as {suffix}.")
    return data.tobytes()


class FrameBuilder(StreamingBuilder, skip_registration=True):
    """Base of `ipad`, `video_folder` and `factory`: they differ in where a scene comes from.

    A child gives `BUILDER_CONFIGS` and `read_videos`. `progress` may be set.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First version: one record a frame."}
    progress: Progress | None = None

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
        self.info.metadata["videos"] = {"train": [], "test": []}
        if self.progress:
            every = [video for group in videos.values() for video in group]
            known = all(isinstance(video, Sized) for video in every)
            self.progress.start(sum(map(len, every)) if known else None)
        # A split without a video is absent: TFDS refuses an empty one.
        return {
            split: self._generate_examples(split, split_videos)
            for split, split_videos in videos.items()
            if split_videos
        }

    def _generate_examples(self, split: str, videos: list[Video]) -> Iterator[tuple[int, Any]]:
        entries = self.info.metadata["videos"][split]
        return generate(videos, self.builder_config, entries, self.progress)
