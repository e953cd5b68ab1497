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
from ipad_jax.training.setup import TrainSetup
from ipad_jax.training.sharding import batch_sharding, make_mesh, to_global
from ipad_jax.training.state import model_arrays, named_leaves
from ipad_jax.video.ipad.task import VideoTask

MESHES = {"1": (1, 1), "8x1": (8, 1), "4x2": (8, 2), "1x8": (8, 8)}  # name -> devices, fsdp
RUN = ("1", "4x2")  # of them; the second has both axes
STEPS = 4  # Adam's moments and the memory have both moved what the next step starts from
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
    leaves = {"batch_size": BATCH, "model.encoder.depths": (1, 1), "fsdp_min_bytes": 0}
    return load_config("ipad:tiny", leaves)


def set_up(config, mesh):
    """The run's set-up on one of MESHES."""
    devices, fsdp = MESHES[mesh]
    return TrainSetup.make(config, VideoTask(config), make_mesh(fsdp, devices), STEPS)


def sent(setup, step_fn):
    """What a compiled step sends between devices, and the shapes of all that could be sent."""
    return {
        "collectives": [[c.kind, c.shapes, c.source] for c in collectives(step_fn.as_text())],
        "parameters": [list(x.shape) for x in jax.tree.leaves(setup.shapes)],
    }


def compiled(name):
    """What a mesh's step sends."""
    setup = set_up(make_config(), name)
    return sent(setup, setup.compile_step(setup.task.batch_shapes(BATCH)))


def run(name, folder):
    """What a mesh makes of STEPS steps; leaves a checkpoint of the last in `folder`."""
    setup = set_up(make_config(), name)
    state, key = setup.create_state(jax.random.key(0)), jax.random.key(1)
    rows = batch_sharding(setup.mesh)
    step_fn = setup.compile_step(setup.task.batch_shapes(BATCH))
    losses, statistics = [], {}
    for step in range(STEPS):
        state, metrics = step_fn(state, to_global(make_batch(setup.task, step), rows), key)
        losses.append(float(metrics["loss"]))
        if step == 0:  # later ones hang on weights, which drift apart in the last digits
            found = named_leaves(state.variables)
            statistics = {n: np.asarray(x).tolist() for n, x in found.items() if x.ndim == 1}
    with Checkpoints(folder) as checkpoints:
        checkpoints.save(STEPS, state)
    return {"losses": losses, "statistics": statistics, **sent(setup, step_fn)}


def restores_elsewhere(name, folder):
    """Whether a mesh's checkpoint comes out bit for bit, in every other mesh's shards."""
    found = []
    for other in (name, *(mesh for mesh in MESHES if mesh != name)):
        setup = set_up(make_config(), other)
        with Checkpoints(folder) as checkpoints:
            state, _ = checkpoints.restore(setup.shapes, setup.shardings)
        right = jax.tree.map(
            lambda x, s: x.sharding.is_equivalent_to(s, x.ndim), state, setup.shardings
        )
        found.append((model_arrays(state), all(jax.tree.leaves(right))))
    first = found[0][0]
    return all(
        placed and all(np.array_equal(x, arrays[n]) for n, x in first.items())
        for arrays, placed in found
    )


def share_of_full_size(mesh):
    """Bytes of the paper's model and its optimizer on one device, over total / fsdp."""
    setup = set_up(load_config("ipad", {"fsdp_min_bytes": 0}), mesh)

    def num_bytes(shape, dtype):
        return int(np.prod(shape)) * dtype.itemsize

    leaves = list(zip(jax.tree.leaves(setup.shapes), jax.tree.leaves(setup.shardings)))
    total = sum(num_bytes(x.shape, x.dtype) for x, _ in leaves)
    held = sum(num_bytes(s.shard_shape(x.shape), x.dtype) for x, s in leaves)
    return held / (total / MESHES[mesh][1])


def main():
    jax.config.update("jax_num_cpu_devices", 8)
    with tempfile.TemporaryDirectory() as folder:
        found = {name: run(name, f"{folder}/{name}") for name in RUN}
        found["restored"] = {name: restores_elsewhere(name, f"{folder}/{name}") for name in RUN}
    found |= {name: compiled(name) for name in MESHES if name not in RUN}
    found["share"] = {mesh: share_of_full_size(mesh) for mesh in ("4x2", "1x8")}
    print(json.dumps(found))


if __name__ == "__main__":
    sys.exit(main())
