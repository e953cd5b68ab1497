"""The ConvLSTM autoencoder of the third source, video-anomaly-detection (K. Choksi, 2025).

Its README gives sizes, models/video_autoencoder.py the rest: every frame goes through four blocks of
convolution 3x3, BatchNorm, LeakyReLU 0.2 and a pooling by 2 (32, 64, 128 and 128 channels), the frames'
features through two ConvLSTM layers of 128 channels (Shi et al. 2015, without peepholes), and each
state back to pixels through four transposed convolutions 2x2 with BatchNorm and ReLU, tanh at the end.
2.7M parameters at any picture size.

Deviations: the source keeps the checkpoint that separates its TEST set best; we keep the last one. Its
weight decay of 1e-5 is Adam's old coupled one, ours (`optim.weight_decay`) is decoupled and 0 here.
"""

import dataclasses
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from ipad_jax.nn.conv2d import max_pool2
from ipad_jax.nn.conv_layers import XAVIER_INIT, Conv2d, ConvTranspose2d, batch_norm
from ipad_jax.video.ipad.decoder import LEAKY_SLOPE
from ipad_jax.video.ipad.losses import reconstruction_loss


@dataclasses.dataclass(frozen=True)
class ConvLstmConfig:
    """Channels of the blocks and of the recurrent layers.

    Raises:
        ValueError: a picture that the pooling does not divide, or no layer at all.
    """

    clip_len: int = 16  # frames; README, --sequence-length
    image_size: tuple[int, int] = (256, 256)  # pixels (h, w); README, --image-size
    channels: tuple[int, ...] = (32, 64, 128, 128)  # of the blocks, the last the latent; README
    hidden: tuple[int, ...] = (128, 128)  # of the recurrent layers; README
    dtype: str = "float32"  # of the convolutions

    def __post_init__(self):
        if not self.channels or not self.hidden:
            raise ValueError("model.channels and model.hidden must each name at least one layer.")
        factor = 2 ** len(self.channels)
        if any(side % factor for side in self.image_size):
            raise ValueError(
                f"data.size={self.image_size} must be a multiple of {factor}: "
                f"{len(self.channels)} blocks halve it."
            )

    @property
    def unscored(self) -> int:
        """Every frame of a clip is reconstructed."""
        return 0

    @classmethod
    def full(cls) -> "ConvLstmConfig":
        """As published."""
        return cls()

    @classmethod
    def medium(cls) -> "ConvLstmConfig":
        """Half the channels, for 128x128 on a CPU; our choice."""
        return cls(image_size=(128, 128), channels=(16, 32, 64, 64), hidden=(64, 64))

    @classmethod
    def small(cls) -> "ConvLstmConfig":
        """The same for 64x64."""
        return dataclasses.replace(cls.medium(), image_size=(64, 64))

    @classmethod
    def debug(cls) -> "ConvLstmConfig":
        """A moment's work, for tests: 4 frames of 32x32."""
        return cls(4, (32, 32), channels=(8, 8, 8), hidden=(8,))


