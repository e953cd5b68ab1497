"""CFA: features are drawn towards a small memory of the good images' mean features, place by place.

Lee et al., "CFA: Coupled-Hypersphere-Based Feature Adaptation for Target-Oriented Anomaly Localization",
2022; public code sungwool/CFA_for_anomaly_localization. Deviations: the memory, which the code computes
before training from the untrained descriptor, is that descriptor of the mean of the features seen so far
(it is linear), exact after an epoch; levels are divided by the root of their channels; the last step is
taken, not the best on the test images; a distance has no gradient where it is 0.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from ipad_jax.image.feature_task import FeatureTask
from ipad_jax.image.features import Frozen, FrozenBackbone, each_picture, load_backbone
from ipad_jax.image.task import SteppedTask
from ipad_jax.nn.backbones import stages_of

NEAREST, HARD = 3, 3  # neighbours that attract, and those after them that repel
MARGIN = 0.1  # published code
WEIGHT = 1000.0  # 1 / nu
RADIUS = 1e-5  # start; trained


class Seen(nnx.Variable):
    """What training has seen so far; no parameter."""


class Descriptor(nnx.Module):
    """1x1 convolution that knows where a cell is: [..., h, w, c] -> [..., h, w, d]."""

    def __init__(self, cin: int, cout: int, *, rngs: nnx.Rngs):
        self.linear = nnx.Linear(cin + 2, cout, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.linear(with_places(x))


class CfaModel(nnx.Module):
    """Frozen network, descriptor with its untrained copy, radius and memory."""

    def __init__(
        self, backbone: Any, grid: tuple[int, int], cin: int, cout: int, *, rngs: nnx.Rngs
    ):
        self.backbone = FrozenBackbone(backbone)
        self.descriptor = Descriptor(cin, cout, rngs=rngs)
        self.radius = nnx.Param(jnp.full((), RADIUS))
        self.first_kernel = Frozen(self.descriptor.linear.kernel[...])
        self.mean = Seen(jnp.zeros((*grid, cin)))
        self.count = Seen(jnp.zeros(()))

    def memory(self) -> jax.Array:
        """Rows [h * w, d]."""
        rows = with_places(self.mean[...]) @ self.first_kernel[...]  # its bias is 0 at the start
        return rows.reshape(-1, rows.shape[-1])


class CfaTask(SteppedTask, FeatureTask):
    """CFA; `model` has backbone, weights, stages, neighbourhood, shrink (gamma_d of the paper)."""

    def __init__(self, config: ConfigDict):
        super().__init__(config)
        known = {stage.name: stage.channels for stage in stages_of(config.model.backbone)}
        self.channels = sum(known[name] for name in config.model.stages)
        if not 0 < config.model.shrink <= self.channels:
            raise ValueError(f"model.shrink={config.model.shrink} must be above 0, e.g. 1.")

    def init_model(self, key: jax.Array) -> CfaModel:
        backbone, cout = (
            load_backbone(self.config.model),
            int(self.channels / self.config.model.shrink),
        )
        return CfaModel(backbone, self.grid, self.channels, cout, rngs=nnx.Rngs(key))

    def features(self, model: Any, pictures: jax.Array) -> jax.Array:
        """Frozen features [b, *grid, c]."""
        levels = self.levels(model, pictures)
        return jnp.concatenate([x / x.shape[-1] ** 0.5 for x in levels], axis=-1)

    def loss_fn(
        self, model: Any, batch: dict[str, Any], key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        x = self.features(model, batch["picture"])
        before, new = model.count[...], x.shape[0]
        model.count[...] = before + new
        model.mean[...] = model.mean[...] + jnp.sum(x - model.mean[...][None], 0) / (before + new)
        found = model.descriptor(x).reshape(-1, model.descriptor.linear.out_features)
        squared = least_squares(found, model.memory(), NEAREST + HARD)
        radius = jnp.square(model.radius[...])
        attract = jnp.mean(jax.nn.relu(squared[:, :NEAREST] - radius))
        repel = jnp.mean(jax.nn.relu(radius - squared[:, NEAREST:] - MARGIN))
        terms = {"attract": WEIGHT * attract, "repel": WEIGHT * repel}
        return terms["attract"] + terms["repel"], terms

    def map_fn(self, model: Any, arrays: dict[str, jax.Array], pictures: jax.Array) -> jax.Array:
        memory = model.memory()

        def one(picture: jax.Array) -> jax.Array:
            found = model.descriptor(self.features(model, picture))
            cells = found.reshape(-1, found.shape[-1])
            distance = jnp.sqrt(least_squares(cells, memory, NEAREST))
            surely = jax.nn.softmax(-distance, axis=-1)[
                :, 0
            ]  # soft minimum's weight of the nearest
            return (surely * distance[:, 0]).reshape(found.shape[:-1])

        return each_picture(one, pictures)


def with_places(x: jax.Array) -> jax.Array:
    """Maps [..., h, w, c] with the row and column of each cell in [-1, 1] as two channels more."""
    h, w = x.shape[-3:-1]
    y, x_ = jnp.meshgrid(jnp.linspace(-1, 1, h), jnp.linspace(-1, 1, w), indexing="ij")
    where = jnp.broadcast_to(
        jnp.stack([x_, y], -1).reshape((1,) * (x.ndim - 3) + (h, w, 2)), (*x.shape[:-1], 2)
    )
    return jnp.concatenate([x, where], axis=-1)


def least_squares(cells: jax.Array, rows: jax.Array, number: int) -> jax.Array:
    """Squared distances of cells [n, c] to their nearest rows [m, c], rising: [n, number]."""
    products = jnp.einsum("nc,mc->nm", cells, rows, precision=jax.lax.Precision.HIGHEST)
    squares = jnp.sum(jnp.square(rows), axis=-1)[None] - 2 * products
    least = -jax.lax.top_k(-squares, min(number, len(rows)))[0]
    return jnp.maximum(least + jnp.sum(jnp.square(cells), axis=-1, keepdims=True), 1e-12)
