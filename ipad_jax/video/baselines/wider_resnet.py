"""WiderResNet, variant A2: ASTNet's backbone (Wu et al. 2016; in the form of Rota Bulò et al. 2018).

Reference: vt-le/astnet, models/wider_resnet.py (`wider_resnet38_a2`, dilation on). Seven modules of
residual blocks with BatchNorm and ReLU before their convolutions. Two poolings and one stride
make the map an eighth of the picture; the later modules are dilated by 2 and 4 instead. Published ImageNet
weights load through wider_resnet_weights.py.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from ipad_jax.nn.conv2d import max_pool3
from ipad_jax.nn.conv_layers import KAIMING_INIT, Conv2d, batch_norm

DROPOUT = {6: 0.3, 7: 0.5}  # of whole channels, by module; wider_resnet.py
STRIDE = 8  # sides of the picture over those of the last map


@dataclasses.dataclass(frozen=True)
class WiderResNetConfig:
    """Blocks and width.

    Raises:
        ValueError: other than six numbers of blocks, each at least 1.
    """

    width: int = 64  # channels of the first convolution; the last module has 64 times as many
    blocks: tuple[int, ...] = (3, 3, 6, 3, 1, 1)  # of modules 2 to 7: WiderResNet-38
    dtype: str = "float32"

    def __post_init__(self):
        if len(self.blocks) != 6 or any(n < 1 for n in self.blocks) or self.width < 1:
            raise ValueError(
                f"model.blocks={self.blocks} must be six numbers of at least 1, model.width={self.width} "
                "at least 1."
            )

    @property
    def channels(self) -> tuple[tuple[int, ...], ...]:
        """Channels inside a block of modules 2 to 7: two convolutions 3x3, or 1x1, 3x3, 1x1."""
        w = self.width
        return (
            (2 * w, 2 * w),
            (4 * w, 4 * w),
            (8 * w, 8 * w),
            (8 * w, 16 * w),
            (8 * w, 16 * w, 32 * w),
            (16 * w, 32 * w, 64 * w),
        )


class ResidualBlock(nnx.Module):
    """BatchNorm and ReLU before every convolution: [n, h, w, cin] -> [n, h/s, w/s, channels[-1]]."""

    def __init__(
        self,
        cin: int,
        channels: tuple[int, ...],
        *,
        stride: int,
        dilation: int,
        dropout: float,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        self.bn1 = batch_norm(cin, rngs=rngs)
        sides = (3, 3) if len(channels) == 2 else (1, 3, 1)
        sizes = (cin, *channels)
        self.convs = nnx.List(
            Conv2d(
                sizes[i], sizes[i + 1], side, stride=stride if i == 0 else 1, bias=False,
                dilation=dilation if side == 3 else 1, init=KAIMING_INIT, dtype=dtype, rngs=rngs,
            )
            for i, side in enumerate(sides)
        )  # fmt: skip
        self.norms = nnx.List(batch_norm(c, rngs=rngs) for c in channels[:-1])
        self.dropout = nnx.Dropout(dropout, broadcast_dims=(1, 2))
        self.proj_conv = nnx.data(None)
        if stride != 1 or cin != channels[-1]:
            self.proj_conv = Conv2d(
                cin, channels[-1], 1, stride=stride, bias=False, init=KAIMING_INIT, dtype=dtype,
                rngs=rngs,
            )  # fmt: skip

    def __call__(self, x: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        out = jax.nn.relu(self.bn1(x))
        shortcut = x if self.proj_conv is None else self.proj_conv(out)
        out = self.convs[0](out)
        for place, (norm, conv) in enumerate(zip(self.norms, list(self.convs)[1:]), start=1):
            out = jax.nn.relu(norm(out))
            if place == len(self.norms):
                out = self.dropout(out, rngs=rngs)
            out = conv(out)
        return out + shortcut


class WiderResNet(nnx.Module):
    """Call: frames [n, h, w, 3] -> maps of modules 2, 3 and 7.

    Their sides are h and w over 2, 4 and 8, their channels 2, 4 and 64 times the width.
    """

    def __init__(self, cfg: WiderResNetConfig, *, rngs: nnx.Rngs):
        dtype = jnp.dtype(cfg.dtype)
        self.mod1 = Conv2d(3, cfg.width, bias=False, init=KAIMING_INIT, dtype=dtype, rngs=rngs)
        cin, stages = cfg.width, []
        for number, (count, channels) in enumerate(zip(cfg.blocks, cfg.channels), start=2):
            blocks = []
            for block in range(count):
                blocks.append(
                    ResidualBlock(
                        cin,
                        channels,
                        stride=2 if number == 4 and block == 0 else 1,
                        dilation={5: 2, 6: 4, 7: 4}.get(number, 1),
                        dropout=DROPOUT.get(number, 0.0),
                        dtype=dtype,
                        rngs=rngs,
                    )
                )
                cin = channels[-1]
            stages.append(nnx.List(blocks))
        self.stages = nnx.List(stages)

    def __call__(
        self, frames: jax.Array, rngs: nnx.Rngs | None = None
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        x, maps = self.mod1(frames), []
        for number, blocks in enumerate(self.stages, start=2):
            if number <= 3:
                x = max_pool3(x)
            for block in blocks:
                x = block(x, rngs=rngs)
            maps.append(x)
        return maps[0], maps[1], maps[-1]
