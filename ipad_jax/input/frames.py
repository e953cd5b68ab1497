"""Random access to the frames of one prepared split.

A prepared dataset holds one record a frame, video after video; where each video starts follows from
the lengths in its metadata. Records are read straight from ArrayRecord and parsed with tfds's own
protocol buffer: about 60 us a record against 120 us through `as_data_source` with SkipDecoding.
ArrayRecord keeps a hash of every record and checks it on each read, so flipped bytes are told, never
decoded; nothing else needs a digest.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_data_source import ArrayRecordDataSource
from etils import epath
from google.protobuf.json_format import ParseError
from tensorflow_datasets.proto import tf_example_generated_pb2 as tf_example

from ipad_jax.input.fingerprint import dataset_fingerprint
from ipad_jax.run.files import check_name

DATASET_VERSION = "1.0.0"
SPLITS = ("train", "test", "calibrate")  # the last: normal footage of another day, if any
COLUMNS = {"label": np.int8, "phase": np.float32, "kind": np.int8, "cycle": np.int32}
_parse: Any = vars(tf_example)["Example"].FromString  # made at run time, unseen by type checkers
_REPAIR = "Copy it again from where it is whole, or prepare the dataset again with --overwrite."
_CHUNK = 256  # records a thread reads and parses at once when a whole split is scanned


@dataclass(frozen=True)
class Video:
    """One video of a split.

    Attributes:
      name: folder or file it came from.
      first_record: record of its frame 0 in the split.
      length: number of frames.
      fps: frames a second.
      cycle_frames: frames of one machine cycle, None where there is none or it is unknown.
      scene: its scene in a source over several (see scenes.py); "" in one over a single scene.
    """

    name: str
    first_record: int
    length: int
    fps: float
    cycle_frames: float | None
    scene: str = ""


class FrameSource:
    """Frames and per-frame columns of one split; made by `open_source`. Safe to pickle to workers.

    Attributes:
      path: folder of the prepared dataset.
      split: "train" or "test".
      videos: the split's videos, in record order.
      kinds: names of the fault kinds; `kinds[0]` is "normal".
      image_size: (height, width) in pixels.
      mislabelled: names of test folders whose label count disagrees with their frames.
      metadata: the dataset's metadata as stored.
      cache_note: what is kept decoded in memory, or why nothing is, for the caller to print.
      shards: its files, each with its number of records.
    """

    def __init__(
        self,
        path: str,
        split: str,
        videos: tuple[Video, ...],
        image_size: tuple[int, int],
        metadata: dict[str, Any],
        shards: Sequence[tuple[str, int]],
    ):
        """See `open_source`."""
        self.path = path
        self.split = split
        self.videos = videos
        self.kinds = tuple(metadata["kinds"])
        self.image_size = image_size
        self.mislabelled = tuple(metadata.get("mislabelled", ()))
        self.metadata = metadata
        self.cache_note = "no frames are kept decoded in memory"
        self.shards = tuple(shards)
        self._records: Any = _open_records([file for file, _ in shards]) if shards else []
        self._columns: dict[str, list[np.ndarray]] = {}
        self._cache: np.ndarray | None = None
        if len(self._records) != self.num_frames:
            raise ValueError(
                f"{path}: split {split!r} holds {len(self._records)} records, but its metadata "
                f"counts {self.num_frames} frames in {len(videos)} videos. Prepare it again."
            )

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits of the whole dataset, both splits: other footage has others."""
        return dataset_fingerprint([epath.Path(folder) for folder in self.path.split(" + ")])

    @property
    def num_frames(self) -> int:
        """Frames of the whole split."""
        return sum(video.length for video in self.videos)

    @property
    def is_cached(self) -> bool:
        """Whether all frames are held decoded."""
        return self._cache is not None

    def frames(self, video: int, indices: Sequence[int] | range | np.ndarray) -> np.ndarray:
        """Decodes frames of one video.

        Args:
          video: index into `videos`.
          indices: frame numbers, each in [0, length).

        Returns:
          [n, h, w, 3] uint8 RGB.

        Raises:
          IndexError: a frame lies outside the video.
          OSError: a file cannot be read, or its bytes were changed.
          ValueError: a stored image cannot be decoded.
        """
        records = self._record_numbers(video, indices)
        if self._cache is not None:
            return self._cache[records]
        height, width = self.image_size
        out = np.empty((len(records), height, width, 3), np.uint8)
        for row, example in enumerate(self._read(records)):
            out[row] = self._decode(example, int(records[row]))
        return out

    def clip(self, video: int, first_frame: int, clip_len: int) -> tuple[np.ndarray, float]:
        """Reads consecutive frames and the phase of the first.

        Returns:
          frames [clip_len, h, w, 3] uint8 RGB, phase in [0, 1) or NaN.
        """
        indices = range(first_frame, first_frame + clip_len)
        if self._cache is not None:
            return self.frames(video, indices), float(self.column("phase")[video][first_frame])
        records = self._record_numbers(video, indices)
        examples = self._read(records)
        frames = np.stack([self._decode(e, int(r)) for e, r in zip(examples, records)])
        return frames, examples[0].feature["phase"].float_list.value[0]

    def column(self, name: str) -> list[np.ndarray]:
        """One value a frame: label, phase, kind or cycle.

        The first call scans the split once (a few seconds for the largest IPAD scene).

        Returns:
          One array [length] a video: label int8 (-1 unknown), phase float32 in [0, 1) (NaN
          unknown), kind int8 (-1 unknown), cycle int32 (-1 unknown).

        Raises:
          ValueError: no such column.
        """
        if name not in COLUMNS:
            raise ValueError(f"column={name!r} does not exist; choose from {', '.join(COLUMNS)}.")
        if not self._columns:
            self._scan(fill_cache=False)
        return self._columns[name]

    def mask(self, video: int, frame: int) -> np.ndarray | None:
        """Pixels of the visible fault, [h, w] bool; None where none is visible or known."""
        (example,) = self._read(self._record_numbers(video, [frame]))
        encoded = example.feature["mask"].bytes_list.value[0]
        if not encoded:
            return None
        mask = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_GRAYSCALE)
        if mask is None or mask.shape != self.image_size:
            raise ValueError(
                f"{self.path}: the mask of video {self.videos[video].name!r}, frame {frame} is not "
                f"a {self.image_size[1]}x{self.image_size[0]} image. Prepare the dataset again."
            )
        return mask > 127

    def fill_cache(self, limit_mb: float) -> bool:
        """Keeps all frames decoded in memory if they fit; says in `cache_note` what happened.

        Args:
          limit_mb: largest size in megabytes (1e6 bytes); 0 keeps nothing.

        Returns:
          Whether the frames are now in memory.
        """
        size_mb = self.num_frames * self.image_size[0] * self.image_size[1] * 3 / 1e6
        if self._cache is not None or limit_mb <= 0:
            return self.is_cached
        if size_mb > limit_mb:
            self.cache_note = (
                f"{self.num_frames:,} frames decoded are {size_mb:,.0f} MB, more than cache_mb="
                f"{limit_mb:g}: each clip is decoded when it is read"
            )
            return False
        self._scan(fill_cache=True)
        self.cache_note = f"{self.num_frames:,} frames kept decoded in memory: {size_mb:,.0f} MB"
        return True

    def __getstate__(self) -> dict[str, Any]:
        # A copy of the cache in every worker would multiply the memory promised by cache_mb.
        return self.__dict__ | {"_cache": None}

    def _record_numbers(self, video: int, indices: Sequence[int] | range | np.ndarray):
        """Frame numbers of a video to record numbers of the split, checked."""
        where = self.videos[video]
        numbers = np.asarray(indices, np.int64)
        if numbers.size and (numbers.min() < 0 or numbers.max() >= where.length):
            raise IndexError(
                f"video {where.name!r} has frames 0..{where.length - 1}; asked for "
                f"{numbers.min()}..{numbers.max()}."
            )
        return numbers + where.first_record

    def _read(self, records: np.ndarray) -> list[Any]:
        """The parsed features of some records."""
        numbers = records.tolist()
        try:
            raw = self._records.__getitems__(numbers) if numbers else []
        except RuntimeError as error:
            raise self._unreadable(numbers) from error
        return [_parse(record).features for record in raw]

    def _unreadable(self, records: list[int]) -> OSError:
        """Names the first of some records that cannot be read, and its file."""
        for record in records:
            try:
                self._records[record]
            except RuntimeError as error:
                ends = np.cumsum([length for _, length in self.shards])
                file, _ = self.shards[int(np.searchsorted(ends, record, side="right"))]
                return OSError(f"{file}: {self._name(record)} cannot be read: {error}. {_REPAIR}")
        return OSError(f"{self.path}: reading failed once, and not again; start the command again.")

    def _name(self, record: int) -> str:
        """Video and frame of a record."""
        video = next(v for v in self.videos if record < v.first_record + v.length)
        return f"video {video.name!r}, frame {record - video.first_record}"

    def _decode(self, example: Any, record: int) -> np.ndarray:
        """JPEG bytes to [h, w, 3] uint8 RGB."""
        encoded = np.frombuffer(example.feature["image"].bytes_list.value[0], np.uint8)
        image = cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB)
        if image is None or image.shape[:2] != self.image_size:
            got = "no image" if image is None else f"{image.shape[1]}x{image.shape[0]} pixels"
            raise ValueError(
                f"{self.path}: {self._name(record)}: got {got}, "
                f"expected {self.image_size[1]}x{self.image_size[0]}. Prepare the dataset again."
            )
        return image

    def _scan(self, *, fill_cache: bool) -> None:
        """Reads every record once, for the columns and, if asked, the decoded frames."""
        total = self.num_frames
        columns = {name: np.empty(total, dtype) for name, dtype in COLUMNS.items()}
        cache = np.empty((total, *self.image_size, 3), np.uint8) if fill_cache else None

        def read_chunk(start: int) -> None:
            records = np.arange(start, min(start + _CHUNK, total))
            for record, example in zip(records.tolist(), self._read(records)):
                for name, column in columns.items():
                    feature = example.feature[name]
                    values = feature.float_list if name == "phase" else feature.int64_list
                    column[record] = values.value[0]
                if cache is not None:
                    cache[record] = self._decode(example, record)

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(read_chunk, range(0, total, _CHUNK)))
        starts = [video.first_record for video in self.videos[1:]]
        self._columns = {
            name: np.split(column, starts) if self.videos else []
            for name, column in columns.items()
        }
        self._cache = cache


