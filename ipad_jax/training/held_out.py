"""The loss on held-out normal examples, which training reports beside its own."""

from typing import Any

import jax
from flax import nnx
from ml_collections import ConfigDict

from ipad_jax.run.stopwatch import Stopwatch
from ipad_jax.training.setup import TrainSetup
from ipad_jax.training.sharding import batch_sharding, gather, replicated, to_global
from ipad_jax.training.state import TrainState, inference_graphdef
from ipad_jax.training.task import Batch, Metrics


class HeldOutLoss:
    """The loss on held-out normal examples, from the inference view; compiled when first used."""

    def __init__(self, setup: TrainSetup, config: ConfigDict, clock: Stopwatch):
        self.setup, self.clock = setup, clock
        self.process = (jax.process_index(), jax.process_count())
        self.graphdef = inference_graphdef(setup.task)
        self.available = bool(config.eval_every) and setup.task.val_data(*self.process) is not None
        self.compiled: jax.stages.Compiled | None = None

    def __call__(self, state: TrainState) -> dict[str, float]:
        """Means over the held-out examples, by name."""
        rows = batch_sharding(self.setup.mesh)
        sums: dict[str, float] = {}
        count = 0
        for batch in self.setup.task.val_data(*self.process) or ():
            batch = to_global(batch, rows)
            if self.compiled is None:
                with self.clock("compiling"):
                    self.compiled = self._compile(state, batch)
            with self.clock("evaluation"):
                found = jax.device_get(
                    self.compiled(state.trainable, state.frozen, state.variables, batch)
                )
            sums = {name: sums.get(name, 0.0) + float(value) for name, value in found.items()}
            count += 1
        return {name: total / count for name, total in sums.items()}

    def _compile(self, state: TrainState, batch: Any) -> jax.stages.Compiled:
        """The forward pass and its losses for these shapes."""

        def losses(trainable: Any, frozen: Any, variables: Any, batch: Batch) -> Metrics:
            weights = gather((trainable, frozen, variables))
            model = nnx.merge(self.graphdef, *weights, copy=True)
            loss, terms = self.setup.task.loss_fn(model, batch, jax.random.key(0))
            return {**terms, "loss": loss}

        s = self.setup.shardings
        shardings = (s.trainable, s.frozen, s.variables, batch_sharding(self.setup.mesh))
        fn = jax.jit(
            losses,
            in_shardings=shardings,
            out_shardings=replicated(self.setup.mesh),
            compiler_options=self.setup.compiler_options,
        )
        return fn.lower(state.trainable, state.frozen, state.variables, batch).compile()
