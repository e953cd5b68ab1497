"""What a training step carries from one step to the next, made in shards from the start."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx, struct

from ipad_jax.training.task import Metrics, Task


@struct.dataclass
class TrainState:
    """All that a step reads and returns; nothing is mutated.

    Attributes:
      step: int32 [], steps done.
      trainable: the parameters that are trained.
      frozen: the other parameters; neither gradient nor optimizer slot exists for them, and a part
        with no others is in its inference view (see `training_view`).
      variables: what is no parameter, such as BatchNorm's running statistics.
      opt_state: the optimizer's slots, for `trainable` only.
      first_bad: int32 [2], the first step whose loss or gradient was not finite (0: none) and the
        place of the culprit in `term_names`. It lies on the device, so nothing waits for it.
    """

    step: jax.Array
    trainable: nnx.State
    frozen: nnx.State
    variables: nnx.State
    opt_state: optax.OptState
    first_bad: jax.Array


def training_view(model: nnx.Module, trainable: Any) -> nnx.Module:
    """The model as training uses it: dropout on, BatchNorm from the batch.

    A part of the model (an attribute of it) that has parameters but none to train stays in the
    inference view: BatchNorm's running statistics would else move though the part is frozen.
    """
    parameters, trained = nnx.state(model, nnx.Param), nnx.state(model, trainable)
    frozen = set(parameters) - set(trained)
    return nnx.view(
        inference_view(model),
        only=lambda path, _: not path or path[0] not in frozen,
        raise_if_not_found=False,  # all of one kind may be frozen
        deterministic=False,
        use_running_average=False,
    )


def inference_view(model: nnx.Module) -> nnx.Module:
    """The model as evaluation and detection use it: no chance, BatchNorm from running statistics."""
    return nnx.view(model, raise_if_not_found=False, deterministic=True, use_running_average=True)


def start_options() -> dict[str, Any]:
    """Options for compiling a program that draws a start and runs once.

    XLA:CPU optimises every draw anew: at its first level 38 of them took 8 s instead of 37, the bits are
    the same, and drawing 9.4 million numbers took 0.34 s instead of 0.26 (two shared cores).
    """
    if jax.default_backend() != "cpu" or jax.config.read("jax_disable_most_optimizations"):
        return {}  # the latter compiles with less
    return {"xla_backend_optimization_level": 1}


def create_state(
    task: Task, tx: optax.GradientTransformation, key: jax.Array
) -> tuple[nnx.GraphDef, TrainState]:
    """A fresh state and the structure of the training view; to be called under `jax.jit`.

    With `start_options` as its `compiler_options` where it is compiled to be run.
    """
    model = training_view(task.init_model(key), task.trainable)
    graphdef, trainable, frozen, variables = nnx.split(model, task.trainable, nnx.Param, ...)
    state = TrainState(
        step=jnp.zeros((), jnp.int32),
        trainable=trainable,
        frozen=frozen,
        variables=variables,
        opt_state=tx.init(trainable),
        first_bad=jnp.zeros((2,), jnp.int32),
    )
    return graphdef, state


def inference_graphdef(task: Task) -> nnx.GraphDef:
    """The structure of the inference view, which merges with the same three states."""
    model = nnx.eval_shape(lambda: task.init_model(jax.random.key(0)))
    return nnx.split(inference_view(model), task.trainable, nnx.Param, ...)[0]


def named_leaves(tree: Any) -> dict[str, Any]:
    """The leaves of a tree by their path: {"encoder.layers.0.norm.scale": array, ...}."""
    return {_name(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def replace_leaves(tree: Any, values: dict[str, Any]) -> Any:
    """The tree with leaves exchanged for those of `values`, by the names of `named_leaves`."""
    return jax.tree_util.tree_map_with_path(lambda path, x: values.get(_name(path), x), tree)


def model_arrays(state: TrainState) -> dict[str, Any]:
    """Every array of the model by name, trained or not."""
    return {
        name: leaf
        for part in (state.trainable, state.frozen, state.variables)
        for name, leaf in named_leaves(part).items()
    }


def with_model_arrays(state: TrainState, values: dict[str, Any]) -> TrainState:
    """The state with arrays of the model exchanged by name; names it does not have are not looked at."""
    return dataclasses.replace(
        state,
        trainable=replace_leaves(state.trainable, values),
        frozen=replace_leaves(state.frozen, values),
        variables=replace_leaves(state.variables, values),
    )


def term_names(metrics: Metrics) -> list[str]:
    """Names in the order in which a culprit is looked for: the terms, then the loss, then the gradient."""
    last = ["loss", "gradient_norm"]
    return [name for name in sorted(metrics) if name not in (*last, "first_bad")] + last


def check_finite(metrics: Metrics) -> None:
    """Raises FloatingPointError, naming the first step and term that were not finite."""
    step, term = jax.device_get(metrics["first_bad"]).tolist()
    if step:
        raise FloatingPointError(
            f"step {step}: {term_names(metrics)[term]} is not finite, so the run stops; nothing from "
            f"step {step} on was saved. A lower optim.lr, optim.clip_norm=1.0 or float32 usually "
            "helps; the same command goes on from the last checkpoint."
        )


def _name(path: tuple[Any, ...]) -> str:
    """A path as text; an nnx variable's own `.value` at the end says nothing and goes."""
    return jax.tree_util.keystr(path, simple=True, separator=".").removesuffix(".value")
