"""UniAD: a transformer rebuilds frozen features, and may look at everything but a cell's neighbours.

You et al., "A Unified Model for Multi-class Anomaly Detection", 2022; public code zhiyuanyou/UniAD. There
one model learns all classes; here one is trained a dataset. Deviations: an image's score is the maximum of
its map, of which the code first takes means over 16 x 16 pixels (a cell; `eval.blur_px=4.6` spreads as
far); AUC values below 0.5 are not turned over.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from ipad_jax.image.feature_task import FeatureTask
from ipad_jax.image.features import FrozenBackbone, each_picture, load_backbone
from ipad_jax.image.task import SteppedTask
from ipad_jax.nn.backbones import stages_of

CELL = 16  # pixels a cell: 14 x 14 of 224
NEIGHBOURS = 7  # cells along a side that are hidden from each
XAVIER = nnx.initializers.xavier_uniform()


class Attention(nnx.Module):
    """Attention of several heads; call: query, key, value [b, n, d] -> [b, n, d]."""

    def __init__(self, width: int, heads: int, *, rngs: nnx.Rngs):
        self.heads = heads

        def linear() -> nnx.Linear:
            return nnx.Linear(width, width, kernel_init=XAVIER, rngs=rngs)

        self.query, self.key, self.value, self.out = linear(), linear(), linear(), linear()

    def __call__(
        self, query: jax.Array, key: jax.Array, value: jax.Array, hidden: jax.Array
    ) -> jax.Array:
        """`hidden` bool [n, n]: what may not be looked at."""
        b, n, d = query.shape

        def parted(x: jax.Array) -> jax.Array:
            return x.reshape(b, n, self.heads, d // self.heads)

        q, k, v = parted(self.query(query)), parted(self.key(key)), parted(self.value(value))
        weights = jnp.einsum("bnhd,bmhd->bhnm", q, k) / (d // self.heads) ** 0.5
        weights = jax.nn.softmax(jnp.where(hidden[None, None], -jnp.inf, weights), axis=-1)
        return self.out(jnp.einsum("bhnm,bmhd->bnhd", weights, v).reshape(b, n, d))


class FeedForward(nnx.Module):
    """Linear, ReLU, linear."""

    def __init__(self, width: int, hidden: int, *, rngs: nnx.Rngs):
        self.first = nnx.Linear(width, hidden, kernel_init=XAVIER, rngs=rngs)
        self.last = nnx.Linear(hidden, width, kernel_init=XAVIER, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.last(jax.nn.relu(self.first(x)))


def norm(width: int, rngs: nnx.Rngs) -> nnx.LayerNorm:
    """PyTorch's LayerNorm."""
    return nnx.LayerNorm(width, epsilon=1e-5, rngs=rngs)


class Encoder(nnx.Module):
    """A layer that looks at the tokens themselves."""

    def __init__(self, model: Any, *, rngs: nnx.Rngs):
        self.attend = Attention(model.width, model.heads, rngs=rngs)
        self.forward = FeedForward(model.width, model.hidden, rngs=rngs)
        self.norms = nnx.List([norm(model.width, rngs) for _ in range(2)])

    def __call__(self, x: jax.Array, place: jax.Array, hidden: jax.Array) -> jax.Array:
        x = self.norms[0](x + self.attend(x + place, x + place, x, hidden))
        return self.norms[1](x + self.forward(x))


class Decoder(nnx.Module):
    """A layer whose learned queries look at the encoder's tokens, then at the layer before."""

    def __init__(self, model: Any, cells: int, *, rngs: nnx.Rngs):
        start = jax.random.normal(rngs.params(), (cells, model.width))
        self.queries = nnx.Param(start)
        self.attend = Attention(model.width, model.heads, rngs=rngs)
        self.cross = Attention(model.width, model.heads, rngs=rngs)
        self.forward = FeedForward(model.width, model.hidden, rngs=rngs)
        self.norms = nnx.List([norm(model.width, rngs) for _ in range(3)])

    def __call__(
        self, out: jax.Array, memory: jax.Array, place: jax.Array, hidden: jax.Array
    ) -> jax.Array:
        x = jnp.broadcast_to(self.queries[...][None], memory.shape)
        x = self.norms[0](x + self.attend(x + place, memory + place, memory, hidden))
        x = self.norms[1](x + self.cross(x + place, out + place, out, hidden))
        return self.norms[2](x + self.forward(x))


