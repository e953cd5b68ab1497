"""The record that every builder of images writes: one an image, at its own resolution, without loss."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from ipad_jax.data_builders.encoding import encode
from ipad_jax.data_builders.image_folder.layout import GOOD, Photo
from ipad_jax.data_builders.photos import read_mask, stored_bytes
from ipad_jax.data_builders.pieces import Piece
from ipad_jax.data_builders.streaming import StreamingBuilder

PIECE_IMAGES = 16


@dataclasses.dataclass(eq=False)
class ImageConfig(tfds.core.BuilderConfig):
    """A set of images, called as its config: `bottle`, `plate`."""

    name: str = ""
    scene: str = ""  # the same name, as every builder of ours has it

    def __post_init__(self) -> None:
        self.name = self.scene = self.name or self.scene


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """What a builder stores; files are relative to `folder`."""

    folder: Path
    train: Sequence[Photo]
    test: Sequence[Photo]
    kinds: tuple[str, ...]
    bit_depth: int | None = None


class ImageBuilder(StreamingBuilder, skip_registration=True):
    """Base of the builders of images; a child gives `BUILDER_CONFIGS` and `read_images`."""

    unit = "images"  # for progress
    more_features: ClassVar[dict[str, Any]] = {}  # of a record, beside those of every image
    encode_images: ClassVar[Any] = None  # as `encode_photos`, which it is where nothing is given
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First version: one record an image."}

    def read_images(self, manual_dir: Any) -> tuple[ImageSet, dict[str, Any]]:
        """The images, and metadata of any plain kind; `manual_dir()` is TFDS's folder."""
        raise NotImplementedError

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3)),  # JPEG or PNG
                    "name": tfds.features.Text(),  # path below the folder
                    "label": np.int8,  # 0 good, 1 not
                    "defect": np.int8,  # index into the metadata's defects
                    "mask": tfds.features.Text(),  # PNG, 0 and 255; empty where good or unknown
                    **self.more_features,
                }
            ),
            metadata=tfds.core.MetadataDict(),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        request = self.request()  # before reading: files may still be arriving
        images, metadata = self.read_images(lambda: dl_manager.manual_dir)
        splits = {"train": images.train, "test": images.test}
        self.info.metadata.update(
            {
                **metadata,
                "scene": self.builder_config.scene,
                "request": request,
                "defects": list(images.kinds),
                "bit_depth": images.bit_depth,
                "sizes": {},  # "HEIGHTxWIDTH" of the training images -> how many
                "images": {split: {} for split in splits},  # kind -> how many
                "without_mask": sum(p.kind != GOOD and p.mask is None for p in images.test),
            }
        )
        if self.progress:
            self.progress.start(len(images.train) + len(images.test))
        return {
            split: self._generate_examples(split, images, photos)
            for split, photos in splits.items()
            if photos  # TFDS refuses an empty split
        }

    def _generate_examples(
        self, split: str, images: ImageSet, photos: Sequence[Photo]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        parts = (photos[i : i + PIECE_IMAGES] for i in range(0, len(photos), PIECE_IMAGES))
        encode_part = self.encode_images or encode_photos
        pieces = (
            Piece(0, f"{part[0].path} and those after it", partial(encode_part, part, images))
            for part in parts
        )
        counts = self.info.metadata["images"][split]
        sizes = self.info.metadata["sizes"]
        with contextlib.closing(self.encode(split, pieces, len(photos))) as records:
            for key, (_, record) in enumerate(records):
                size = record.pop("size")
                kind = images.kinds[record["defect"]]
                counts[kind] = counts.get(kind, 0) + 1
                if split == "train":
                    sizes[size] = sizes.get(size, 0) + 1
                yield key, {**record, "image": io.BytesIO(record["image"])}


def encode_photos(photos: Iterable[Photo], images: ImageSet) -> Iterator[dict[str, Any]]:
    """Records of some images, with their `size` as text beside the fields that are stored.

    Raises: ValueError from an image or mask that cannot be used, naming the file.
    """
    for photo in photos:
        data, size = stored_bytes(photo.path, images.bit_depth)
        mask = b""
        if photo.mask is not None:
            marked = read_mask(photo.mask)
            if marked.shape != size:
                raise ValueError(
                    f"{photo.mask}: is {marked.shape[1]}x{marked.shape[0]}, its image "
                    f"{size[1]}x{size[0]}: a mask must be as large as its image"
                )
            mask = encode(".png", marked.astype(np.uint8) * 255)
        yield {
            "image": data,
            "name": photo.path.relative_to(images.folder).as_posix(),
            "label": int(photo.kind != GOOD),
            "defect": images.kinds.index(photo.kind),
            "mask": mask,
            "size": f"{size[0]}x{size[1]}",
        }
