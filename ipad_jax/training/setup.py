"""What a run is made of before its first step: a task on a mesh, and the step that it repeats."""

import dataclasses
from functools import partial
from typing import Any, Self

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh
from ml_collections import ConfigDict

from ipad_jax.training.optim import make_optimizer
from ipad_jax.training.sharding import batch_sharding, fsdp_sharding, gather, replicated
from ipad_jax.training.state import TrainState, create_state, start_options, term_names
from ipad_jax.training.task import Batch, Metrics, Task, compiler_options


@dataclasses.dataclass(frozen=True)
class TrainSetup:
    """A task on a mesh, known without an array being made.

    Attributes:
      task: the method and its data.
      tx: the optimizer.
      mesh: of real or compile-only devices.
      graphdef: structure of the model in its training view.
      shapes: of every array of the state.
      shardings: where each of them lies.
    """

    task: Task
    tx: optax.GradientTransformation
    mesh: Mesh
    graphdef: nnx.GraphDef
    shapes: TrainState
    shardings: TrainState

    @classmethod
    def make(cls, config: ConfigDict, task: Task, mesh: Mesh, total_steps: int) -> Self:
        """The set-up that `config.optim` and `config.fsdp_min_bytes` ask for.

        Raises:
          ValueError: an optimizer that cannot be, see `make_optimizer`.
        """
        tx = make_optimizer(config.optim, total_steps)
        graphdefs = []

        def shapes_of() -> TrainState:
            graphdef, state = create_state(task, tx, jax.random.key(0))
            graphdefs.append(graphdef)
            return state

        shapes = jax.eval_shape(shapes_of)
        shardings = fsdp_sharding(shapes, mesh, config.fsdp_min_bytes)
        return cls(task, tx, mesh, graphdefs[0], shapes, shardings)

    @property
    def compiler_options(self) -> dict[str, Any]:
        """What the task's programs need on the mesh's devices; see `NeedsOptions`."""
        return compiler_options(self.task, self.mesh.devices.flat[0].platform)

    def make_keys(self, seed: int) -> tuple[jax.Array, jax.Array]:
        """The key of the steps and that of the start, both on every device."""
        # jit: with several processes a global array is made by all of them, never put there by one
        return jax.jit(
            lambda: tuple(jax.random.split(jax.random.key(seed))),
            out_shardings=replicated(self.mesh),
        )()

    def create_state(self, key: jax.Array) -> TrainState:
        """A fresh state, made in its shards at once: no device ever holds all of it."""
        make = jax.jit(
            lambda key: create_state(self.task, self.tx, key)[1],
            out_shardings=self.shardings,
            compiler_options=start_options(),
        )
        return make(key)

    def compile_step(self, batch: Any) -> jax.stages.Compiled:
        """Compiles `train_step` for (state, batch, key) on the mesh.

        The state is donated, metrics come back on every device.

        Args:
          batch: a global one, or its shapes.
        """
        step_fn = jax.jit(
            partial(train_step, task=self.task, graphdef=self.graphdef, tx=self.tx),
            donate_argnums=0,
            in_shardings=(self.shardings, batch_sharding(self.mesh), replicated(self.mesh)),
            out_shardings=(self.shardings, replicated(self.mesh)),
            compiler_options=self.compiler_options,
        )
        key = jax.eval_shape(lambda: jax.random.key(0))
        with jax.set_mesh(self.mesh):
            return step_fn.lower(self.shapes, batch, key).compile()


def train_step(
    state: TrainState,
    batch: Batch,
    key: jax.Array,
    *,
    task: Task,
    graphdef: nnx.GraphDef,
    tx: optax.GradientTransformation,
) -> tuple[TrainState, Metrics]:
    """One step as a pure function; the key is folded with the step, so the same step draws the same.

    Returns:
      The next state, and float32 scalars: the task's terms, `loss`, `gradient_norm`; with them
      `first_bad` (see `TrainState`).
    """
    key = jax.random.fold_in(key, state.step)

    def loss_fn(trainable: nnx.State) -> tuple[jax.Array, tuple[Metrics, Any]]:
        # copy: BatchNorm writes into its variables, which must belong to this trace
        weights = gather((trainable, state.frozen, state.variables))
        model = nnx.merge(graphdef, *weights, copy=True)
        loss, terms = task.loss_fn(model, batch, key)
        *_, variables = nnx.split(model, task.trainable, nnx.Param, ...)
        return loss, (terms, variables)

    gradient_fn = jax.value_and_grad(loss_fn, has_aux=True)
    (loss, (terms, variables)), gradients = gradient_fn(state.trainable)
    updates, opt_state = tx.update(gradients, state.opt_state, state.trainable)
    step = state.step + 1
    metrics = {**terms, "loss": loss, "gradient_norm": optax.tree.norm(gradients)}
    bad = jnp.stack([~jnp.isfinite(metrics[name]) for name in term_names(metrics)])
    # a term may be undefined without harm; the loss and the gradient may not
    is_first = (state.first_bad[0] == 0) & (bad[-1] | bad[-2])
    first_bad = jnp.where(is_first, jnp.stack([step, jnp.argmax(bad)]), state.first_bad)
    new = dataclasses.replace(
        state,
        step=step,
        trainable=optax.apply_updates(state.trainable, updates),
        variables=variables,
        opt_state=opt_state,
        first_bad=first_bad,
    )
    return new, {**metrics, "first_bad": first_bad}
