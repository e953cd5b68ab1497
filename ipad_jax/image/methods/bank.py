"""A memory bank over frozen features: the distance of each cell to its nearest normal one.

Roth et al., "Towards Total Recall in Industrial Anomaly Detection" (PatchCore), 2022, sec. 3; public code
amazon-science/patchcore-inspection. Deviations: the bank has a fixed number of rows, not a share of the
training cells, so that its memory does not grow with their number (the share is a leaf); each level is
brought to the same mean norm, and lengths within it are evened out (`evenness`, a leaf); proportions are
kept and nothing is cropped; a patch is the mean of its cells, where the code pools channels and cells
together to 1024 numbers.
"""

from collections.abc import Iterable, Sequence
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from ipad_jax.image.feature_task import FeatureTask, lit
from ipad_jax.image.features import each_picture, evened, level_scales
from ipad_jax.image.task import Arrays, NormalImages

BLOCK = 512  # rows, at least, whose products with the cells of a picture are made at once
MOST_BLOCKS = 32


class BankTask(FeatureTask):
    """The bank; `model` adds evenness, rows, rows_share, candidates, projection, brightness."""

    def __init__(self, config: ConfigDict):
        super().__init__(config)
        model = config.model
        if not 0 < model.rows <= model.candidates:
            raise ValueError(
                f"model.rows={model.rows} must be 1 or more and at most model.candidates="
                f"{model.candidates}, from which they are chosen."
            )
        self.evenness = model.get("evenness", 0.0)  # 0: a run from before this leaf
        if not 0 <= self.evenness < float("inf"):
            raise ValueError(f"model.evenness={self.evenness} must be 0 (off) or more.")
        if not 0 <= model.rows_share <= 1:
            raise ValueError(f"model.rows_share={model.rows_share} must lie in [0, 1]; 0: off.")

    def cells(self, model: Any, scales: jax.Array, pictures: jax.Array) -> jax.Array:
        return self.joined(self.levels(model, pictures), scales)

    def joined(self, levels: Sequence[Any], scales: Any) -> jax.Array:
        """Levels [..., c] side by side, each to a mean length of 1 and evened."""
        return jnp.concatenate(
            [evened(x * scales[i], self.evenness) for i, x in enumerate(levels)], axis=-1
        )

    def fit_arrays(self, model: Any, normal: NormalImages) -> Arrays:
        section = self.config.model
        levels = self.normal_cells(model, normal, section.candidates, tuple(section.brightness))
        scales = level_scales(levels)
        candidates = np.asarray(self.joined(levels, scales))
        rows = section.rows
        if section.rows_share:
            rows = min(rows, max(1, round(section.rows_share * len(candidates))))
        chosen = cover(candidates, rows, section.projection, self.config.seed)
        return {"rows": candidates[chosen].astype(np.float16), "scales": scales}

    def update(
        self, model: Any, arrays: Arrays, pictures: Iterable[tuple[np.ndarray, tuple[int, int]]]
    ) -> Arrays:
        """Rows that cover those of the bank and every cell of further good images, within the budget."""
        section, scales = self.config.model, jnp.asarray(arrays["scales"])
        cells_of = jax.jit(lambda model, x: each_picture(partial(self.cells, model, scales), x))
        found = [arrays["rows"].astype(np.float32)]
        for picture, shape in pictures:
            inside = self.views.inside(shape, self.grid)
            for factor in (1.0, *section.brightness):
                found.append(np.asarray(cells_of(model, lit(picture, factor)))[inside])
        candidates = np.concatenate(found)
        budget = len(found[0]) if section.rows_share else section.rows
        chosen = cover(candidates, budget, section.projection, self.config.seed)
        return arrays | {"rows": candidates[chosen].astype(np.float16)}

    def map_fn(self, model: Any, arrays: dict[str, jax.Array], pictures: jax.Array) -> jax.Array:
        rows = arrays["rows"].astype(jnp.float32)

        def one(picture: jax.Array) -> jax.Array:
            return nearest(self.cells(model, arrays["scales"], picture), rows)

        return each_picture(one, pictures)


def nearest(cells: jax.Array, rows: jax.Array) -> jax.Array:
    """Euclidean distance of cells [..., c] to the nearest of the rows [n, c], by products."""
    # |f - p|^2 = |f|^2 + |p|^2 - 2 f.p. In blocks: all products of a picture at once would leave the cache.
    block = max(BLOCK, -(-len(rows) // MOST_BLOCKS))
    flat = cells.reshape(-1, cells.shape[-1])
    least = [_least(flat, rows[first : first + block]) for first in range(0, len(rows), block)]
    squares = jnp.sum(jnp.square(flat), axis=-1) + reduce(jnp.minimum, least)
    return jnp.sqrt(jnp.maximum(squares, 0.0)).reshape(cells.shape[:-1])


def _least(cells: jax.Array, rows: jax.Array) -> jax.Array:
    """Least of |p|^2 - 2 f.p over rows p, for cells f [m, c]."""
    # [n, m], not [m, n]: the least over rows is then taken of many cells at once
    products = jnp.einsum("nc,mc->nm", rows, cells, precision=jax.lax.Precision.HIGHEST)
    return jnp.min(jnp.sum(jnp.square(rows), axis=-1)[:, None] - 2 * products, axis=0)


def cover(candidates: np.ndarray, number: int, projection: int, seed: int) -> np.ndarray:
    """Indices of candidates [n, c] such that every other one is near one of them.

    Greedy k-centre: each next one is the farthest from those chosen, which is at most twice as far as the
    best choice would leave it (PatchCore, eq. 4, algorithm 1). Distances are those of a random
    projection to `projection` dimensions (Johnson-Lindenstrauss), as in the public code; 0: none.

    Returns:
      int [min(number, n)], in the order chosen.
    """
    count, channels = candidates.shape
    if number >= count:
        return np.arange(count)
    rng = np.random.default_rng([seed, 12])
    points = candidates.astype(np.float32)
    if 0 < projection < channels:
        points = points @ (
            rng.normal(size=(channels, projection)).astype(np.float32) / np.sqrt(projection)
        ).astype(np.float32)
    return np.asarray(_farthest(points, int(rng.integers(count)), number))


@partial(jax.jit, static_argnames="number")
def _farthest(points: jax.Array, first: int, number: int) -> jax.Array:
    """Greedy choice from points [n, d], beginning with `first`."""
    squares = jnp.sum(jnp.square(points), axis=-1)

    def choose(step: jax.Array, state: tuple[jax.Array, jax.Array, jax.Array]):
        chosen, far, last = state
        chosen = chosen.at[step].set(last)
        away = squares + squares[last] - 2 * (points @ points[last])
        far = jnp.minimum(far, away).at[last].set(-jnp.inf)
        return chosen, far, jnp.argmax(far).astype(jnp.int32)

    start = (
        jnp.zeros((number,), jnp.int32),
        jnp.full(points.shape[:1], jnp.inf),
        jnp.asarray(first, jnp.int32),
    )
    return jax.lax.fori_loop(0, number, choose, start)[0]
