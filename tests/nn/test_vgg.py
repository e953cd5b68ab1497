"""VGG-16 against plain NumPy on odd sizes, and its published size."""

import jax
import numpy as np
import pytest
from convolution_reference import conv, max_pool
from flax import nnx

from ipad_jax.nn.vgg import KINDS, VGG16, load_vgg16

# torchvision's numbers of the convolutions, and their channels
CONVS = {0: 64, 2: 64, 5: 128, 7: 128, 10: 256, 12: 256, 14: 256}


def drawn_state():
    rng, cin, state = np.random.default_rng(0), 3, {}
    for place, cout in CONVS.items():
        scale = (9 * cin / 2) ** -0.5
        state[f"features.{place}.weight"] = scale * rng.standard_normal((cout, cin, 3, 3))
        state[f"features.{place}.bias"] = rng.standard_normal(cout)
        cin = cout
    return state | {"classifier.0.bias": np.zeros(3), "features.28.bias": np.zeros(3)}


def test_equals_numpy_on_odd_sizes(tmp_path):
    state = drawn_state()
    np.savez(tmp_path / "w.npz", **state)
    images = np.random.default_rng(1).standard_normal((2, 13, 18, 3)).astype(np.float32)
    model = load_vgg16(tmp_path / "w.npz", 14)
    found = jax.jit(lambda model, x: model(x))(model, images)
    assert len(found) == 15
    x = images.transpose(0, 3, 1, 2).astype(np.float64)
    for place, ours in enumerate(found):
        kind, channels, stride = KINDS[place]
        assert ours.shape == (2, 13 // stride, 18 // stride, channels)
        if place in CONVS:
            assert (kind, channels) == ("conv", CONVS[place])
            bias = state[f"features.{place}.bias"].reshape(1, -1, 1, 1)
            x = conv(x, state[f"features.{place}.weight"], 1, 1) + bias
        else:
            x = np.maximum(x, 0) if place - 1 in CONVS else max_pool(x, 2, 2, 0)
        # float32 sums of up to 2,304 products against float64, seven layers
        theirs = x.transpose(0, 2, 3, 1)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


def test_published_numbers_of_parameters():
    def count(last):
        shapes = nnx.eval_shape(lambda: VGG16(last, rngs=nnx.Rngs(0)))
        return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(shapes)))

    assert round(count(21) / 1e6, 1) == 7.6  # what FAVAE takes
    assert count(30) == 138_357_544 - 123_642_856  # torchvision's num_params less the classifier's


def test_a_layer_that_is_not_there():
    with pytest.raises(ValueError, match="last=31"):
        VGG16(31, rngs=nnx.Rngs(0))
