"""Networks of inverted bottlenecks as frozen extractors: EfficientNet, its Lite variants, MobileNetV2.

A block is a 1x1 expansion, a depthwise convolution, in EfficientNet a squeeze-and-excitation, a 1x1
projection, and a shortcut where the shape stays. Plain functions over a tree of arrays: nothing here is
trained, and BatchNorm's statistics are folded into kernels and biases (efficientnet_weights.py, which also
says where weights are from). The head is left out.

Sources: Tan and Le, EfficientNet (2019), table 1, and TensorFlow's TPU models, efficientnet_builder.py and
efficientnet_lite_builder.py; Sandler et al., MobileNetV2 (2018), table 2, and torchvision's mobilenetv2.py.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

# Blocks, kernel side, stride of the first block, expansion, channels out; EfficientNet's table 1.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
MOBILENET_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (3, 3, 2, 6, 32),
    (4, 3, 2, 6, 64),
    (3, 3, 1, 6, 96),
    (3, 3, 2, 6, 160),
    (1, 3, 1, 6, 320),
)


class Shape(NamedTuple):
    """What a block is made of; `reduction` counts picture pixels a cell of its output is wide."""

    kernel: int
    stride: int
    expansion: int
    channels_in: int
    channels_out: int
    reduction: int


@dataclasses.dataclass(frozen=True)
class EfficientNetConfig:
    """A network's shape; the functions below make the published ones."""

    name: str
    stem_channels: int
    shapes: tuple[Shape, ...]
    excite: bool = False  # squeeze and excitation, and swish in place of ReLU6
    same_padding: bool = True  # TensorFlow's; False: PyTorch's, which puts the same on all sides


def block_shapes(
    stages: Sequence[tuple[int, int, int, int, int]], stem_channels: int
) -> tuple[Shape, ...]:
    """The blocks of some stages, in order."""
    shapes, channels, reduction = [], stem_channels, 2
    for repeats, kernel, first_stride, expansion, out in stages:
        for repeat in range(repeats):
            stride = 1 if repeat else first_stride
            reduction *= stride
            shapes.append(Shape(kernel, stride, expansion, channels, out, reduction))
            channels = out
    return tuple(shapes)


