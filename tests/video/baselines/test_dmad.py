"""DMAD: prediction, quantisation, deformation, background, loss."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from test_conv_autoencoder import build, clips

from ipad_jax.training.state import inference_view, training_view
from ipad_jax.video.baselines.deformation import COARSE_PX, FINE_PX, coordinates, length, roughness
from ipad_jax.video.baselines.dmad import (
    Background,
    Dmad,
    DmadConfig,
    DmadOutput,
    Quantizer,
    dmad_loss,
)

DEBUG = DmadConfig.debug()


@pytest.fixture(scope="module")
def model():
    return build(lambda: Dmad(DEBUG, rngs=nnx.Rngs(0)))


def test_each_frame_is_predicted_from_the_four_before_it(model):
    """A clip of six gives what its two clips of five give."""
    clip = clips(dataclasses.replace(DEBUG, clip_len=6), count=1)
    run = nnx.jit(lambda m, x: m(x))
    both = run(model, clip)
    assert both.frames.shape == (1, 2, 32, 32, 3)
    assert both.deformation.shape == (1, 2, 32, 32)
    for start in range(2):
        one = clip[:, start : start + 5]
        for x in (one, one.at[:, 4].set(0.0)):  # the frame to predict
            np.testing.assert_allclose(run(model, x).frames[:, 0], both.frames[:, start], atol=1e-5)


def test_offsets_are_bounded(model):
    output = nnx.jit(lambda m, x: m(x))(model, 20 * clips(DEBUG))
    for offset, bound in ((output.coarse_offset, COARSE_PX), (output.fine_offset, FINE_PX)):
        assert offset.shape == (2, 32, 32, 2)
        assert 0 < float(jnp.abs(offset).max()) <= bound + 1e-5


def test_the_nearest_prototype_and_a_gradient_as_if_there_were_none():
    quantizer = Quantizer(DEBUG, rngs=nnx.Rngs(0))
    prototypes = np.asarray(quantizer.prototypes[...])
    latent = np.random.default_rng(0).uniform(-0.1, 0.1, (1, 2, 3, 16)).astype(np.float32)
    found, commitment, quantisation = quantizer(jnp.asarray(latent))
    for i in range(2):
        for j in range(3):
            nearest = min(prototypes, key=lambda p: np.square(p - latent[0, i, j]).sum())
            np.testing.assert_allclose(found[0, i, j], nearest, atol=1e-6)
    np.testing.assert_allclose(commitment, np.square(found - latent).mean(), rtol=1e-4)
    np.testing.assert_allclose(quantisation, commitment)
    passed = jax.grad(lambda x: jnp.sum(quantizer(x)[0] * 3.0))(jnp.asarray(latent))
    np.testing.assert_array_equal(passed, np.full(latent.shape, 3.0, np.float32))


def test_the_background_is_the_mean_of_what_it_saw_and_then_fixed():
    background = Background((4, 4))
    batches = [jnp.full((2, 5, 4, 4, 3), value) for value in (1.0, 0.0, 0.5)]
    for batch in batches:
        found = background(batch)
    np.testing.assert_allclose(found, np.full((4, 4, 3), 0.5), atol=1e-6)
    fixed = inference_view(background)
    np.testing.assert_array_equal(fixed(batches[0]), found)


def test_coordinates_are_the_codes_at_its_size():
    """256 x 256 with cells of 8 x 8 for the frames; 64 x 64 for the decoder's second block."""
    for size in (256, 64):
        cell = np.repeat(np.arange(32) / 31, size // 32)
        fine = (np.arange(size) / (size - 1) - cell) * 2 - 1
        found = coordinates(size, size, (32, 32))
        np.testing.assert_allclose(found[:, 5, 0], fine, atol=1e-6)
        np.testing.assert_allclose(found[:, 5, 1], cell * 2 - 1, atol=1e-6)
        np.testing.assert_allclose(found[5, :, 2], fine, atol=1e-6)
        np.testing.assert_allclose(found[5, :, 3], cell * 2 - 1, atol=1e-6)


def test_roughness_is_nothing_for_a_constant_inside_and_all_of_a_spike():
    spike = jnp.zeros((1, 9, 9, 2)).at[0, 4, 4, 0].set(1.0)
    # the spike itself, and each of its 8 neighbours sees an eighth of it
    assert float(roughness(spike, 3)) == pytest.approx((1 + 8 / 8) / 81)
    assert float(roughness(jnp.ones((1, 9, 9, 2)), 3)) > 0  # zeros lie around
    assert float(jax.grad(lambda x: length(x).sum())(jnp.zeros((1, 2, 2, 2))).max()) == 0


def test_loss_terms_and_their_weights():
    clip = clips(DEBUG)
    still = jnp.zeros((2, 32, 32, 2))
    output = DmadOutput(
        clip[:, 4:] + 0.1, clip[:, 4:] - 0.2, still + 3.0, still, jnp.float32(5.0), jnp.float32(7.0)
    )
    loss, terms = dmad_loss(
        output,
        clip,
        gradient_weight=0.0,
        quantisation_weight=2.0,
        commitment_weight=0.25,
        deformation_weight=0.5,
    )
    assert float(terms["mse"]) == pytest.approx(0.01, rel=1e-4)
    assert float(terms["coarse_mse"]) == pytest.approx(0.04, rel=1e-4)
    rough = roughness(output.coarse_offset, 7)
    half_width = 2 / 32
    assert float(terms["deformation"]) == pytest.approx(
        float(half_width * (3 * np.sqrt(2) + rough)), rel=1e-4
    )
    expected = 0.05 + 2 * 7 + 0.25 * 5 + 0.5 * terms["deformation"]
    assert float(loss) == pytest.approx(float(expected), rel=1e-4)


def test_every_parameter_learns(model):
    clip = clips(DEBUG)
    names = ("gradient", "quantisation", "commitment", "deformation")
    weights = {f"{name}_weight": 1.0 for name in names}

    graphdef, params, rest = nnx.split(training_view(model, nnx.Param), nnx.Param, ...)

    def loss_fn(params):
        return dmad_loss(nnx.merge(graphdef, params, rest, copy=True)(clip), clip, **weights)[0]

    found = nnx.to_flat_state(jax.jit(jax.grad(loss_fn))(params))
    # a bias before BatchNorm moves nothing, and no gradient passes from the skips to the encoder's end
    silent = {path for path, g in found if float(jnp.abs(g[...]).max()) < 1e-8}
    assert all(path[-1] == "bias" for path in silent)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clip_len": 4}, "clip_len=4 must be at least 5"),
        ({"image_size": (32, 36)}, "multiple of 8"),
        ({"channels": 12}, "multiple of 8"),
        ({"num_prototypes": 0}, "at least 1"),
    ],
)
def test_sizes_that_do_not_fit_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(DEBUG, **changes)
