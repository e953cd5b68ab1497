"""From images to raw maps and scores: the one way that calibration, evaluation and detection take."""

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from ml_collections import ConfigDict

from ipad_jax.image.task import Arrays, ImageTask, arrays_of_method
from ipad_jax.input.images import ImageSource
from ipad_jax.run.progress import Stages
from ipad_jax.training.fitted import fitted_arrays
from ipad_jax.training.task import make_task


class Scored(NamedTuple):
    """An image's map, float32 [h, w] at its own size, raw, its score, and what else the method found."""

    map: np.ndarray
    score: float
    found: Any = None

    @property
    def inspected(self) -> bool:
        """Whether map and score say anything of the image; see `Inspection.inspected`."""
        return getattr(self.found, "inspected", True)


class Scorer:
    """A method with its model and arrays.

    Attributes:
      task: the method.
      model: its network.
      arrays: what `fit` made.
    """

    def __init__(self, task: ImageTask, model: Any, arrays: Arrays):
        self.task, self.model, self.arrays = task, model, arrays
        own = {name: jnp.asarray(x) for name, x in arrays_of_method(arrays).items()}
        graph = jax.jit(task.map_fn)
        self._maps = lambda pictures: np.asarray(graph(model, own, pictures))

    def scored(self, images: Iterable[np.ndarray]) -> Iterator[Scored]:
        """Maps and scores of images uint8 [h, w, 3] of any sizes, in order.

        Raises:
          ValueError: an image of another kind.
          FloatingPointError: a map with NaN or infinity.
        """
        task, images = self.task, iter(images)
        size = task.config.eval.batch_size
        while part := list(islice(images, size)):
            cut = [task.views.cut(image) for image in part]
            tiles = len(cut[0])
            pictures = np.concatenate(cut)
            if len(part) < size:  # one shape, one program
                fill = np.repeat(pictures[-1:], (size - len(part)) * tiles, axis=0)
                pictures = np.concatenate([pictures, fill])
            maps = self._maps(pictures)
            for number, image in enumerate(part):
                own = maps[number * tiles : (number + 1) * tiles]
                joined = task.views.join(own, image.shape[:2], task.config.eval.blur_px)
                if not np.isfinite(joined).all():
                    raise FloatingPointError(
                        f"the map of an image of {image.shape[1]}x{image.shape[0]} pixels is not finite: the "
                        "model is broken; train again with a lower optim.lr."
                    )
                yield Scored(joined, task.reduce(joined))

    def held_out(self, images: Iterable[np.ndarray]) -> Iterator[Scored]:
        """As `scored`, of all images held out of training, in order; see `pose.scorer`."""
        return self.scored(images)

    def photos(self, images: Iterable[np.ndarray]) -> Iterator[Scored]:
        """As `scored`, of photos that `prepare` has not seen; see `pose.scorer`."""
        return self.scored(images)

    def again(self, image: np.ndarray, found: Any) -> Scored:
        """An image that was scored before, with what the method found then: its map is made anew."""
        return next(iter(self.scored([image])))

    def reference(self, image: np.ndarray, found: Any) -> np.ndarray | None:
        """What an image uint8 [h, w, 3] was compared with, of the same kind; None of most methods."""
        return None

    @property
    def views(self) -> np.ndarray | None:
        """From the object to the cameras of the training views, [n, 3], z upwards; None of most methods."""
        return None

    def seen_from(self, found: Any) -> np.ndarray | None:
        """From the object to the camera of an image, [3], as `views`; None of most methods."""
        return None

    def beside(self, source: ImageSource, index: int) -> dict[str, Scored]:
        """A test image by rows that stand beside the method's; these know more than the method may."""
        return {}

    def measured(self, source: ImageSource, scored: Sequence[Scored]) -> dict[str, Any]:
        """Numbers of metrics.json that the method alone has, from all test images."""
        return {}

    def show(self, folder: epath.Path, source: ImageSource, stages: Stages) -> dict[str, str]:
        """Writes what the method alone has to show; name -> caption of each video for the report."""
        return {}

    def warm_up(self) -> None:
        """Compiles what the first image would wait for."""
        list(self.scored([np.zeros((self.task.views.height, self.task.views.width, 3), np.uint8)]))


def make_image_task(config: ConfigDict) -> ImageTask:
    """The task of a config of the image family.

    Raises:
      ValueError: it is of another one.
    """
    task = make_task(config)
    if not isinstance(task, ImageTask):
        raise ValueError(f"config.task={config.task!r} is no image method.")
    return task


def load_scorer(
    workdir: str | os.PathLike[str], config: ConfigDict, model: Any, step: int
) -> Scorer:
    """A run's method with its arrays, from the run folder or, the first time, from its images.

    Args:
      workdir: run folder.
      config: of the run, with the `eval` section in force.
      model: as `restore_for_inference` gives it.
      step: its checkpoint.
    """
    task: Any = make_image_task(config)
    return task.make_scorer(model, fitted_arrays(workdir, config, task, model, step))
