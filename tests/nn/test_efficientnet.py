"""EfficientNet-Lite0 against loops over pixels, with BatchNorm left as it is."""

import jax
import numpy as np
import pytest
from efficientnet_weights import drawn_state

from ipad_jax.nn.efficientnet import SHAPES, block_shapes, extract, normalise
from ipad_jax.nn.efficientnet_weights import BATCH_NORM_EPS, fold


def slow_conv(x: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    """[h, w, cin] by [out, in, k, k], pixel by pixel; a kernel of one input channel is depthwise.

    TensorFlow's SAME: as many pixels as h / stride rounded up; of an odd number of padded ones, the
    larger half comes after.
    """
    side = kernel.shape[-1]
    out_size = [-(-n // stride) for n in x.shape[:2]]
    padding = [
        max((o - 1) * stride + side - n, 0) for o, n in zip(out_size, x.shape[:2], strict=True)
    ]
    padded = np.pad(x, [(p // 2, p - p // 2) for p in padding] + [(0, 0)])
    out = np.zeros((*out_size, len(kernel)))
    for row, column in np.ndindex(*out_size):
        at = (
            slice(row * stride, row * stride + side),
            slice(column * stride, column * stride + side),
        )
        for channel, weights in enumerate(kernel):
            if kernel.shape[1] == 1 and x.shape[2] > 1:
                out[row, column, channel] = (padded[at][..., channel] * weights[0]).sum()
            else:
                out[row, column, channel] = (padded[at] * weights.transpose(1, 2, 0)).sum()
    return out


def slow_layer(x, state, name, norm, stride, clip=True):
    x = slow_conv(x, state[f"{name}.weight"], stride)
    spread = np.sqrt(state[f"{norm}.running_var"] + BATCH_NORM_EPS)
    x = (x - state[f"{norm}.running_mean"]) / spread * state[f"{norm}.weight"]
    x = x + state[f"{norm}.bias"]
    return np.clip(x, 0, 6) if clip else x


def slow_extract(x: np.ndarray, state: dict[str, np.ndarray], num_blocks: int) -> np.ndarray:
    x = slow_layer(x, state, "_conv_stem", "_bn0", 2)
    for number, shape in enumerate(SHAPES[:num_blocks]):
        at, before = f"_blocks.{number}", x
        if shape.expansion > 1:
            x = slow_layer(x, state, f"{at}._expand_conv", f"{at}._bn0", 1)
        x = slow_layer(x, state, f"{at}._depthwise_conv", f"{at}._bn1", shape.stride)
        x = slow_layer(x, state, f"{at}._project_conv", f"{at}._bn2", 1, clip=False)
        if before.shape == x.shape:
            x = x + before
    return x


@pytest.mark.parametrize("backend", ["cpu", "other"])
def test_equals_the_loops_with_odd_sizes_and_a_shortcut(monkeypatch, backend):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    state = drawn_state(4)  # strides 1, 2, 1 (shortcut), 2 with a kernel of 5
    picture = np.random.default_rng(1).integers(0, 256, (1, 13, 18, 3), dtype=np.uint8)
    net = fold(state, 4)
    found = jax.jit(lambda net, x: extract(net, normalise(x), (2, 3)))(net, picture)
    x = (picture[0].astype(np.float64) - 127) / 128
    for out, blocks in zip(found, (3, 4), strict=True):
        # float32 against float64 over a dozen layers, outputs of size 1 to 6
        np.testing.assert_allclose(out[0], slow_extract(x, state, blocks), rtol=0, atol=1e-4)


def test_the_sixteen_blocks_are_those_of_the_table():
    shapes = block_shapes()
    assert len(shapes) == 16
    assert [shapes[i].channels_out for i in (0, 2, 4, 7, 10, 14, 15)] == [
        *(16, 24, 40, 80, 112, 192, 320)
    ]
    assert [shapes[i].reduction for i in (0, 2, 4, 7, 10, 14, 15)] == [2, 4, 8, 16, 16, 32, 32]
    # published: 4.65M with head, classifier and two numbers for each folded bias
    net = fold(drawn_state(16))
    folded = sum(np.size(leaf) for leaf in jax.tree.leaves(net))
    biases = sum(conv.bias.size for conv in convs_of(net))
    head = 320 * 1280 + 2 * 1280 + 1280 * 1000 + 1000
    assert round((folded + biases + head) / 1e6, 2) == 4.65


def convs_of(net):
    yield net.stem
    for block in net.blocks:
        yield from (conv for conv in block if conv is not None)


@pytest.mark.parametrize("blocks", [(), (2, 1), (1, 1), (-1, 1)])
def test_blocks_must_ascend(blocks):
    net = fold(drawn_state(2), 2)
    with pytest.raises(ValueError, match="ascending"):
        extract(net, np.zeros((1, 8, 8, 3), np.float32), blocks)
    with pytest.raises(ValueError, match="has 2 blocks"):
        extract(net, np.zeros((1, 8, 8, 3), np.float32), (2,))
