"""Convolutions with weights, and BatchNorm as PyTorch has it."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from ipad_jax.nn.conv2d import conv2d, conv_transpose2d
from ipad_jax.nn.conv3d import Strides, conv3d
from ipad_jax.nn.dot import add_bias

BATCH_NORM_MOMENTUM = 0.9  # of the old value: PyTorch's 0.1 of the new; flax has 0.99
BATCH_NORM_EPSILON = 1e-5
# PyTorch's default of a convolution: uniform up to 1 / sqrt(inputs that meet in an output).
TORCH_INIT = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
KAIMING_INIT = nnx.initializers.variance_scaling(2.0, "fan_in", "normal")
XAVIER_INIT = nnx.initializers.variance_scaling(1.0, "fan_avg", "normal")


def batch_norm(channels: int, *, rngs: nnx.Rngs) -> nnx.BatchNorm:
    """BatchNorm over all axes but the last, statistics float32, with PyTorch's defaults."""
    return nnx.BatchNorm(
        channels,
        momentum=BATCH_NORM_MOMENTUM,
        epsilon=BATCH_NORM_EPSILON,
        dtype=jnp.float32,
        rngs=rngs,
    )


class Conv2d(nnx.Module):
    """Convolution with zeros around: [b, h, w, cin] -> [b, ceil(h / stride), ceil(w / stride), cout].

    Args:
        cin, cout: channels.
        side: of the kernel, odd, or 4 with stride 2 and even h and w.
        stride: 1 or 2.
        dilation: distance of the kernel's taps.
        groups: parts of the channels that see nothing of each other.
        bias: whether there is one, zero at the start.
        init: of the kernel [side, side, cin, cout].
        dtype: of the product.
    """

    def __init__(
        self,
        cin: int,
        cout: int,
        side: int = 3,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
        init: Any = TORCH_INIT,
        dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.stride, self.dilation, self.groups, self.dtype = stride, dilation, groups, dtype
        shape = (side, side, cin // groups, cout)
        self.kernel = nnx.Param(init(rngs.params(), shape, jnp.float32))
        self.bias = nnx.Param(jnp.zeros(cout)) if bias else nnx.data(None)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x.astype(self.dtype)
        x = conv2d(
            x, self.kernel[...], stride=self.stride, dilation=self.dilation, groups=self.groups
        )
        return x if self.bias is None else add_bias(x, self.bias[...], x.dtype)


class ConvTranspose2d(nnx.Module):
    """Transposed convolution of stride 2, kernel 2, 3 or 4: [b, h, w, cin] -> [b, 2h, 2w, cout]."""

    def __init__(
        self,
        cin: int,
        cout: int,
        side: int,
        *,
        bias: bool = True,
        init: Any = TORCH_INIT,
        dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.dtype = dtype
        self.kernel = nnx.Param(init(rngs.params(), (side, side, cin, cout), jnp.float32))
        self.bias = nnx.Param(jnp.zeros(cout)) if bias else nnx.data(None)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = conv_transpose2d(x.astype(self.dtype), self.kernel[...])
        return x if self.bias is None else add_bias(x, self.bias[...], x.dtype)


class Conv3d(nnx.Module):
    """Convolution of kernel 3: [b, t, h, w, cin] -> [b, t/st, h/sh, w/sw, cout] in `dtype`."""

    def __init__(self, cin: int, cout: int, strides: Strides, *, dtype: Any, rngs: nnx.Rngs):
        self.strides, self.dtype = strides, dtype
        self.kernel = nnx.Param(KAIMING_INIT(rngs.params(), (3, 3, 3, cin, cout), jnp.float32))
        self.bias = nnx.Param(jnp.zeros(cout))

    def __call__(self, x: jax.Array) -> jax.Array:
        x = conv3d(x.astype(self.dtype), self.kernel[...], self.strides)
        return add_bias(x, self.bias[...], x.dtype)
