"""A TFDS builder that writes records as they come.

TFDS collects a split in memory and, above 1 GB, sorts it through temporary files that only TensorFlow
can open. Ours come in order already, so they go straight into ArrayRecord shards: constant memory,
written once, no TensorFlow whatever the size.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from tensorflow_datasets.core import example_serializer, file_adapters, naming, splits

ARRAY_RECORD = file_adapters.FileFormat.ARRAY_RECORD
SHARD_BYTES = 512 << 20  # a shard is closed once it is this large; TFDS aims at 1 GiB at most


class StreamingBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Base of our builders; `_split_generators` gives ordered records, none of the splits empty."""

    def request(self) -> dict[str, Any]:
        """What a dataset of this name was or would be built from, as far as its name does not say.

        Plain JSON values. Stored in the metadata, so that `ipad-jax prepare` never takes a dataset
        for another one of the same name.
        """
        return {}

    def __init__(self, *, file_format: str | None = None, **options: Any):
        super().__init__(file_format=file_format or "array_record", **options)

    def _generate_splits(self, dl_manager: Any, download_config: Any) -> list[splits.SplitInfo]:
        if self.info.file_format is not ARRAY_RECORD:  # asked for by hand; needs TensorFlow
            return super()._generate_splits(dl_manager, download_config)
        serializer = example_serializer.ExampleSerializer(self.info.features.get_serialized_info())
        limit = download_config.max_examples_per_split
        infos = []
        for split, generator in self._split_generators(dl_manager).items():
            encoded = (
                serializer.serialize_example(self.info.features.encode_example(record))
                for _, record in itertools.islice(generator, limit)
            )
            template = self._get_filename_template(split_name=split)
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
                with _saying_where(paths[-1]):
                    writer = ArrayRecordWriter(str(paths[-1]), "group_size:1")
                lengths.append(0)
            with _saying_where(paths[-1]):
                writer.write(record)
            lengths[-1] += 1
            num_bytes += len(record)
            shard_bytes += len(record)
            if shard_bytes >= SHARD_BYTES:
                writer, closing = None, writer
                with _saying_where(paths[-1]):
                    closing.close()
                shard_bytes = 0
        if writer is not None:
            writer, closing = None, writer
            with _saying_where(paths[-1]):
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


@contextlib.contextmanager
def _saying_where(path: Any) -> Iterator[None]:
    """ArrayRecord raises RuntimeError on a full disk; others' RuntimeErrors are none of that."""
    try:
        yield
    except RuntimeError as error:
        raise OSError(f"could not write to {path}: {error}") from error
