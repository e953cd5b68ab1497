"""conAE, the convolutional autoencoder of IPAD's Table 2.

The table cites Hasan et al. 2016, *Learning Temporal Regularity in Video Sequences*; what IPAD's own code
runs under `--model conAE` (model/autoencoder.py, model/reconstruction_model.py) is the 3-D autoencoder of
MemAE without its memory and with a tanh at the end: that is what stands here. Four convolutions of
kernel 3 (96, 128, 256, 256 channels; h and w halved by each, t by the last three), each with BatchNorm
and LeakyReLU 0.2, and the same back with transposed ones, which `decoder.Decoder` has already.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from ipad_jax.nn.conv3d import Strides
from ipad_jax.nn.conv_layers import Conv3d, batch_norm
from ipad_jax.video.ipad.decoder import LEAKY_SLOPE, Decoder, DecoderConfig
from ipad_jax.video.ipad.losses import reconstruction_loss


@dataclasses.dataclass(frozen=True)
class ConvAutoencoderConfig:
    """Channels and strides of the encoder's layers; the decoder mirrors them.

    Raises:
        ValueError: lengths that differ, or a clip that the strides do not divide.
    """

    clip_len: int = 16  # frames; script_training.py of MemAE, IPAD sec. 5.2
    image_size: tuple[int, int] = (256, 256)  # pixels (h, w); IPAD sec. 5.2
    channels: tuple[int, ...] = (96, 128, 256, 256)  # reconstruction_model.py of IPAD's code
    strides: tuple[Strides, ...] = ((1, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2))  # t, h, w; the same
    dtype: str = "float32"  # of the convolutions

    def __post_init__(self):
        if len(self.channels) != len(self.strides) or not self.channels:
            raise ValueError(
                f"model.channels={self.channels} and model.strides={self.strides} must have one entry "
                "for each layer of the encoder."
            )
        for name, length, factor in zip(
            ("clip_len", "image height", "image width"),
            (self.clip_len, *self.image_size),
            self.decoder.total_stride,
        ):
            if length % factor:
                raise ValueError(
                    f"model: {name}={length} must be a multiple of {factor}, the product of its strides."
                )

    @property
    def unscored(self) -> int:
        """Every frame of a clip is reconstructed."""
        return 0

    @property
    def decoder(self) -> DecoderConfig:
        """The encoder's layers in reverse."""
        return DecoderConfig(self.channels[-2::-1], self.strides[::-1])

    @classmethod
    def full(cls) -> "ConvAutoencoderConfig":
        """As published."""
        return cls()

    @classmethod
    def medium(cls) -> "ConvAutoencoderConfig":
        """Half the channels, for 128x128 on a CPU; our choice."""
        return cls(image_size=(128, 128), channels=(48, 64, 128, 128))

    @classmethod
    def small(cls) -> "ConvAutoencoderConfig":
        """The same for 64x64."""
        return dataclasses.replace(cls.medium(), image_size=(64, 64))

    @classmethod
    def debug(cls) -> "ConvAutoencoderConfig":
        """A moment's work, for tests: 4 frames of 32x32."""
        return cls(4, (32, 32), channels=(8, 8), strides=((1, 2, 2), (2, 2, 2)))


class Encoder(nnx.Module):
    """Clips to features: [b, t, h, w, 3] -> [b, t', h', w', channels[-1]]."""

    def __init__(self, cfg: ConvAutoencoderConfig, *, rngs: nnx.Rngs):
        sizes = (3, *cfg.channels)
        self.convs = nnx.List(
            Conv3d(cin, cout, strides, dtype=jnp.dtype(cfg.dtype), rngs=rngs)
            for cin, cout, strides in zip(sizes, sizes[1:], cfg.strides)
        )
        self.norms = nnx.List(batch_norm(channels, rngs=rngs) for channels in cfg.channels)

    def __call__(self, x: jax.Array) -> jax.Array:
        for conv, norm in zip(self.convs, self.norms):
            x = jax.nn.leaky_relu(norm(conv(x)), LEAKY_SLOPE)
        return x


class ConvOutput(NamedTuple):
    """What the autoencoder makes of a batch of clips."""

    frames: jax.Array  # float32 [b, t, h, w, 3] in [-1, 1]


class ConvAutoencoder(nnx.Module):
    """Call: clip [b, t, h, w, 3] float in [-1, 1] -> ConvOutput."""

    def __init__(self, cfg: ConvAutoencoderConfig, *, rngs: nnx.Rngs):
        self.encoder = Encoder(cfg, rngs=rngs)
        self.decoder = Decoder(cfg.decoder, cfg.channels[-1], dtype=jnp.dtype(cfg.dtype), rngs=rngs)

    def __call__(self, clip: jax.Array, rngs: nnx.Rngs | None = None) -> ConvOutput:
        return ConvOutput(self.decoder(self.encoder(clip)))


def conv_loss(output: ConvOutput, clip: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Mean squared error (train.py of IPAD's code), and its terms."""
    mse = reconstruction_loss(output.frames, clip)
    return mse, {"mse": mse}
