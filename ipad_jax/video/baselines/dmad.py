"""DMAD, *Diversity-Measurable Anomaly Detection* (Liu et al., CVPR 2023), with its deformation module (PDM).

Predicts a frame from the four before it. An autoencoder whose latent is replaced by its nearest of K
prototypes (vector quantisation: information compression) draws a reference, the pyramid deformation
module (deformation.py) bends it twice, and a mask lays it over a fixed background. How far it had
to be bent joins the score. Read in the public code, FlappyPeggy/DMAD, DMAD-PDM: model/
final_future_prediction_ped2.py for layers and losses, Train_ped2.py for K = 200, 256 channels, the rate.

Where ours differs: (1) the background is a running mean of the training frames; the code starts from a
picture made beforehand and fits it by its squared error at 50 and then 20 times the rate, whose optimum
is the same mean. IPAD says of its DMAD row only that it "includes background annotation". (2) Offsets are
in pixels of the prepared size; the code's are the same up to (w - 1) / w. (3) The positions given to
CoordConv follow the latent at every size, where the code has those of 256 x 256. (4) The published score
adds per-video min-max values of the largest offset (0.2; on Ped2 of its vertical part), the mean absolute
error (0.4) and the largest error of gradients (0.6), smoothed over 11 frames; here the largest offset is
the component `deformation`, and the frame's PSNR and largest pooled error stand for the others,
standardised on normal footage, unsmoothed. (5) The code keeps the epoch that does best on its TEST set; we
keep the last. (6) Any clip of more than four frames gives a prediction for each frame after the fourth.
"""

import dataclasses
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from ipad_jax.nn.conv2d import max_pool2, warp
from ipad_jax.nn.conv_layers import Conv2d, ConvTranspose2d, batch_norm
from ipad_jax.video.baselines.deformation import (
    COARSE_BOX,
    FINE_BOX,
    CoordConv,
    OffsetNet,
    length,
    roughness,
)
from ipad_jax.video.baselines.next_frame import CONTEXT, check_sizes, stack_context
from ipad_jax.video.baselines.picture_losses import signed_gradient_loss

STRIDE = 8  # sides of the picture over those of the latent
SLOWEST = 0.01  # share of a batch in the running background, at least; our choice


@dataclasses.dataclass(frozen=True)
class DmadConfig:
    """Channels and prototypes.

    Raises:
        ValueError: a clip of four frames or fewer, a picture that 8 does not divide, odd channels.
    """

    clip_len: int = 5  # frames; Train_ped2.py: four and the one to predict
    image_size: tuple[int, int] = (256, 256)  # pixels (h, w); Train_ped2.py
    channels: int = 256  # of the latent, of which the other layers have parts; --dim
    num_prototypes: int = 200  # K; --msize
    dtype: str = "float32"  # of the convolutions

    def __post_init__(self):
        check_sizes(self.clip_len, self.image_size, STRIDE)
        if self.channels < 8 or self.channels % 8:
            raise ValueError(f"model.channels={self.channels} must be a multiple of 8.")
        if self.num_prototypes < 1:
            raise ValueError(f"model.num_prototypes={self.num_prototypes} must be at least 1.")

    @property
    def unscored(self) -> int:
        """Frames at the start of a clip that are not predicted."""
        return CONTEXT

    @property
    def cells(self) -> tuple[int, int]:
        """Positions of the latent (h, w)."""
        return self.image_size[0] // STRIDE, self.image_size[1] // STRIDE

    @classmethod
    def full(cls) -> "DmadConfig":
        """As published for Ped2."""
        return cls()

    @classmethod
    def medium(cls) -> "DmadConfig":
        """Half the channels, for 128x128 on a CPU; our choice."""
        return cls(image_size=(128, 128), channels=128)

    @classmethod
    def small(cls) -> "DmadConfig":
        """The same for 64x64."""
        return dataclasses.replace(cls.medium(), image_size=(64, 64))

    @classmethod
    def debug(cls) -> "DmadConfig":
        """A moment's work, for tests: 32x32."""
        return cls(image_size=(32, 32), channels=16, num_prototypes=8)


