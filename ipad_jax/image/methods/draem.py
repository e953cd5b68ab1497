"""DRAEM: one network takes made-up faults out of a picture, another one finds where they were.

Zavrtanik et al., "DRAEM: A Discriminatively Trained Reconstruction Embedding for Surface Anomaly
Detection", 2021; public code VitjanZ/DRAEM, train_DRAEM.py and model_unet.py. Deviations: made-up faults
need no archive of textures (made_up_faults.py), but take a folder of them, moved and recoloured where the
code has its own changes of light and colour; pictures are RGB, not turned; the score is the map's maximum
after the blur of `eval.blur_px`, there after a mean over 21 x 21 pixels.
"""

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from ipad_jax.data_builders.photos import SUFFIXES, is_photo, read_photo
from ipad_jax.image.features import each_picture
from ipad_jax.image.made_up_faults import with_faults
from ipad_jax.image.methods.autoencoder import ssim
from ipad_jax.image.task import SteppedTask
from ipad_jax.nn.conv2d import max_pool2, resize_corners
from ipad_jax.nn.conv_layers import Conv2d, batch_norm

FOCUS = 2.0  # gamma of the focal loss
DRAWN = "drawn"  # model.textures that are no folder's
Reader = Callable[[np.ndarray], dict[str, np.ndarray]]


class Convs(nnx.Module):
    """3x3 convolutions, each with BatchNorm and ReLU: [b, h, w, widths[0]] -> [b, h, w, widths[-1]]."""

    def __init__(self, *widths: int, rngs: nnx.Rngs):
        self.convs = nnx.List([Conv2d(a, b, rngs=rngs) for a, b in itertools.pairwise(widths)])
        self.norms = nnx.List([batch_norm(b, rngs=rngs) for b in widths[1:]])

    def __call__(self, x: jax.Array) -> jax.Array:
        for conv, norm in zip(self.convs, self.norms):
            x = jax.nn.relu(norm(conv(x)))
        return x