def height_width(size: int | Sequence[int]) -> tuple[int, int]:
    """`data.size` as (height, width) in pixels; one number is the side of a square."""
    if isinstance(size, int):
        return size, size
    height, width = size
    return int(height), int(width)


def dataset_dir(
    data_dir: str | os.PathLike[str],
    builder: str,
    scene: str,
    size: int | Sequence[int],
    quality: int = 95,
    variant: str = "",
) -> epath.Path:
    """Folder of a prepared dataset, in tfds's layout.

    Args:
      data_dir: root of all datasets, local or gs://; "" means tfds's own, ~/tensorflow_datasets.
      builder: ipad, video_folder or factory.
      scene: S01, R03, ... or the name of own footage.
      size: side of square frames, or (height, width), in pixels.
      quality: JPEG quality the frames are stored at.
      variant: what a builder adds to the name where a build is not the usual one, such as "seed3".

    Raises:
      ValueError: a part of the name that would lead to another folder.
    """
    parts = {"data.builder": builder, "data.name": scene}
    for leaf, part in (parts | ({"data.variant": variant} if variant else {})).items():
        check_name(part, leaf)
    height, width = height_width(size)
    root = epath.Path(data_dir or Path("~/tensorflow_datasets")).expanduser()
    name = f"{scene}_{width}x{height}_q{quality}" + (f"_{variant}" if variant else "")
    return root / builder / name / DATASET_VERSION


