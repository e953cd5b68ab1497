"""Stochastic depth: whole samples, expectation kept, silent in inference."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ipad_jax.nn.drop_path import DropPath


def test_samples_are_dropped_whole_and_the_mean_is_kept():
    x = jnp.ones((4000, 3, 2))
    out = np.asarray(DropPath(0.25)(x, rngs=nnx.Rngs(dropout=jax.random.key(0))))
    assert (out == out[:, :1, :1]).all()
    np.testing.assert_allclose(np.unique(out), [0.0, 1 / 0.75])
    np.testing.assert_allclose(out.mean(), 1.0, atol=0.04)  # 4 standard errors of 4000 samples


def test_silent_in_inference_and_at_rate_zero():
    x = jnp.ones((3, 2))
    assert (nnx.view(DropPath(0.5), deterministic=True)(x) == x).all()
    assert (DropPath(0.0)(x) == x).all()


def test_bad_use_is_named():
    with pytest.raises(ValueError, match=r"nnx\.view"):
        DropPath(0.5)(jnp.ones((3, 2)))
    with pytest.raises(ValueError, match=r"rate=1.0 must be in \[0, 1\)"):
        DropPath(1.0)
