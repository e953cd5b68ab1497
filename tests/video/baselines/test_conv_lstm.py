"""The ConvLSTM autoencoder: its step against a slow version, its direction in time, its size."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn_model import drawn
from flax import nnx
from test_conv_autoencoder import clips

from ipad_jax.training.state import inference_view
from ipad_jax.video.baselines.conv_lstm import ConvLstmAutoencoder, ConvLstmCell, ConvLstmConfig
from ipad_jax.video.ipad.model import num_parameters

DEBUG = ConvLstmConfig.debug()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_states_against_a_loop_over_places():
    cell = drawn(lambda: ConvLstmCell(3, 2, dtype=jnp.dtype("float32"), rngs=nnx.Rngs(0)))
    x = np.random.default_rng(0).standard_normal((1, 3, 4, 5, 3))
    kernel, bias = np.asarray(cell.gates.kernel[...], np.float64), np.arange(8) / 10
    cell.gates.bias[...] = jnp.asarray(bias, jnp.float32)
    state, memory, expected = np.zeros((4, 5, 2)), np.zeros((4, 5, 2)), []
    for t in range(3):
        padded = np.pad(np.concatenate([x[0, t], state], -1), [(1, 1), (1, 1), (0, 0)])
        gates = np.zeros((4, 5, 8))
        for i in range(4):
            for j in range(5):
                gates[i, j] = np.einsum("hwc,hwcd->d", padded[i : i + 3, j : j + 3], kernel) + bias
        enter, keep, value, leave = np.split(gates, 4, axis=-1)
        memory = sigmoid(keep) * memory + sigmoid(enter) * np.tanh(value)
        state = sigmoid(leave) * np.tanh(memory)
        expected.append(state)
    found = nnx.jit(lambda c, x: c.states(x))(cell, x.astype(np.float32))
    np.testing.assert_allclose(found[0], np.stack(expected), atol=1e-5)  # float32


def test_a_frame_depends_on_no_later_one():
    model = inference_view(drawn(lambda: ConvLstmAutoencoder(DEBUG, rngs=nnx.Rngs(0))))
    clip, run = clips(DEBUG), nnx.jit(lambda m, x: m(x).frames)
    frames = np.asarray(run(model, clip))
    clip[:, 2] = 0.5
    changed = np.asarray(run(model, clip))
    assert frames.shape == clip.shape
    np.testing.assert_allclose(changed[:, :2], frames[:, :2], atol=1e-6)
    assert np.abs(changed - frames)[:, 3].max() > 1e-4  # and the past is remembered


def test_parameters_are_the_sources():
    model = nnx.eval_shape(lambda: ConvLstmAutoencoder(ConvLstmConfig.full(), rngs=nnx.Rngs(0)))
    assert num_parameters(model) == pytest.approx(2.7e6, rel=0.01)  # its README
    latent = jax.eval_shape(lambda m, x: m.encoder(x), model, jnp.zeros((1, 256, 256, 3)))
    assert latent.shape == (1, 16, 16, 128)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": (32, 36)}, "must be a multiple of 8: 3 blocks halve it"),
        ({"hidden": ()}, "at least one layer"),
    ],
)
def test_sizes_that_do_not_fit_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(DEBUG, **changes)
