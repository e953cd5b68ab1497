"""CutPaste: a network learns to find cuttings laid over good pictures; how unlikely its features are.

Li et al., "CutPaste: Self-Supervised Learning for Anomaly Detection and Localization", 2021, three classes
(good, cutting, scar); its authors published no code, sizes as in Runinho/pytorch-cutpaste. With patch_px=0
the network sees pictures, and the map of one is its distance everywhere (paper sec. 4.1); else it learns on
patches, and the map has a cell a patch (sec. 4.2). Deviations: Adam in place of SGD at 0.03; cuttings keep
their hue; cells are interpolated, not spread by a Gaussian; the score is the map's maximum after the blur.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from ipad_jax.image.features import each_picture
from ipad_jax.image.made_up_faults import pasted
from ipad_jax.image.task import Arrays, NormalImages, SteppedTask
from ipad_jax.nn.conv_layers import batch_norm
from ipad_jax.nn.resnet import ResNet, ResNetConfig

CLASSES = 3
HEAD = (512, 128)  # paper silent; the public code's last two layers
MEAN, STD = 0.45, 0.225  # of ImageNet, over the channels
MAX_ROWS = 20_000  # embeddings that the density is fitted on


class CutPasteModel(nnx.Module):
    """ResNet-18 from scratch and a head; call: pictures float32 [b, h, w, 3] in [0, 1] -> logits [b, 3].

    Args:
      stages: of the network, 4 as published.
    """

    def __init__(self, stages: int, *, rngs: nnx.Rngs):
        self.network = ResNet(ResNetConfig.resnet18(stages), rngs=rngs)
        widths = (self.network.cfg.channels[-1], *HEAD)
        self.head = nnx.List([nnx.Linear(a, b, rngs=rngs) for a, b in zip(widths, HEAD)])
        self.norms = nnx.List([batch_norm(width, rngs=rngs) for width in HEAD])
        self.last = nnx.Linear(HEAD[-1], CLASSES, rngs=rngs)

    def embed(self, pictures: jax.Array) -> jax.Array:
        """Means of the last stage, [b, c]."""
        return jnp.mean(self.network((pictures - MEAN) / STD)[-1], axis=(1, 2))

    def __call__(self, pictures: jax.Array) -> jax.Array:
        x = self.embed(pictures)
        for layer, norm in zip(self.head, self.norms):
            x = jax.nn.relu(norm(layer(x)))
        return self.last(x)


class CutPasteTask(SteppedTask):
    """CutPaste; `model` has stages, patch_px and stride_px."""

    def __init__(self, config: ConfigDict):
        super().__init__(config)
        if not 1 <= config.model.stages <= 4:
            raise ValueError(f"model.stages={config.model.stages} must be 1 to 4, of ResNet-18.")
        patch, stride = config.model.patch_px, config.model.stride_px
        sides = (self.views.height, self.views.width)
        if not (patch == 0 or 16 <= patch <= min(sides)) or stride < 1:
            raise ValueError(
                f"model.patch_px={patch} must be 0 (the picture) or 16 to {min(sides)} pixels, "
                f"model.stride_px={stride} 1 or more."
            )
        self.patch = (patch, patch) if patch else sides
        self.corners = [
            (y, x)
            for y in range(0, sides[0] - self.patch[0] + 1, stride)
            for x in range(0, sides[1] - self.patch[1] + 1, stride)
        ]
        self.grid = tuple((side - p) // stride + 1 for side, p in zip(sides, self.patch))

    def init_model(self, key: jax.Array) -> CutPasteModel:
        return CutPasteModel(self.config.model.stages, rngs=nnx.Rngs(key))

    def loss_fn(
        self, model: Any, batch: dict[str, Any], key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        good = batch["picture"].astype(jnp.float32) / 255

        def three(key: jax.Array, picture: jax.Array) -> jax.Array:
            keys = jax.random.split(key, 3)
            room = jnp.array(picture.shape[:2]) - jnp.array(self.patch) + 1
            y, x = jax.random.randint(keys[0], (2,), 0, room)
            patch = jax.lax.dynamic_slice(picture, (y, x, 0), (*self.patch, 3))
            return jnp.stack([patch, pasted(keys[1], patch, False), pasted(keys[2], patch, True)])

        made = jax.vmap(three)(jax.random.split(key, len(good)), good)
        logits = model(made.reshape(-1, *self.patch, 3)).reshape(len(good), CLASSES, CLASSES)
        right = jnp.diagonal(jax.nn.log_softmax(logits), axis1=1, axis2=2)
        found = jnp.argmax(logits, axis=-1) == jnp.arange(CLASSES)[None]
        return -jnp.mean(right), {"accuracy": jnp.mean(found)}

    def embeddings(self, model: Any, picture: jax.Array) -> jax.Array:
        """Embeddings [patches, c] of a picture uint8 [1, h, w, 3]."""
        height, width = self.patch
        patches = [picture[0, y : y + height, x : x + width] for y, x in self.corners]
        return model.embed(jnp.stack(patches).astype(jnp.float32) / 255)

    def fit_arrays(self, model: Any, normal: NormalImages) -> Arrays:
        """Mean, and what makes their covariance the identity, of good patches' embeddings."""
        embed = jax.jit(
            lambda model, x: each_picture(lambda picture: self.embeddings(model, picture)[None], x)
        )
        rng = np.random.default_rng([self.config.seed, 13])
        share, rows = max(1, MAX_ROWS // len(normal)), []
        for pictures, _ in normal.pictures():
            found = np.asarray(embed(model, pictures))
            found = found.reshape(-1, found.shape[-1])
            rows.append(found[rng.permutation(len(found))[:share]])
        mean, whiten = gaussian(np.concatenate(rows))
        return {"mean": mean, "whiten": whiten}

    def map_fn(self, model: Any, arrays: dict[str, jax.Array], pictures: jax.Array) -> jax.Array:
        def one(picture: jax.Array) -> jax.Array:
            away = self.embeddings(model, picture) - arrays["mean"][None]
            white = jnp.matmul(away, arrays["whiten"], precision=jax.lax.Precision.HIGHEST)
            cells = jnp.linalg.norm(white, axis=-1).reshape(self.grid)
            y, x = (
                patch_under(side, patch, self.config.model.stride_px)
                for side, patch in zip((self.views.height, self.views.width), self.patch)
            )
            return jnp.einsum("yh,hw,xw->yx", y, cells, x)[None]

        return each_picture(one, pictures)


def patch_under(side: int, patch: int, stride: int) -> np.ndarray:
    """Matrix float32 [side, cells] that interpolates from patches' middles, the outer ones going on."""
    cells = (side - patch) // stride + 1
    at = np.clip((np.arange(side) + 0.5 - patch / 2) / stride, 0, cells - 1)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(cells)[None])).astype(np.float32)


def gaussian(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean [c] of rows [n, c], and W [c, c] such that |(x - mean) W| is the Mahalanobis distance.

    The covariance is shrunk to a multiple of the identity (Ledoit and Wolf 2004, eq. 14), so that it can be
    inverted with fewer rows than channels.
    """
    rows = rows.astype(np.float64)
    count, channels = rows.shape
    mean = rows.mean(0)
    away = rows - mean
    covariance = away.T @ away / count
    middle = np.trace(covariance) / channels
    spread = np.sum(np.square(covariance)) - channels * middle**2
    noise = (np.sum(np.square(np.sum(np.square(away), 1))) / count - np.sum(covariance**2)) / count
    share = min(1.0, noise / spread) if spread > 0 else 1.0
    shrunk = (1 - share) * covariance + share * middle * np.eye(channels)
    values, vectors = np.linalg.eigh(shrunk + 1e-12 * max(middle, 1e-12) * np.eye(channels))
    return mean.astype(np.float32), (vectors / np.sqrt(values)).astype(np.float32)
