"""Random access to the images of one prepared split, and which of them calibrate."""

import dataclasses
import os
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tensorflow_datasets as tfds
from etils import epath
from ml_collections import ConfigDict

from ipad_jax.input.fingerprint import dataset_fingerprint
from ipad_jax.input.frames import DATASET_VERSION, SPLITS
from ipad_jax.run.files import check_name

GOOD = "good"


@dataclasses.dataclass(frozen=True)
class ImageSource:
    """Images of one split; made by `open_images`. Safe to pickle to workers.

    Attributes:
      path: folder of the prepared dataset.
      split: "train" or "test".
      kinds: "good" and the defects.
      metadata: the dataset's, as stored.
      records: its records, by index.
    """

    path: str
    split: str
    kinds: tuple[str, ...]
    metadata: dict[str, Any]
    records: Any

    def __len__(self) -> int:
        return len(self.records)

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits of the dataset, both splits: other images have others."""
        return dataset_fingerprint([epath.Path(self.path)])

    @cached_property
    def rows(self) -> tuple[tuple[str, str], ...]:
        """Name and kind of every image."""
        return tuple(
            (bytes(r["name"]).decode(), self.kinds[int(r["defect"])])
            for r in (self.records[i] for i in range(len(self)))
        )

    def image(self, index: int) -> np.ndarray:
        """One image at its own resolution, uint8 [h, w, 3] RGB."""
        encoded = np.frombuffer(self.records[index]["image"], np.uint8)
        image = cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB)
        if image is None:
            raise ValueError(
                f"{self.path}: image {index} of {self.split} cannot be decoded; prepare the dataset again."
            )
        return image

    def mask(self, index: int) -> np.ndarray | None:
        """Where the defect of an image is, bool [h, w]; None for a good one, or where nobody marked it."""
        record = self.records[index]
        encoded = bytes(record["mask"])
        if not encoded or int(record["defect"]) == 0:
            return None
        mask = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_GRAYSCALE)
        if mask is None:
            raise ValueError(
                f"{self.path}: the mask of image {index} of {self.split} cannot be decoded; prepare the "
                "dataset again."
            )
        return mask > 127


def open_images(config: ConfigDict, split: str) -> ImageSource:
    """The split "train" or "test" of the images that a config names.

    Raises:
      FileNotFoundError: they are not prepared; names the command.
      ValueError: they are not those with `data.fingerprint`, which a run was trained on.
    """
    data = config.data
    source = open_source(images_dir(data.data_dir, data.builder, data.name), split)
    trained_on = data.get("fingerprint", "")
    if trained_on and source.fingerprint != trained_on:
        raise ValueError(
            f"{source.path} are not the images that this run was trained on: they were prepared anew from "
            f"others (fingerprint {source.fingerprint}, the run's is {trained_on}). Prepare the old ones "
            "again, or prepare the new ones under a name of their own (`--name`) and train on them."
        )
    return source


def images_dir(data_dir: str | os.PathLike[str], builder: str, name: str) -> epath.Path:
    """Folder of prepared images; of those that `prepare mad` stores at a size, the only one there is.

    Raises:
      ValueError: a part of the name that would lead to another folder, or several sizes.
    """
    for leaf, part in {"data.builder": builder, "data.name": name}.items():
        check_name(part, leaf)
    root = epath.Path(data_dir or Path("~/tensorflow_datasets")).expanduser() / builder
    sized = sorted(p.name for p in root.glob(f"{name}_*x*_q*")) if root.exists() else []
    if (root / name).exists() or not sized:
        return root / name / DATASET_VERSION
    if len(sized) > 1:
        raise ValueError(
            f"{root} holds {name} at several sizes: take one as data.name: {', '.join(sized)}."
        )
    return root / sized[0] / DATASET_VERSION


def open_source(path: str | os.PathLike[str], split: str) -> ImageSource:
    """Opens one split of prepared images; a split without any has length 0.

    Raises:
      FileNotFoundError: nothing is prepared there; names what is, and the command that prepares.
      ValueError: unknown split, or a dataset of something else.
    """
    if split not in SPLITS:
        raise ValueError(f"split={split!r} does not exist; choose from {', '.join(SPLITS)}.")
    folder = epath.Path(path)
    if not (folder / "dataset_info.json").exists():
        builder = folder.parent.parent
        there = sorted(p.parent.parent.name for p in builder.glob("*/*/dataset_info.json"))
        raise FileNotFoundError(
            f"No prepared images at {folder}; prepared there: {', '.join(there) or 'nothing'}. Prepare them "
            f"with `ipad-jax prepare {builder.name} ...` (`--help` shows its arguments), or check "
            "--config.data.data_dir (of `train` and `evaluate`), data.builder and data.name."
        )
    prepared = tfds.builder_from_directory(folder)
    metadata = dict(prepared.info.metadata or {})
    if "defects" not in metadata:
        raise ValueError(f"{folder} holds no images of good and defective parts, but other data.")
    records: Any = ()
    if split in prepared.info.splits and prepared.info.splits[split].num_examples:
        decoders: Any = {"image": tfds.decode.SkipDecoding()}
        read: Any = prepared.as_data_source
        records = read(split, decoders=decoders)
    return ImageSource(str(folder), split, tuple(metadata["defects"]), metadata, records)


def split_good(
    source: ImageSource, share: float, minimum: int, train_share: float = 1.0
) -> tuple[list[int], list[int]]:
    """Which images a method is fitted on, and which are held out to set its threshold.

    Held out are `share` of them, at least `minimum` but never more than half, evenly spread over the
    list: images are often taken in order, and light drifts. `train_share` then takes some of the others.

    Raises:
      ValueError: too few images for both.
    """
    count = len(source)
    held: list[int] = []
    if share > 0:
        wanted = num_held_out(count, share, minimum)
        if not wanted:
            raise ValueError(
                f"{source.path}: {count} good image{'s' * (count != 1)} to train on cannot be fitted and "
                "held out at once; take more, or data.holdout_share=0 and no threshold."
            )
        held = _spread(count, wanted)
    rest = [index for index in range(count) if index not in set(held)]
    if not rest:
        raise ValueError(f"{source.path}: no good image to train on.")
    taken = _spread(len(rest), max(1, round(train_share * len(rest))))
    return [rest[i] for i in taken], held


def num_held_out(count: int, share: float, minimum: int) -> int:
    """Of `count` good images, those that `split_good` leaves to the threshold."""
    return min(max(minimum, round(share * count)), count // 2)


def _spread(number: int, count: int) -> list[int]:
    """`count` indices spread evenly over a list of `number`."""
    return [int((i + 0.5) * number / count) for i in range(count)]
