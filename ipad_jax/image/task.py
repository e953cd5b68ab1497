"""What every image method shares: its pictures, which images it is fitted on, the contract of maps.

A method gives a model and a map: `map_fn(model, arrays, pictures) -> float32 [n, h', w']` on any grid,
raw, higher is more anomalous, of one picture the same whatever others come with it. The score of an image
is `reduce` of its joined map. Thresholds, colours and metrics are outside. What trains has steps
(`SteppedTask`), what is computed from normal images has `fit_arrays`, a method may have both.
"""

import json
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from ipad_jax.image.untrained import fit_untrained
from ipad_jax.image.views import Views
from ipad_jax.input.batches import endless_batches, spread_batches
from ipad_jax.input.images import ImageSource, open_images, split_good
from ipad_jax.nn.backbones import weights_file
from ipad_jax.nn.weight_files import described, weights_note
from ipad_jax.training.state import named_leaves

Arrays = dict[str, np.ndarray]
BACKBONE = "backbone.json"  # in the run folder: which file a pretrained network is from
FIT_LEAVES = (
    "data.height",
    "data.width",
    "data.tiles",
    "data.holdout_share",
    "data.holdout_min",
    "data.train_share",
    "model",
    "seed",
)
BIT_DEPTH = (
    "data/bit_depth"  # of `fit`: bits that 16-bit images of the dataset use, 0 where it has none
)
BESIDE = (
    "untrained/",
    "data/",
)  # begin the names of those arrays of `fit` that `map_fn` does not take
PREDICTION_LEAVES = (*FIT_LEAVES, "optim", "eval.blur_px")  # those that change a map
EVAL_LEAVES = ("batch_size", "false_alarm_share", "blur_px", "save_maps")


@dataclass(frozen=True)
class NormalImages:
    """Good images that a method is fitted on, as pictures.

    Attributes:
      source: the training split.
      chosen: which of its images.
      views: how they are cut.
    """

    source: ImageSource
    chosen: tuple[int, ...]
    views: Views

    def __len__(self) -> int:
        return len(self.chosen)

    def image(self, number: int) -> np.ndarray:
        """The image with this number among the chosen, uint8 [h, w, 3]."""
        return self.source.image(self.chosen[number])

    def pictures(self) -> Iterator[tuple[np.ndarray, tuple[int, int]]]:
        """Pictures uint8 [t, h, w, 3] of each image, and the image's height and width."""
        for number in range(len(self)):
            image = self.image(number)
            yield self.views.cut(image), image.shape[:2]


class ImageTask(ABC):
    """Images of one product as a `Task`; reads the prepared dataset only when images are asked for.

    Raises:
      ValueError: a config that cannot be.
    """

    family = "image"
    unit = "images"
    fit_leaves = FIT_LEAVES
    prediction_leaves = PREDICTION_LEAVES
    fit_uses_model = False

    def __init__(self, config: ConfigDict):
        self.config = config
        section = config.eval
        self.views = self.make_views()
        if missing := [leaf for leaf in EVAL_LEAVES if leaf not in section]:
            raise ValueError(f"the config's eval section lacks {', '.join(missing)}.")
        if not 0 < section.false_alarm_share < 1:
            raise ValueError(
                f"eval.false_alarm_share={section.false_alarm_share} must lie between 0 and 1, e.g. 0.05."
            )
        if section.batch_size < 1 or section.blur_px < 0:
            raise ValueError(
                f"eval.batch_size={section.batch_size} must be 1 or more, "
                f"eval.blur_px={section.blur_px} 0 (off) or more."
            )

    @abstractmethod
    def init_model(self, key: jax.Array) -> nnx.Module:
        """The model at its start."""

    @abstractmethod
    def map_fn(self, model: Any, arrays: dict[str, jax.Array], pictures: jax.Array) -> jax.Array:
        """Maps float32 [n, h', w'] of pictures uint8 [n, h, w, 3]; see the module's text."""

    def make_views(self) -> Views:
        """How images are cut into pictures."""
        data = self.config.data
        return Views(data.height, data.width, data.tiles)

    @property
    def record_files(self) -> tuple[str, ...]:
        """What the run folder says of a pretrained network; see `training.task.Records`."""
        return (BACKBONE,) if "backbone" in self.config.model else ()

    def record(self) -> dict[str, dict[str, Any]]:
        model = self.config.model
        return {
            name: {
                "backbone": model.backbone,
                **described(weights_file(model.backbone, model.weights)),
            }
            for name in self.record_files
        }

    def init_recorded(self, key: jax.Array, files: dict[str, dict[str, Any]]) -> nnx.Module:
        config = ConfigDict(self.config.to_dict())
        with tempfile.TemporaryDirectory() as folder:  # the run folder may be remote
            path = Path(folder) / BACKBONE
            path.write_text(json.dumps(files[BACKBONE]))
            config.model.weights = str(path)
            return type(self)(config).init_model(key)

    def make_scorer(self, model: Any, arrays: Arrays) -> Any:
        """The way from images to maps, with what `fit` made."""
        from ipad_jax.image.scorer import Scorer  # which takes a task

        return Scorer(self, model, arrays)

    def fit_arrays(self, model: Any, normal: NormalImages) -> Arrays:
        """What `map_fn` needs beside the model."""
        return {}

    def reduce(self, score_map: np.ndarray) -> float:
        """Score of an image from its map [h, w]: the maximum."""
        return float(score_map.max())

    @property
    def trainable(self) -> Any:
        """All parameters; a pretrained network's weights are none (features.Frozen)."""
        return nnx.Param

    def read_weights(self, path: str) -> dict[str, Any]:
        """No part of these methods starts from a file by `init_from`."""
        raise ValueError(
            f"init_from={path}: image methods take a network's file as model.weights instead."
        )

    @cached_property
    def source(self) -> ImageSource:
        """The training split.

        Raises:
          FileNotFoundError: it is not prepared; names the command.
        """
        return open_images(self.config, "train")

    @property
    def fingerprint(self) -> str:
        """Of the dataset that training reads."""
        return self.source.fingerprint

    @cached_property
    def indices(self) -> tuple[list[int], list[int]]:
        """Images to fit, and those held out for the threshold."""
        data = self.config.data
        return split_good(self.source, data.holdout_share, data.holdout_min, data.train_share)

    @property
    def num_examples(self) -> int:
        """Images to fit."""
        return len(self.indices[0])

    def val_data(
        self, process_index: int, process_count: int
    ) -> Iterator[dict[str, np.ndarray]] | None:
        """A method without steps has no loss."""
        return None

    def normal_data(self) -> NormalImages:
        """The images to fit."""
        return NormalImages(self.source, tuple(self.indices[0]), self.views)

    def fit(self, model: Any, data: NormalImages) -> Arrays:
        """The method's arrays, with those of the rows that need no training, and the images' bit depth."""
        own = self.fit_arrays(model, data)
        depth = data.source.metadata.get("bit_depth") or 0
        beside = {f"untrained/{k}": v for k, v in fit_untrained(data).items()}
        return own | beside | {BIT_DEPTH: np.array(depth)}

    def describe(self) -> str:
        """Parameters by part of the model, frozen ones apart; the images, where they are prepared."""
        model = nnx.eval_shape(lambda: self.init_model(jax.random.key(0)))
        _, trained, rest = nnx.split(model, nnx.Param, ...)
        counts: dict[str, list[int]] = {}
        for place, state in enumerate((trained, rest)):
            for name, leaf in named_leaves(state).items():
                counts.setdefault(name.partition(".")[0], [0, 0])[place] += leaf.size
        lines = [
            f"{part}: {sum(both):,} numbers, {both[0]:,} of them trained"
            for part, both in counts.items()
        ]
        if self.record_files:
            section = self.config.model
            lines.append(f"  {weights_note(weights_file(section.backbone, section.weights))}")
        try:
            fitted, held = self.indices
            lines += ["", f"data: {self.source.path}"]
            lines.append(
                f"  {len(fitted)} good images to fit, {len(held)} held out for the threshold"
            )
        except FileNotFoundError as error:
            lines += ["", f"data: {error}"]
        return "\n".join(lines)


