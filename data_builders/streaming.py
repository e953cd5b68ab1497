"""A TFDS builder that writes records as they come.

TFDS collects a split in memory and, above 1 GB, sorts it through temporary files that only TensorFlow
can open. Ours come in order already, so they go straight into ArrayRecord shards: constant memory,
written once, no TensorFlow whatever the size.
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from tensorflow_datasets.core import example_serializer, file_adapters, naming, splits

from ipad_jax.data_builders import pieces as pieces_lib
from ipad_jax.data_builders.pieces import Piece, Records, saying_where

ARRAY_RECORD = file_adapters.FileFormat.ARRAY_RECORD
SHARD_BYTES = 512 << 20  # a shard is closed once it is this large; TFDS aims at 1 GiB at most

# Below, workers are not worth their start (about a second each).
MIN_FRAMES_FOR_WORKERS = 256


class Progress(Protocol):
    """What a builder tells of its progress; `ipad-jax prepare` shows it as a bar."""

    def start(self, total: int | None) -> None: ...
    def advance(self, count: int) -> None: ...


class StreamingBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Base of our builders; `_split_generators` gives ordered records, none of the splits empty.

    May be set before building: `progress`, and `workers`, the number of processes that encode at most
    (a script that sets it needs `if __name__ == "__main__":`, as all of multiprocessing).
    """

    progress: Progress | None = None
    workers: int = 1
    _beam_options: Any = None

    def __init_subclass__(cls, **options: Any):
        super().__init_subclass__(**options)
        # TFDS looks for the card's files below `ipad_jax/`; in a clone they are in `data_builders/`.
        if "pkg_dir_path" not in cls.__dict__:
            cls.pkg_dir_path = Path(inspect.getfile(cls)).parent

    def request(self) -> dict[str, Any]:
        """What a dataset of this name was or would be built from, as far as its name does not say.

        Plain JSON values. Stored in the metadata, so that `ipad-jax prepare` never takes a dataset
        for another one of the same name.
        """
        return {}

    def __init__(self, *, file_format: str | None = None, **options: Any):
        super().__init__(file_format=file_format or "array_record", **options)

    def dataset_info_from_configs(self, **arguments: Any) -> tfds.core.DatasetInfo:
        """As TFDS's, which for a dataset that is not built yet would look for it in Google's bucket.

        That look makes a temporary folder, too, and never removes it.
        """
        info = super().dataset_info_from_configs(**arguments)
        info.initialize_from_bucket = lambda: None
        return info

    def encode(self, split: str, pieces: Iterable[Piece], num_frames: int | None) -> Records:
        """Video index and record of every piece, in order, by whatever this build runs on.

        Args: num_frames in all pieces, None where unknown.
        """
        folder = self.data_path / f"pieces-{split}"  # TFDS's temporary folder at this time
        advance = self.progress.advance if self.progress else lambda count: None
        if self._beam_options is not None:
            return pieces_lib.encode_with_beam(pieces, self._beam_options, folder, advance)
        if self.workers > 1 and (num_frames is None or num_frames >= MIN_FRAMES_FOR_WORKERS):
            return pieces_lib.encode_in_processes(pieces, self.workers, folder, advance)
        return pieces_lib.encode_here(pieces, advance)

    def _generate_splits(self, dl_manager: Any, download_config: Any) -> list[splits.SplitInfo]:
        self._beam_options = download_config.beam_options  # of `tfds build`, None without
        if self.info.file_format is not ARRAY_RECORD:  # asked for by hand; needs TensorFlow
            return super()._generate_splits(dl_manager, download_config)
        to_proto = example_serializer.ExampleSerializer(
            self.info.features.get_serialized_info()
        ).get_tf_example

        def serialize(example: Any) -> bytes:
            # A proto's map of fields has another order in every process.
            return to_proto(example).SerializeToString(deterministic=True)

        limit = download_config.max_examples_per_split
        infos = []
        for split, generator in self._split_generators(dl_manager).items():
            template = self._get_filename_template(split_name=split)
            with contextlib.closing(generator):  # its workers end before the folder is removed
                encoded = (
                    serialize(self.info.features.encode_example(record))
                    for _, record in itertools.islice(generator, limit)
                )
                lengths, num_bytes = write_shards(encoded, template)
            infos.append(splits.SplitInfo(split, lengths, num_bytes, template))
        return infos


def write_shards(
    records: Iterable[bytes], template: naming.ShardedFileTemplate
) -> tuple[list[int], int]:
    """Writes serialized records in order into as many shards as they need.

    Returns: number of records of each shard; bytes of all records.
    Raises: ValueError where there is no record; OSError where the disk is full.
    """
    lengths: list[int] = []
    paths = []
    num_bytes = shard_bytes = 0
    writer = None
    try:
        for record in records:
            if writer is None:
                # The final name holds the number of shards, unknown until the last one.
                paths.append(template.data_dir / f"shard-{template.split}-{len(paths)}")
                with saying_where(paths[-1]):
                    writer = ArrayRecordWriter(str(paths[-1]), "group_size:1")
                lengths.append(0)
            with saying_where(paths[-1]):
                writer.write(record)
            lengths[-1] += 1
            num_bytes += len(record)
            shard_bytes += len(record)
            if shard_bytes >= SHARD_BYTES:
                writer, closing = None, writer
                with saying_where(paths[-1]):
                    closing.close()
                shard_bytes = 0
        if writer is not None:
            writer, closing = None, writer
            with saying_where(paths[-1]):
                closing.close()
    finally:
        if writer is not None:  # the error that brought us here is the one to show
            with contextlib.suppress(RuntimeError):
                writer.close()
    if not lengths:
        raise ValueError(f"split {template.split!r} has no records.")
    for index, path in enumerate(paths):
        path.rename(template.sharded_filepath(shard_index=index, num_shards=len(paths)))
    return lengths, num_bytes
