"""The decoder: transposed 3-D convolutions from features back to pixels (IPAD paper, sec. 4.1).

The layers are those of IPAD's code, model/reconstruction_model.py, VST3DDecoder: kernel 3,
padding 1, output padding 1 on strided axes, BatchNorm and LeakyReLU 0.2 after each but the last,
tanh at the end.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from ipad_jax.nn.conv3d import Method, Strides, conv_transpose3d
from ipad_jax.nn.conv_layers import BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM
from ipad_jax.nn.dot import add_bias

LEAKY_SLOPE = 0.2


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
    """Channels and strides of the layers; the defaults are the published decoder (8.30M).

    Raises:
        ValueError: lengths or strides that cannot be built.
    """

    channels: tuple[int, ...] = (256, 256, 128, 96)  # after each layer but the last, which gives 3
    strides: tuple[Strides, ...] = (
        (2, 2, 2),
        (2, 2, 2),
        (1, 2, 2),
        (1, 2, 2),
        (1, 2, 2),
    )  # t, h, w

    def __post_init__(self):
        object.__setattr__(self, "channels", tuple(self.channels))
        object.__setattr__(self, "strides", tuple(tuple(s) for s in self.strides))
        if len(self.strides) != len(self.channels) + 1:
            raise ValueError(
                f"DecoderConfig: {len(self.strides)} strides for {len(self.channels)} hidden "
                "channels; strides needs one entry more, for the last layer (3 channels)."
            )
        if any(len(s) != 3 or any(v not in (1, 2) for v in s) for s in self.strides):
            raise ValueError(
                f"DecoderConfig.strides={self.strides} must be (t, h, w) triples of 1 or 2."
            )
        if any(not isinstance(c, int) or c < 1 for c in self.channels):
            raise ValueError(f"DecoderConfig.channels={self.channels} must be positive integers.")

    @property
    def total_stride(self) -> Strides:
        """How much larger the output is than the input (t, h, w)."""
        total = [1, 1, 1]
        for stride in self.strides:
            total = [a * b for a, b in zip(total, stride)]
        return tuple(total)  # type: ignore[return-value]


class ConvTranspose3d(nnx.Module):
    """Transposed convolution with bias: [b, t, h, w, cin] -> [b, t*st, h*sh, w*sw, cout]."""

    def __init__(
        self, cin: int, cout: int, strides: Strides, *, dtype: Any, method: Method | None,
        rngs: nnx.Rngs,
    ):  # fmt: skip
        self.strides = strides
        self.dtype = dtype
        self.method: Method | None = method
        # PyTorch's default; the paper is silent. A variance of 1 / (inputs that meet in one output)
        # left more error at equal steps (docs/results.md).
        bound = (27 * cout) ** -0.5

        def draw(*shape: int) -> jax.Array:
            return jax.random.uniform(rngs.params(), shape, minval=-bound, maxval=bound)

        self.kernel = nnx.Param(draw(3, 3, 3, cin, cout))
        self.bias = nnx.Param(draw(cout))

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x.astype(self.dtype)
        x = conv_transpose3d(x, self.kernel[...], self.strides, method=self.method)
        return add_bias(x, self.bias[...], x.dtype)


def _layer(conv: ConvTranspose3d, norm: nnx.BatchNorm, x: jax.Array) -> jax.Array:
    """A hidden layer; its output has the dtype of the convolutions, which is what remat keeps."""
    return jax.nn.leaky_relu(norm(conv(x)), LEAKY_SLOPE).astype(conv.dtype)


class Decoder(nnx.Module):
    """Features to pixels.

    Args:
        cfg: channels and strides.
        features: channels of the input.
        dtype: of the convolutions; BatchNorm's statistics and the tanh are float32.
        method: how to compute the transposed convolutions; None chooses by backend.
        remat: keep only the input of each layer for the gradient and compute the rest again.

    Call: [b, t, h, w, features] -> float32 [b, t*st, h*sh, w*sw, 3] in [-1, 1].
    """

    def __init__(
        self,
        cfg: DecoderConfig,
        features: int,
        *,
        dtype: Any = jnp.float32,
        method: Method | None = None,
        remat: bool = False,
        rngs: nnx.Rngs,
    ):
        self.remat = remat
        sizes = [features, *cfg.channels, 3]
        self.convs = nnx.List(
            ConvTranspose3d(cin, cout, strides, dtype=dtype, method=method, rngs=rngs)
            for cin, cout, strides in zip(sizes[:-1], sizes[1:], cfg.strides)
        )
        self.norms = nnx.List(
            nnx.BatchNorm(
                channels,
                momentum=BATCH_NORM_MOMENTUM,
                epsilon=BATCH_NORM_EPSILON,
                dtype=jnp.float32,
                rngs=rngs,
            )
            for channels in cfg.channels
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        layer = nnx.remat(_layer) if self.remat else _layer
        for conv, norm in zip(list(self.convs)[:-1], self.norms):
            x = layer(conv, norm, x)
        return jnp.tanh(self.convs[-1](x).astype(jnp.float32))
