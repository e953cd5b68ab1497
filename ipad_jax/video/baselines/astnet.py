"""ASTNet, *Attention-based Residual Autoencoder for Video Anomaly Detection* (Le and Kim, 2023).

Predicts a frame from the four before it. Each goes through a WiderResNet-38; the maps of the four are
stacked on the channels and mixed by 1x1 convolutions; a part of the deepest is shifted in time (temporal
shift); three transposed convolutions lead back, each followed by channel attention, with the backbone's
shallower maps beside them. Read in the public code, vt-le/astnet, models/wresnet1024_cattn_tsm.py, the
variant of Ped2 (the others attend by residual blocks and stop at the backbone's module 6); losses and
their equal weights in utils/loss_util.py and train.py: MSE + gradient + (1 - MS-SSIM) / 2 + root of the MSE.

Where ours differs: (1) the paper's backbone is pretrained on ImageNet. `init_from=FILE` loads those weights
(wider_resnet_weights.py, never run with the published file); without it the backbone is trained
with the rest, from noise, at the same rate. (2) Frames go through the backbone as one batch, so
BatchNorm's statistics are over all four. (3) Frames stay square at the prepared size; the code takes
224x288 (Ped2) and 192x288. (4) The rate is constant, the code halves it at 2/3 and 5/6 of its epochs.
(5) Any clip of more than four frames gives a prediction for each frame after the fourth.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from ipad_jax.nn.conv_layers import KAIMING_INIT, Conv2d, ConvTranspose2d, batch_norm
from ipad_jax.video.baselines.next_frame import CONTEXT, check_sizes, stack_context
from ipad_jax.video.baselines.picture_losses import gradient_loss, ms_ssim
from ipad_jax.video.baselines.wider_resnet import STRIDE, WiderResNet, WiderResNetConfig

FOLD = 16  # one of so many channels is shifted in time; n_div
REDUCTION = 16  # channels over those inside the attention
EPSILON = 1e-8  # under the root; L2Loss
# A product of its fails a check in XLA's tiling for Triton, which ends the process (an H100, JAX 0.11.2)
COMPILER_OPTIONS = {"gpu": {"xla_gpu_enable_triton_gemm": False}}


@dataclasses.dataclass(frozen=True)
class AstNetConfig:
    """Width and depth; the decoder's channels follow from the backbone's.

    Raises:
        ValueError: a clip of four frames or fewer, a picture that 8 does not divide, too small a width.
    """

    clip_len: int = 5  # frames; NUM_FRAMES
    image_size: tuple[int, int] = (256, 256)  # pixels (h, w); IPAD sec. 5.2, the code's are above
    width: int = 64  # channels of the first convolution; wider_resnet.py
    blocks: tuple[int, ...] = (3, 3, 6, 3, 1, 1)  # of the backbone's modules; WiderResNet-38
    dtype: str = "float32"  # of the convolutions

    def __post_init__(self):
        check_sizes(self.clip_len, self.image_size, STRIDE)
        if self.width < 4 or self.width % 2:
            raise ValueError(
                f"model.width={self.width} must be even and at least 4: the attention keeps one channel "
                f"of {REDUCTION}."
            )
        _ = self.backbone

    @property
    def unscored(self) -> int:
        """Frames at the start of a clip that are not predicted."""
        return CONTEXT

    @property
    def backbone(self) -> WiderResNetConfig:
        """The backbone's own configuration."""
        return WiderResNetConfig(self.width, self.blocks, self.dtype)

    @classmethod
    def full(cls) -> "AstNetConfig":
        """As published."""
        return cls()

    @classmethod
    def medium(cls) -> "AstNetConfig":
        """Three sixteenths of the width, one block a module: our model's work at 128x128; our choice."""
        return cls(image_size=(128, 128), width=12, blocks=(1,) * 6)

    @classmethod
    def small(cls) -> "AstNetConfig":
        """An eighth of the width, for 64x64."""
        return dataclasses.replace(cls.medium(), image_size=(64, 64), width=8)

    @classmethod
    def debug(cls) -> "AstNetConfig":
        """A moment's work, for tests: 32x32."""
        return cls(image_size=(32, 32), width=4, blocks=(1,) * 6)