def efficientnet(
    name: str, width: float, depth: float, *, lite: bool, same_padding: bool = True
) -> EfficientNetConfig:
    """EfficientNet scaled by a width and a depth; the Lite ones scale neither stem nor outer depths."""

    def channels(count: int) -> int:
        """To a multiple of 8, and not under nine tenths."""
        rounded = max(8, int(count * width + 4) // 8 * 8)
        return rounded + 8 if rounded < 0.9 * count * width else rounded

    stages = []
    for number, (repeats, *rest, out) in enumerate(STAGES):
        outer = lite and number in (0, len(STAGES) - 1)
        stages.append((repeats if outer else math.ceil(repeats * depth), *rest, channels(out)))
    stem = 32 if lite else channels(32)
    return EfficientNetConfig(name, stem, block_shapes(stages, stem), not lite, same_padding)


LITE0 = efficientnet("EfficientNet-Lite0", 1.0, 1.0, lite=True)
LITE1 = efficientnet("EfficientNet-Lite1", 1.0, 1.1, lite=True)
LITE2 = efficientnet("EfficientNet-Lite2", 1.1, 1.2, lite=True)
B4 = efficientnet("EfficientNet-B4", 1.4, 1.8, lite=False)
MOBILENET_V2 = EfficientNetConfig(
    "MobileNetV2", 32, block_shapes(MOBILENET_STAGES, 32), same_padding=False
)
SHAPES = LITE0.shapes


class Conv(NamedTuple):
    """kernel [kh, kw, cin / groups, cout] and bias [cout], float32."""

    kernel: jax.Array
    bias: jax.Array


class Block(NamedTuple):
    """An inverted bottleneck; `expand` is None where the expansion is 1."""

    expand: Conv | None
    depthwise: Conv
    project: Conv
    excite: tuple[Conv, Conv] | None = None  # squeeze and excitation: to fewer channels, and back


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class EfficientNet:
    """Stem and as many blocks as are wanted, from the first."""

    stem: Conv
    blocks: tuple[Block, ...]
    cfg: EfficientNetConfig = dataclasses.field(default=LITE0, metadata={"static": True})


def normalise(pictures: jax.Array) -> jax.Array:
    """uint8 to what the Lite weights were trained on, about [-1, 1]; builder's MEAN_RGB, STDDEV_RGB."""
    return (pictures.astype(jnp.float32) - 127.0) / 128.0


def extract(net: EfficientNet, pictures: jax.Array, blocks: Sequence[int]) -> list[jax.Array]:
    """Outputs of some blocks, counted from 0.

    Args:
      net: weights of the blocks up to the last one wanted, at least.
      pictures: [b, h, w, 3] float, normalised as the weights want it (Lite: `normalise`).
      blocks: which, ascending.

    Returns:
      One float [b, h', w', c] each, with h' = h / `net.cfg.shapes[block].reduction` rounded up.

    Raises:
      ValueError: blocks that are not there, or out of order.
    """
    blocks = tuple(blocks)
    if not blocks or list(blocks) != sorted(set(blocks)) or not blocks[0] >= 0:
        raise ValueError(f"blocks={blocks} must be ascending numbers from 0.")
    if blocks[-1] >= len(net.blocks):
        raise ValueError(f"blocks={blocks}, but the network has {len(net.blocks)} blocks.")
    cfg = net.cfg
    x = _activate(_conv(pictures, net.stem, 2, cfg), cfg)
    found = []
    for number, (shape, block) in enumerate(zip(cfg.shapes, net.blocks)):
        if number > blocks[-1]:
            break
        x = _bottleneck(x, block, shape, cfg)
        if number in blocks:
            found.append(x)
    return found


def _bottleneck(x: jax.Array, block: Block, shape: Shape, cfg: EfficientNetConfig) -> jax.Array:
    """Expand, filter each channel, weigh the channels, project; the input is added where the shape stays."""
    inner = x if block.expand is None else _activate(_conv(x, block.expand, 1, cfg), cfg)
    inner = _activate(_depthwise(inner, block.depthwise, shape.stride, cfg), cfg)
    if block.excite is not None:
        squeeze, back = block.excite
        mean = inner.mean((1, 2), keepdims=True)
        weight = _conv(_activate(_conv(mean, squeeze, 1, cfg), cfg), back, 1, cfg)
        inner = inner * jax.nn.sigmoid(weight)
    out = _conv(inner, block.project, 1, cfg)
    return out + x if shape.stride == 1 and shape.channels_in == shape.channels_out else out


def _padding(
    x: jax.Array, side: int, stride: int, cfg: EfficientNetConfig
) -> list[tuple[int, int]]:
    """Zeros before and after, in h and w."""
    if not cfg.same_padding:
        return [(side // 2, side // 2)] * 2
    outputs = [-(-n // stride) for n in x.shape[1:3]]
    padding = [max((o - 1) * stride + side - n, 0) for o, n in zip(outputs, x.shape[1:3])]
    return [(p // 2, p - p // 2) for p in padding]


def _conv(
    x: jax.Array, conv: Conv, stride: int, cfg: EfficientNetConfig, groups: int = 1
) -> jax.Array:
    """A convolution and its bias."""
    out = lax.conv_general_dilated(
        x,
        conv.kernel,
        (stride, stride),
        _padding(x, conv.kernel.shape[0], stride, cfg),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )
    return out + conv.bias.reshape(1, 1, 1, -1)


def _depthwise(x: jax.Array, conv: Conv, stride: int, cfg: EfficientNetConfig) -> jax.Array:
    """Every channel with its own kernel; on the CPU tap by tap, five times as fast."""
    if jax.default_backend() != "cpu":
        return _conv(x, conv, stride, cfg, groups=x.shape[-1])
    side = conv.kernel.shape[0]
    x = jnp.pad(x, [(0, 0), *_padding(x, side, stride, cfg), (0, 0)])
    height, width = ((n - side) // stride * stride + 1 for n in x.shape[1:3])
    out = conv.bias.reshape(1, 1, 1, -1)
    for row in range(side):
        for column in range(side):
            part = x[:, row : row + height : stride, column : column + width : stride]
            out = out + part * conv.kernel[row, column].reshape(1, 1, 1, -1)
    return out


def _activate(x: jax.Array, cfg: EfficientNetConfig) -> jax.Array:
    """Swish beside squeeze and excitation, else ReLU6."""
    return jax.nn.silu(x) if cfg.excite else jnp.clip(x, 0.0, 6.0)
