"""What frozen features have outside the subspace of normal ones: one product, no search.

The idea of SubspaceAD (2026): principal directions of normal patch features, and the norm of what they leave.
Deviation: any frozen network in place of DINOv2-G, all training images in place of a few.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from ipad_jax.image.feature_task import FeatureTask
from ipad_jax.image.features import each_picture, level_scales
from ipad_jax.image.task import Arrays, NormalImages

SCALE_CELLS = 20_000  # random cells that the levels' norms are measured on


class PcaTask(FeatureTask):
    """The residual; `model` adds directions, the number of principal ones that are taken out."""

    def __init__(self, config: ConfigDict):
        super().__init__(config)
        if config.model.directions < 1:
            raise ValueError(f"model.directions={config.model.directions} must be 1 or more.")

    def fit_arrays(self, model: Any, normal: NormalImages) -> Arrays:
        scales = level_scales(self.normal_cells(model, normal, SCALE_CELLS))
        cells_of = jax.jit(
            lambda model, x: each_picture(partial(self.cells, model, jnp.asarray(scales)), x)
        )
        count = 0
        total: np.ndarray = np.zeros(())
        products: np.ndarray = np.zeros(())
        for pictures, shape in normal.pictures():  # exact over any number of images
            cells = np.asarray(cells_of(model, pictures), np.float64)
            cells = cells[self.views.inside(shape, self.grid)]
            count, total = count + len(cells), total + cells.sum(0)
            products = products + cells.T @ cells
        mean = total / count
        _, vectors = np.linalg.eigh(products / count - np.outer(mean, mean))  # rising
        directions = self.config.model.directions
        if directions >= len(mean):
            raise ValueError(
                f"model.directions={directions} leaves nothing of features of {len(mean)} channels."
            )
        kept = vectors[:, ::-1][:, :directions]
        return {
            "scales": scales,
            "mean": mean.astype(np.float32),
            "directions": kept.astype(np.float32),
        }

    def map_fn(self, model: Any, arrays: dict[str, jax.Array], pictures: jax.Array) -> jax.Array:
        def one(picture: jax.Array) -> jax.Array:
            cells = self.cells(model, arrays["scales"], picture) - arrays["mean"].reshape(
                1, 1, 1, -1
            )
            high = jax.lax.Precision.HIGHEST
            along = jnp.einsum("...c,cd->...d", cells, arrays["directions"], precision=high)
            rest = jnp.sum(jnp.square(cells), axis=-1) - jnp.sum(jnp.square(along), axis=-1)
            return jnp.sqrt(jnp.maximum(rest, 0.0))

        return each_picture(one, pictures)
