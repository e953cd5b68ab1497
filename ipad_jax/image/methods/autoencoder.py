"""A convolutional autoencoder: what it cannot rebuild of an image is unlike the good ones.

Source: a student's project on MVTec AD bottle (encoder 4 x two convolutions and a pooling, 32 to 256
channels; decoder 4 x a transposed convolution and a convolution), which gives an image AUROC of 0.891 with
the checkpoint that was best on the test images. Ours takes the last one. Deviation: the source also halves
its rate where the loss on the test images stalls for 5 epochs; here it is constant, or falls as
`optim.schedule` says. Scores: the mean squared error of the image as there (`score="mean"`), or the largest
value of the blurred map (`"max"`), which a small defect moves.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from ipad_jax.image.features import box_average, each_picture
from ipad_jax.image.scorer import Scorer
from ipad_jax.image.task import Arrays, SteppedTask
from ipad_jax.nn.conv2d import max_pool2
from ipad_jax.nn.conv_layers import XAVIER_INIT, Conv2d, ConvTranspose2d, batch_norm

LOSSES = ("mse", "ssim", "both")
SCORES = ("mean", "max")
SSIM_SIDE = 11  # pixels, of the window


class Rebuild(nnx.Module):
    """Call: pictures float32 [b, h, w, 3] in [-1, 1] -> the same shape.

    Args:
      widths: channels of the stages; h and w are multiples of 2 ** their number.
    """

    def __init__(self, widths: tuple[int, ...], *, rngs: nnx.Rngs):
        def conv(cin: int, cout: int) -> Conv2d:
            return Conv2d(cin, cout, init=XAVIER_INIT, rngs=rngs)

        down, cin = [], 3
        for width in widths:
            down += [conv(cin, width), conv(width, width)]
            cin = width
        outs = [*widths[-2::-1], widths[0] // 2]
        up, between = [], []
        for cout in outs:
            up.append(ConvTranspose2d(cin, cout, 2, init=XAVIER_INIT, rngs=rngs))
            between.append(conv(cout, cout))
            cin = cout
        self.down, self.up, self.between = nnx.List(down), nnx.List(up), nnx.List(between)
        self.down_norms = nnx.List(
            [batch_norm(w, rngs=rngs) for width in widths for w in (width, width)]
        )
        self.up_norms = nnx.List([batch_norm(w, rngs=rngs) for out in outs for w in (out, out)])
        self.last = conv(cin, 3)

    def __call__(self, x: jax.Array) -> jax.Array:
        for number, (layer, norm) in enumerate(zip(self.down, self.down_norms)):
            x = jax.nn.leaky_relu(norm(layer(x)), 0.2)
            if number % 2:
                x = max_pool2(x)
        for number, (grow, layer) in enumerate(zip(self.up, self.between)):
            x = jax.nn.relu(self.up_norms[2 * number](grow(x)))
            x = jax.nn.relu(self.up_norms[2 * number + 1](layer(x)))
        return jnp.tanh(self.last(x))


class AutoencoderModel(nnx.Module):
    """The network, under the name that checkpoints have it by."""

    def __init__(self, widths: tuple[int, ...], *, rngs: nnx.Rngs):
        self.rebuild = Rebuild(widths, rngs=rngs)


class AutoencoderTask(SteppedTask):
    """The autoencoder; `model` has widths, loss and score."""

    def __init__(self, config: ConfigDict):
        super().__init__(config)
        model = config.model
        if model.loss not in LOSSES or model.score not in SCORES:
            raise ValueError(
                f"model.loss={model.loss!r} must be one of {LOSSES}, model.score={model.score!r} of {SCORES}."
            )

    def init_model(self, key: jax.Array) -> AutoencoderModel:
        return AutoencoderModel(tuple(self.config.model.widths), rngs=nnx.Rngs(key))

    def loss_fn(
        self, model: Any, batch: dict[str, Any], key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        x = centred(batch["picture"])
        made = model.rebuild(x)
        terms, wanted = {}, self.config.model.loss
        if wanted != "ssim":
            terms["mse"] = jnp.mean(jnp.square(made - x))
        if wanted != "mse":
            # from 0 on: about 0 the similarity of a picture and its negative is 1
            terms["ssim"] = 1 - jnp.mean(ssim(made + 1, x + 1, 2.0))
        return sum(terms.values(), jnp.zeros(())) / len(terms), terms

    def map_fn(self, model: Any, arrays: dict[str, jax.Array], pictures: jax.Array) -> jax.Array:
        def one(picture: jax.Array) -> jax.Array:
            x = centred(picture)
            return jnp.mean(jnp.square(model.rebuild(x) - x), axis=-1)

        return each_picture(one, pictures)

    def make_scorer(self, model: Any, arrays: Arrays) -> "RebuildScorer":
        return RebuildScorer(self, model, arrays)

    def reduce(self, score_map: np.ndarray) -> float:
        """The map's mean, as the source, or its maximum."""
        return float(score_map.mean() if self.config.model.score == "mean" else score_map.max())


class RebuildScorer(Scorer):
    """The scorer of a network that rebuilds its picture, and shows what it rebuilt."""

    def reference(self, image: np.ndarray, found: Any) -> np.ndarray:
        """The reconstruction at the image's own size."""
        made = self.model.rebuild(centred(jnp.asarray(self.task.views.cut(image))))
        parts = np.moveaxis(np.asarray(made), -1, 0)
        joined = np.stack([self.task.views.join(part, image.shape[:2]) for part in parts], axis=-1)
        return np.rint(np.clip(127.5 * (joined + 1), 0, 255)).astype(np.uint8)


def centred(pictures: jax.Array) -> jax.Array:
    """uint8 to float32 in [-1, 1]."""
    return pictures.astype(jnp.float32) / 127.5 - 1


def ssim(a: jax.Array, b: jax.Array, value_range: float) -> jax.Array:
    """Structural similarity of two pictures [b, h, w, c] at every pixel, in a box (Wang 2004, eq. 13).

    Their values lie between 0 and value_range.
    """
    c1, c2 = (0.01 * value_range) ** 2, (0.03 * value_range) ** 2

    def mean(x: jax.Array) -> jax.Array:
        return box_average(x, SSIM_SIDE)

    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
    both = mean(a * b) - mean_a * mean_b
    top = (2 * mean_a * mean_b + c1) * (2 * both + c2)
    return top / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
