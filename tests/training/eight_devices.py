"""Trains the real model, tiny, on meshes of eight virtual devices, for test_eight_devices.py.

A process of its own: JAX's number of CPU devices is fixed when it starts. Batches are noise, made here.
"""

import json
import sys
import tempfile

import jax
import numpy as np

from ipad_jax.performance.hlo import collectives
from ipad_jax.run.config import load_config
from ipad_jax.training.checkpoints import Checkpoints
from ipad_jax.training.loop import compile_step
from ipad_jax.training.optim import make_optimizer
from ipad_jax.training.sharding import (
    batch_sharding,
    fsdp_sharding,
    make_mesh,
    replicated,
    to_global,
)
from ipad_jax.training.state import abstract_state, create_state, model_arrays, named_leaves
from ipad_jax.video.ipad.task import VideoTask

MESHES = {"1": (1, 1), "8x1": (8, 1), "4x2": (8, 2), "1x8": (8, 8)}  # name -> devices, fsdp
STEPS = 10
BATCH = 8


def make_batch(task, step):
    """Noise for a step, in the shapes of the task."""
    rng = np.random.default_rng(step)
    t, (h, w) = task.model_config.clip_len, task.model_config.image_size
    return {
        "clip": rng.integers(0, 256, (BATCH, t, h, w, 3), dtype=np.uint8),
        "video": np.zeros(BATCH, np.int32),
        "first_frame": np.zeros(BATCH, np.int32),
        "phase": rng.random(BATCH, dtype=np.float32),
    }


def make_config():
    """One block a layer: it compiles in half the time."""
    return load_config("ipad:tiny", {"batch_size": BATCH, "model.encoder.depths": (1, 1)})


def run(name, folder):
    """What a mesh makes of ten steps; leaves a checkpoint of the last in `folder`."""
    devices, fsdp = MESHES[name]
    config = make_config()
    task, tx = VideoTask(config), make_optimizer(config.optim, STEPS)
    mesh = make_mesh(fsdp, devices)
    graphdef, shapes = abstract_state(task, tx, jax.random.key(0))
    shardings = fsdp_sharding(shapes, mesh, 0)
    make = jax.jit(lambda key: create_state(task, tx, key)[1], out_shardings=shardings)
    state = make(jax.random.key(0))
    rows = batch_sharding(mesh)
    key = jax.device_put(jax.random.key(1), replicated(mesh))
    step_fn = compile_step(
        task, graphdef, tx, mesh, shardings, state, to_global(make_batch(task, 0), rows), key
    )
    losses, statistics = [], {}
    for step in range(STEPS):
        state, metrics = step_fn(state, to_global(make_batch(task, step), rows), key)
        losses.append(float(metrics["loss"]))
        if step == 0:  # later ones hang on weights, which drift apart in the last digits
            found = named_leaves(state.variables)
            statistics = {n: np.asarray(x).tolist() for n, x in found.items() if x.ndim == 1}
    with Checkpoints(folder) as checkpoints:
        checkpoints.save(STEPS, state)
    return {
        "losses": losses,
        "statistics": statistics,
        "collectives": [[c.kind, c.shapes, c.source] for c in collectives(step_fn.as_text())],
        "parameters": [list(x.shape) for x in jax.tree.leaves(state)],
    }


def restores_elsewhere(name, folder):
    """Whether a mesh's checkpoint comes out bit for bit, in another mesh's shards."""
    config = make_config()
    task, tx = VideoTask(config), make_optimizer(config.optim, STEPS)
    _, shapes = abstract_state(task, tx, jax.random.key(0))
    found = []
    for other in (name, "4x2", "1"):
        devices, fsdp = MESHES[other]
        shardings = fsdp_sharding(shapes, make_mesh(fsdp, devices), 0)
        with Checkpoints(folder) as checkpoints:
            state, _ = checkpoints.restore(shapes, shardings)
        right = jax.tree.map(lambda x, s: x.sharding.is_equivalent_to(s, x.ndim), state, shardings)
        found.append((model_arrays(state), all(jax.tree.leaves(right))))
    first = found[0][0]
    return all(
        placed and all(np.array_equal(x, arrays[n]) for n, x in first.items())
        for arrays, placed in found
    )


def share_of_full_size(fsdp):
    """Bytes of the paper's model and its optimizer on one device, over total / fsdp."""
    config = load_config("ipad")
    task, tx = VideoTask(config), make_optimizer(config.optim, STEPS)
    _, shapes = abstract_state(task, tx, jax.random.key(0))
    shardings = fsdp_sharding(shapes, make_mesh(fsdp, 8), 0)

    def num_bytes(shape, dtype):
        return int(np.prod(shape)) * dtype.itemsize

    leaves = list(zip(jax.tree.leaves(shapes), jax.tree.leaves(shardings)))
    total = sum(num_bytes(x.shape, x.dtype) for x, _ in leaves)
    held = sum(num_bytes(s.shard_shape(x.shape), x.dtype) for x, s in leaves)
    return held / (total / fsdp)


def main():
    jax.config.update("jax_num_cpu_devices", 8)
    with tempfile.TemporaryDirectory() as folder:
        found = {name: run(name, f"{folder}/{name}") for name in MESHES}
        found["restored"] = {n: restores_elsewhere(n, f"{folder}/{n}") for n in ("8x1", "1x8")}
    found["share"] = {fsdp: share_of_full_size(fsdp) for fsdp in (2, 8)}
    print(json.dumps(found))


if __name__ == "__main__":
    sys.exit(main())
