"""The network learns as PyTorch's does: the same losses from the same start, batches and Adam.

Encoder, period head, memory and decoder with all three terms of the loss, against the twin in PyTorch
(performance/torch_twin.py) where that is installed, and against the twin's stored losses where it is
not. They are of PyTorch 2.13.0 on a CPU; with it installed

    python tests/video/ipad/test_learning.py

prints them again.
"""

import importlib
import importlib.util
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from moving import CYCLE, picture

from ipad_jax.run.config import load_config
from ipad_jax.training.optim import make_optimizer
from ipad_jax.training.setup import TrainSetup, train_step
from ipad_jax.training.sharding import make_mesh
from ipad_jax.training.state import named_leaves, replace_leaves, with_model_arrays
from ipad_jax.training.task import make_task

STEPS = 30
SIZE = 40  # pixels: 5x5 positions, which neither the windows nor the head's grid of 4 divide
CLIPS = 2
LEAVES = {
    "data.size": SIZE,
    "batch_size": CLIPS,
    "optim.lr": 3e-3,  # large, so that 30 steps get somewhere
    "loss.entropy_weight": 0.02,  # the terms are large enough for an error in any of them to show
    "loss.period_weight": 0.2,
    "model.encoder.drop_path": 0.0,  # no chance: PyTorch draws other numbers
}
# PyTorch's losses at every third step
LOSSES = (
    0.733799, 0.604957, 1.0694, 0.715921, 0.470626,
    0.565293, 0.892717, 0.684769, 0.640682, 0.640384,
)  # fmt: skip


def start(task):
    """The model with weights drawn without the package: a changed initialisation moves no stored loss."""
    graphdef, shapes = nnx.split(nnx.eval_shape(lambda: task.init_model(jax.random.key(0))))
    rng = np.random.default_rng(0)

    def draw(name, shape):
        if name.endswith((".scale", ".var")):
            return np.ones(shape, np.float32)
        if len(shape) == 1:
            return np.zeros(shape, np.float32)
        return rng.normal(scale=np.prod(shape[:-1]) ** -0.5, size=shape).astype(np.float32)

    drawn = {name: draw(name, x.shape) for name, x in sorted(named_leaves(shapes).items())}
    return nnx.merge(graphdef, replace_leaves(shapes, jax.tree.map(jnp.asarray, drawn)))


def batches():
    """Clips of the drawn machine with noise over it, uint8, and their first frames' phases."""
    rng = np.random.default_rng(1)
    for _ in range(STEPS):
        first = rng.integers(0, CYCLE, CLIPS)
        phase = ((first[:, None] + np.arange(4)) % CYCLE / CYCLE).astype(np.float32)
        clip = np.stack([[picture(p, SIZE, False) for p in row] for row in phase]).astype(int)
        clip = np.clip(clip + rng.integers(-20, 21, clip.shape), 0, 255).astype(np.uint8)
        yield clip, phase[:, 0]


def losses_of_ours(task):
    """By the trainer's step and optimizer."""
    tx = make_optimizer(task.config.optim, STEPS)
    setup = TrainSetup.make(task.config, task, make_mesh(1, 1), STEPS)
    state = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), setup.shapes)
    state = with_model_arrays(state, named_leaves(nnx.state(start(task))))
    step = jax.jit(partial(train_step, task=task, graphdef=setup.graphdef, tx=tx))
    losses = []
    for clip, phase in batches():
        state, terms = step(state, {"clip": clip, "phase": phase}, jax.random.key(0))
        losses.append(float(terms["loss"]))
    return losses


def losses_of_torch(task):
    """By the twin, PyTorch's gradients and its Adam."""
    torch = importlib.import_module("torch")
    torch.set_num_threads(1)  # more than one wait for each other: the sizes are tiny
    twin = importlib.import_module("ipad_jax.performance.torch_twin").TorchTwin(start(task))
    adam = torch.optim.Adam(list(twin.parameters.values()), lr=task.config.optim.lr)
    weights = task.config.loss
    losses = []
    for clip, phase in batches():
        loss = twin.loss(
            torch.from_numpy(clip),
            torch.from_numpy(phase),
            entropy=weights.entropy_weight,
            period=weights.period_weight,
            width=weights.period_width,
        )
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
    return losses


def make_task_of_all_parts():
    return make_task(load_config("ipad:tiny", LEAVES))


def test_ours_has_pytorchs_loss_at_every_step():
    task = make_task_of_all_parts()
    ours = losses_of_ours(task)
    # the same sums in another order: 1.2e-5 apart at most, 6.6e-5 as XLA fully optimises them
    np.testing.assert_allclose(ours[::3], LOSSES, rtol=3e-4)
    if importlib.util.find_spec("torch") is not None:
        np.testing.assert_allclose(ours, losses_of_torch(task), rtol=3e-4)


if __name__ == "__main__":
    curve = losses_of_torch(make_task_of_all_parts())
    print(", ".join(f"{x:.6g}" for x in curve[::3]))
