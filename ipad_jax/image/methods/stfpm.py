"""STFPM: a student learns the teacher's features of good images, and fails where it never saw the like.

Wang et al., "Student-Teacher Feature Pyramid Matching for Anomaly Detection", 2021; public code
gdwang08/STFPM. Deviations: Adam in place of SGD at 0.4, which diverges for small batches. Where the
teacher is no ResNet, the student is a ResNet-18 to layer3 with a 1x1 convolution to each level's channels.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from ipad_jax.image.feature_task import FeatureTask
from ipad_jax.image.features import FrozenBackbone, each_picture, load_backbone
from ipad_jax.image.task import SteppedTask
from ipad_jax.nn.backbones import stages_of
from ipad_jax.nn.conv2d import resize_linear
from ipad_jax.nn.conv_layers import Conv2d
from ipad_jax.nn.resnet import ResNet, ResNetConfig

STRIDES = (4, 8, 16)  # of the student's stages
MEAN, STD = 0.45, 0.225  # of ImageNet, over the channels


class Student(nnx.Module):
    """ResNet-18 to layer3; call: pictures uint8 [b, h, w, 3] -> maps at strides 4, 8, 16.

    Args:
      channels: of the teacher's maps; 64, 128, 256 need no 1x1 convolution.
    """

    def __init__(self, channels: tuple[int, ...], *, rngs: nnx.Rngs):
        config = ResNetConfig.resnet18(len(STRIDES))
        self.network = ResNet(config, rngs=rngs)
        self.heads = nnx.List(
            [
                nnx.data(None if own == wanted else Conv2d(own, wanted, 1, rngs=rngs))
                for own, wanted in zip(config.channels, channels)
            ]
        )

    def __call__(self, pictures: jax.Array) -> list[jax.Array]:
        maps = self.network((pictures.astype(jnp.float32) / 255 - MEAN) / STD)
        return [x if head is None else head(x) for x, head in zip(maps, self.heads)]


class StfpmModel(nnx.Module):
    """Teacher and student."""

    def __init__(self, backbone: Any, channels: tuple[int, ...], *, rngs: nnx.Rngs):
        self.backbone = FrozenBackbone(backbone)
        self.student = Student(channels, rngs=rngs)


class StfpmTask(SteppedTask, FeatureTask):
    """STFPM; `model` has backbone, weights and three stages of strides 4, 8 and 16."""

    def __init__(self, config: ConfigDict):
        super().__init__(config)
        known = {stage.name: stage for stage in stages_of(config.model.backbone)}
        chosen = [known[name] for name in config.model.stages]
        if tuple(stage.stride for stage in chosen) != STRIDES:
            raise ValueError(
                f"model.stages={list(config.model.stages)} have strides "
                f"{[stage.stride for stage in chosen]}, the student's are {STRIDES}."
            )
        self.channels = tuple(stage.channels for stage in chosen)

    def init_model(self, key: jax.Array) -> StfpmModel:
        return StfpmModel(load_backbone(self.config.model), self.channels, rngs=nnx.Rngs(key))

    def differences(self, model: Any, pictures: jax.Array) -> list[jax.Array]:
        """Half the squared distance of unit features at each level, [b, h', w'] (eq. 1, 2)."""
        teacher = model.backbone(pictures).values()
        student = model.student(pictures)
        return [
            0.5 * jnp.sum(jnp.square(unit(t) - unit(s)), axis=-1) for t, s in zip(teacher, student)
        ]

    def loss_fn(
        self, model: Any, batch: dict[str, Any], key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        terms = [jnp.mean(x) for x in self.differences(model, batch["picture"])]
        return sum(terms[1:], terms[0]), {f"level{i}": term for i, term in enumerate(terms)}

    def map_fn(self, model: Any, arrays: dict[str, jax.Array], pictures: jax.Array) -> jax.Array:
        def one(picture: jax.Array) -> jax.Array:
            maps = self.differences(model, picture)
            size = (maps[0].shape[1], maps[0].shape[2])
            product = maps[0]
            for x in maps[1:]:  # eq. 4
                product = product * resize_linear(x, size)
            return product

        return each_picture(one, pictures)


def unit(x: jax.Array) -> jax.Array:
    """Features [..., c] at length 1."""
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-6)
