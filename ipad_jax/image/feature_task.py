"""What methods on frozen features share: the pretrained network as part of the model, cells on one grid."""

from functools import partial
from typing import Any

import jax
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from ipad_jax.image.features import (
    FrozenBackbone,
    check_stages,
    each_picture,
    grid_of,
    load_backbone,
    on_grid,
    stacked,
)
from ipad_jax.image.task import ImageTask, NormalImages


class FrozenModel(nnx.Module):
    """A pretrained network and nothing that trains."""

    def __init__(self, backbone: Any):
        self.backbone = FrozenBackbone(backbone)


class FeatureTask(ImageTask):
    """A method on frozen features of cells; `model` has backbone, weights, stages, neighbourhood."""

    def __init__(self, config: ConfigDict):
        super().__init__(config)
        check_stages(config.model)
        self.grid = grid_of(config.model, (self.views.height, self.views.width))

    def init_model(self, key: jax.Array) -> FrozenModel:
        return FrozenModel(load_backbone(self.config.model))

    def levels(self, model: Any, pictures: jax.Array) -> list[jax.Array]:
        """Features of each level on the grid, [n, *grid, c] each."""
        return on_grid(model.backbone(pictures), self.grid, self.config.model.neighbourhood)

    def cells(self, model: Any, scales: jax.Array, pictures: jax.Array) -> jax.Array:
        """Features of every cell, [n, *grid, c]."""
        return stacked(self.levels(model, pictures), scales)

    def normal_cells(
        self, model: Any, normal: NormalImages, number: int, brightness: tuple[float, ...] = ()
    ) -> list[np.ndarray]:
        """Random cells of the good images, about as many of each: levels [n, c], n at most `number`.

        Args:
          brightness: factors; each gives a copy of every image, beside the image as it is.
        """
        levels_of = jax.jit(lambda model, x: each_picture(partial(self.levels, model), x))
        rng = np.random.default_rng([self.config.seed, 11])
        copies = (1.0, *brightness)
        share = -(-number // (len(normal) * len(copies)))
        found = []
        for pictures, shape in normal.pictures():
            inside = np.flatnonzero(self.views.inside(shape, self.grid))
            for factor in copies:
                chosen = rng.permutation(inside)[:share]
                levels = levels_of(model, lit(pictures, factor))
                found.append([np.asarray(x).reshape(-1, x.shape[-1])[chosen] for x in levels])
        joined = [np.concatenate(parts) for parts in zip(*found)]
        if len(joined[0]) > number:
            chosen = rng.permutation(len(joined[0]))[:number]
            joined = [x[chosen] for x in joined]
        return joined


def lit(pictures: np.ndarray, factor: float) -> np.ndarray:
    """Pictures uint8 under another light: `factor` times as bright."""
    return np.clip(pictures * np.float32(factor), 0, 255).astype(np.uint8)
