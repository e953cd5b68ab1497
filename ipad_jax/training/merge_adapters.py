"""`ipad-jax merge`: an ordinary run folder from a run with adapters and the base it was trained on.

Each fused kernel takes up its adapters (x W + x A B = x (W + A B)), everything else is as it was, so the
outputs are the same up to float32 rounding. What the adapted run knew of its footage comes along: rate,
normal frames, threshold. `train` on the new folder, with `adapters.rank=0`, goes on with every weight; Adam's
moments start anew, since those of the frozen weights never were.
"""

import dataclasses
import json
import os

import jax
import jax.numpy as jnp

from ipad_jax.nn.lora import merge_adapters
from ipad_jax.run.config import read_config, save_config
from ipad_jax.run.files import absolute, write_atomic
from ipad_jax.training.checkpoints import Checkpoints, check_same, load_model_arrays
from ipad_jax.training.fitted import FILE as FITTED
from ipad_jax.training.frozen_base import has_base
from ipad_jax.training.setup import TrainSetup
from ipad_jax.training.sharding import make_mesh
from ipad_jax.training.state import model_arrays, with_model_arrays
from ipad_jax.training.task import make_task

# What belongs to the footage or to the outputs, which stay the same.
KEPT = ("footage.json", FITTED, "calibration.json", "calibration_*.npz")


def merge(
    workdir: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    step: int | None = None,
    base: str | os.PathLike[str] = "",
) -> int:
    """Writes a run folder that needs no base.

    Args:
      workdir: run trained with adapters.
      out: the new run folder.
      step: a given checkpoint; the newest by default.
      base: where the base lies now; by default where it lay.

    Returns:
      The checkpoint's step.

    Raises:
      FileNotFoundError: no run, checkpoint or base there.
      ValueError: a run without adapters, another base, or an `out` that holds a run already.
    """
    config, target = read_config(workdir), absolute(out)
    if not has_base(config):
        raise ValueError(
            f"{workdir} was trained without adapters (adapters.rank=0): nothing to merge."
        )
    if (target / "config.json").exists() or (target / "checkpoints").exists():
        raise ValueError(f"{out} holds a run already; take another --out.")
    arrays, step = load_model_arrays(workdir, step, base)
    merged = {name: jnp.asarray(x) for name, x in merge_adapters(arrays).items()}
    config.adapters.rank = 0
    task = make_task(config)
    steps = max(config.total_steps, step, config.optim.warmup_steps + 1)  # slots depend on none
    setup = TrainSetup.make(config, task, make_mesh(1, 1), steps)
    state = setup.create_state(jax.random.key(config.seed))
    check_same(model_arrays(state), merged, f"{workdir} merged")
    state = dataclasses.replace(with_model_arrays(state, merged), step=jnp.int32(step))
    save_config(target, config)
    with Checkpoints(target, config.checkpoint.keep) as checkpoints:
        checkpoints.save(step, state)
    for pattern in KEPT:
        for path in absolute(workdir).glob(pattern):
            write_atomic(target / path.name, path.read_bytes())
    source = {"adapted_run": str(absolute(workdir)), "step": step, "init_from": config.init_from}
    write_atomic(target / "merged.json", (json.dumps(source, indent=2) + "\n").encode())
    return step
