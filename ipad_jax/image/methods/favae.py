"""FAVAE: a variational autoencoder that also rebuilds the features of a frozen network.

Dehaene and Eline, "Anomaly Localization by Modeling Perceptual Features", 2020; public code
xiahaifeng1995/FAVAE-anomaly-detection-localization-master (not its authors'). Deviations: the frozen network
sees pictures normalised as its weights want them, there as they are; the losses of training and of
held-out images read the same layers; the decoder runs once a step; pictures are not turned or mirrored,
which would make defects of orientation normal; the score, of which the code has none, is the map's maximum.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from ipad_jax.image.features import FrozenBackbone, check_stages, each_picture, load_backbone
from ipad_jax.image.task import SteppedTask
from ipad_jax.nn.backbones import stages_of
from ipad_jax.nn.conv2d import resize_linear
from ipad_jax.nn.conv_layers import Conv2d, ConvTranspose2d, batch_norm

TAPS = (2, 4, 8, 16)  # strides at which the decoder can be read
NECK = 32  # channels of the last map before the code


def leaky(x: jax.Array) -> jax.Array:
    """PyTorch's LeakyReLU as the code has it."""
    return jax.nn.leaky_relu(x, 0.2)


class Encode(nnx.Module):
    """Pictures [b, h, w, 3] in [0, 1] -> mean and log variance of the code, [b, z] each."""

    def __init__(self, width: int, z: int, size: tuple[int, int], *, rngs: nnx.Rngs):
        a, b, c = width, 2 * width, 4 * width
        plan = [(3, a, 4), (a, a, 4), (a, b, 3), (b, b, 4), (b, c, 3), (c, c, 4), (c, c, 3)]
        plan.append((c, NECK, 3))
        self.convs = nnx.List(
            [Conv2d(i, o, side, stride=2 if side == 4 else 1, rngs=rngs) for i, o, side in plan]
        )
        self.norms = nnx.List([batch_norm(o, rngs=rngs) for _, o, _ in plan])
        self.last = nnx.Linear(NECK * (size[0] // 16) * (size[1] // 16), 2 * z, rngs=rngs)

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        for conv, norm in zip(self.convs, self.norms):
            x = leaky(norm(conv(x)))
        mean, log_variance = jnp.split(self.last(x.reshape(len(x), -1)), 2, axis=-1)
        return mean, log_variance


class Decode(nnx.Module):
    """Codes [b, z] -> pictures [b, h, w, 3] in [0, 1], and the maps at each of `TAPS`."""

    def __init__(self, width: int, z: int, size: tuple[int, int], *, rngs: nnx.Rngs):
        a, b, c = width, 2 * width, 4 * width
        self.grid = (size[0] // 16, size[1] // 16)
        self.first = nnx.Linear(z, NECK * self.grid[0] * self.grid[1], use_bias=False, rngs=rngs)
        plan = [(NECK, c, 3), (c, c, 3), (c, c, 4), (c, b, 3), (b, b, 4), (b, a, 3), (a, a, 4)]
        self.layers = nnx.List(
            [
                ConvTranspose2d(i, o, side, rngs=rngs) if side == 4 else Conv2d(i, o, rngs=rngs)
                for i, o, side in plan
            ]
        )
        self.norms = nnx.List([batch_norm(n, rngs=rngs) for n in (NECK, *(o for _, o, _ in plan))])
        self.last = ConvTranspose2d(a, 3, 4, rngs=rngs)

    def __call__(self, z: jax.Array) -> tuple[jax.Array, dict[int, jax.Array]]:
        x = self.first(z).reshape(len(z), *self.grid, NECK)
        x, found = leaky(self.norms[0](x)), []
        for layer, norm in zip(self.layers, list(self.norms)[1:]):
            found.append(layer(x))  # read before its BatchNorm, as in the code
            x = leaky(norm(found[-1]))
        taps: dict[int, jax.Array] = dict(zip(TAPS, (found[6], found[4], found[2], found[1])))
        return jax.nn.sigmoid(self.last(x)), taps


class Adapter(nnx.Module):
    """1x1, ReLU, 1x1: a map of the decoder -> one of the frozen network, [b, h, w, c]."""

    def __init__(self, cin: int, cout: int, *, rngs: nnx.Rngs):
        self.first, self.last = Conv2d(cin, cin, 1, rngs=rngs), Conv2d(cin, cout, 1, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.last(jax.nn.relu(self.first(x)))


class Rebuild(nnx.Module):
    """The autoencoder with its adapters.

    Args:
      model: width (128 as published), z.
      size: height and width of a picture.
      taps: (stride, channels) of each stage of the frozen network.
    """

    def __init__(
        self,
        model: Any,
        size: tuple[int, int],
        taps: tuple[tuple[int, int], ...],
        *,
        rngs: nnx.Rngs,
    ):
        self.encode = Encode(model.width, model.z, size, rngs=rngs)
        self.decode = Decode(model.width, model.z, size, rngs=rngs)
        widths = {2: model.width, 4: 2 * model.width, 8: 4 * model.width, 16: 4 * model.width}
        self.adapters = nnx.List([Adapter(widths[stride], c, rngs=rngs) for stride, c in taps])


class FavaeModel(nnx.Module):
    """Frozen network and autoencoder."""

    def __init__(self, backbone: Any, rebuild: Rebuild):
        self.backbone = FrozenBackbone(backbone)
        self.rebuild = rebuild


class FavaeTask(SteppedTask):
    """FAVAE; `model` has backbone, weights, stages of strides 2 to 16, width, z, kl_weight."""

    def __init__(self, config: ConfigDict):
        super().__init__(config)
        check_stages(config.model)
        known = {stage.name: stage for stage in stages_of(config.model.backbone)}
        chosen = [known[name] for name in config.model.stages]
        strides = [stage.stride for stage in chosen]
        if not set(strides) <= set(TAPS):
            raise ValueError(
                f"model.stages={list(config.model.stages)} have strides {strides}, the decoder has {TAPS}."
            )
        self.taps = tuple((stage.stride, stage.channels) for stage in chosen)

    def init_model(self, key: jax.Array) -> FavaeModel:
        size = (self.views.height, self.views.width)
        rebuild = Rebuild(self.config.model, size, self.taps, rngs=nnx.Rngs(key))
        return FavaeModel(load_backbone(self.config.model), rebuild)

    def errors(self, model: Any, pictures: jax.Array, code: jax.Array) -> list[jax.Array]:
        """Squared errors, summed over channels, of the picture and of each stage: [b, h', w'] each."""
        made, taps = model.rebuild.decode(code)
        pairs = [(made, pictures.astype(jnp.float32) / 255)]
        wanted = model.backbone(pictures).values()
        for (stride, _), adapter, features in zip(self.taps, model.rebuild.adapters, wanted):
            pairs.append((adapter(taps[stride]), features))
        return [jnp.sum(jnp.square(a - b), axis=-1) for a, b in pairs]

    def loss_fn(
        self, model: Any, batch: dict[str, Any], key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        mean, log_variance = model.rebuild.encode(batch["picture"].astype(jnp.float32) / 255)
        code = mean + jnp.exp(log_variance / 2) * jax.random.normal(key, mean.shape)
        picture, *features = (
            jnp.mean(jnp.sum(x, axis=(1, 2))) for x in self.errors(model, batch["picture"], code)
        )
        apart = jnp.exp(log_variance) + jnp.square(mean) - 1 - log_variance
        kl = jnp.mean(jnp.sum(apart, axis=-1)) / 2
        terms = {"picture": picture, "features": sum(features[1:], features[0]), "kl": kl}
        return picture + terms["features"] + self.config.model.kl_weight * kl, terms

    def map_fn(self, model: Any, arrays: dict[str, jax.Array], pictures: jax.Array) -> jax.Array:
        def one(picture: jax.Array) -> jax.Array:
            mean, _ = model.rebuild.encode(picture.astype(jnp.float32) / 255)
            maps = self.errors(model, picture, mean)
            size = (maps[0].shape[1], maps[0].shape[2])
            return sum((resize_linear(x, size) for x in maps[1:]), maps[0])

        return each_picture(one, pictures)
