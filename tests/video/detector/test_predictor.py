"""The predictor's devices: a batch is spread over those that share it evenly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ipad_jax.video.detector.predictor import Predictor


class LinearTask:
    """One layer, applied to each pixel; sums over a clip."""

    unscored = 0

    def init_model(self, key):
        return nnx.Linear(3, 2, rngs=nnx.Rngs(key))

    def predict_fn(self, model, batch):
        total = jnp.sum(model(batch["clip"].astype(jnp.float32)), axis=(1, 2, 3))
        return {"sum": total, "phase": total}

    def reconstruct_fn(self, model, batch):
        return {"reconstruction": model(batch["clip"].astype(jnp.float32))}


@pytest.fixture
def model():
    return LinearTask().init_model(jax.random.key(0))


@pytest.mark.parametrize(("size", "used"), [(8, 4), (6, 2), (3, 1)])
def test_clips_are_spread_over_devices_that_divide_them(model, size, used):
    clip = np.random.default_rng(0).integers(0, 256, (size, 2, 4, 4, 3), dtype=np.uint8)
    spread = Predictor(LinearTask(), model, devices=jax.local_devices())
    weights, placed = spread._place(clip)
    assert len(placed.sharding.device_set) == used
    assert placed.addressable_shards[0].data.shape[0] == size // used
    assert all(len(w.sharding.device_set) == used for w in jax.tree.leaves(weights))
    alone = Predictor(LinearTask(), model)
    assert len(alone._place(clip)[1].sharding.device_set) == 1  # virtual devices share the cores
    # clips are independent of each other, so only the order of sums inside one may differ
    np.testing.assert_allclose(spread.scores(clip)["sum"], alone.scores(clip)["sum"], rtol=1e-5)


def test_programs_are_compiled_with_the_tasks_options(model):
    task, clip = LinearTask(), np.zeros((1, 2, 4, 4, 3), np.uint8)
    task.compiler_options = {"gpu": {"xla_gpu_wrong": True}}  # type: ignore[attr-defined]
    Predictor(task, model).scores(clip)
    task.compiler_options = {"cpu": {"xla_cpu_wrong": True}}  # type: ignore[attr-defined]
    predictor = Predictor(task, model)
    for name in ("scores", "phases", "pictures", "both"):
        with pytest.raises(jax.errors.JaxRuntimeError, match="xla_cpu_wrong"):
            getattr(predictor, name)(clip)
