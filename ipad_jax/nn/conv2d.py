"""2-D convolutions, pooling, warping: the layers of the methods that work on single frames.

As in nn/conv3d.py, nothing that trains on the CPU asks XLA for a dilated input (25 times slower
there): strided and transposed convolutions are one matrix product and moves, and so are their
gradients. Likewise no maximum over windows, whose gradient XLA:CPU computes element by element, and no
convolution, a gradient's included, whose kernel is larger than its input without the zeros around: XLA
exchanges the two, and the reversed convolution is 30 times slower.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ipad_jax.nn.conv3d import add_taps, gather_taps, traced_platform
from ipad_jax.nn.dot import matmul

CACHED = (
    5_000_000  # numbers in and out of a convolution that a CPU's cache holds, roughly; measured
)


def conv2d(
    x: jax.Array, kernel: jax.Array, *, stride: int = 1, dilation: int = 1, groups: int = 1
) -> jax.Array:
    """Convolution with zeros around, so that a side n becomes ceil(n / stride); without bias.

    Args:
        x: [b, h, w, cin] float.
        kernel: [k, k, cin / groups, cout], k odd, rounded to the dtype of x; PyTorch's weight
            [cout, cin / groups, k, k] with the axes moved. Padding is PyTorch's k // 2 on all
            sides (times dilation), which for odd sides and strides is not "SAME". Or k = 4 with
            stride 2, padding 1 and even sides, as generators have it.
        stride: 1 or 2; 2 undilated only.
        dilation: distance of the kernel's taps.
        groups: parts of the channels, each convolved alone.

    Raises:
        ValueError: a kernel that does not fit, or a stride that cannot be.
    """
    side = kernel.shape[0]
    halves = side == 4 and stride == 2 and groups == 1 and not (x.shape[1] % 2 or x.shape[2] % 2)
    if kernel.shape[:3] != (side, side, x.shape[-1] // groups) or not (side % 2 or halves):
        raise ValueError(
            f"conv2d: kernel has shape {kernel.shape}, expected [k, k, cin / {groups}, cout] with odd k, or "
            f"4 with stride 2 and even sides, for an input [b, h, w, cin] of shape {x.shape}."
        )
    if stride not in (1, 2) or (stride == 2 and dilation > 1):
        raise ValueError(
            f"conv2d: stride={stride} must be 1, or 2 with dilation 1; got {dilation}."
        )
    kernel = kernel.astype(x.dtype)
    if halves:
        return _conv_of_cells(x, kernel)
    if side == 1 and groups == 1:
        return matmul(x[:, ::stride, ::stride], kernel[0, 0], x.dtype).astype(x.dtype)
    small = stride == dilation == 1 and side == 3 > min(x.shape[1:3])
    if (stride == 2 or small) and groups == 1 and traced_platform() == "cpu":
        if stride == 2:
            x = jnp.pad(x, [(0, 0), *((0, n % 2) for n in x.shape[1:3]), (0, 0)])  # as zeros around
        if side > 3:
            return _conv_of_cells(x, kernel)
        taps = gather_taps(x[:, None], (1, stride, stride), 1)[:, 0]
        matrix = kernel.reshape(-1, kernel.shape[-1])
        return matmul(taps.reshape(*taps.shape[:3], -1), matrix, x.dtype).astype(x.dtype)
    plain = stride == dilation == groups == 1 and side == 3
    large = x.size + x.size // x.shape[-1] * kernel.shape[-1] > CACHED
    if plain and large and traced_platform() == "cpu":
        return _conv_of_many(x, kernel)
    return _conv(x, kernel, stride, dilation, groups)


def _conv(
    x: jax.Array, kernel: jax.Array, stride: int = 1, dilation: int = 1, groups: int = 1
) -> jax.Array:
    """The library's convolution with zeros around."""
    pad = kernel.shape[0] // 2 * dilation
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding=[(pad, pad)] * 2,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


