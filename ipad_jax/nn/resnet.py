"""ResNet, ResNeXt and Wide ResNet without their classifier (He et al. 2015; Xie et al. 2016; Zagoruyko 2016).

Semantics and names of arrays follow torchvision, models/resnet.py: the stride of a bottleneck is in its
3x3 convolution, padding is PyTorch's. `resnet_weights.py` reads published weights.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from ipad_jax.nn.conv2d import max_pool3
from ipad_jax.nn.conv_layers import Conv2d, batch_norm
from ipad_jax.nn.dot import check_dtype

STEM_CHANNELS = 64
EXPANSION = {"basic": 1, "bottleneck": 4}  # output channels of a block over its inner ones
# torchvision's start of a convolution: Kaiming, fan out.
CONV_INIT = nnx.initializers.variance_scaling(2.0, "fan_out", "normal")


@dataclasses.dataclass(frozen=True)
class ResNetConfig:
    """Sizes of a ResNet.

    Raises:
        ValueError: a size that cannot be built, naming the field.
    """

    block: str = "basic"  # or "bottleneck"
    depths: tuple[int, ...] = (
        2,
        2,
        2,
        2,
    )  # blocks a stage; fewer than four stages leave the last ones out
    width_per_group: int = 64  # inner channels of a bottleneck's group for 64 of the stage
    groups: int = 1  # of the 3x3 convolution in a bottleneck
    dtype: str = "float32"  # of the products; BatchNorm is float32

    def __post_init__(self):
        object.__setattr__(self, "depths", tuple(self.depths))
        if self.block not in EXPANSION:
            raise ValueError(f"ResNetConfig.block={self.block!r} must be one of {list(EXPANSION)}.")
        if not 1 <= len(self.depths) <= 4 or any(n < 1 for n in self.depths):
            raise ValueError(
                f"ResNetConfig.depths={self.depths} must be one to four numbers of at least 1."
            )
        if self.groups < 1 or self.width_per_group < 1:
            raise ValueError(
                f"ResNetConfig: groups={self.groups} and width_per_group={self.width_per_group} must be "
                "at least 1."
            )
        if self.block == "basic" and (self.groups, self.width_per_group) != (1, 64):
            raise ValueError(
                f"ResNetConfig: a basic block has groups=1 and width_per_group=64, got {self.groups} and "
                f"{self.width_per_group}; take block='bottleneck'."
            )
        check_dtype("ResNetConfig.dtype", self.dtype)

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels that the stages give."""
        return tuple(64 * 2**stage * EXPANSION[self.block] for stage in range(len(self.depths)))

    @classmethod
    def resnet18(cls, stages: int = 4) -> "ResNetConfig":
        return cls("basic", (2, 2, 2, 2)[:stages])

    @classmethod
    def resnet34(cls, stages: int = 4) -> "ResNetConfig":
        return cls("basic", (3, 4, 6, 3)[:stages])

    @classmethod
    def resnet50(cls, stages: int = 4) -> "ResNetConfig":
        return cls("bottleneck", (3, 4, 6, 3)[:stages])

    @classmethod
    def wide_resnet50_2(cls, stages: int = 4) -> "ResNetConfig":
        return cls("bottleneck", (3, 4, 6, 3)[:stages], width_per_group=128)


class Downsample(nnx.Module):
    """Shortcut where the shape changes: 1x1 convolution and BatchNorm."""

    def __init__(self, cin: int, cout: int, stride: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.conv = Conv2d(
            cin, cout, 1, stride=stride, bias=False, init=CONV_INIT, dtype=dtype, rngs=rngs
        )
        self.bn = batch_norm(cout, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.bn(self.conv(x))


class Block(nnx.Module):
    """Two 3x3 convolutions, or 1x1, 3x3, 1x1, each with BatchNorm, and a shortcut around them.

    Call: [b, h, w, cin] -> [b, ceil(h / stride), ceil(w / stride), planes * EXPANSION].
    """

    def __init__(self, cfg: ResNetConfig, cin: int, planes: int, stride: int, *, rngs: nnx.Rngs):
        dtype, cout = jnp.dtype(cfg.dtype), planes * EXPANSION[cfg.block]

        def conv(cin: int, cout: int, side: int, stride: int = 1, groups: int = 1) -> Conv2d:
            return Conv2d(
                cin, cout, side, stride=stride, groups=groups, bias=False, init=CONV_INIT,
                dtype=dtype, rngs=rngs,
            )  # fmt: skip

        if cfg.block == "basic":
            convs = [conv(cin, planes, 3, stride), conv(planes, cout, 3)]
            channels = [planes, cout]
        else:
            inner = planes * cfg.width_per_group // 64 * cfg.groups
            convs = [
                conv(cin, inner, 1),
                conv(inner, inner, 3, stride, cfg.groups),
                conv(inner, cout, 1),
            ]
            channels = [inner, inner, cout]
        self.convs = nnx.List(convs)
        self.norms = nnx.List(batch_norm(c, rngs=rngs) for c in channels)
        changed = stride != 1 or cin != cout
        self.downsample = nnx.data(
            Downsample(cin, cout, stride, dtype=dtype, rngs=rngs) if changed else None
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        shortcut = x if self.downsample is None else self.downsample(x)
        for number, (conv, norm) in enumerate(zip(self.convs, self.norms), start=1):
            x = norm(conv(x))
            if number < len(self.convs):
                x = jax.nn.relu(x)
        return jax.nn.relu(x + shortcut)


class ResNet(nnx.Module):
    """Stem and stages.

    Call: images [b, h, w, 3] float, normalised as the weights want it -> a tuple with each stage's output
    [b, h', w', cfg.channels[stage]], sides h and w over 4, 8, 16, 32, rounded up at each halving.
    BatchNorm takes the batch's statistics unless the view has use_running_average=True.
    """

    def __init__(self, cfg: ResNetConfig, *, rngs: nnx.Rngs):
        self.cfg = cfg
        self.conv1 = Conv2d(
            3, STEM_CHANNELS, 7, stride=2, bias=False, init=CONV_INIT,
            dtype=jnp.dtype(cfg.dtype), rngs=rngs,
        )  # fmt: skip
        self.bn1 = batch_norm(STEM_CHANNELS, rngs=rngs)
        cin, stages = STEM_CHANNELS, []
        for stage, (depth, cout) in enumerate(zip(cfg.depths, cfg.channels)):
            blocks = []
            for number in range(depth):
                stride = 2 if stage and number == 0 else 1
                blocks.append(Block(cfg, cin, 64 * 2**stage, stride, rngs=rngs))
                cin = cout
            stages.append(nnx.List(blocks))
        self.stages = nnx.List(stages)

    def __call__(self, images: jax.Array) -> tuple[jax.Array, ...]:
        if images.ndim != 4 or images.shape[-1] != 3:
            raise ValueError(f"ResNet: images have shape {images.shape}, expected [b, h, w, 3].")
        x = max_pool3(jax.nn.relu(self.bn1(self.conv1(images))))
        found = []
        for blocks in self.stages:
            for block in blocks:
                x = block(x)
            found.append(x)
        return tuple(found)