class ConvLstmCell(nnx.Module):
    """One step: x [b, h, w, cin], (state, cell) [b, h, w, c] each -> the next (state, cell)."""

    def __init__(self, cin: int, channels: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.channels = channels
        self.gates = Conv2d(cin + channels, 4 * channels, init=XAVIER_INIT, dtype=dtype, rngs=rngs)

    def __call__(
        self, x: jax.Array, carry: tuple[jax.Array, jax.Array]
    ) -> tuple[jax.Array, jax.Array]:
        state, cell = carry
        gates = self.gates(jnp.concatenate([x, state], axis=-1)).astype(jnp.float32)
        enter, keep, value, leave = jnp.split(gates, 4, axis=-1)
        cell = jax.nn.sigmoid(keep) * cell + jax.nn.sigmoid(enter) * jnp.tanh(value)
        return jax.nn.sigmoid(leave) * jnp.tanh(cell), cell

    def states(self, x: jax.Array) -> jax.Array:
        """All states of a sequence that starts from zeros: [b, t, h, w, cin] -> [b, t, h, w, c]."""
        b, _, h, w, _ = x.shape
        zeros = jnp.zeros((b, h, w, self.channels), jnp.float32)

        def step(carry: tuple[jax.Array, jax.Array], x: jax.Array):
            carry = self(x, carry)
            return carry, carry[0]

        _, states = jax.lax.scan(step, (zeros, zeros), x.swapaxes(0, 1).astype(jnp.float32))
        return states.swapaxes(0, 1)


class FrameEncoder(nnx.Module):
    """Frames to features: [n, h, w, 3] -> [n, h / 2^k, w / 2^k, channels[-1]], k blocks."""

    def __init__(self, cfg: ConvLstmConfig, *, rngs: nnx.Rngs):
        dtype, sizes = jnp.dtype(cfg.dtype), (3, *cfg.channels)
        self.convs = nnx.List(
            Conv2d(cin, cout, init=XAVIER_INIT, dtype=dtype, rngs=rngs)
            for cin, cout in itertools.pairwise(sizes)
        )
        self.norms = nnx.List(batch_norm(channels, rngs=rngs) for channels in cfg.channels)

    def __call__(self, x: jax.Array) -> jax.Array:
        for conv, norm in zip(self.convs, self.norms):
            x = max_pool2(jax.nn.leaky_relu(norm(conv(x)), LEAKY_SLOPE))
        return x


class FrameDecoder(nnx.Module):
    """Features to frames: [n, h', w', hidden[-1]] -> [n, h, w, 3] in [-1, 1]."""

    def __init__(self, cfg: ConvLstmConfig, *, rngs: nnx.Rngs):
        dtype = jnp.dtype(cfg.dtype)
        sizes = (cfg.hidden[-1], *cfg.channels[-2::-1], 3)
        self.convs = nnx.List(
            ConvTranspose2d(cin, cout, 2, init=XAVIER_INIT, dtype=dtype, rngs=rngs)
            for cin, cout in itertools.pairwise(sizes)
        )
        self.norms = nnx.List(batch_norm(channels, rngs=rngs) for channels in sizes[1:-1])

    def __call__(self, x: jax.Array) -> jax.Array:
        for conv, norm in zip(list(self.convs)[:-1], self.norms):
            x = jax.nn.relu(norm(conv(x)))
        return jnp.tanh(self.convs[-1](x).astype(jnp.float32))


class ConvLstmOutput(NamedTuple):
    """What the autoencoder makes of a batch of clips."""

    frames: jax.Array  # float32 [b, t, h, w, 3] in [-1, 1]


class ConvLstmAutoencoder(nnx.Module):
    """Call: clip [b, t, h, w, 3] float in [-1, 1] -> ConvLstmOutput; frame t from frames 0..t."""

    def __init__(self, cfg: ConvLstmConfig, *, rngs: nnx.Rngs):
        sizes = (cfg.channels[-1], *cfg.hidden)
        self.encoder = FrameEncoder(cfg, rngs=rngs)
        self.recurrent = nnx.List(
            ConvLstmCell(cin, channels, dtype=jnp.dtype(cfg.dtype), rngs=rngs)
            for cin, channels in itertools.pairwise(sizes)
        )
        self.decoder = FrameDecoder(cfg, rngs=rngs)

    def __call__(self, clip: jax.Array, rngs: nnx.Rngs | None = None) -> ConvLstmOutput:
        b, t = clip.shape[:2]
        x = self.encoder(clip.reshape(b * t, *clip.shape[2:]))
        x = x.reshape(b, t, *x.shape[1:])
        for cell in self.recurrent:
            x = cell.states(x)
        frames = self.decoder(x.reshape(b * t, *x.shape[2:]))
        return ConvLstmOutput(frames.reshape(clip.shape))


def conv_lstm_loss(
    output: ConvLstmOutput, clip: jax.Array
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Mean squared error (train_video.py), and its terms."""
    mse = reconstruction_loss(output.frames, clip)
    return mse, {"mse": mse}
