"""Phase classes, their circular mean, and the two heads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn_model import drawn
from flax import nnx

from ipad_jax.video.ipad.period_head import (
    PooledHead,
    PublishedHead,
    adaptive_pool,
    circular_mean,
    phase_probabilities,
)

mean_phase = jax.jit(circular_mean)


def test_circular_mean_of_a_sure_class_is_its_middle():
    phases = mean_phase(np.eye(200))
    np.testing.assert_allclose(phases, (np.arange(200) + 0.5) / 200, atol=1e-5)


def test_circular_mean_across_the_end_of_the_cycle():
    halves = np.zeros((200, 200))
    halves[0, [0, 199]] = 0.5
    halves[1, [1, 198, 199]] = (0.2, 0.2, 0.6)
    phases = np.asarray(mean_phase(halves))
    assert min(phases[0], 1 - phases[0]) < 1e-5
    assert 0.99 < phases[1] < 1.0


def test_circular_mean_stays_below_one():
    logits = 20 * np.random.default_rng(0).standard_normal((500, 7))
    phases = jax.jit(lambda x: circular_mean(phase_probabilities(x)))(logits)
    assert (phases >= 0).all()
    assert (phases < 1).all()


@pytest.mark.parametrize(("h", "w"), [(8, 8), (6, 5), (3, 9), (1, 2)])
def test_adaptive_pool_equals_pytorchs_definition(h, w):
    x = np.random.default_rng(0).standard_normal((1, 2, h, w, 3)).astype(np.float32)
    rows, columns = min(h, 4), min(w, 4)
    out = jax.jit(lambda x: adaptive_pool(x, 4))(x)
    assert out.shape == (1, 2, rows, columns, 3)
    for i in range(rows):
        for j in range(columns):
            part = x[
                :,
                :,
                int(np.floor(i * h / rows)) : int(np.ceil((i + 1) * h / rows)),
                int(np.floor(j * w / columns)) : int(np.ceil((j + 1) * w / columns)),
            ]
            np.testing.assert_allclose(out[:, :, i, j], part.mean((2, 3)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("head", [PooledHead, PublishedHead])
def test_heads_give_float32_scores_for_odd_sizes(head):
    features = jnp.ones((2, 2, 5, 3, 6), jnp.bfloat16)
    build = lambda: head((2, 5, 3), 6, 20, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))  # noqa: E731
    out = nnx.eval_shape(lambda: build()(features))
    assert out.shape == (2, 20)
    assert out.dtype == jnp.float32


def test_pooled_head_sees_where_something_is():
    """Plain averaging would not: the place of the moving part is the phase."""
    head = drawn(lambda: PooledHead((1, 4, 4), 3, 20, rngs=nnx.Rngs(0)))
    features = np.zeros((2, 1, 4, 4, 3), np.float32)
    features[0, :, 1, 0] = features[1, :, 1, 3] = 1.0
    left, right = np.asarray(nnx.jit(lambda h, x: h(x))(head, features))
    assert np.abs(left - right).max() > 1e-3
