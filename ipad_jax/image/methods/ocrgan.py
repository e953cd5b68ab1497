"""OCR-GAN: two U-Nets rebuild low and high frequencies of a picture, and exchange channels on the way down.

Liang et al., "Omni-frequency Channel-selection Representations for Unsupervised Anomaly Detection", 2023;
public code zhangzjn/OCR-GAN. Deviations: the selection of channels is a layer that trains, as in the paper;
the code makes one anew, at random, in every pass. The high frequencies have their sign, which the code cuts
off at 0. The judge is not trained by the distance of its own features. Adam's first moment has 0.9, there
0.5. The map, of which the code has none, is the error of each pixel and the distance of the features, in the
code's shares, so that its mean is the published score (`score="mean"`); `"max"` scores by its maximum. The
last step is taken, there the one that is best on the test images.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from ipad_jax.image.features import each_picture
from ipad_jax.image.made_up_faults import cut_out, pasted
from ipad_jax.image.methods.autoencoder import SCORES, centred
from ipad_jax.image.task import SteppedTask
from ipad_jax.nn.conv_layers import Conv2d, ConvTranspose2d, batch_norm

LEVELS = (5, 8)  # fewest and most of a U-Net
PICTURE, ADVERSARY, LATENT = 50.0, 1.0, 1.0  # weights of the losses; public code
SHARE = 0.9  # of the picture's error in the score; the rest is that of the features
INIT = nnx.initializers.normal(0.02)


class Select(nnx.Module):
    """Weights for the channels of two maps, from both: [b, h, w, c] twice -> the same (paper sec. III-C)."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        inner = max(channels // 2, 32)
        self.squeeze = nnx.Linear(channels, inner, rngs=rngs)
        self.choose = nnx.List([nnx.Linear(inner, channels, rngs=rngs) for _ in range(2)])

    def __call__(self, maps: Sequence[jax.Array]) -> list[jax.Array]:
        inner = self.squeeze(jnp.mean(maps[0] + maps[1], axis=(1, 2)))
        weights = jax.nn.softmax(jnp.stack([layer(inner) for layer in self.choose]), axis=0)
        return [x * weight[:, None, None] for x, weight in zip(maps, weights)]


class UNet(nnx.Module):
    """Layers of a U-Net that `Generate` runs: down[i] halves a map, up[i] brings it back.

    Args:
      width: channels of the first level, 64 as published.
      levels: halvings.
    """

    def __init__(self, width: int, levels: int, *, rngs: nnx.Rngs):
        channels = unet_channels(width, levels)
        inner = range(1, levels - 1)  # levels with BatchNorm on the way down
        self.down = nnx.List(
            [
                Conv2d(a, b, 4, stride=2, bias=False, init=INIT, rngs=rngs)
                for a, b in zip([3, *channels], channels)
            ]
        )
        self.down_norms = nnx.List([batch_norm(channels[i], rngs=rngs) for i in inner])
        ups = [(2 * c if i < levels - 1 else c) for i, c in enumerate(channels)]
        outs = [3, *channels[:-1]]
        self.up = nnx.List(
            [
                ConvTranspose2d(a, b, 4, bias=not i, init=INIT, rngs=rngs)
                for i, (a, b) in enumerate(zip(ups, outs))
            ]
        )
        self.up_norms = nnx.List([batch_norm(c, rngs=rngs) for c in outs[1:]])

    def halve(self, x: jax.Array, level: int) -> jax.Array:
        """The next level's map."""
        x = self.down[level](jax.nn.leaky_relu(x, 0.2) if level else x)
        return self.down_norms[level - 1](x) if 0 < level < len(self.down) - 1 else x

    def grow(self, x: jax.Array, level: int) -> jax.Array:
        """A map back at the level above."""
        x = self.up[level](jax.nn.relu(x))
        return self.up_norms[level - 1](x) if level else jnp.tanh(x)


class Generate(nnx.Module):
    """Low and high frequencies, [b, h, w, 3] each -> both rebuilt."""

    def __init__(self, width: int, levels: int, *, rngs: nnx.Rngs):
        self.nets = nnx.List([UNet(width, levels, rngs=rngs) for _ in range(2)])
        channels = unet_channels(width, levels)
        self.select = nnx.List([Select(c, rngs=rngs) for c in channels])

    def __call__(self, parts: Sequence[jax.Array]) -> list[jax.Array]:
        maps, skips = list(parts), []
        for level, select in enumerate(self.select):
            skips.append(maps)
            maps = select([net.halve(x, level) for net, x in zip(self.nets, maps)])
        for level in reversed(range(len(self.select))):
            maps = [net.grow(x, level) for net, x in zip(self.nets, maps)]
            if level:
                maps = [jnp.concatenate([s, x], axis=-1) for s, x in zip(skips[level], maps)]
        return maps


