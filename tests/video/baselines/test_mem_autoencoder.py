"""memAE: what the decoder sees are mixtures of slots, sparse ones, and their entropy is the loss's."""

from functools import partial

import jax
import numpy as np
import pytest
from drawn_model import drawn
from flax import nnx
from test_conv_autoencoder import clips

from ipad_jax.training.state import inference_view
from ipad_jax.video.baselines.mem_autoencoder import (
    MemAutoencoder,
    MemAutoencoderConfig,
    MemOutput,
    mem_loss,
)


@pytest.fixture(scope="module")
def found():
    """One run: tokens, slots, attention, frames, and frames decoded from the mixtures."""
    model = drawn(lambda: MemAutoencoder(MemAutoencoderConfig.debug(), rngs=nnx.Rngs(0)))

    @nnx.jit
    def run(model, clip):
        output, slots = model(clip), model.memory.slots[...]
        mixtures = (output.attention @ slots).reshape(2, 2, 8, 8, -1)
        tokens = model.encoder(clip).reshape(2, -1, 8)
        return tokens, slots, output.attention, output.frames, model.decoder(mixtures)

    return [np.asarray(x) for x in run(inference_view(model), clips())]


def test_published_sizes():
    cfg = MemAutoencoderConfig.full()
    assert (cfg.num_slots, cfg.memory.shrink / cfg.num_slots) == (2000, 0.0025)
    assert cfg.memory.boost == "none"
    assert MemAutoencoderConfig.small().num_slots == 2000


def test_the_decoder_gets_mixtures_of_slots_alone(found):
    _, _, weights, frames, decoded = found
    assert weights.shape == (2, 2 * 8 * 8, 16)
    sums = weights.sum(axis=-1)
    assert np.all(np.isclose(sums, 1, atol=1e-5) | (sums == 0))
    np.testing.assert_allclose(decoded, frames, atol=1e-5)


def test_weights_up_to_the_threshold_are_gone(found):
    """Before the rest was divided by its sum, none was at or under 1 / 16."""
    tokens, slots, weights, *_ = found
    logits = tokens.astype(np.float64) @ slots.T
    soft = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    clear = np.abs(soft - 1 / 16) > 1e-6  # float32 decides the others
    kept = weights > 0
    np.testing.assert_array_equal(kept[clear], (soft > 1 / 16)[clear])
    assert 0.1 < kept.mean() < 0.9


def test_loss_adds_the_weighted_entropy():
    clip = np.zeros((1, 4, 8, 8, 3), np.float32)
    output = MemOutput(clip + 0.5, np.full((1, 6, 4), 0.25))
    loss, terms = jax.jit(partial(mem_loss, entropy_weight=0.1))(output, clip)
    assert float(terms["mse"]) == pytest.approx(0.25)
    assert float(terms["entropy"]) == pytest.approx(np.log(4))
    assert float(terms["empty"]) == 0
    assert float(loss) == pytest.approx(0.25 + 0.1 * np.log(4))
