"""The encoder against a slow NumPy one, and what its windows can and cannot see."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn_model import drawn
from flax import nnx
from swin_reference import SIZES, encode, make_weights

from ipad_jax.video.ipad.model import num_parameters
from ipad_jax.video.ipad.swin import SwinConfig, VideoSwin
from ipad_jax.video.ipad.swin_weights import load_swin_into


@pytest.mark.parametrize(
    ("sizes", "shape"),
    [
        # clipped and unshifted in t and w, shifted in h; no norm after the embedding
        ({"patch_size": (4, 4, 4), "patch_norm": False, "window_size": (4, 3, 4)}, (7, 31, 13)),
        # windows that divide everything, all axes shifted
        ({"patch_size": (1, 2, 2), "window_size": (2, 2, 2)}, (4, 16, 16)),
    ],
    ids=["clipped", "divides"],
)
def test_equals_the_reference(sizes, shape):
    sizes = {**SIZES, **sizes}
    weights = make_weights(1, **sizes)
    video = np.random.default_rng(2).standard_normal((*shape, 3)).astype(np.float32)
    encoder = drawn(lambda: VideoSwin(SwinConfig(**sizes), rngs=nnx.Rngs(0)))
    load_swin_into(encoder, weights)
    encoder = nnx.view(encoder, deterministic=True)
    out = jax.jit(lambda x: encoder(x))(video[None])
    # float32 against float64 over four blocks, outputs of size 1
    np.testing.assert_allclose(out[0], encode(video, weights, **sizes), rtol=0, atol=1e-4)


def normal(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def debug(**changes) -> SwinConfig:
    return dataclasses.replace(SwinConfig.debug(), patch_size=(1, 2, 2), drop_path=0.0, **changes)


def test_one_plain_block_does_not_look_beyond_its_window():
    """By gradient: an output depends on the pixels of its own window and on no others."""
    encoder = drawn(lambda: VideoSwin(debug(depths=(1,), num_heads=(1,)), rngs=nnx.Rngs(0)))
    grad = jax.jit(jax.grad(lambda x: encoder(x)[0, 0, 0, 0, 0]))(normal(1, 2, 8, 8, 3))
    seen = np.abs(grad).sum((0, 1, 4)) > 0
    expected = np.zeros((8, 8), bool)
    expected[:4, :4] = True  # a window of 2x2 tokens of 2x2 pixels
    np.testing.assert_array_equal(seen, expected)


def test_shifted_block_joins_neighbours_but_not_the_opposite_border():
    encoder = drawn(lambda: VideoSwin(debug(depths=(2,), num_heads=(1,)), rngs=nnx.Rngs(0)))
    video = normal(1, 2, 8, 8, 3)
    grad = jax.jit(jax.grad(lambda x, token: encoder(x)[0, 0, token, token, 0]))
    seen = np.abs(grad(video, 1)).max((0, 1, 4))
    assert (seen > 0).all()  # token 1 joins both windows, rows 0-3 and 4-7
    seen = np.abs(grad(video, 0)).max((0, 1, 4))
    # token 0 is rolled beside the last ones, masked by -100: what is left weighs e^-100 = 4e-44
    assert seen[4:].max() < 1e-40
    assert seen[:, 4:].max() < 1e-40
    assert (seen[:4, :4] > 0).all()


def test_stochastic_depth_grows_from_zero_and_needs_a_key():
    cfg = SwinConfig(embed_dim=8, depths=(2, 3), num_heads=(1, 1), drop_path=0.4)
    encoder = nnx.eval_shape(lambda: VideoSwin(cfg, rngs=nnx.Rngs(0)))
    rates = [block.drop_path.rate for stage in encoder.features[::2] for block in stage]
    np.testing.assert_allclose(rates, [0.0, 0.1, 0.2, 0.3, 0.4])


@pytest.mark.slow
def test_bfloat16_keeps_parameters_float32_and_stays_near():
    cfg = debug(window_size=(1, 2, 2))
    coarse_cfg = dataclasses.replace(cfg, dtype="bfloat16")
    exact, coarse = (drawn(lambda c=c: VideoSwin(c, rngs=nnx.Rngs(0))) for c in (cfg, coarse_cfg))
    out, exact_out = jax.jit(lambda x: (coarse(x), exact(x)))(normal(1, 2, 4, 4, 3))
    assert out.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(coarse))} == {jnp.dtype("float32")}
    # 8 bits of mantissa, normalised outputs of size 1
    np.testing.assert_allclose(np.asarray(out, np.float32), exact_out, rtol=0, atol=0.1)


def test_papers_size_has_27_58_million_parameters():
    encoder = nnx.eval_shape(lambda: VideoSwin(SwinConfig.tiny(), rngs=nnx.Rngs(0)))
    assert round(num_parameters(encoder) / 1e6, 2) == 27.58


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patch_size": (4, 4)}, r"patch_size=\(4, 4\) must be three positive integers"),
        ({"depths": (2, 2)}, r"depths=\(2, 2\) and num_heads=\(3, 6, 12, 24\) must name the same"),
        ({"embed_dim": 100}, "stage 0 has 100 channels, which num_heads=3 does not divide"),
        ({"drop_path": 1.0}, r"drop_path=1.0 must be in \[0, 1\)"),
        ({"dtype": "float64"}, "dtype='float64' must be"),
    ],
)
def test_sizes_that_cannot_be_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        SwinConfig(**changes)


def test_input_of_another_rank_is_named():
    encoder = nnx.eval_shape(lambda: VideoSwin(debug(), rngs=nnx.Rngs(0)))
    with pytest.raises(ValueError, match=r"shape \(2, 8, 8, 3\), expected \[b, t, h, w, 3\]"):
        encoder(jnp.zeros((2, 8, 8, 3)))