class Judge(nnx.Module):
    """Pictures [b, h, w, 3] -> logit of being a good one [b], features [b, z] (DCGAN's encoder).

    Args:
      width: channels of the first layer, 64 as published.
      z: features, 100 as published.
      size: height and width of a picture.
    """

    def __init__(self, width: int, z: int, size: tuple[int, int], *, rngs: nnx.Rngs):
        convs, norms, cin, cout = [], [], 3, width
        grid = size
        while not convs or (min(grid) > 4 and not (grid[0] % 2 or grid[1] % 2)):
            convs.append(Conv2d(cin, cout, 4, stride=2, bias=False, init=INIT, rngs=rngs))
            norms.append(nnx.data(batch_norm(cout, rngs=rngs) if len(convs) > 1 else None))
            grid, cin, cout = (grid[0] // 2, grid[1] // 2), cout, 2 * cout
        self.convs, self.norms = nnx.List(convs), nnx.List(norms)
        self.features = nnx.Linear(
            cin * grid[0] * grid[1], z, use_bias=False, kernel_init=INIT, rngs=rngs
        )
        self.last = nnx.Linear(z, 1, use_bias=False, kernel_init=INIT, rngs=rngs)

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        for conv, norm in zip(self.convs, self.norms):
            x = conv(x)
            x = jax.nn.leaky_relu(x if norm is None else norm(x), 0.2)
        features = self.features(x.reshape(len(x), -1))
        return self.last(features)[:, 0], features


class OcrGanModel(nnx.Module):
    """Generator and judge."""

    def __init__(self, model: Any, size: tuple[int, int], levels: int, *, rngs: nnx.Rngs):
        self.generate = Generate(model.width, levels, rngs=rngs)
        self.judge = Judge(model.width, model.z, size, rngs=rngs)

    def rebuilt(self, pictures: jax.Array) -> jax.Array:
        """Pictures [b, h, w, 3] in [-1, 1], rebuilt; in [-2, 2]."""
        low = low_frequencies(pictures)
        made = self.generate([low, pictures - low])
        return made[0] + made[1]


class OcrGanTask(SteppedTask):
    """OCR-GAN; `model` has width, z and score."""

    def __init__(self, config: ConfigDict):
        super().__init__(config)
        self.size = (self.views.height, self.views.width)
        self.levels = min(LEVELS[1], *(int(side & -side).bit_length() - 1 for side in self.size))
        if self.levels < LEVELS[0]:
            raise ValueError(
                f"data.height={self.size[0]} and data.width={self.size[1]} must be multiples of 32: the "
                f"network halves them {LEVELS[0]} times at least."
            )
        if config.model.score not in SCORES:
            raise ValueError(f"model.score={config.model.score!r} must be one of {SCORES}.")

    def init_model(self, key: jax.Array) -> OcrGanModel:
        return OcrGanModel(self.config.model, self.size, self.levels, rngs=nnx.Rngs(key))

    def loss_fn(
        self, model: Any, batch: dict[str, Any], key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        x = centred(batch["picture"])
        made = model.rebuilt(x)
        good, good_features = model.judge(x)
        bad, _ = model.judge(jax.lax.stop_gradient(made))
        faulty, _ = model.judge(with_fakes(key, x))
        # one step for both: the generator's gradient goes through a copy of the judge that has none
        structure, state = nnx.split(model.judge)
        judge = nnx.merge(structure, jax.tree.map(jax.lax.stop_gradient, state), copy=True)
        fooled, features = judge(made)
        away = jnp.mean(jnp.square(features - jax.lax.stop_gradient(good_features)))
        terms = {
            "picture": jnp.mean(jnp.abs(made - x)),
            "adversary": jnp.mean(jax.nn.softplus(-fooled)),
            "latent": away,
            "judge": sum(jnp.mean(jax.nn.softplus(v)) for v in (-good, bad, faulty)),
        }
        loss = PICTURE * terms["picture"] + ADVERSARY * terms["adversary"]
        return loss + LATENT * away + terms["judge"], terms

    def map_fn(self, model: Any, arrays: dict[str, jax.Array], pictures: jax.Array) -> jax.Array:
        def one(picture: jax.Array) -> jax.Array:
            x = centred(picture)
            made = model.rebuilt(x)
            features = [model.judge(v)[1] for v in (x, made)]
            away = jnp.mean(jnp.square(features[0] - features[1]), axis=-1)
            error = jnp.mean(jnp.square(made - x), axis=-1)
            return SHARE * error + (1 - SHARE) * away[:, None, None]

        return each_picture(one, pictures)

    def reduce(self, score_map: np.ndarray) -> float:
        """The map's mean, as published, or its maximum."""
        return float(score_map.mean() if self.config.model.score == "mean" else score_map.max())


def with_fakes(key: jax.Array, pictures: jax.Array) -> jax.Array:
    """Pictures [b, h, w, 3] in [-1, 1], each with a cutting pasted or a square cut out (paper sec. III-D)."""

    def one(key: jax.Array, picture: jax.Array) -> jax.Array:
        keys = jax.random.split(key, 3)
        return jnp.where(
            jax.random.bernoulli(keys[0]),
            pasted(keys[1], picture, False),
            cut_out(keys[2], picture),
        )

    made = jax.vmap(one)(jax.random.split(key, len(pictures)), (pictures + 1) / 2)
    return 2 * made - 1


def low_frequencies(x: jax.Array) -> jax.Array:
    """A picture [b, h, w, c] halved and doubled again by Burt's pyramid, as OpenCV's pyrDown and pyrUp."""
    rows, columns = (down_and_up(side) for side in x.shape[1:3])
    return jnp.einsum("yh,bhwc,xw->byxc", rows, x, columns)


def down_and_up(side: int) -> np.ndarray:
    """Matrix float32 [side, side] of one axis, an even one."""
    kernel = np.array([1, 4, 6, 4, 1]) / 16

    def mirrored(place: int, count: int) -> int:
        place = abs(place)
        return 2 * (count - 1) - place if place >= count else place

    half = side // 2
    down, up = np.zeros((half, side)), np.zeros((side, half))
    for row in range(half):
        for tap, weight in zip(range(-2, 3), kernel):
            down[row, mirrored(2 * row + tap, side)] += weight
    for row in range(side):
        for tap, weight in zip(range(-2, 3), kernel):
            if (row + tap) % 2 == 0:
                place = (row + tap) // 2
                up[row, min(abs(place), half - 1)] += 2 * weight
    return (up @ down).astype(np.float32)


def unet_channels(width: int, levels: int) -> list[int]:
    """Channels of each level's map."""
    return [width * min(2**level, 8) for level in range(levels)]
