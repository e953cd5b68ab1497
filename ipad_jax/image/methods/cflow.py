"""CFlow: how unlikely each cell's frozen feature is at its place, under conditional normalising flows.

Gudovskiy et al., "CFLOW-AD: Real-Time Unsupervised Anomaly Detection with Localization via Conditional
Normalizing Flows", 2022; public code gudovskiy/cflow-ad. Deviations: likelihoods are compared with the
highest of the TRAINING images, stored by `fit`, where the public code takes that of the test set, so that
its score of an image depends on the others; a step trains on random cells of its batch, not on all of them
in turn.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from ipad_jax.image.feature_task import FeatureTask
from ipad_jax.image.features import FrozenBackbone, each_picture, load_backbone
from ipad_jax.image.methods.flow import Coupling, Flow
from ipad_jax.image.task import Arrays, NormalImages, SteppedTask
from ipad_jax.nn.backbones import stages_of
from ipad_jax.nn.conv2d import resize_linear

CLAMP = 1.9
POSITION = 128  # numbers that say where a cell is


class FcSubnet(nnx.Module):
    """Linear to twice the width, ReLU, linear."""

    def __init__(self, cin: int, cout: int, rngs: nnx.Rngs):
        self.first = nnx.Linear(cin, 2 * cin, rngs=rngs)
        self.last = nnx.Linear(2 * cin, cout, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.last(jax.nn.relu(self.first(x)))


class Flows(nnx.Module):
    """A conditional flow for each level."""

    def __init__(self, channels: tuple[int, ...], steps: int, *, rngs: nnx.Rngs):
        self.levels = nnx.List(
            [
                Flow(
                    [
                        Coupling(c, FcSubnet, CLAMP, num_condition=POSITION, rngs=rngs)
                        for _ in range(steps)
                    ]
                )
                for c in channels
            ]
        )


class CflowModel(nnx.Module):
    """Frozen network and flows."""

    def __init__(self, backbone: Any, flows: Flows):
        self.backbone = FrozenBackbone(backbone)
        self.flows = flows


class CflowTask(SteppedTask, FeatureTask):
    """CFlow; `model` has backbone, weights, stages, steps, cells."""

    def __init__(self, config: ConfigDict):
        super().__init__(config)
        known = {stage.name: stage for stage in stages_of(config.model.backbone)}
        self.channels = tuple(known[name].channels for name in config.model.stages)
        if config.model.cells < 1:
            raise ValueError(f"model.cells={config.model.cells} must be 1 or more.")

    def init_model(self, key: jax.Array) -> CflowModel:
        flows = Flows(self.channels, self.config.model.steps, rngs=nnx.Rngs(key))
        return CflowModel(load_backbone(self.config.model), flows)

    def loss_fn(
        self, model: Any, batch: dict[str, Any], key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        terms = {}
        maps = model.backbone(batch["picture"]).values()
        for number, (x, flow) in enumerate(zip(maps, model.flows.levels)):
            cells = x.reshape(-1, x.shape[-1])
            where = jnp.broadcast_to(
                positions(x.shape[1:3])[None], (*x.shape[:3], POSITION)
            ).reshape(-1, POSITION)
            count = min(self.config.model.cells, len(cells))
            chosen = jax.random.choice(
                jax.random.fold_in(key, number), len(cells), (count,), replace=False
            )
            likely = log_likelihood(flow, cells[chosen], where[chosen])
            terms[f"level{number}"] = -jnp.mean(jax.nn.log_sigmoid(likely))  # eq. 7, as in the code
        return sum(terms.values(), jnp.zeros(())), terms

    def likelihoods(self, model: Any, pictures: jax.Array) -> list[jax.Array]:
        """Log likelihood a number of each cell, [b, h', w'] a level."""
        found = []
        for x, flow in zip(model.backbone(pictures).values(), model.flows.levels):
            where = jnp.broadcast_to(positions(x.shape[1:3])[None], (*x.shape[:3], POSITION))
            found.append(log_likelihood(flow, x, where))
        return found

    def fit_arrays(self, model: Any, normal: NormalImages) -> Arrays:
        """The highest likelihood of each level on the good images."""

        @jax.jit
        def highest(model: Any, pictures: jax.Array) -> jax.Array:
            levels = each_picture(lambda x: self.likelihoods(model, x), pictures)
            return jnp.stack([jnp.max(x) for x in levels])

        found = [np.asarray(highest(model, pictures)) for pictures, _ in normal.pictures()]
        return {"highest": np.max(found, axis=0)}

    def map_fn(self, model: Any, arrays: dict[str, jax.Array], pictures: jax.Array) -> jax.Array:
        def one(picture: jax.Array) -> jax.Array:
            levels = self.likelihoods(model, picture)
            total = jnp.zeros(levels[0].shape)
            size = (total.shape[1], total.shape[2])
            for number, x in enumerate(levels):
                likely = jnp.exp(x - arrays["highest"][number])
                total = total - resize_linear(likely, size)
            return total / len(levels)

        return each_picture(one, pictures)


def log_likelihood(flow: Flow, x: jax.Array, where: jax.Array) -> jax.Array:
    """Log likelihood of features [..., c] at places [..., 128], over c."""
    z, log_det = flow(x, where)
    channels = x.shape[-1]
    constant = 0.5 * np.log(2 * np.pi) * channels
    return (log_det - 0.5 * jnp.sum(jnp.square(z), axis=-1) - constant) / channels


def positions(grid: tuple[int, int]) -> np.ndarray:
    """Sines and cosines of a cell's row and column, float32 [h, w, 128] (the paper's sec. 4.2)."""
    quarter = POSITION // 4
    rates = np.exp(-np.log(10_000.0) * np.arange(quarter) / quarter)
    y, x = (np.arange(n)[:, None] * rates for n in grid)

    def both(angles: np.ndarray) -> np.ndarray:
        return np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)

    rows = np.broadcast_to(both(y)[:, None], (*grid, 2 * quarter))
    columns = np.broadcast_to(both(x)[None], (*grid, 2 * quarter))
    return np.concatenate([columns, rows], axis=-1).astype(np.float32)
