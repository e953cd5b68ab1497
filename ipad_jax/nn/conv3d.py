"""3-D convolutions, kernel 3, padding 1, as PyTorch's Conv3d and ConvTranspose3d define them.

Transposed: out[o] = sum_k x[i] @ kernel[k]   over all i, k with o = stride * i + k - 1, on each axis

with output padding 1 on axes of stride 2, so that a side of n becomes stride * n. The same numbers
are computed in two ways. `dilated` is the library's own convolution with a dilated input; TPUs get it.
`phases`: one matrix product gives what every input sends through every tap of the kernel, and the
output adds up, phase by phase (even and odd positions), what meets in it; the gradients are matrix
products too. XLA takes 25 times as long for `dilated` on the CPU, and on an H100, where the library has
no fast gradient for it, a whole training step takes 9.6 times as long (docs/results.md, "One GPU").
`conv3d`, the counterpart, goes the same way backwards: what would be a dilated input in its gradient
is such a sum. `default_method` is the one place that chooses.
"""

import functools
import itertools
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax

from ipad_jax.nn.dot import matmul

Strides = tuple[int, int, int]
Method = Literal["dilated", "phases"]

# Up to this share of the input's channels, all 27 taps are cheaper moved on the output's side.
NARROW = 1 / 8
# Up to so many channels the CPU is faster at joining three neighbours on one axis after the other than 27 at
# once (for the last layer's 3 in `factory` 7 ms in place of 30, measured alone).
SHORT_RUN = 16


def default_method() -> Method:
    """The fast way on the devices that a traced function is for.

    Those of the mesh around it (`jax.set_mesh`), which may be a TPU slice that this machine compiles
    for and does not have; without a mesh, of the backend that JAX would use.
    """
    return "dilated" if traced_platform() == "tpu" else "phases"


def traced_platform() -> str:
    """Where a traced function is to run: "cpu", "gpu" or "tpu"; see `default_method`."""
    device = jax.sharding.get_abstract_mesh().abstract_device
    return jax.default_backend() if device is None else device.platform


def conv_transpose3d(
    x: jax.Array, kernel: jax.Array, strides: Strides, *, method: Method | None = None
) -> jax.Array:
    """Transposed convolution, without bias.

    Args:
        x: [b, t, h, w, cin] float.
        kernel: [3, 3, 3, cin, cout] float, rounded to the dtype of x; PyTorch's weight
            [cin, cout, 3, 3, 3] with the axes moved, not flipped.
        strides: 1 or 2 for t, h, w.
        method: "dilated" or "phases" (no forward-mode derivatives); None chooses by backend.

    Returns:
        [b, t * strides[0], h * strides[1], w * strides[2], cout].

    Raises:
        ValueError: strides other than 1 and 2, or a kernel that does not fit.
    """
    if len(strides) != 3 or any(s not in (1, 2) for s in strides):
        raise ValueError(f"conv_transpose3d: strides={strides} must be three numbers, 1 or 2.")
    if x.ndim != 5 or kernel.shape[:4] != (3, 3, 3, x.shape[-1]):
        raise ValueError(
            f"conv_transpose3d: kernel has shape {kernel.shape}, expected [3, 3, 3, cin, cout] for "
            f"an input [b, t, h, w, cin]; the input has shape {x.shape}."
        )
    if (method or default_method()) == "dilated":
        return _dilated(x, kernel, strides)
    return _phases(x, kernel, strides)


def _dilated(x: jax.Array, kernel: jax.Array, strides: Strides) -> jax.Array:
    """The library's convolution over an input with holes."""
    return lax.conv_general_dilated(
        x,
        kernel[::-1, ::-1, ::-1].astype(x.dtype),
        window_strides=(1, 1, 1),
        padding=[(1, s) for s in strides],
        lhs_dilation=strides,
        dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
    )


def _taps(stride: int, phase: int) -> list[tuple[int, int]]:
    """(offset from i, kernel index) of the inputs that meet in output stride * i + phase.

    In order of the offset, from -1 (stride 1) or 0 (stride 2) in steps of one.
    """
    if stride == 1:
        return [(-1, 2), (0, 1), (1, 0)]
    return [(0, 1)] if phase == 0 else [(0, 2), (1, 0)]


