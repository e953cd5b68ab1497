"""What training knows of a method: the `Task` protocol, found by the name in `config.task`."""

import importlib
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from ipad_jax.run.ranges import check_ranges

Batch = dict[str, Any]
Metrics = dict[str, jax.Array]


class Task(Protocol):
    """One way of detecting anomalies: a model, its data and its loss. Training knows nothing else.

    A method without steps (a memory bank over a frozen network) has no `loss_fn`, `train_data` and
    `batch_shapes`, and is also `Fits`.

    Attributes:
      unit: what an example is, in the plural: "clips", "images", "rays"; for the log.
      trainable: nnx filter of the variables that are trained; every other parameter stays as it is.
      num_examples: training examples; an epoch shows each of them once.
    """

    unit: str

    @property
    def trainable(self) -> Any: ...

    @property
    def num_examples(self) -> int: ...

    def init_model(self, key: jax.Array) -> nnx.Module:
        """The model at its start; called under `jax.jit`, so nothing is made on one device."""
        ...

    def read_weights(self, path: str) -> dict[str, Any]:
        """Published weights from a file, by their name in the model (`config.init_from`).

        Raises:
          ValueError: the method has no part that a file could fill, or names or shapes do not fit.
        """
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

    def loss_fn(self, model: nnx.Module, batch: Batch, key: jax.Array) -> tuple[jax.Array, Metrics]:
        """The loss and its terms, float32 scalars; `key` drives dropout and the like."""
        ...

    def describe(self) -> str:
        """Parameter counts by module and what the data holds, for `--describe`."""
        ...


@runtime_checkable
class Fits(Protocol):
    """A task that also, or only, fits arrays to normal data after its steps (training/fitted.py keeps them).

    Attributes:
      fit_leaves: leaves of the config that change what `fit` makes.
      fit_uses_model: whether the model's weights change it.
    """

    fit_leaves: tuple[str, ...]
    fit_uses_model: bool

    def normal_data(self) -> Any:
        """The normal data that `fit` takes, as the family reads it; never what is held out.

        Raises:
          FileNotFoundError: it is not here.
        """
        ...

    def fit(self, model: Any, data: Any) -> dict[str, np.ndarray]:
        """Arrays by name, from the inference view of the model and the normal data."""
        ...


@runtime_checkable
class Records(Protocol):
    """A task whose model begins with a file that no run folder holds, such as a pretrained network.

    Attributes:
      record_files: names of the JSON files of the run folder that say which file that was; may be none.
    """

    record_files: tuple[str, ...]

    def record(self) -> dict[str, dict[str, Any]]:
        """Those files, by name; written before step 1."""
        ...

    def init_recorded(self, key: jax.Array, files: dict[str, dict[str, Any]]) -> nnx.Module:
        """As `init_model` where those files alone are there: its shapes, to be filled by a checkpoint."""
        ...


@runtime_checkable
class NeedsOptions(Protocol):
    """A task whose programs a compiler fails on unless it is told otherwise.

    Attributes:
      compiler_options: XLA's, by platform ("cpu", "gpu", "tpu").
    """

    compiler_options: Mapping[str, dict[str, Any]]


def compiler_options(task: Any, platform: str) -> dict[str, Any]:
    """What each program of a task's model is compiled with on a platform; {} but for `NeedsOptions`."""
    return task.compiler_options.get(platform, {}) if isinstance(task, NeedsOptions) else {}


def family_of(config: ConfigDict) -> str:
    """The family of a config's method, such as "video": `ipad_jax.<family>` has its detector."""
    return _find(config.task)[0]


def family_module(config: ConfigDict, room: str) -> ModuleType:
    """The `detector` (doors load, calibrate) or `evaluation` (evaluate, rescore) of a config's family."""
    return importlib.import_module(f"ipad_jax.{family_of(config)}.{room}")


def make_task(config: ConfigDict) -> Task:
    """The task that `config.task` names: `FAMILY.METHOD` of ours, or `MODULE:CLASS` of one's own.

    Raises:
      ValueError: there is none of that name, or a leaf is out of its range.
    """
    check_ranges(config)
    return _find(config.task)[1](config)


def _find(name: str) -> tuple[str, Callable[[ConfigDict], Task]]:
    """Family and class of a method by its name."""
    module_name, colon, attribute = name.partition(":")
    if colon:
        module = _import(module_name, name)
        if not callable(getattr(module, attribute, None)):
            raise ValueError(f"config.task={name!r}: {module_name} has no class {attribute!r}.")
        task = getattr(module, attribute)
        return getattr(task, "family", ""), task
    family, _, method = name.partition(".")
    methods = _import(f"ipad_jax.{family}.methods", name).METHODS if family.isidentifier() else {}
    if method not in methods:
        known = f"one of {', '.join(f'{family}.{m}' for m in methods)}" if methods else "none"
        raise ValueError(f"config.task={name!r}: there is no such method ({known}).")
    return family, methods[method]


def _import(module: str, task: str) -> Any:
    """A module; one that is not there is an error of the config, one that fails inside is not."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise ValueError(
            f"config.task={task!r}: no module {module!r}. Take FAMILY.METHOD such as video.ipad, or "
            "MODULE:CLASS of your own on the Python path."
        ) from error
