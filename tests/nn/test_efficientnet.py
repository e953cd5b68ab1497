"""Inverted bottlenecks against loops over pixels, with BatchNorm left as it is; published sizes."""

import jax
import numpy as np
import pytest
from efficientnet_weights import drawn_state

from ipad_jax.nn.efficientnet import (
    B4,
    LITE0,
    LITE1,
    LITE2,
    MOBILENET_V2,
    SHAPES,
    EfficientNetConfig,
    block_shapes,
    extract,
    normalise,
)
from ipad_jax.nn.efficientnet_weights import BATCH_NORM_EPS, fold

SMALL = block_shapes([(1, 3, 1, 1, 8), (2, 5, 2, 6, 12)], 8)
SWISH = EfficientNetConfig("swish, SAME", 8, SMALL, excite=True)
SYMMETRIC = EfficientNetConfig("ReLU6, PyTorch's padding", 8, SMALL, same_padding=False)


def slow_conv(x: np.ndarray, kernel: np.ndarray, stride: int, same: bool) -> np.ndarray:
    """[h, w, cin] by [out, in, k, k], pixel by pixel; a kernel of one input channel is depthwise.

    TensorFlow's SAME: as many pixels as h / stride rounded up; of an odd number of padded ones, the
    larger half comes after. Else PyTorch's: half a kernel on all sides.
    """
    side = kernel.shape[-1]
    out_size = [-(-n // stride) for n in x.shape[:2]]
    padding = [
        max((o - 1) * stride + side - n, 0) for o, n in zip(out_size, x.shape[:2], strict=True)
    ]
    pads = [(p // 2, p - p // 2) for p in padding] if same else [(side // 2, side // 2)] * 2
    padded = np.pad(x, [*pads, (0, 0)])
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


def slow_extract(x: np.ndarray, state: dict[str, np.ndarray], num_blocks: int, cfg=LITE0):
    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    def activate(x):
        return x * sigmoid(x) if cfg.excite else np.clip(x, 0, 6)

    def layer(x, name, norm, stride):
        x = slow_conv(x, state[f"{name}.weight"], stride, cfg.same_padding)
        spread = np.sqrt(state[f"{norm}.running_var"] + BATCH_NORM_EPS)
        x = (x - state[f"{norm}.running_mean"]) / spread * state[f"{norm}.weight"]
        return x + state[f"{norm}.bias"]

    def dense(x, name):
        return state[f"{name}.weight"][:, :, 0, 0] @ x + state[f"{name}.bias"]

    x = activate(layer(x, "_conv_stem", "_bn0", 2))
    for number, shape in enumerate(cfg.shapes[:num_blocks]):
        at, before = f"_blocks.{number}", x
        if shape.expansion > 1:
            x = activate(layer(x, f"{at}._expand_conv", f"{at}._bn0", 1))
        x = activate(layer(x, f"{at}._depthwise_conv", f"{at}._bn1", shape.stride))
        if cfg.excite:
            squeezed = activate(dense(x.mean((0, 1)), f"{at}._se_reduce"))
            x = x * sigmoid(dense(squeezed, f"{at}._se_expand"))
        x = layer(x, f"{at}._project_conv", f"{at}._bn2", 1)
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


@pytest.mark.parametrize("cfg", [SWISH, SYMMETRIC], ids=lambda cfg: cfg.name)
def test_the_other_kinds_equal_the_loops(cfg):
    state = drawn_state(3, cfg)
    picture = np.random.default_rng(1).uniform(-1, 1, (1, 13, 18, 3)).astype(np.float32)
    (found,) = jax.jit(lambda net, x: extract(net, x, (2,)))(fold(state, None, cfg), picture)
    expected = slow_extract(picture[0].astype(np.float64), state, 3, cfg)
    np.testing.assert_allclose(found[0], expected, rtol=0, atol=1e-4)  # as above


def test_the_sixteen_blocks_are_those_of_the_table():
    assert len(SHAPES) == 16
    assert [SHAPES[i].channels_out for i in (0, 2, 4, 7, 10, 14, 15)] == [
        *(16, 24, 40, 80, 112, 192, 320)
    ]
    assert [SHAPES[i].reduction for i in (0, 2, 4, 7, 10, 14, 15)] == [2, 4, 8, 16, 16, 32, 32]


@pytest.mark.parametrize(
    ("cfg", "head", "published"),
    [
        (LITE0, 1280, 4_652_008),
        (LITE1, 1280, 5_416_680),
        (LITE2, 1280, 6_092_072),
        (B4, 1792, 19_341_616),
        (MOBILENET_V2, 1280, 3_504_872),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_published_numbers_of_parameters(cfg, head, published):
    """With head and classifier, BatchNorm's two vectors counted and its statistics not."""

    def conv(cin, cout, side=1):
        return side * side * cin * cout + 2 * cout

    count = conv(3, cfg.stem_channels, 3)
    for shape in cfg.shapes:
        inner, squeezed = shape.channels_in * shape.expansion, shape.channels_in // 4
        count += conv(shape.channels_in, inner) if shape.expansion > 1 else 0
        count += conv(1, inner, shape.kernel) + conv(inner, shape.channels_out)
        count += 2 * inner * squeezed + inner + squeezed if cfg.excite else 0
    count += conv(cfg.shapes[-1].channels_out, head) + 1000 * head + 1000
    assert count == published


@pytest.mark.parametrize("blocks", [(), (2, 1), (1, 1), (-1, 1)])
def test_blocks_must_ascend(blocks):
    net = fold(drawn_state(2), 2)
    with pytest.raises(ValueError, match="ascending"):
        extract(net, np.zeros((1, 8, 8, 3), np.float32), blocks)
    with pytest.raises(ValueError, match="has 2 blocks"):
        extract(net, np.zeros((1, 8, 8, 3), np.float32), (2,))
