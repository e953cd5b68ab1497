"""conAE: the published layers, their sizes, and what its parts are for."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ipad_jax.training.state import inference_view, start_options
from ipad_jax.video.baselines.conv_autoencoder import (
    ConvAutoencoder,
    ConvAutoencoderConfig,
    conv_loss,
)
from ipad_jax.video.ipad.model import num_parameters

DEBUG = ConvAutoencoderConfig.debug()


def clips(cfg=DEBUG, count=2, seed=0):
    shape = (count, cfg.clip_len, *cfg.image_size, 3)
    return jnp.asarray(np.random.default_rng(seed).uniform(-1, 1, shape), jnp.float32)


def test_parameters_of_the_published_layers():
    model = nnx.eval_shape(lambda: ConvAutoencoder(ConvAutoencoderConfig.full(), rngs=nnx.Rngs(0)))
    sizes = (3, 96, 128, 256, 256)
    down = sum(27 * a * b + b for a, b in itertools.pairwise(sizes)) + 2 * sum(sizes[1:])
    back = sizes[::-1]
    up = sum(27 * a * b + b for a, b in itertools.pairwise(back)) + 2 * sum(back[1:-1])
    assert num_parameters(model.encoder) == down
    assert num_parameters(model.decoder) == up
    features = jax.eval_shape(
        lambda m, x: m.encoder(x), model, jnp.zeros((1, 16, 256, 256, 3), jnp.float32)
    )
    assert features.shape == (1, 2, 16, 16, 256)


def build(make):
    """A model's inference view, made by one program: one by one its arrays take seconds."""
    graphdef = nnx.split(nnx.eval_shape(make))[0]
    state = jax.jit(lambda: nnx.state(make()), compiler_options=start_options())()
    return inference_view(nnx.merge(graphdef, state))


def test_a_clip_comes_back_in_its_size_within_bounds():
    model = build(lambda: ConvAutoencoder(DEBUG, rngs=nnx.Rngs(0)))
    frames = nnx.jit(lambda m, x: m(x).frames)(model, clips())
    assert frames.shape == (2, 4, 32, 32, 3)
    assert frames.dtype == jnp.float32
    assert float(jnp.abs(frames).max()) <= 1


def test_every_parameter_learns():
    @nnx.jit
    def learn():
        model = ConvAutoencoder(DEBUG, rngs=nnx.Rngs(0))
        return nnx.grad(lambda model: conv_loss(model(clips()), clips())[0])(model)

    gradients = nnx.to_flat_state(learn())
    # a bias before BatchNorm moves nothing
    silent = {path for path, g in gradients if float(jnp.abs(g[...]).max()) < 1e-6}
    assert all(path[-1] == "bias" and "convs" in path for path in silent)


def test_half_widths_are_a_quarter_of_the_work():
    full, small = ConvAutoencoderConfig.full(), ConvAutoencoderConfig.small()
    assert tuple(2 * c for c in small.channels) == full.channels
    assert (small.image_size, small.strides) == ((64, 64), full.strides)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clip_len": 5}, "clip_len=5 must be a multiple of 2"),
        ({"image_size": (32, 30)}, "image width=30 must be a multiple of 4"),
        ({"channels": (8,)}, "one entry for each layer"),
    ],
)
def test_sizes_that_do_not_fit_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(DEBUG, **changes)