def open_source(path: str | os.PathLike[str], split: str, *, cache_mb: float = 0) -> FrameSource:
    """Opens one split of a prepared dataset.

    Args:
      path: folder as given by `dataset_dir`.
      split: "train", "test" or "calibrate". A split without videos gives a source without videos.
      cache_mb: keep the frames decoded if they need at most so many megabytes; see `cache_note`.

    Raises:
      FileNotFoundError: nothing is prepared there; names what is, and the command that prepares.
      OSError: a file is missing, cut short or changed; names it.
      ValueError: unknown split, or records and metadata disagree.
    """
    if split not in SPLITS:
        raise ValueError(f"split={split!r} does not exist; choose from {', '.join(SPLITS)}.")
    folder = epath.Path(path)
    if not (folder / "dataset_info.json").exists():
        builder = folder.parent.parent.name or "NAME"
        others = folder.parent.parent.glob(f"*/{folder.name}/dataset_info.json")
        names = sorted(path.parent.parent.name for path in others)
        there = f"prepared there: {', '.join(names)}" if names else "nothing is prepared there"
        raise FileNotFoundError(
            f"No prepared dataset at {folder}; {there}. "
            f"Prepare it with `ipad-jax prepare {builder} ...` "
            f"(`ipad-jax prepare {builder} --help` shows its arguments), or check "
            f"--config.data.data_dir (of `train` and `evaluate`), data.name, data.size and data.quality: "
            f"they are parts of the folder's name."
        )
    try:
        info = tfds.builder_from_directory(folder).info
        metadata = dict(info.metadata or {})
        if missing := {"kinds", "videos"} - metadata.keys():
            raise ValueError(f"no {' and '.join(sorted(missing))} in the metadata")
    except (ParseError, ValueError) as error:
        raise OSError(
            f"dataset_info.json, features.json or metadata.json in {folder} is missing or damaged "
            f"({error}). {_REPAIR}"
        ) from error
    videos, first_record = [], 0
    for entry in metadata["videos"].get(split, ()):
        cycle = entry.get("cycle_frames")
        cycle = None if cycle is None else float(cycle)
        length = int(entry["length"])
        videos.append(Video(entry["name"], first_record, length, float(entry["fps"]), cycle))
        first_record += length
    features: Any = info.features
    height, width, _ = features["image"].shape
    shards = []
    if split in info.splits and info.splits[split].num_examples:
        stored = info.splits[split]
        shards = list(zip(map(str, stored.filepaths), stored.shard_lengths))
    source = FrameSource(str(folder), split, tuple(videos), (height, width), metadata, shards)
    source.fill_cache(cache_mb)
    return source


def _open_records(files: list[str]) -> ArrayRecordDataSource:
    """Opens shards; where that fails, names the first that is at fault."""
    try:
        return ArrayRecordDataSource(files)
    except RuntimeError:
        for file in files:
            try:
                ArrayRecordDataSource([file])
            except RuntimeError as error:
                raise OSError(f"{file} cannot be read: {error}. {_REPAIR}") from error
        raise
