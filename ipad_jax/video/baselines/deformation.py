"""DMAD's pyramid deformation module: how a reference must be bent to become the frame.

Liu et al., CVPR 2023, *Diversity-Measurable Anomaly Detection*; reference code FlappyPeggy/DMAD,
DMAD-PDM/model/final_future_prediction_ped2.py (OffsetNet, CoordConv2d, Smooth_Loss). Two fields of offsets
are read off the four frames before: a coarse one (a quarter of the size, at most 2 pixels) and a fine
one (at most 3). Small, smooth offsets cost little, so normal diversity is bent into shape; how much had to be
bent is measured.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ipad_jax.nn.conv2d import resize_corners
from ipad_jax.nn.conv_layers import Conv2d, batch_norm

COARSE_PX, FINE_PX = 2.0, 3.0  # largest offsets; max_offset1, max_offset2
COARSE_BOX, FINE_BOX = 7, 3  # pixels, sides over which offsets should be smooth; loss_smooth1 and 2


def coordinates(height: int, width: int, cells: tuple[int, int]) -> np.ndarray:
    """Where each place lies: [h, w, 4], down and across, first within its cell, then the cell's own.

    The code's cells are the 32 x 32 positions of the latent at 256 x 256; here those at any size.

    Args:
        height, width: of the map.
        cells: of the latent, (h, w).
    """

    def along(size: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        cell = (np.arange(size) * count // size) / max(count - 1, 1)
        return (np.arange(size) / max(size - 1, 1) - cell) * 2 - 1, cell * 2 - 1

    down, across = along(height, cells[0]), along(width, cells[1])
    rows = [np.broadcast_to(x[:, None], (height, width)) for x in down]
    columns = [np.broadcast_to(x[None], (height, width)) for x in across]
    return np.stack([*rows, *columns], axis=-1).astype(np.float32)


class CoordConv(nnx.Module):
    """Convolution 3x3 that also sees where it is: [n, h, w, cin] -> [n, h, w, cout]."""

    def __init__(
        self, cin: int, cout: int, cells: tuple[int, int], *, dtype: jnp.dtype, rngs: nnx.Rngs
    ):
        self.cells = cells
        self.conv = Conv2d(cin + 4, cout, bias=False, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        place = coordinates(x.shape[1], x.shape[2], self.cells)
        place = jnp.broadcast_to(place[None], (x.shape[0], *place.shape)).astype(x.dtype)
        return self.conv(jnp.concatenate([x, place], axis=-1))


class OffsetNet(nnx.Module):
    """Offsets from stacked frames: [n, h, w, cin] -> coarse and fine, [n, h, w, 2] pixels each.

    Args:
        cin: channels of the frames, stacked.
        channels: inside; 64 in the code.
        cells: see `coordinates`.
    """

    def __init__(
        self, cin: int, channels: int, cells: tuple[int, int], *, dtype: jnp.dtype, rngs: nnx.Rngs
    ):
        def conv(a: int, b: int, side: int = 3, stride: int = 1) -> Conv2d:
            return Conv2d(a, b, side, stride=stride, dtype=dtype, rngs=rngs)

        c = channels
        self.stem = nnx.List(CoordConv(a, c, cells, dtype=dtype, rngs=rngs) for a in (cin, c))
        self.stem_norms = nnx.List(batch_norm(c, rngs=rngs) for _ in range(2))
        self.residual = nnx.List([conv(c, c), conv(c, c, side=1)])
        self.residual_norms = nnx.List(batch_norm(c, rngs=rngs) for _ in range(2))
        self.fine = nnx.List([conv(2 * c, c), conv(c, 2)])
        self.coarse = nnx.List([conv(2 * c, c), conv(c, c, stride=2), conv(c, 2, stride=2)])
        self.fine_norms = nnx.List([batch_norm(c, rngs=rngs)])
        self.coarse_norms = nnx.List(batch_norm(c, rngs=rngs) for _ in range(2))

    def __call__(self, frames: jax.Array) -> tuple[jax.Array, jax.Array]:
        x = frames
        for conv, norm in zip(self.stem, self.stem_norms):
            x = jax.nn.relu(norm(conv(x)))
        bent = self.residual_norms[0](self.residual[0](jax.nn.relu(x)))
        bent = x + self.residual[1](jax.nn.relu(bent))
        x = jnp.concatenate([self.residual_norms[1](bent), x], axis=-1)

        def head(x: jax.Array, convs: nnx.List, norms: nnx.List, largest: float) -> jax.Array:
            for conv, norm in zip(convs, norms):
                x = jax.nn.relu(norm(conv(x)))
            return jnp.tanh(convs[-1](x).astype(jnp.float32)) * largest

        coarse = head(x, self.coarse, self.coarse_norms, COARSE_PX)
        fine = head(x, self.fine, self.fine_norms, FINE_PX)
        return resize_corners(coarse, (frames.shape[1], frames.shape[2])), fine


def length(offset: jax.Array) -> jax.Array:
    """Pixels, [n, h, w, 2] -> [n, h, w]; its gradient is finite at 0."""
    return jnp.sqrt(jnp.sum(jnp.square(offset), axis=-1) + 1e-12)


def roughness(offset: jax.Array, box: int) -> jax.Array:
    """Mean difference of an offset from its neighbours' mean, both directions summed: a scalar.

    Args:
        offset: [n, h, w, 2]; zeros lie around it, as in the code.
        box: side of the neighbourhood, odd.
    """
    x = jnp.sum(offset, axis=-1)
    window = (1, box, box)
    total = jax.lax.reduce_window(x, 0.0, jax.lax.add, window, (1, 1, 1), "SAME")
    return jnp.mean(jnp.abs(x - (total - x) / (box**2 - 1)))
