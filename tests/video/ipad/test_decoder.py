"""The decoder's sizes, constants and modes."""

import jax.numpy as jnp
import numpy as np
import pytest
from drawn_model import drawn
from flax import nnx

from ipad_jax.training.state import inference_view
from ipad_jax.video.ipad.decoder import Decoder, DecoderConfig
from ipad_jax.video.ipad.model import num_parameters

SMALL = DecoderConfig(channels=(4,), strides=((2, 2, 2), (1, 2, 2)))
FEATURES = np.random.default_rng(0).standard_normal((2, 1, 2, 3, 6)).astype(np.float32)


def make():
    return Decoder(SMALL, 6, rngs=nnx.Rngs(0))


def test_published_decoder_has_8_30_million_parameters():
    decoder = nnx.eval_shape(lambda: Decoder(DecoderConfig(), 768, rngs=nnx.Rngs(0)))
    assert round(num_parameters(decoder) / 1e6, 2) == 8.30
    assert DecoderConfig().total_stride == (4, 32, 32)


def test_layers_start_as_pytorchs_uniform_in_one_over_the_root_of_27_cout():
    for conv, cout in zip(make().convs, (4, 3), strict=True):
        bound = 1 / np.sqrt(27 * cout)
        kernel, bias = np.asarray(conv.kernel[...]), np.asarray(conv.bias[...])
        assert max(np.abs(kernel).max(), np.abs(bias).max()) <= bound
        # e^-20 is the chance of no draw that near to the end; six deviations of a uniform's variance
        assert np.abs(kernel).max() > bound * (1 - 20 / kernel.size)
        assert kernel.var() == pytest.approx(bound**2 / 3, rel=6 * np.sqrt(0.8 / kernel.size))
        assert np.any(bias)


def test_strides_multiply_to_the_output_and_tanh_bounds_it():
    decoder = inference_view(drawn(make))
    out = nnx.jit(lambda d, x: d(x))(decoder, 100 * FEATURES)
    assert out.shape == (2, 2, 8, 12, 3)
    assert out.dtype == jnp.float32
    assert np.abs(out).max() <= 1


def test_batch_norm_moves_as_pytorchs():
    decoder = nnx.view(drawn(make), use_running_average=False)

    @nnx.jit
    def train(decoder, x):
        hidden = decoder.convs[0](x)
        decoder(x)
        return hidden

    hidden = train(decoder, FEATURES)
    norm = decoder.norms[0]
    mean = np.asarray(hidden).mean((0, 1, 2, 3))
    np.testing.assert_allclose(norm.mean[...], 0.1 * mean, rtol=1e-4, atol=1e-6)
    assert (norm.epsilon, norm.momentum) == (1e-5, 0.9)


def test_inference_leaves_the_averages_alone_and_samples_apart():
    decoder = inference_view(drawn(make))
    run = nnx.jit(lambda d, x: d(x))
    out, other = run(decoder, FEATURES), run(decoder, np.stack([FEATURES[0], -FEATURES[1]]))
    np.testing.assert_array_equal(out[0], other[0])
    assert np.any(out[1] != other[1])
    assert not np.any(decoder.norms[0].mean[...])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"channels": (8,)}, "5 strides for 1 hidden channels; strides needs one entry more"),
        ({"channels": (), "strides": ((4, 2, 2),)}, "triples of 1 or 2"),
        ({"channels": (0,), "strides": SMALL.strides}, "must be positive integers"),
    ],
)
def test_layers_that_cannot_be_are_named(values, message):
    with pytest.raises(ValueError, match=message):
        DecoderConfig(**values)