def temporal_shift(x: jax.Array) -> jax.Array:
    """Moves one channel of 16 of each of four groups to the group before; the last's become 0.

    After the 1x1 convolution the groups are no longer frames, but the code shifts them as if they were.

    Args:
        x: [n, h, w, c], c a multiple of 64.
    """
    groups = x.reshape(*x.shape[:-1], CONTEXT, x.shape[-1] // CONTEXT)
    fold = groups.shape[-1] // FOLD
    moved = jnp.concatenate([groups[..., 1:, :fold], jnp.zeros_like(groups[..., :1, :fold])], -2)
    return jnp.concatenate([moved, groups[..., fold:]], axis=-1).reshape(x.shape)


class ChannelAttention(nnx.Module):
    """Scales each channel by what all channels' means say: [n, h, w, c] -> [n, h, w, c]."""

    def __init__(self, channels: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        inside = max(1, channels // REDUCTION)
        self.reduce = Conv2d(channels, inside, 1, init=KAIMING_INIT, dtype=dtype, rngs=rngs)
        self.expand = Conv2d(inside, channels, 1, init=KAIMING_INIT, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        mean = jnp.mean(x.astype(jnp.float32), axis=(1, 2), keepdims=True)
        return x * jax.nn.sigmoid(self.expand(jax.nn.relu(self.reduce(mean)))).astype(x.dtype)


class AttentionUp(nnx.Module):
    """Twice the size, then attention: [n, h, w, cin] -> [n, 2h, 2w, cout]."""

    def __init__(self, cin: int, cout: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.up = ConvTranspose2d(
            cin, cout, 2, bias=False, init=KAIMING_INIT, dtype=dtype, rngs=rngs
        )
        self.norm = batch_norm(cout, rngs=rngs)
        self.attention = ChannelAttention(cout, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.attention(jax.nn.relu(self.norm(self.up(x))))


class FrameHead(nnx.Module):
    """The last three convolutions: [n, h, w, cin] -> float32 [n, h, w, 3], without bound."""

    def __init__(self, cin: int, channels: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.convs = nnx.List(
            Conv2d(a, b, side, bias=False, init=KAIMING_INIT, dtype=dtype, rngs=rngs)
            for a, b, side in ((cin, channels, 1), (channels, channels, 3), (channels, 3, 3))
        )
        self.norms = nnx.List(batch_norm(channels, rngs=rngs) for _ in range(2))

    def __call__(self, x: jax.Array) -> jax.Array:
        for conv, norm in zip(self.convs, self.norms):
            x = jax.nn.relu(norm(conv(x)))
        return self.convs[2](x).astype(jnp.float32)


class AstNetOutput(NamedTuple):
    """What the network makes of a batch of clips."""

    frames: (
        jax.Array
    )  # float32 [b, t - 4, h, w, 3], near [-1, 1]: the clip's frames from the fifth on


class AstNet(nnx.Module):
    """Call: clip [b, t, h, w, 3] float in [-1, 1], t > 4, rngs with a `dropout` stream -> AstNetOutput."""

    def __init__(self, cfg: AstNetConfig, *, rngs: nnx.Rngs):
        w, dtype = cfg.width, jnp.dtype(cfg.dtype)
        self.encoder = WiderResNet(cfg.backbone, rngs=rngs)

        def mix(cin: int, cout: int) -> Conv2d:
            return Conv2d(
                CONTEXT * cin, cout, 1, bias=False, init=KAIMING_INIT, dtype=dtype, rngs=rngs
            )

        self.mix = nnx.List([mix(2 * w, 2 * w), mix(4 * w, 4 * w), mix(64 * w, 32 * w)])
        self.up8 = AttentionUp(32 * w, 16 * w, dtype=dtype, rngs=rngs)
        self.up4 = AttentionUp(16 * w + 4 * w, 8 * w, dtype=dtype, rngs=rngs)
        self.up2 = AttentionUp(8 * w + 2 * w, 4 * w, dtype=dtype, rngs=rngs)
        self.head = FrameHead(4 * w, 2 * w, dtype=dtype, rngs=rngs)

    def __call__(self, clip: jax.Array, rngs: nnx.Rngs | None = None) -> AstNetOutput:
        b, t, h, w, _ = clip.shape

        def stack(x: jax.Array, mix: Conv2d) -> jax.Array:
            """Maps of four frames in a row on the channels: [b * (t - 1), ...] -> [b * (t - 4), ...]."""
            return mix(stack_context(x.reshape(b, t - 1, *x.shape[1:])))

        # without the last frame, which is only predicted: the normalisation must not see it
        maps = self.encoder(clip[:, :-1].reshape(b * (t - 1), h, w, 3), rngs=rngs)
        half, quarter, deep = (stack(x, mix) for x, mix in zip(maps, self.mix))
        x = self.up8(deep + temporal_shift(deep))
        x = self.up4(jnp.concatenate([quarter, x], axis=-1))
        x = self.up2(jnp.concatenate([half, x], axis=-1))
        return AstNetOutput(self.head(x).reshape(b, t - CONTEXT, h, w, 3))


def astnet_loss(
    output: AstNetOutput,
    clip: jax.Array,
    *,
    gradient_weight: float,
    similarity_weight: float,
    root_weight: float,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """MSE, gradients, MS-SSIM and the root of the MSE of the predicted frames, and these terms."""
    true = clip[:, CONTEXT:].reshape(-1, *clip.shape[2:])
    made = output.frames.reshape(true.shape)
    mse = jnp.mean(jnp.square(made - true))
    terms = {
        "mse": mse,
        "gradient": gradient_loss(made, true),
        "dissimilarity": (1 - ms_ssim(made, true)) / 2,
        "root": jnp.sqrt(mse + EPSILON),
    }
    loss = (
        mse
        + gradient_weight * terms["gradient"]
        + similarity_weight * terms["dissimilarity"]
        + root_weight * terms["root"]
    )
    return loss, terms