def _shift(x: jax.Array, axis: int, offset: int) -> jax.Array:
    """Position i gets what was at i + offset, with zeros from outside; offset -1, 0 or 1."""
    if offset == 0:
        return x
    size = x.shape[axis]
    kept = lax.slice_in_dim(x, max(offset, 0), size + min(offset, 0), axis=axis)
    pads = [(0, 0)] * x.ndim
    pads[axis] = (max(-offset, 0), max(offset, 0))
    return jnp.pad(kept, pads)


def _interleave(phases: list[jax.Array], strides: Strides) -> jax.Array:
    """Phases [b, t, h, w, c] in order (t, h, w) -> [b, st * t, sh * h, sw * w, c]."""
    b, t, h, w, c = phases[0].shape
    st, sh, sw = strides
    # XLA:CPU would widen all of a bfloat16 and round it again for each phase
    single = phases[0].dtype == jnp.float32
    if c > SHORT_RUN and single and traced_platform() == "cpu":  # each is summed where it belongs
        out = jnp.zeros((b, t, st, h, sh, w, sw, c), phases[0].dtype)
        for x, (i, j, k) in zip(phases, itertools.product(*map(range, strides))):
            out = lax.dynamic_update_slice(
                out, x.reshape(b, t, 1, h, 1, w, 1, c), (0, 0, i, 0, j, 0, k, 0)
            )
        return out.reshape(b, st * t, sh * h, sw * w, c)
    out = jnp.stack(phases, axis=-2).reshape(b, t, h, w, st, sh, sw, c)
    return out.transpose(0, 1, 4, 2, 5, 3, 6, 7).reshape(b, st * t, sh * h, sw * w, c)


def _phases(x: jax.Array, kernel: jax.Array, strides: Strides) -> jax.Array:
    """One matrix product for the taps of all inputs, then each output adds those that met in it.

    Where time has stride 1 and moving the output's channels would cost more, the taps in time are
    moved on the input's side and summed by the product.
    """
    cin, cout = kernel.shape[3:]
    if strides[0] == 1 and cout > NARROW * cin:
        x = jnp.concatenate([_shift(x, 1, 1 - k) for k in range(3)], axis=-1)
        matrix = kernel.transpose(0, 3, 1, 2, 4).reshape(3 * cin, -1)
    else:
        matrix = kernel.transpose(3, 0, 1, 2, 4).reshape(cin, -1)
    taps = matmul(x, matrix, x.dtype).astype(x.dtype)
    return add_taps(taps.reshape(*x.shape[:4], -1, 3, 3, cout), strides)


def conv3d(
    x: jax.Array, kernel: jax.Array, strides: Strides, *, method: Method | None = None
) -> jax.Array:
    """Convolution, without bias.

    Args:
        x: [b, t, h, w, cin] float; sides on axes of stride 2 even.
        kernel: [3, 3, 3, cin, cout] float, rounded to the dtype of x; PyTorch's weight
            [cout, cin, 3, 3, 3] with the axes moved.
        strides: 1 or 2 for t, h, w.
        method: "dilated" (the library's) or "phases" (one matrix product); None chooses by backend.

    Returns:
        [b, t / strides[0], h / strides[1], w / strides[2], cout].

    Raises:
        ValueError: strides other than 1 and 2, or sides that they do not divide.
    """
    if len(strides) != 3 or any(s not in (1, 2) for s in strides):
        raise ValueError(f"conv3d: strides={strides} must be three numbers, 1 or 2.")
    if x.ndim != 5 or any(n % s for n, s in zip(x.shape[1:4], strides)):
        raise ValueError(
            f"conv3d: strides={strides} must divide the sides of [b, t, h, w, cin], got {x.shape}."
        )
    if (method or default_method()) == "dilated":
        return lax.conv_general_dilated(
            x,
            kernel.astype(x.dtype),
            window_strides=strides,
            padding=[(1, 1)] * 3,
            dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
        )
    taps = gather_taps(x, strides, 3)
    matrix = kernel.reshape(-1, kernel.shape[-1])
    return matmul(taps.reshape(*taps.shape[:4], -1), matrix, x.dtype).astype(x.dtype)


