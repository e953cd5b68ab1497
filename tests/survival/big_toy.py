"""One start of the trainer, as a process of its own, on a toy whose saves take a visible time.

Used by the other files here; by hand:

  python tests/survival/big_toy.py --workdir /tmp/run --steps 200 --every 40

Everything but the task is the real thing: `train.train`, its checkpoints, its compilation cache.
Beside the run folder, `<workdir>.journal` gets a line when the first batch is asked for
({"first_step"}) and one when the second is, the step being compiled by then ({"cache_hits"}); a
process that is killed has written what it had reached.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import jax
from flax import nnx
from toy import SIZE, ToyModel, ToyTask, toy_config

from ipad_jax.run.compile_cache import enable_compile_cache
from ipad_jax.run.stopwatch import INTERRUPTED
from ipad_jax.training.loop import train

BYTES_PER_UNIT = 4 * 2 * SIZE * 3  # float32; two matrices; the weight and Adam's two slots


class BigModel(ToyModel):
    """The toy with a hidden layer in its decoder that makes the state as big as is asked for."""

    def __init__(self, width: int, *, rngs: nnx.Rngs):
        super().__init__(rngs=rngs)
        self.wide = nnx.Linear(SIZE, width, rngs=rngs)
        self.narrow = nnx.Linear(width, SIZE, rngs=rngs)

    def __call__(self, x: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        return self.narrow(nnx.relu(self.wide(super().__call__(x, rngs=rngs))))


class BigToyTask(ToyTask):
    """`config.data` holds the `width`, `step_ms` to wait for each batch, and where the journal is."""

    def init_model(self, key: jax.Array) -> BigModel:
        return BigModel(self.config.data.width, rngs=nnx.Rngs(key))

    def train_data(
        self, first_step: int, process_index: int, process_count: int
    ) -> Iterator[dict[str, Any]]:
        batches = super().train_data(first_step, process_index, process_count)
        self.write({"first_step": first_step})
        yield next(batches)
        self.write({"cache_hits": len(CACHE_HITS)})
        for batch in batches:
            time.sleep(self.config.data.step_ms / 1e3)
            yield batch

    def write(self, row: dict[str, int]) -> None:
        if self.config.data.journal:
            with open(self.config.data.journal, "a") as file:
                file.write(json.dumps(row) + "\n")


CACHE_HITS: list[str] = []


def note_cache_hit(name: str, **_: Any) -> None:
    """Keeps JAX's events of programs that were in the compilation cache."""
    if name == "/jax/compilation_cache/cache_hits":
        CACHE_HITS.append(name)


def big_toy_config(state_mb: float, step_ms: float = 0.0, journal: str = "", **overrides: Any):
    """The toy's config with a state of about `state_mb` (1e6 bytes)."""
    config = toy_config()
    config.task = "big_toy:BigToyTask"
    config.data.width = round(state_mb * 1e6 / BYTES_PER_UNIT)
    config.data.step_ms = step_ms
    config.data.journal = journal
    config.optim.lr = 1e-4  # the wide layer diverges at the toy's own
    config.update_from_flattened_dict(overrides)
    return config


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--every", type=int, required=True, help="steps between checkpoints")
    parser.add_argument("--state-mb", type=float, default=25.0)
    parser.add_argument("--step-ms", type=float, default=10.0, help="waited for each batch")
    args = parser.parse_args(argv)
    jax.monitoring.register_event_listener(note_cache_hit)
    enable_compile_cache()
    config = big_toy_config(
        args.state_mb,
        args.step_ms,
        args.workdir + ".journal",
        total_steps=args.steps,
        checkpoint_every=args.every,
    )
    return INTERRUPTED.get(train(config, args.workdir).reason, 0)


if __name__ == "__main__":
    import big_toy  # the module that `config.task` names; this one's list of hits would stay empty

    sys.exit(big_toy.main(sys.argv[1:]))