def arrays_of_method(arrays: Arrays) -> Arrays:
    """Those arrays of `ImageTask.fit` that `map_fn` takes."""
    return {name: x for name, x in arrays.items() if not name.startswith(BESIDE)}


@runtime_checkable
class Updates(Protocol):
    """A method that takes in further good images without training and without those it was fitted on."""

    def update(
        self, model: Any, arrays: Arrays, pictures: Iterable[tuple[np.ndarray, tuple[int, int]]]
    ) -> Arrays:
        """All arrays, with the further images in them.

        Args:
          model: as of `map_fn`.
          arrays: of `fit`.
          pictures: as `NormalImages.pictures` gives them.
        """
        ...


class SteppedTask(ImageTask):
    """A method that trains by steps on pictures of the good images.

    A batch is {"picture": uint8 [b, h, w, 3], "index": int64 [b]}; with tiles each is a random one of its
    image.
    """

    fit_uses_model = True

    @abstractmethod
    def loss_fn(
        self, model: Any, batch: dict[str, Any], key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The loss of a batch and its terms."""

    def reader(self, images: np.ndarray) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
        """Reads a batch of the images with these numbers, by their places among them; it pickles."""
        return partial(read_pictures, self.source, self.views, images, self.config.seed)

    def train_data(
        self, first_step: int, process_index: int, process_count: int
    ) -> Iterator[dict[str, np.ndarray]]:
        """Shuffled pictures from `first_step` on."""
        config = self.config
        fitted = np.asarray(self.indices[0])
        return endless_batches(
            self.reader(fitted),
            len(fitted),
            batch_size=config.batch_size,
            seed=config.seed,
            first_step=first_step,
            num_workers=config.num_workers,
            process_index=process_index,
            process_count=process_count,
        )

    def val_data(
        self, process_index: int, process_count: int
    ) -> Iterator[dict[str, np.ndarray]] | None:
        """Whole batches of the held-out images, `eval_batches` at most; the same ones every time."""
        held = np.asarray(self.indices[1])
        if not len(held):
            return None
        most = self.config.eval_batches
        size = self.config.batch_size
        return map(
            self.reader(held), spread_batches(len(held), size, most, process_index, process_count)
        )

    def batch_shapes(self, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
        """A batch as `read_pictures` makes it."""
        shape = (batch_size, self.views.height, self.views.width, 3)
        return {
            "picture": jax.ShapeDtypeStruct(shape, np.uint8),
            "index": jax.ShapeDtypeStruct((batch_size,), np.int32),
        }


def read_pictures(
    source: ImageSource, views: Views, images: np.ndarray, seed: int, chosen: np.ndarray
) -> dict[str, np.ndarray]:
    """One picture of each chosen image, by their places in `images`."""
    pictures = []
    for place in chosen:
        cut = views.cut(source.image(int(images[place])))
        tile = 0 if len(cut) == 1 else np.random.default_rng([seed, int(place)]).integers(len(cut))
        pictures.append(cut[tile])
    return {"picture": np.stack(pictures), "index": np.asarray(chosen, np.int32)}
