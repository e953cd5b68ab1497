"""How long training stands still for a checkpoint, saved in the background and not.

  python tests/survival/save_stall.py --state-mb 10 50 200

Takes the trainer's own compiled step and `Checkpoints` on the big toy. For each size of the state,
medians of `--saves` saves: a step alone; what `save` keeps the loop waiting (the copy of the arrays);
what it would if the loop waited for the files and their digests too; a step while those are written,
which shares processor and disk with them. Nothing is asserted: times belong to a machine.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent))

import jax
from big_toy import BigToyTask, big_toy_config

from ipad_jax.training.checkpoints import Checkpoints
from ipad_jax.training.setup import TrainSetup
from ipad_jax.training.sharding import batch_sharding, make_mesh, to_global
from ipad_jax.training.state import TrainState


class Stall(NamedTuple):
    """Medians in milliseconds."""

    step: float
    background: float
    waiting: float
    step_meanwhile: float


class Trainer:
    """A state and its compiled step."""

    def __init__(self, state_mb: float):
        config = big_toy_config(state_mb)
        task, self.key = BigToyTask(config), jax.random.key(0)
        setup = TrainSetup.make(config, task, make_mesh(1, 1), 1)
        self.state: TrainState = setup.create_state(self.key)
        self.batch = to_global(next(task.train_data(1, 0, 1)), batch_sharding(setup.mesh))
        self.step_fn = setup.compile_step(self.batch)
        self.nbytes = sum(x.nbytes for x in jax.tree.leaves(self.state))

    def step(self) -> float:
        """One step; gives its milliseconds."""
        began = time.perf_counter()
        self.state, _ = jax.block_until_ready(self.step_fn(self.state, self.batch, self.key))
        return 1e3 * (time.perf_counter() - began)


def measure(trainer: Trainer, saves: int, workdir: str) -> Stall:
    """Saves so many times in the background, and so many while the loop waits."""
    alone = [trainer.step() for _ in range(20)]
    background, waiting, meanwhile = [], [], []
    with Checkpoints(workdir) as checkpoints:
        for number in range(1, 2 * saves + 1):
            began = time.perf_counter()
            checkpoints.save(number, trainer.state)
            if number <= saves:
                background.append(1e3 * (time.perf_counter() - began))
                while checkpoints.saving:
                    meanwhile.append(trainer.step())
            checkpoints.wait()
            if number > saves:
                waiting.append(1e3 * (time.perf_counter() - began))
    return Stall(*map(median, (alone, background, waiting, meanwhile or [float("nan")])))


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--state-mb", type=float, nargs="+", default=[10.0, 50.0, 200.0])
    parser.add_argument("--saves", type=int, default=5, help="of each kind")
    args = parser.parse_args(argv)
    print(
        "state MB | step ms | stall ms: background, waiting | step ms while files are written",
        flush=True,
    )
    for state_mb in args.state_mb:
        trainer = Trainer(state_mb)
        with tempfile.TemporaryDirectory() as workdir:
            found = measure(trainer, args.saves, workdir)
        print(
            f"{trainer.nbytes / 1e6:8.1f} | {found.step:7.1f} | {found.background:20.1f}, "
            f"{found.waiting:7.1f} | {found.step_meanwhile:7.1f}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