class Double(nnx.Module):
    """Two convolutions 3x3, each with BatchNorm and ReLU; `open_end` leaves the second bare."""

    def __init__(
        self,
        cin: int,
        cout: int,
        *,
        cells: tuple[int, int] | None = None,
        open_end: bool = False,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        def conv(a: int, b: int, bias: bool) -> nnx.Module:
            if cells is not None:
                return CoordConv(a, b, cells, dtype=dtype, rngs=rngs)
            return Conv2d(a, b, bias=bias, dtype=dtype, rngs=rngs)

        self.convs = nnx.List([conv(cin, cout, False), conv(cout, cout, open_end)])
        self.norms = nnx.List(batch_norm(cout, rngs=rngs) for _ in range(1 if open_end else 2))

    def __call__(self, x: jax.Array) -> jax.Array:
        for conv, norm in zip(self.convs, self.norms):
            x = jax.nn.relu(norm(conv(x)))
        return x if len(self.norms) == 2 else self.convs[1](x)


class Up(nnx.Module):
    """Twice the size: [n, h, w, cin] -> [n, 2h, 2w, cout]."""

    def __init__(self, cin: int, cout: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.conv = ConvTranspose2d(cin, cout, 3, bias=False, dtype=dtype, rngs=rngs)
        self.norm = batch_norm(cout, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return jax.nn.relu(self.norm(self.conv(x)))


class Triple(nnx.Module):
    """Two convolutions with BatchNorm and ReLU, a third to three colours: float32, without bound."""

    def __init__(self, cin: int, channels: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.double = Double(cin, channels, dtype=dtype, rngs=rngs)
        self.last = Conv2d(channels, 3, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.last(self.double(x)).astype(jnp.float32)


class Encoder(nnx.Module):
    """Call: stacked frames [n, h, w, 12] -> latent, two narrow skips (h/4 and h/8), mask [n, h, w, 3].

    No gradient flows from the skips into the layers that they branch off, as in the code.
    """

    def __init__(self, cfg: DmadConfig, *, rngs: nnx.Rngs):
        dtype, c = jnp.dtype(cfg.dtype), cfg.channels
        sizes = (3 * CONTEXT, c // 8, c // 4, c // 2, c)
        self.blocks = nnx.List(
            Double(a, b, open_end=b == c, dtype=dtype, rngs=rngs)
            for a, b in itertools.pairwise(sizes)
        )
        self.skips = nnx.List(Double(a, c // 8, dtype=dtype, rngs=rngs) for a in (c // 2, c))
        self.mask_up = Up(c // 4, c // 8, dtype=dtype, rngs=rngs)
        self.mask = Triple(c // 4, c // 8, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array], jax.Array]:
        maps = []
        for place, block in enumerate(self.blocks):
            x = block(max_pool2(x) if place else x)
            maps.append(x)
        first, second = (skip(jax.lax.stop_gradient(x)) for skip, x in zip(self.skips, maps[2:]))
        mask = self.mask(jnp.concatenate([self.mask_up(maps[1]), maps[0]], axis=-1))
        return maps[3].astype(jnp.float32), (first, second), jax.nn.sigmoid(mask)


class Decoder(nnx.Module):
    """Call: quantised latent [n, h/8, w/8, c] and skips -> reference [n, h, w, 3] in [-1, 1]."""

    def __init__(self, cfg: DmadConfig, *, rngs: nnx.Rngs):
        dtype, c = jnp.dtype(cfg.dtype), cfg.channels
        skip = c // 8
        sizes = ((c + skip, c), (c // 2 + skip, c // 2), (c // 4, c // 4))
        self.blocks = nnx.List(
            Double(a, b, cells=cfg.cells, dtype=dtype, rngs=rngs) for a, b in sizes
        )
        self.ups = nnx.List(Up(b, b // 2, dtype=dtype, rngs=rngs) for _, b in sizes)
        self.last = Triple(c // 8, c // 8, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array, skips: tuple[jax.Array, jax.Array]) -> jax.Array:
        beside = (skips[1], skips[0], None)
        for block, up, skip in zip(self.blocks, self.ups, beside):
            x = up(block(x if skip is None else jnp.concatenate([x, skip], axis=-1)))
        return jnp.tanh(self.last(x))


class Quantizer(nnx.Module):
    """Replaces each vector by its nearest prototype; gradients pass as if it had not (van den Oord 2017).

    Call: [n, h, w, c] float32 -> the same, and the squared distance's two losses: of the latent from its
    prototype (commitment), of the prototype from its latent.
    """

    def __init__(self, cfg: DmadConfig, *, rngs: nnx.Rngs):
        bound = 1 / cfg.num_prototypes  # VectorQuantizer
        shape = (cfg.num_prototypes, cfg.channels)
        self.prototypes = nnx.Param(
            jax.random.uniform(rngs.params(), shape, jnp.float32, -bound, bound)
        )

    def __call__(self, latent: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        prototypes = self.prototypes[...]
        # the latent's own square is the same for all
        distance = jnp.sum(jnp.square(prototypes), axis=1)[None] - 2 * (
            latent.reshape(-1, latent.shape[-1]) @ prototypes.T
        )
        nearest = prototypes[jnp.argmin(distance, axis=-1)].reshape(latent.shape)
        stop = jax.lax.stop_gradient
        commitment = jnp.mean(jnp.square(stop(nearest) - latent))
        return (
            latent + stop(nearest - latent),
            commitment,
            jnp.mean(jnp.square(nearest - stop(latent))),
        )


class Background(nnx.Module):
    """Mean picture of the training's frames, [h, w, 3] in [-1, 1]; fixed in the inference view.

    Call: frames [b, t, h, w, 3] -> [h, w, 3], without gradient.
    """

    def __init__(self, size: tuple[int, int]):
        self.picture = nnx.BatchStat(jnp.zeros((*size, 3)))
        self.num_batches = nnx.BatchStat(jnp.zeros(()))
        self.use_running_average = False

    def __call__(self, frames: jax.Array) -> jax.Array:
        if not self.use_running_average:
            count = self.num_batches[...] + 1
            share = jnp.maximum(1 / count, SLOWEST)  # the plain mean at first
            mean = jax.lax.stop_gradient(frames.mean(axis=(0, 1)))
            self.picture[...] = self.picture[...] + share * (mean - self.picture[...])
            self.num_batches[...] = count
        return self.picture[...]

    def set_view(self, use_running_average: bool | None = None) -> None:
        """Let `nnx.view` switch it."""
        if use_running_average is not None:
            self.use_running_average = use_running_average


class DmadOutput(NamedTuple):
    """What the network makes of a batch of clips; s = t - 4 frames of each, n = b * s."""

    frames: jax.Array  # float32 [b, s, h, w, 3] in [-1, 1]: the reference, bent twice
    coarse: jax.Array  # the same, bent by the coarse offsets only
    coarse_offset: jax.Array  # float32 [n, h, w, 2] pixels
    fine_offset: jax.Array  # the same
    commitment: jax.Array  # float32 []
    quantisation: jax.Array  # float32 []

    @property
    def deformation(self) -> jax.Array:
        """Length of the coarse offsets, float32 [b, s, h, w] in pixels: what the code's score takes."""
        return length(self.coarse_offset).reshape(self.frames.shape[:-1])


class Dmad(nnx.Module):
    """Call: clip [b, t, h, w, 3] float in [-1, 1], t > 4 -> DmadOutput."""

    def __init__(self, cfg: DmadConfig, *, rngs: nnx.Rngs):
        self.encoder = Encoder(cfg, rngs=rngs)
        self.quantizer = Quantizer(cfg, rngs=rngs)
        self.decoder = Decoder(cfg, rngs=rngs)
        self.offsets = OffsetNet(
            3 * CONTEXT, cfg.channels // 4, cfg.cells, dtype=jnp.dtype(cfg.dtype), rngs=rngs
        )
        self.background = Background(cfg.image_size)

    def __call__(self, clip: jax.Array, rngs: nnx.Rngs | None = None) -> DmadOutput:
        b, t, h, w, _ = clip.shape
        before = stack_context(clip[:, :-1])
        background = self.background(clip)[None]
        coarse_offset, fine_offset = self.offsets(before)
        latent, skips, mask = self.encoder(before)
        latent, commitment, quantisation = self.quantizer(latent)
        drawn = jnp.concatenate([self.decoder(latent, skips), mask], axis=-1)

        def lay_over(x: jax.Array) -> jax.Array:
            picture, mask = x[..., :3], x[..., 3:]
            return (picture * mask + (1 - mask) * background).reshape(b, t - CONTEXT, h, w, 3)

        coarse = warp(drawn, coarse_offset)
        fine = warp(coarse, fine_offset)
        return DmadOutput(
            lay_over(fine), lay_over(coarse), coarse_offset, fine_offset, commitment, quantisation
        )


def dmad_loss(
    output: DmadOutput,
    clip: jax.Array,
    *,
    gradient_weight: float,
    quantisation_weight: float,
    commitment_weight: float,
    deformation_weight: float,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Error and gradients of both stages, quantisation, and the offsets' length and roughness.

    Offsets count in units of half a picture's width, as in the code.
    """
    true = clip[:, CONTEXT:].reshape(-1, *clip.shape[2:])
    fine, coarse = (x.reshape(true.shape) for x in (output.frames, output.coarse))
    unit = 2 / clip.shape[3]
    terms = {
        "mse": jnp.mean(jnp.square(fine - true)),
        "coarse_mse": jnp.mean(jnp.square(coarse - true)),
        "gradient": signed_gradient_loss(fine, true) + signed_gradient_loss(coarse, true),
        "quantisation": output.quantisation,
        "commitment": output.commitment,
        "deformation": unit
        * (
            jnp.mean(length(output.coarse_offset))
            + jnp.mean(length(output.fine_offset))
            + roughness(output.coarse_offset, COARSE_BOX)
            + roughness(output.fine_offset, FINE_BOX)
        ),
    }
    weights = {
        "gradient": gradient_weight,
        "quantisation": quantisation_weight,
        "commitment": commitment_weight,
        "deformation": deformation_weight,
    }
    return sum((weights.get(k, 1.0) * x for k, x in terms.items()), jnp.zeros(())), terms