@jax.custom_vjp
def _conv_of_many(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`_conv` with a kernel of 3, whose kernel's gradient is added up image by image.

    XLA:CPU makes it of all images at once, which do not fit its cache: 7 to 14 GFLOP/s where this has 18
    to 44 on one core.
    """
    return _conv(x, kernel)


def _conv_of_many_fwd(x: jax.Array, kernel: jax.Array):
    return _conv(x, kernel), (x, kernel)


def _conv_of_many_bwd(saved: tuple[jax.Array, jax.Array], grad: jax.Array):
    x, kernel = saved

    def add(total: jax.Array, image: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        inputs, outputs = image
        taps = gather_taps(inputs[None, None], (1, 1, 1), 1).reshape(-1, len(total))
        outputs = outputs.reshape(-1, outputs.shape[-1])
        return total + jnp.matmul(taps.T, outputs, preferred_element_type=jnp.float32), None

    matrix = jnp.zeros((kernel.size // kernel.shape[-1], kernel.shape[-1]))
    total = lax.scan(add, matrix, (x, grad))[0].reshape(kernel.shape).astype(kernel.dtype)
    return jax.vjp(lambda x: _conv(x, kernel), x)[1](grad)[0], total


_conv_of_many.defvjp(_conv_of_many_fwd, _conv_of_many_bwd)


def _conv_of_cells(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Stride 2 as a convolution of stride 1 over cells of 2 x 2 places, for even sides.

    A kernel of 7 becomes one of 4 x 4 cells, its last row and column zeros, one of 4 becomes 2 x 2 cells:
    no gradient is dilated.
    """
    side, (cin, cout) = kernel.shape[0], kernel.shape[2:]
    pad, half = (side - 1) // 2, (side + 1) // 2
    x = jnp.pad(x, [(0, 0), (pad,) * 2, (pad,) * 2, (0, 0)])
    b, h, w = x.shape[:3]
    x = x.reshape(b, h // 2, 2, w // 2, 2, cin).transpose(0, 1, 3, 2, 4, 5)
    kernel = jnp.pad(kernel, [(0, side % 2), (0, side % 2), (0, 0), (0, 0)])
    kernel = kernel.reshape(half, 2, half, 2, cin, cout).transpose(0, 2, 1, 3, 4, 5)
    return lax.conv_general_dilated(
        x.reshape(b, h // 2, w // 2, 4 * cin),
        kernel.reshape(half, half, 4 * cin, cout),
        window_strides=(1, 1),
        padding="VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def conv_transpose2d(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Transposed convolution of stride 2: [b, h, w, cin] -> [b, 2h, 2w, cout], without bias.

    Args:
        x: float.
        kernel: [2, 2, cin, cout], or [3, 3, cin, cout] with padding 1 and output padding 1, or
            [4, 4, cin, cout] with padding 1; PyTorch's weight [cin, cout, k, k] with the axes moved.

    Raises:
        ValueError: another kernel.
    """
    side, cout = kernel.shape[0], kernel.shape[-1]
    if side not in (2, 3, 4) or kernel.shape[:3] != (side, side, x.shape[-1]):
        raise ValueError(
            f"conv_transpose2d: kernel has shape {kernel.shape}, expected [k, k, cin, cout] with k of 2, 3 "
            f"or 4 for an input of shape {x.shape}."
        )
    if side == 4:
        return _grow_by_cells(x, kernel.astype(x.dtype))
    matrix = kernel.transpose(2, 0, 1, 3).reshape(x.shape[-1], -1)
    taps = matmul(x, matrix, x.dtype).astype(x.dtype)
    b, h, w = x.shape[:3]
    if side == 3:
        return add_taps(taps.reshape(b, 1, h, w, 1, 3, 3, cout), (1, 2, 2))[:, 0]
    taps = taps.reshape(b, h, w, 2, 2, cout)  # no two inputs meet: each output has one
    return taps.transpose(0, 1, 3, 2, 4, 5).reshape(b, 2 * h, 2 * w, cout)


def _grow_by_cells(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Transposed convolution of kernel 4, stride 2, padding 1, as one of 2 x 2 that gives cells of 2 x 2.

    Output o is met by inputs (o + 1 - k) / 2: those of place j - 1 and j make outputs 2 j - 1 and 2 j.
    """
    b, h, w = x.shape[:3]
    cin, cout = kernel.shape[2:]
    parts = kernel.reshape(2, 2, 2, 2, cin, cout)[::-1, :, ::-1]
    cells = lax.conv_general_dilated(
        jnp.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)]),  # here, not below: see the module's text
        parts.transpose(0, 2, 4, 1, 3, 5).reshape(2, 2, cin, 4 * cout),
        window_strides=(1, 1),
        padding="VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    cells = cells.reshape(b, h + 1, w + 1, 2, 2, cout).transpose(0, 1, 3, 2, 4, 5)
    return cells.reshape(b, 2 * h + 2, 2 * w + 2, cout)[:, 1:-1, 1:-1]


def max_pool2(x: jax.Array) -> jax.Array:
    """Largest of each 2 x 2 places: [b, h, w, c] -> [b, h/2, w/2, c]."""
    b, h, w, c = x.shape
    if h % 2 or w % 2:
        raise ValueError(f"max_pool2: sides must be even, got {x.shape}.")
    # In pairs: the gradient of a maximum over axes divides by how many places equal it, and there are
    # none where the compiler computes the places once more with another rounding.
    x = x.reshape(b, h // 2, 2, w // 2, 2, c)
    x = jnp.maximum(x[:, :, 0], x[:, :, 1])
    return jnp.maximum(x[:, :, :, 0], x[:, :, :, 1])


def max_pool3(x: jax.Array) -> jax.Array:
    """Largest of 3 x 3 places around every second one: [b, h, w, c] -> [b, ceil(h/2), ceil(w/2), c]."""
    odd_sides = [(0, n % 2) for n in x.shape[1:3]]
    x = jnp.pad(x, [(0, 0), *odd_sides, (0, 0)], constant_values=-jnp.inf)
    for axis in (1, 2):
        shape = (*x.shape[:axis], x.shape[axis] // 2, 2, *x.shape[axis + 1 :])
        pairs = x.reshape(shape)
        even, odd = (lax.index_in_dim(pairs, i, axis + 1, keepdims=False) for i in (0, 1))
        pads = [(0, 0)] * x.ndim
        pads[axis] = (1, 0)
        before = lax.slice_in_dim(
            jnp.pad(odd, pads, constant_values=-jnp.inf), 0, odd.shape[axis], axis=axis
        )
        x = jnp.maximum(jnp.maximum(even, odd), before)
    return x


def resize_corners(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Bilinear resize in which corners stay corners (PyTorch's align_corners): [b, h, w, c]."""
    rows, columns = (_between(old, new) for old, new in zip(x.shape[1:3], size))
    return jnp.einsum("yh,bhwc,xw->byxc", rows, x, columns)


def resize_linear(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """`jax.image.resize`, "linear": averages where it shrinks; [b, h, w, ...] -> [b, *size, ...].

    By constant matrices, so that an exported program needs no such operation.
    """
    rows, columns = (_averaging(old, new) for old, new in zip(x.shape[1:3], size))
    high = lax.Precision.HIGHEST
    return jnp.einsum("yh,bhw...,xw->byx...", rows, x, columns, precision=high)


def _averaging(old: int, new: int) -> np.ndarray:
    """Matrix [new, old] of a triangle around each new place, as wide as the wider of both steps."""
    step = old / new
    away = np.arange(old)[None] - ((np.arange(new) + 0.5) * step - 0.5)[:, None]
    weights = np.maximum(0, 1 - np.abs(away) / max(step, 1.0))
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def _between(old: int, new: int) -> np.ndarray:
    """Matrix [new, old] that interpolates linearly along one axis."""
    at = np.linspace(0, old - 1, new)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(old)[None])).astype(np.float32)


def warp(x: jax.Array, offset: jax.Array) -> jax.Array:
    """Picture whose place p shows what is at p + offset(p), bilinear; the border goes on outside.

    Args:
        x: [b, h, w, c] float.
        offset: [b, h, w, 2] float, pixels down and to the right.

    Returns:
        [b, h, w, c].
    """
    b, h, w, c = x.shape
    grid = np.stack(np.meshgrid(np.arange(h), np.arange(w), indexing="ij"), -1).astype(np.float32)
    place = jnp.clip(grid[None] + offset, 0, np.array([h - 1, w - 1], np.float32)[None, None, None])
    corner = jnp.minimum(
        jnp.floor(lax.stop_gradient(place)), np.array([h - 2, w - 2])[None, None, None]
    )
    part = place - corner
    down, right = part[..., :1], part[..., 1:]
    first = (corner[..., 0] * w + corner[..., 1]).astype(jnp.int32).reshape(b, -1, 1)
    rows = x.reshape(b, -1, c)

    def at(step: int) -> jax.Array:
        return jnp.take_along_axis(rows, first + step, axis=1).reshape(b, h, w, c)

    upper = at(0) * (1 - right) + at(1) * right
    lower = at(w) * (1 - right) + at(w + 1) * right
    return upper * (1 - down) + lower * down
