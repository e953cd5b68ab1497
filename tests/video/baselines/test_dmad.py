"""DMAD: prediction, quantisation, deformation, background, loss."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn_model import drawn
from flax import nnx
from test_conv_autoencoder import clips

from ipad_jax.training.state import inference_view
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
def run():
    """Clips -> output, compiled once for a shape."""
    model = inference_view(drawn(lambda: Dmad(DEBUG, rngs=nnx.Rngs(0))))
    return partial(nnx.jit(lambda m, x: m(x)), model)


@pytest.mark.slow
def test_each_frame_is_predicted_from_the_four_before_it(run):
    """A clip of six gives what its two clips of five give."""
    clip = clips(dataclasses.replace(DEBUG, clip_len=6), count=1)
    both = run(clip)
    assert both.frames.shape == (1, 2, 32, 32, 3)
    assert both.deformation.shape == (1, 2, 32, 32)
    parts = np.concatenate([clip[:, :5], clip[:, 1:]])
    blind = parts.copy()
    blind[:, 4] = 0.0  # the frame to predict
    for x in (parts, blind):
        np.testing.assert_allclose(run(x).frames[:, 0], both.frames[0], atol=1e-5)


def test_offsets_are_bounded(run):
    output = run(20 * clips(DEBUG))
    for offset, bound in ((output.coarse_offset, COARSE_PX), (output.fine_offset, FINE_PX)):
        assert offset.shape == (2, 32, 32, 2)
        assert 0 < np.abs(offset).max() <= bound + 1e-5


def test_the_nearest_prototype_and_a_gradient_as_if_there_were_none():
    quantizer = drawn(lambda: Quantizer(DEBUG, rngs=nnx.Rngs(0)))
    prototypes = np.asarray(quantizer.prototypes[...])
    latent = np.random.default_rng(0).uniform(-0.1, 0.1, (1, 2, 3, 16)).astype(np.float32)

    @jax.jit
    def forth_and_back(latent):
        out, vjp = jax.vjp(quantizer, latent)
        return out, vjp((jnp.full_like(latent, 3.0), jnp.zeros(()), jnp.zeros(())))[0]

    (found, commitment, quantisation), passed = forth_and_back(latent)
    for i in range(2):
        for j in range(3):
            nearest = min(prototypes, key=lambda p: np.square(p - latent[0, i, j]).sum())
            np.testing.assert_allclose(found[0, i, j], nearest, atol=1e-6)
    np.testing.assert_allclose(commitment, np.square(found - latent).mean(), rtol=1e-4)
    np.testing.assert_allclose(quantisation, commitment)
    np.testing.assert_array_equal(passed, np.full(latent.shape, 3.0, np.float32))


def test_the_background_is_the_mean_of_what_it_saw_and_then_fixed():
    background, run = Background((4, 4)), nnx.jit(lambda b, x: b(x))
    batches = [np.full((2, 5, 4, 4, 3), value, np.float32) for value in (1.0, 0.0, 0.5)]
    for batch in batches:
        found = run(background, batch)
    np.testing.assert_allclose(found, np.full((4, 4, 3), 0.5), atol=1e-6)
    np.testing.assert_array_equal(run(inference_view(background), batches[0]), found)


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
    spike = np.zeros((1, 9, 9, 2), np.float32)
    spike[0, 4, 4, 0] = 1.0
    rough = jax.jit(lambda x: roughness(x, 3))
    # the spike itself, and each of its 8 neighbours sees an eighth of it
    assert float(rough(spike)) == pytest.approx((1 + 8 / 8) / 81)
    assert float(rough(np.ones_like(spike))) > 0  # zeros lie around
    slope = jax.jit(jax.grad(lambda x: length(x).sum()))(np.zeros((1, 2, 2, 2), np.float32))
    assert not np.any(slope)


def test_loss_terms_and_their_weights():
    clip, still = clips(DEBUG), np.zeros((2, 32, 32, 2), np.float32)
    output = DmadOutput(clip[:, 4:] + 0.1, clip[:, 4:] - 0.2, still + 3.0, still, 5.0, 7.0)
    weights = {"gradient_weight": 0.0, "quantisation_weight": 2.0}
    weights |= {"commitment_weight": 0.25, "deformation_weight": 0.5}
    loss, terms = jax.jit(partial(dmad_loss, **weights))(output, clip)
    assert float(terms["mse"]) == pytest.approx(0.01, rel=1e-4)
    assert float(terms["coarse_mse"]) == pytest.approx(0.04, rel=1e-4)
    rough = jax.jit(lambda x: roughness(x, 7))(output.coarse_offset)
    half_width = 2 / 32
    assert float(terms["deformation"]) == pytest.approx(
        float(half_width * (3 * np.sqrt(2) + rough)), rel=1e-4
    )
    expected = 0.05 + 2 * 7 + 0.25 * 5 + 0.5 * terms["deformation"]
    assert float(loss) == pytest.approx(float(expected), rel=1e-4)


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
