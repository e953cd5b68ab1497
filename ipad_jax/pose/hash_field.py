"""The default field: grids of features over the unit ball's box, coarse to fine, and a small network.

Instant-NGP (arXiv 2201.05989, sections 3 and 4): a level whose corners fit its table has a row for each, a
finer one shares rows by a hash. Deviations: eight levels and tables of 2^15 rows, which a core's cache holds;
colours depend on the direction by spherical harmonics of degree 1 alone, since a reference with highlights
that move raises false alarms.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

# Large primes of the spatial hash (sec. 3); the first is 1, for the cache.
PRIMES = (1, 2_654_435_761, 805_459_861)
CORNERS = np.array([(i >> 2 & 1, i >> 1 & 1, i & 1) for i in range(8)], np.uint32)


@dataclasses.dataclass(frozen=True)
class HashConfig:
    """Sizes of a hash field.

    Raises:
        ValueError: a size that cannot be built.
    """

    levels: int = 8
    coarsest: int = 16  # cells along each side of the box
    finest: int = 256
    log2_rows: int = 15  # of each level's table
    features: int = 2  # of a row
    width: int = 32  # of the network's one hidden layer

    def __post_init__(self) -> None:
        if not 2 <= self.coarsest < self.finest:
            raise ValueError(
                f"model.coarsest={self.coarsest} must be 2 or more and below finest={self.finest}."
            )
        for name in ("levels", "log2_rows", "features", "width"):
            if getattr(self, name) < 2:
                raise ValueError(f"model.{name}={getattr(self, name)} must be 2 or more.")

    @property
    def cells(self) -> tuple[int, ...]:
        """Cells along each side, level by level, in a geometric row (eq. 2)."""
        growth = (self.finest / self.coarsest) ** (1 / (self.levels - 1))
        return tuple(round(self.coarsest * growth**level) for level in range(self.levels))


class HashField(nnx.Module):
    """Call: points [n, 3] in [-1, 1]^3, unit directions [n, 3] -> density [n], rgb [n, 3], bend [n].

    `bend` is the mean square of what makes the colour depend on the direction, for a penalty.
    """

    def __init__(self, cfg: HashConfig, *, rngs: nnx.Rngs):
        self.cfg = cfg
        rows = 2**cfg.log2_rows
        shape = (cfg.levels, rows, cfg.features)
        start = jax.random.uniform(rngs.params(), shape, minval=-1e-2, maxval=1e-2)
        self.tables = nnx.Param(start)
        inputs = cfg.levels * cfg.features
        scale = (2 / inputs) ** 0.5
        self.hidden = nnx.Param(scale * jax.random.normal(rngs.params(), (inputs, cfg.width)))
        scale = (1 / cfg.width) ** 0.5
        self.out = nnx.Param(scale * jax.random.normal(rngs.params(), (cfg.width, 13)))
        self.bias = nnx.Param(jnp.zeros((13,)))

    def density(self, points: jax.Array) -> jax.Array:
        """Absorption a unit of length, not negative: [n, 3] -> [n]."""
        return _density(self._hidden(points) @ self.out[...][:, 0] + self.bias[0])

    def __call__(
        self, points: jax.Array, directions: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        raw = self._hidden(points) @ self.out[...] + self.bias[...][None]
        bend = raw[:, 4:].reshape(-1, 3, 3)
        colour = raw[:, 1:4] + (bend * directions[:, None]).sum(-1)
        return _density(raw[:, 0]), nnx.sigmoid(colour), jnp.square(bend).mean((1, 2))

    def _hidden(self, points: jax.Array) -> jax.Array:
        tables = self.tables[...]
        found = [
            interpolate(tables[level], points, cells) for level, cells in enumerate(self.cfg.cells)
        ]
        return nnx.relu(jnp.concatenate(found, axis=-1) * 10.0 @ self.hidden[...])


def _density(raw: jax.Array) -> jax.Array:
    return jnp.exp(jnp.clip(raw + 1.0, -12.0, 8.0))


def interpolate(table: jax.Array, points: jax.Array, cells: int) -> jax.Array:
    """Features at points between the corners of a grid: table [rows, f], points [n, 3] in [-1, 1] -> [n, f].

    Args: cells along each side.
    """
    scaled = (jnp.clip(points, -1, 1) + 1) * (cells / 2)
    lower = jnp.clip(jnp.floor(scaled), 0, cells - 1)
    share = scaled - lower
    lower = lower.astype(jnp.uint32)
    total = jnp.zeros((len(points), table.shape[1]), table.dtype)
    for corner in CORNERS:
        weight = jnp.where(corner[None] == 1, share, 1 - share).prod(-1, keepdims=True)
        rows = corner_rows(lower + corner[None], cells, len(table))
        total = total + weight * table[rows]
    return total


def corner_rows(corners: jax.Array, cells: int, rows: int) -> jax.Array:
    """Row of each corner, uint32 [n, 3] -> [n]: its own where all fit, else by hash."""
    if (cells + 1) ** 3 <= rows:
        side = np.uint32(cells + 1)
        return (corners[:, 0] * side + corners[:, 1]) * side + corners[:, 2]
    mixed = [corners[:, i] * np.uint32(PRIMES[i]) for i in range(3)]
    return (mixed[0] ^ mixed[1] ^ mixed[2]) & np.uint32(rows - 1)
