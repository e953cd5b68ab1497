"""Transposed 3-D convolution, kernel 3, padding 1, as PyTorch's ConvTranspose3d defines it.

    out[o] = bias + sum_k x[i] @ kernel[k]   over all i, k with o = stride * i + k - 1, an axis each

with output padding 1 on axes of stride 2, so that a side of n becomes stride * n. The same numbers
are computed in two ways. Accelerators get the library's own convolution with a dilated input. On
the CPU XLA takes 25 times as long for that as for matrix products over the output's phases (even
and odd positions), so it gets those. `default_method` is the one place that chooses.
"""

import itertools
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax

Strides = tuple[int, int, int]
Method = Literal["dilated", "phases"]


def default_method() -> Method:
    """The fast way on the backend that JAX would use: read when a function is traced.

    Compiling ahead of time on a CPU for a TPU needs the other: pass `method="dilated"`.
    """
    return "phases" if jax.default_backend() == "cpu" else "dilated"


def conv_transpose3d(
    x: jax.Array, kernel: jax.Array, strides: Strides, *, method: Method | None = None
) -> jax.Array:
    """Transposed convolution, without bias.

    Args:
        x: [b, t, h, w, cin] float.
        kernel: [3, 3, 3, cin, cout], the dtype of x; PyTorch's weight [cin, cout, 3, 3, 3] with the
            axes moved, not flipped.
        strides: 1 or 2 for t, h, w.
        method: "dilated" or "phases"; None chooses by backend.

    Returns:
        [b, t * strides[0], h * strides[1], w * strides[2], cout].

    Raises:
        ValueError: strides other than 1 and 2, or a kernel that does not fit.
    """
    if len(strides) != 3 or any(s not in (1, 2) for s in strides):
        raise ValueError(f"conv_transpose3d: strides={strides} must be three numbers, 1 or 2.")
    if kernel.shape[:4] != (3, 3, 3, x.shape[-1]):
        raise ValueError(
            f"conv_transpose3d: kernel has shape {kernel.shape}, expected "
            f"[3, 3, 3, {x.shape[-1]}, cout] for an input of shape {x.shape}."
        )
    if (method or default_method()) == "dilated":
        return _dilated(x, kernel, strides)
    return _phases(x, kernel, strides)


def _dilated(x: jax.Array, kernel: jax.Array, strides: Strides) -> jax.Array:
    """The library's convolution over an input with holes."""
    return lax.conv_general_dilated(
        x,
        kernel[::-1, ::-1, ::-1],
        window_strides=(1, 1, 1),
        padding=[(1, s) for s in strides],
        lhs_dilation=strides,
        dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
    )


def _taps(stride: int, phase: int) -> list[tuple[int, int]]:
    """(offset of the input position, kernel index) that reach output stride * i + phase."""
    if stride == 1:
        return [(1, 0), (0, 1), (-1, 2)]
    return [(0, 1)] if phase == 0 else [(1, 0), (0, 2)]


def _phases(x: jax.Array, kernel: jax.Array, strides: Strides) -> jax.Array:
    """One matrix product a phase over the stacked taps, then interleave."""
    b, t, h, w, _ = x.shape
    cout = kernel.shape[-1]
    padded = jnp.pad(x, [(0, 0), *((1 if s == 1 else 0, 1) for s in strides), (0, 0)])
    first = [1 if s == 1 else 0 for s in strides]

    def shifted(offsets: tuple[int, ...]) -> jax.Array:
        at = [f + o for f, o in zip(first, offsets)]
        return padded[:, at[0] : at[0] + t, at[1] : at[1] + h, at[2] : at[2] + w]

    outputs = []
    for phase in itertools.product(*(range(s) for s in strides)):
        taps = list(itertools.product(*(_taps(s, p) for s, p in zip(strides, phase))))
        stacked = jnp.concatenate([shifted(tuple(o for o, _ in tap)) for tap in taps], axis=-1)
        matrix = jnp.concatenate([kernel[tuple(k for _, k in tap)] for tap in taps], axis=0)
        outputs.append(stacked.reshape(-1, matrix.shape[0]) @ matrix)
    st, sh, sw = strides
    out = jnp.stack(outputs, axis=-2).reshape(b, t, h, w, st, sh, sw, cout)
    out = out.transpose(0, 1, 4, 2, 5, 3, 6, 7)
    return out.reshape(b, t * st, h * sh, w * sw, cout)
