"""What the trainer, evaluation and detection know of a model: the `Task` protocol."""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import jax
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from ipad_jax.performance.roofline import Product

Batch = dict[str, Any]
Metrics = dict[str, jax.Array]


class Task(Protocol):
    """One way of detecting anomalies: a model, its data and its loss. `train.py` knows nothing else."""

    @property
    def trainable(self) -> Any:
        """The nnx filter that says which variables are trained; every other parameter stays as it is."""
        ...

    @property
    def unscored(self) -> int:
        """Frames at the start of a clip for which `predict_fn` has no values, but NaN; usually 0."""
        ...

    @property
    def num_examples(self) -> int:
        """Training examples; an epoch shows each of them once."""
        ...

    def init_model(self, key: jax.Array) -> nnx.Module:
        """The model at its start; called under `jax.jit`, so nothing is made on one device."""
        ...

    def train_data(
        self, first_step: int, process_index: int, process_count: int
    ) -> Iterator[dict[str, np.ndarray]]:
        """This process's rows of the global batches from `first_step` (1 is the first) on, without end."""
        ...

    def val_data(
        self, process_index: int, process_count: int
    ) -> Iterator[dict[str, np.ndarray]] | None:
        """This process's rows of a pass over held-out normal examples, in whole batches; None if none are."""
        ...

    def batch_shapes(self, batch_size: int) -> Batch:
        """Shapes of a global batch of `train_data`: enough to compile a step where there is no data."""
        ...

    def products(self, *, train: bool, padded: bool = False) -> list[Product]:
        """The matrix products that one example needs, forward or in a training step: the model's own
        count of its work; `padded` with what fills up windows and the like."""
        ...

    def loss_fn(self, model: nnx.Module, batch: Batch, key: jax.Array) -> tuple[jax.Array, Metrics]:
        """The loss and its terms, float32 scalars; `key` drives dropout and the like."""
        ...

    def predict_fn(self, model: nnx.Module, batch: Batch) -> dict[str, jax.Array]:
        """What scoring needs of each example, from the inference view of the model: `mse` and
        `pooled` [b, t], `phase` [b], and `deformation` [b, t] where the method measures one."""
        ...

    def reconstruct_fn(self, model: nnx.Module, batch: Batch) -> dict[str, jax.Array]:
        """Pictures for a report: what the model made of each example, and where it is off."""
        ...

    def describe(self) -> str:
        """Parameter counts by module and what the data holds, for `--describe`."""
        ...


def _video(config: ConfigDict) -> Task:
    from ipad_jax.video.ipad.task import VideoTask

    return VideoTask(config)


def _baseline(config: ConfigDict) -> Task:
    from ipad_jax.video.baselines.task import BaselineTask

    return BaselineTask(config)


BASELINES = ("conae", "memae", "astnet", "dmad", "convlstm")  # of video/baseline_task.METHODS
TASKS: dict[str, Callable[[ConfigDict], Task]] = {
    "video": _video,
    **dict.fromkeys(BASELINES, _baseline),
}


def make_task(config: ConfigDict) -> Task:
    """The task named by `config.task`.

    Raises:
      ValueError: there is none of that name.
    """
    if config.task not in TASKS:
        raise ValueError(f"config.task={config.task!r}; one of {', '.join(sorted(TASKS))}.")
    return TASKS[config.task](config)
