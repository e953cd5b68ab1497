"""Frozen features of pictures: levels of a pretrained network on one grid, as methods compare them."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from ipad_jax.nn.backbones import Backbone, make_backbone, stages_of
from ipad_jax.nn.conv2d import resize_linear

TOGETHER = 4  # pictures at once on an accelerator: one alone costs as much


class Frozen(nnx.Variable):
    """A weight that no method trains; it lies in the run's checkpoint all the same."""


class FrozenBackbone(nnx.Module):
    """A pretrained network as part of a model, so that a run folder needs no weights file beside it.

    Call: pictures uint8 [b, h, w, 3] -> {stage: map float32 [b, h', w', c]}.
    """

    def __init__(self, backbone: Backbone):
        leaves, self.tree = jax.tree.flatten(backbone.network)
        self.weights = nnx.List([Frozen(leaf) for leaf in leaves])
        self.backbone = nnx.static(dataclasses.replace(backbone, network=None, note=""))

    def __call__(self, pictures: jax.Array) -> dict[str, jax.Array]:
        network = jax.tree.unflatten(self.tree, [weight[...] for weight in self.weights])
        backbone = dataclasses.replace(self.backbone, network=network)
        return backbone(pictures.astype(jnp.float32) / 255)


def load_backbone(model: Any) -> Backbone:
    """The network that a config's `model` section names: backbone, weights, stages.

    Raises:
      FileNotFoundError, ModuleNotFoundError, ValueError: see `nn.backbones.make_backbone`.
    """
    return make_backbone(model.backbone, model.weights, tuple(model.stages))


def check_stages(model: Any) -> None:
    """Raises ValueError for a backbone or a stage that there is not, before any file is opened."""
    names = [stage.name for stage in stages_of(model.backbone)]
    if wrong := [name for name in model.stages if name not in names] or not model.stages:
        raise ValueError(
            f"model.stages={list(model.stages)}: {wrong or 'none'} not of {model.backbone}, which has "
            f"{', '.join(names)}."
        )


def grid_of(model: Any, size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of the cells of a picture: those of the finest stage but stride 4.

    Args:
      model: a config's section.
      size: height and width of a picture.
    """
    strides = {stage.name: stage.stride for stage in stages_of(model.backbone)}
    finest = max(8, min(strides[name] for name in model.stages))
    return -(-size[0] // finest), -(-size[1] // finest)


def on_grid(
    maps: dict[str, jax.Array], grid: tuple[int, int], neighbourhood: int = 1
) -> list[jax.Array]:
    """Each level's map on one grid: [b, *grid, c], finer ones averaged, coarser ones interpolated.

    Args:
      maps: by stage.
      grid: rows and columns.
      neighbourhood: side of the box over which each cell is averaged first (PatchCore, sec. 3.1).
    """
    found = []
    for x in maps.values():
        x = box_average(x, neighbourhood)
        shape = (x.shape[0], *grid, x.shape[-1])
        # antialias: a finer level is averaged, not sampled
        found.append(x if x.shape == shape else resize_linear(x, grid))
    return found


def box_average(x: jax.Array, side: int) -> jax.Array:
    """Mean over side x side cells around each, of those inside: [b, h, w, c]."""
    if side == 1:
        return x
    total = x
    for window in ((1, side, 1, 1), (1, 1, side, 1)):  # separable: fewer additions
        total = lax.reduce_window(total, 0.0, lax.add, window, (1, 1, 1, 1), "SAME")
    counts = np.outer(*(_cells_inside(length, side) for length in x.shape[1:3]))
    # not summed by the program: XLA would do that while compiling, for seconds
    return total / jnp.asarray(counts[None, :, :, None], x.dtype)


def _cells_inside(length: int, side: int) -> np.ndarray:
    """How many of the `side` cells around each of `length` lie inside, int [length]."""
    place, before = np.arange(length), (side - 1) // 2
    return np.minimum(place + side - before, length) - np.maximum(place - before, 0)


def level_scales(levels: Sequence[np.ndarray]) -> np.ndarray:
    """What brings each level to a mean norm of 1: float32 [levels]; levels [n, c] of normal cells."""
    norms = [float(np.linalg.norm(np.asarray(x, np.float32), axis=-1).mean()) for x in levels]
    return np.array([1 / max(norm, 1e-12) for norm in norms], np.float32)


def evened(x: jax.Array, evenness: float) -> jax.Array:
    """Features [..., c] of mean length 1 whose lengths n become (1 + evenness) n / (1 + evenness n).

    A feature's length goes with the contrast of its place and with the light: without this a smooth fault
    is near everything, and other light far from everything. 0: nothing; infinity would give all length 1,
    and noise of flat places a full length.
    """
    if not evenness:
        return x
    squares = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    return x * ((1 + evenness) / (1 + evenness * jnp.sqrt(squares)))


def stacked(levels: Sequence[jax.Array], scales: jax.Array) -> jax.Array:
    """Levels [..., c] times their scales [levels], side by side on the last axis."""
    return jnp.concatenate([x * scales[i] for i, x in enumerate(levels)], axis=-1)


def each_picture(function: Any, pictures: jax.Array) -> Any:
    """`function` of one picture [1, h, w, 3] at a time: the result of one depends on no other.

    On an accelerator `TOGETHER` go at once, the last ones filled up, so that a batch of any size runs the
    same products of the same shapes: those of other shapes are rounded otherwise.
    """

    def one(picture: jax.Array) -> Any:
        return jax.tree.map(lambda x: x[0], function(picture[None]))

    if jax.default_backend() == "cpu":
        return lax.map(one, pictures)
    count = len(pictures)
    fill = [(0, -count % TOGETHER)] + [(0, 0)] * (pictures.ndim - 1)
    found = lax.map(one, jnp.pad(pictures, fill, mode="edge"), batch_size=TOGETHER)
    return jax.tree.map(lambda x: x[:count], found)
