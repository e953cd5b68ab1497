"""Reference numbers of one step of every method, and that a step reaches every parameter.

The other tests say what must hold; this one says that nothing moved in silence: initialisation, layers, loss
and gradient. Where a change is meant to move a method's numbers, run

    python tests/video/test_reference_numbers.py

put what it prints in REFERENCE, and say in the commit which method moved and why.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from moving import picture

from ipad_jax.run.config import load_config
from ipad_jax.training.setup import TrainSetup, train_step
from ipad_jax.training.sharding import make_mesh
from ipad_jax.training.state import create_state, named_leaves
from ipad_jax.training.task import make_task

SPECS = {
    "ipad": "ipad:tiny",
    "conae": "conae:factory,tiny",
    "memae": "memae:factory,tiny",
    "astnet": "astnet:factory,tiny",
    "dmad": "dmad:factory,tiny",
    "convlstm": "convlstm:factory,tiny",
    "vswint": "vswint:factory,tiny",
}
FAST = ("conae", "memae", "convlstm")
# Loss, its terms and the gradient's norm; then for each part the mean square of its weights at the start and
# the norm of its gradient.
REFERENCE = {
    "ipad": {
        "decoder at the start": 0.0045421,
        "decoder's gradient": 0.52278,
        "encoder at the start": 0.014948,
        "encoder's gradient": 0.34572,
        "entropy": 1.9071,
        "gradient_norm": 0.662,
        "loss": 0.2819,
        "memory at the start": 0.021534,
        "memory's gradient": 0.020862,
        "mse": 0.22463,
        "period": 2.8445,
        "period_head at the start": 0.0011514,
        "period_head's gradient": 0.21208,
        "phase_error": 0.28748,
    },
    "conae": {
        "decoder at the start": 0.0055456,
        "decoder's gradient": 0.45241,
        "encoder at the start": 0.020372,
        "encoder's gradient": 0.04368,
        "gradient_norm": 0.45452,
        "loss": 0.19805,
        "mse": 0.19805,
    },
    "memae": {
        "decoder at the start": 0.0055456,
        "decoder's gradient": 0.47424,
        "empty": 0,
        "encoder at the start": 0.020372,
        "encoder's gradient": 0.0095494,
        "entropy": 1.9105,
        "gradient_norm": 0.47472,
        "loss": 0.20014,
        "memory at the start": 0.042426,
        "memory's gradient": 0.018991,
        "mse": 0.19976,
    },
    "astnet": {
        "dissimilarity": 0.30931,
        "encoder at the start": 0.014542,
        "encoder's gradient": 1.8806,
        "gradient": 1.1766,
        "gradient_norm": 7.0178,
        "head at the start": 0.056357,
        "head's gradient": 5.9845,
        "loss": 4.045,
        "mix at the start": 0.0023138,
        "mix's gradient": 1.1161,
        "mse": 1.383,
        "root": 1.176,
        "up2 at the start": 0.029849,
        "up2's gradient": 2.8278,
        "up4 at the start": 0.014584,
        "up4's gradient": 0.79015,
        "up8 at the start": 0.0095799,
        "up8's gradient": 0.17839,
    },
    "dmad": {
        "coarse_mse": 0.11941,
        "commitment": 0.097115,
        "decoder at the start": 0.0097063,
        "decoder's gradient": 2.9156,
        "deformation": 0.18336,
        "encoder at the start": 0.014786,
        "encoder's gradient": 4.4968,
        "gradient": 0.91351,
        "gradient_norm": 5.5244,
        "loss": 1.3167,
        "mse": 0.11652,
        "offsets at the start": 0.019865,
        "offsets's gradient": 1.34,
        "quantisation": 0.097115,
        "quantizer at the start": 0.0050801,
        "quantizer's gradient": 0.036464,
    },
    "convlstm": {
        "decoder at the start": 0.053859,
        "decoder's gradient": 0.39428,
        "encoder at the start": 0.032329,
        "encoder's gradient": 0.040057,
        "gradient_norm": 0.40005,
        "loss": 0.22838,
        "mse": 0.22838,
        "recurrent at the start": 0.004667,
        "recurrent's gradient": 0.054559,
    },
    "vswint": {
        "decoder at the start": 0.0045292,
        "decoder's gradient": 0.47097,
        "encoder at the start": 0.014948,
        "encoder's gradient": 0.16166,
        "gradient_norm": 0.49795,
        "loss": 0.21057,
        "mse": 0.21057,
    },
}
# One unit behind a ReLU, which is below zero for all of these clips.
STILL = {
    "astnet": {f"up2.attention.{n}" for n in ("expand.kernel", "reduce.bias", "reduce.kernel")}
}
CLIPS = 2


def make_batch(clip_len, size):
    """Clips of the drawn machine with noise over it, at known phases."""
    rng = np.random.default_rng(0)
    first = rng.integers(0, 12, CLIPS)
    phase = ((first[:, None] + np.arange(clip_len)) % 12 / 12).astype(np.float32)
    clip = np.stack([[picture(p, size, False) for p in row] for row in phase]).astype(int)
    clip = np.clip(clip + rng.integers(-20, 21, clip.shape), 0, 255).astype(np.uint8)
    zeros = np.zeros(CLIPS, np.int32)
    return {"clip": clip, "video": zeros, "first_frame": zeros, "phase": phase[:, clip_len // 2]}


def one_step(spec):
    """(numbers, names of parameters that the step left as they were) of a step from seed 0.

    By plain gradient descent: Adam would blow up the gradients that are rounding alone, such as those of a
    bias before a BatchNorm.
    """
    config, tx, key = load_config(spec), optax.sgd(1.0), jax.random.key(0)
    task = make_task(config)
    graphdef = TrainSetup.make(config, task, make_mesh(1, 1), 1).graphdef

    @jax.jit
    def run(batch):
        _, state = create_state(task, tx, key)
        new, metrics = train_step(state, batch, key, task=task, graphdef=graphdef, tx=tx)
        before, after = named_leaves(state.trainable), named_leaves(new.trainable)
        numbers = {name: x for name, x in metrics.items() if name != "first_bad"}
        for part in sorted({name.partition(".")[0] for name in before}):
            inside = [name for name in before if name.startswith(f"{part}.")]
            size = sum(before[name].size for name in inside)
            square = sum(jnp.sum(before[name] ** 2) for name in inside) / size
            moved = jnp.sqrt(sum(jnp.sum((after[n] - before[n]) ** 2) for n in inside))
            numbers |= {f"{part} at the start": square, f"{part}'s gradient": moved}
        still = {name: jnp.all(x == after[name]) for name, x in before.items()}
        return numbers, still

    numbers, still = jax.device_get(run(make_batch(task.clip_len, task.image_size[0])))
    return {n: float(x) for n, x in numbers.items()}, {name for name, x in still.items() if x}


def _param(name):
    """Networks that take long to compile are left to `make test`."""
    return pytest.param(name, marks=() if name in FAST else pytest.mark.slow)


@pytest.fixture(scope="module", params=map(_param, SPECS))
def stepped(request):
    return request.param, *one_step(SPECS[request.param])


def test_the_numbers_of_a_step_are_where_they_were(stepped):
    name, numbers, _ = stepped
    assert numbers.keys() == REFERENCE[name].keys()
    for which, value in numbers.items():
        # float32 sums in another order, here and on other machines: XLA's cheap and full compilation
        # were 1e-4 apart at most
        assert value == pytest.approx(REFERENCE[name][which], rel=1e-3, abs=1e-6), (
            f"{name}: {which} moved; if it was meant to, see this file's first lines"
        )


def test_a_step_reaches_every_parameter(stepped):
    name, _, still = stepped
    assert still == STILL.get(name, set())


if __name__ == "__main__":
    for name, spec in SPECS.items():
        numbers, still = one_step(spec)
        print(f'    "{name}": {{')
        for which, value in numbers.items():
            print(f'        "{which}": {value:.5g},')
        print("    },", f"# still: {sorted(still)}" if still else "")