class Reconstruct(nnx.Module):
    """A picture without its faults: [b, h, w, 3] -> the same; `width` is 128 as published."""

    def __init__(self, width: int, *, rngs: nnx.Rngs):
        w = [width * factor for factor in (1, 2, 4, 8)]
        self.down = nnx.List(
            [
                Convs(3, w[0], w[0], rngs=rngs),
                Convs(w[0], w[1], w[1], rngs=rngs),
                Convs(w[1], w[2], w[2], rngs=rngs),
                Convs(w[2], w[3], w[3], rngs=rngs),
                Convs(w[3], w[3], w[3], rngs=rngs),
            ]
        )
        outs = (w[2], w[1], w[0], w[0])
        ups = (w[3], w[2], w[1], w[0])
        self.up = nnx.List([Convs(c, c, c, out, rngs=rngs) for c, out in zip(ups, outs)])
        self.last = Conv2d(w[0], 3, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        for number, block in enumerate(self.down):
            x = block(max_pool2(x) if number else x)
        for block in self.up:
            x = block(twice(x))
        return self.last(x)


class Discriminate(nnx.Module):
    """Two pictures side by side [b, h, w, 6] -> scores of normal and faulty [b, h, w, 2]; `width` is 64."""

    def __init__(self, width: int, *, rngs: nnx.Rngs):
        w = [width * factor for factor in (1, 2, 4, 8)]
        self.down = nnx.List(
            [
                Convs(6, w[0], w[0], rngs=rngs),
                Convs(w[0], w[1], w[1], rngs=rngs),
                Convs(w[1], w[2], w[2], rngs=rngs),
                Convs(w[2], w[3], w[3], rngs=rngs),
                Convs(w[3], w[3], w[3], rngs=rngs),
                Convs(w[3], w[3], w[3], rngs=rngs),
            ]
        )
        ins = (w[3], w[3], w[2], w[1], w[0])  # of what comes from below
        outs = (w[3], w[2], w[1], w[0], w[0])
        beside = (w[3], w[3], w[2], w[1], w[0])  # of the skip connection
        self.up = nnx.List([Convs(a, b, rngs=rngs) for a, b in zip(ins, outs)])
        self.merge = nnx.List([Convs(b + skip, b, b, rngs=rngs) for b, skip in zip(outs, beside)])
        self.last = Conv2d(w[0], 2, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        found: list[jax.Array] = []
        for number, block in enumerate(self.down):
            x = block(max_pool2(x) if number else x)
            found.append(x)
        for up, merge, skip in zip(self.up, self.merge, found[-2::-1]):
            x = merge(jnp.concatenate([up(twice(x)), skip], axis=-1))
        return self.last(x)


class DraemModel(nnx.Module):
    """Both networks."""

    def __init__(self, widths: Sequence[int], *, rngs: nnx.Rngs):
        self.reconstruct = Reconstruct(widths[0], rngs=rngs)
        self.discriminate = Discriminate(widths[1], rngs=rngs)

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Pictures [b, h, w, 3] in [0, 1] -> reconstruction, log probabilities [b, h, w, 2]."""
        made = self.reconstruct(x)
        scores = self.discriminate(jnp.concatenate([made, x], axis=-1))
        return made, jax.nn.log_softmax(scores, axis=-1)


class DraemTask(SteppedTask):
    """DRAEM; `model` has widths, of the two networks, and textures, "drawn" or a folder of images.

    With a folder a batch has "texture" too, uint8 [b, h, w, 3].
    """

    def __init__(self, config: ConfigDict):
        super().__init__(config)
        if self.views.height % 32 or self.views.width % 32:
            raise ValueError(
                f"data.height={self.views.height} and data.width={self.views.width} must be multiples of 32: "
                "the network halves them five times."
            )
        self.textures = config.model.get("textures", DRAWN)  # a run from before this leaf

    def reader(self, images: np.ndarray) -> Reader:
        read = super().reader(images)
        if self.textures == DRAWN:
            return read
        size = (self.views.width, self.views.height)
        return partial(read_textured, read, texture_files(self.textures), size, self.config.seed)

    def batch_shapes(self, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
        shapes = super().batch_shapes(batch_size)
        return shapes if self.textures == DRAWN else shapes | {"texture": shapes["picture"]}

    def init_model(self, key: jax.Array) -> DraemModel:
        return DraemModel(self.config.model.widths, rngs=nnx.Rngs(key))

    def loss_fn(
        self, model: Any, batch: dict[str, Any], key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        good = batch["picture"].astype(jnp.float32) / 255
        textures = batch["texture"].astype(jnp.float32) / 255 if "texture" in batch else None
        faulty, mask = with_faults(key, good, textures)
        made, log_share = model(faulty)
        right = jnp.where(mask, log_share[..., 1], log_share[..., 0])
        terms = {
            "mse": jnp.mean(jnp.square(made - good)),
            "ssim": 1 - jnp.mean(ssim(made, good, 1.0)),
            "focal": -jnp.mean((1 - jnp.exp(right)) ** FOCUS * right),
        }
        return terms["mse"] + terms["ssim"] + terms["focal"], terms

    def map_fn(self, model: Any, arrays: dict[str, jax.Array], pictures: jax.Array) -> jax.Array:
        def one(picture: jax.Array) -> jax.Array:
            return jnp.exp(model(picture.astype(jnp.float32) / 255)[1][..., 1])

        return each_picture(one, pictures)


def texture_files(folder: str) -> tuple[Path, ...]:
    """Image files below a folder, in order of their names.

    Raises:
      FileNotFoundError: there is none.
    """
    place = Path(folder).expanduser()
    found = tuple(sorted(p for p in place.rglob("*") if p.is_file() and is_photo(p)))
    if not found:
        raise FileNotFoundError(
            f"model.textures={folder}: no folder with images ({', '.join(SUFFIXES)}); name one, such as "
            f'images/ of the Describable Textures Dataset, or take "{DRAWN}".'
        )
    return found


def read_textured(
    read: Reader, files: Sequence[Path], size: tuple[int, int], seed: int, chosen: np.ndarray
) -> dict[str, np.ndarray]:
    """A batch with random textures, brought to (width, height); others with each mixture of images."""
    drawn = np.random.default_rng([seed, 14, *chosen]).integers(len(files), size=len(chosen))
    textures = [cv2.resize(read_photo(files[n]), size, interpolation=cv2.INTER_AREA) for n in drawn]
    return read(chosen) | {"texture": np.stack(textures)}


def twice(x: jax.Array) -> jax.Array:
    """Twice as large, corners to corners: [b, h, w, c] -> [b, 2 h, 2 w, c]."""
    return resize_corners(x, (2 * x.shape[1], 2 * x.shape[2]))
