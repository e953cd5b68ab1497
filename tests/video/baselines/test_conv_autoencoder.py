"""conAE: the published layers, their sizes, and what its parts are for."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn_model import drawn
from flax import nnx

from ipad_jax.training.state import inference_view
from ipad_jax.video.baselines.conv_autoencoder import ConvAutoencoder, ConvAutoencoderConfig
from ipad_jax.video.ipad.model import num_parameters

DEBUG = ConvAutoencoderConfig.debug()


def clips(cfg=DEBUG, count=2, seed=0):
    shape = (count, cfg.clip_len, *cfg.image_size, 3)
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


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


@pytest.mark.slow
def test_a_clip_comes_back_in_its_size_within_bounds():
    model = drawn(lambda: ConvAutoencoder(DEBUG, rngs=nnx.Rngs(0)))
    frames = nnx.jit(lambda m, x: m(x).frames)(inference_view(model), 20 * clips())
    assert frames.shape == (2, 4, 32, 32, 3)
    assert frames.dtype == jnp.float32
    assert 0.5 < np.abs(frames).max() <= 1


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