def add_taps(taps: jax.Array, strides: Strides) -> jax.Array:
    """Each position of the output is the sum, in float32, of the taps that meet in it.

    Args:
        taps: [b, t, h, w, 3 or 1, 3, 3, c], what each input gives through each kernel index; 1
            where those in time are summed already.
        strides: as of the convolution.

    Returns:
        [b, st * t, sh * h, sw * w, c], the dtype of taps.
    """
    return _add_taps(taps, strides)  # type: ignore[return-value]


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _add_taps(taps: jax.Array, strides: Strides) -> jax.Array:
    phases = []
    for phase in itertools.product(*(range(s) for s in strides)):
        axes = [_taps(s, p) for s, p in zip(strides, phase)]
        if taps.shape[4] == 1:
            axes[0] = [(0, 0)]
        total = None
        for meeting in itertools.product(*axes):
            k, i, j = (index for _, index in meeting)
            part = taps[:, :, :, :, k, i, j].astype(jnp.float32)
            for axis, (offset, _) in enumerate(meeting, start=1):
                part = _shift(part, axis, offset)
            total = part if total is None else total + part
        phases.append(total.astype(taps.dtype))  # type: ignore[union-attr]
    return _interleave(phases, strides)


def _add_taps_fwd(taps: jax.Array, strides: Strides):
    return add_taps(taps, strides), taps.shape


def _add_taps_bwd(strides: Strides, shape: tuple[int, ...], grad: jax.Array):
    """Gather what each tap went to; derived by JAX, this would be a sum of 27 padded arrays."""
    return (_gather(grad, strides, shape[4]),)


_add_taps.defvjp(_add_taps_fwd, _add_taps_bwd)


def _gather(x: jax.Array, strides: Strides, time_taps: int) -> jax.Array:
    """What index k of the kernel meets at each place i: position stride * i + k - 1, or zero."""
    st, sh, sw = strides
    t, h, w = (n // s for n, s in zip(x.shape[1:4], strides))
    pads = [(1, 1 if s == 1 else 0) for s in strides]
    pads[0] = pads[0] if time_taps == 3 else (0, 0)
    padded = jnp.pad(x, [(0, 0), *pads, (0, 0)])
    if x.shape[-1] <= SHORT_RUN and traced_platform() == "cpu":
        for axis, n, stride, taps in ((3, w, sw, 3), (2, h, sh, 3), (1, t, st, time_taps)):
            met = [
                lax.slice_in_dim(padded, k, k + stride * (n - 1) + 1, stride, axis=axis)
                for k in range(taps)
            ]
            padded = jnp.concatenate(met, axis=-1)
        return padded.reshape(*padded.shape[:4], time_taps, 3, 3, x.shape[-1])
    met = [
        padded[:, k : k + st * t : st, i : i + sh * h : sh, j : j + sw * w : sw]
        for k, i, j in itertools.product(range(time_taps), range(3), range(3))
    ]
    shape = (x.shape[0], t, h, w, time_taps, 3, 3, x.shape[-1])
    return jnp.concatenate(met, axis=-1).reshape(shape)


def gather_taps(x: jax.Array, strides: Strides, time_taps: int) -> jax.Array:
    """The inputs under each tap of a kernel of 3 (in time 3 or 1), the adjoint of `add_taps`.

    Args:
        x: [b, st * t, sh * h, sw * w, c].
        strides: 1 or 2 for t, h, w.
        time_taps: 3, or 1 for a kernel that is 1 frame long.

    Returns:
        [b, t, h, w, time_taps, 3, 3, c].
    """
    return _gather_taps(x, strides, time_taps)  # type: ignore[return-value]


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _gather_taps(x: jax.Array, strides: Strides, time_taps: int) -> jax.Array:
    return _gather(x, strides, time_taps)


def _gather_taps_fwd(x: jax.Array, strides: Strides, time_taps: int):
    return _gather(x, strides, time_taps), None


def _gather_taps_bwd(strides: Strides, time_taps: int, _: None, grad: jax.Array):
    return (add_taps(grad, strides),)


_gather_taps.defvjp(_gather_taps_fwd, _gather_taps_bwd)