class Rebuild(nnx.Module):
    """Features [b, h * w, c] -> the same, rebuilt from what is not near.

    Args:
      channels: c.
      grid: (h, w).
      model: width, heads, hidden, layers.
    """

    def __init__(self, channels: int, grid: tuple[int, int], model: Any, *, rngs: nnx.Rngs):
        cells, half = grid[0] * grid[1], model.width // 2
        self.inner = nnx.Linear(channels, model.width, kernel_init=XAVIER, rngs=rngs)
        self.outer = nnx.Linear(model.width, channels, kernel_init=XAVIER, rngs=rngs)
        self.rows = nnx.Param(jax.random.uniform(rngs.params(), (grid[0], half)))
        self.columns = nnx.Param(jax.random.uniform(rngs.params(), (grid[1], half)))
        self.encoders = nnx.List([Encoder(model, rngs=rngs) for _ in range(model.layers)])
        self.decoders = nnx.List([Decoder(model, cells, rngs=rngs) for _ in range(model.layers)])
        self.norm = norm(model.width, rngs)

    def __call__(self, features: jax.Array) -> jax.Array:
        grid = (self.rows.shape[0], self.columns.shape[0])
        hidden = jnp.asarray(near(grid, NEIGHBOURS))
        place = jnp.concatenate(
            [
                jnp.repeat(self.columns[...][None], grid[0], axis=0),
                jnp.repeat(self.rows[...][:, None], grid[1], axis=1),
            ],
            axis=-1,
        ).reshape(1, grid[0] * grid[1], -1)
        x = self.inner(features)
        for layer in self.encoders:
            x = layer(x, place, hidden)
        out = x
        for layer in self.decoders:
            out = layer(out, x, place, hidden)
        return self.outer(self.norm(out))


class UniadModel(nnx.Module):
    """Frozen network and transformer."""

    def __init__(self, backbone: Any, rebuild: Rebuild):
        self.backbone = FrozenBackbone(backbone)
        self.rebuild = rebuild


class UniadTask(SteppedTask, FeatureTask):
    """UniAD; `model` has backbone, weights, stages, width, heads, hidden, layers, jitter."""

    def __init__(self, config: ConfigDict):
        super().__init__(config)
        known = {stage.name: stage.channels for stage in stages_of(config.model.backbone)}
        self.channels = sum(known[name] for name in config.model.stages)
        self.grid = (self.views.height // CELL, self.views.width // CELL)
        if config.model.width % (2 * config.model.heads):
            raise ValueError(
                f"model.width={config.model.width} must be a multiple of 2 model.heads={config.model.heads}."
            )
        if max(self.grid) <= NEIGHBOURS:
            raise ValueError(
                f"pictures of {self.views.height}x{self.views.width} pixels have {self.grid} cells, and "
                f"{NEIGHBOURS} of a side are hidden from each: take {CELL * (NEIGHBOURS + 1)} pixels or more."
            )

    def init_model(self, key: jax.Array) -> UniadModel:
        rebuild = Rebuild(self.channels, self.grid, self.config.model, rngs=nnx.Rngs(key))
        return UniadModel(load_backbone(self.config.model), rebuild)

    def features(self, model: Any, pictures: jax.Array) -> jax.Array:
        """Frozen features [b, h * w, c]."""
        x = jnp.concatenate(self.levels(model, pictures), axis=-1)
        return x.reshape(x.shape[0], -1, x.shape[-1])

    def loss_fn(
        self, model: Any, batch: dict[str, Any], key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        x = self.features(model, batch["picture"])
        spread = jnp.linalg.norm(x, axis=-1, keepdims=True) / x.shape[-1] * self.config.model.jitter
        made = model.rebuild(x + jax.random.normal(key, x.shape) * spread)
        loss = jnp.mean(jnp.square(made - x))
        return loss, {"mse": loss}

    def map_fn(self, model: Any, arrays: dict[str, jax.Array], pictures: jax.Array) -> jax.Array:
        def one(picture: jax.Array) -> jax.Array:
            x = self.features(model, picture)
            away = jnp.sqrt(jnp.sum(jnp.square(model.rebuild(x) - x), axis=-1))
            return away.reshape(-1, *self.grid)

        return each_picture(one, pictures)


def near(grid: tuple[int, int], side: int) -> np.ndarray:
    """Which cells lie in the square around each, bool [h * w, h * w]."""
    y, x = (axis.reshape(-1) for axis in np.mgrid[: grid[0], : grid[1]])
    return np.maximum(abs(y[:, None] - y), abs(x[:, None] - x)) <= side // 2
