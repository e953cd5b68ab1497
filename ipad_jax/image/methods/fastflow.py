"""FastFlow: how unlikely frozen features are under 2-D normalising flows, one a level.

Yu et al., "FastFlow: Unsupervised Anomaly Detection and Localization via 2D Normalizing Flows", 2021. Its
authors published no code; sizes as in gathierry/FastFlow and anomalib. Like these, and unlike the paper, each
level is first normalised over channels and places with trained weights: without it training fails.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from ipad_jax.image.feature_task import FeatureTask
from ipad_jax.image.features import FrozenBackbone, each_picture, load_backbone
from ipad_jax.image.methods.flow import Coupling, Flow
from ipad_jax.image.task import SteppedTask
from ipad_jax.nn.backbones import Stage, stages_of
from ipad_jax.nn.conv2d import resize_linear
from ipad_jax.nn.conv_layers import Conv2d

CLAMP = 2.0


class ConvSubnet(nnx.Module):
    """Convolution, ReLU, convolution; `hidden` channels are those of the input times a ratio."""

    def __init__(self, cin: int, cout: int, side: int, ratio: float, *, rngs: nnx.Rngs):
        hidden = int(cin * ratio)
        self.first = Conv2d(cin, hidden, side, rngs=rngs)
        self.last = Conv2d(hidden, cout, side, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.last(jax.nn.relu(self.first(x)))


class LevelFlow(nnx.Module):
    """A level's normalisation and its flow; call: [b, h, w, c] -> (z, log determinant [b, h, w]).

    Args:
      shape: (h, w, c).
      steps: coupling steps.
      small_kernels: whether every second step has 1x1 kernels, as with Wide ResNet.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        steps: int,
        ratio: float,
        small_kernels: bool,
        *,
        rngs: nnx.Rngs,
    ):
        self.scale, self.bias = nnx.Param(jnp.ones(shape)), nnx.Param(jnp.zeros(shape))

        def step(number: int) -> Coupling:
            side = 1 if small_kernels and number % 2 else 3

            def subnet(cin: int, cout: int, rngs: nnx.Rngs) -> ConvSubnet:
                return ConvSubnet(cin, cout, side, ratio, rngs=rngs)

            return Coupling(shape[-1], subnet, CLAMP, rngs=rngs)

        self.flow = Flow([step(number) for number in range(steps)])

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        mean = jnp.mean(x, axis=(1, 2, 3), keepdims=True)
        variance = jnp.mean(jnp.square(x - mean), axis=(1, 2, 3), keepdims=True)
        x = (x - mean) * jax.lax.rsqrt(variance + 1e-5)
        return self.flow(x * self.scale[...][None] + self.bias[...][None])


class Flows(nnx.Module):
    """A `LevelFlow` for each stage of pictures of a size."""

    def __init__(self, stages: list[Stage], size: tuple[int, int], model: Any, *, rngs: nnx.Rngs):
        def make(stage: Stage) -> LevelFlow:
            rows, columns = (-(-side // stage.stride) for side in size)
            shape = (rows, columns, stage.channels)
            return LevelFlow(shape, model.steps, model.ratio, model.small_kernels, rngs=rngs)

        self.levels = nnx.List([make(stage) for stage in stages])


class FastFlowModel(nnx.Module):
    """Frozen network and flows."""

    def __init__(self, backbone: Any, flows: Flows):
        self.backbone = FrozenBackbone(backbone)
        self.flows = flows


class FastFlowTask(SteppedTask, FeatureTask):
    """FastFlow; `model` has backbone, weights, stages, steps, ratio, small_kernels."""

    def __init__(self, config: ConfigDict):
        super().__init__(config)
        known = {stage.name: stage for stage in stages_of(config.model.backbone)}
        self.stages = [known[name] for name in config.model.stages]

    def init_model(self, key: jax.Array) -> FastFlowModel:
        size = (self.views.height, self.views.width)
        flows = Flows(self.stages, size, self.config.model, rngs=nnx.Rngs(key))
        return FastFlowModel(load_backbone(self.config.model), flows)

    def loss_fn(
        self, model: Any, batch: dict[str, Any], key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        maps = model.backbone(batch["picture"]).values()
        terms = {}
        for number, (x, level) in enumerate(zip(maps, model.flows.levels)):
            z, log_det = level(x)
            energy = 0.5 * jnp.sum(jnp.square(z), axis=-1) - log_det
            # a mean over numbers, not the sum: the same minimum, and levels weigh alike at any size
            terms[f"level{number}"] = jnp.mean(energy) / z.shape[-1]
        return sum(terms.values(), jnp.zeros(())), terms

    def map_fn(self, model: Any, arrays: dict[str, jax.Array], pictures: jax.Array) -> jax.Array:
        def one(picture: jax.Array) -> jax.Array:
            maps = list(model.backbone(picture).values())
            shape = maps[0].shape[:3]
            total = jnp.zeros(shape)
            for x, level in zip(maps, model.flows.levels):
                z, _ = level(x)
                likely = jnp.exp(-0.5 * jnp.mean(jnp.square(z), axis=-1))
                total = total - resize_linear(likely, shape[1:3])
            return total / len(maps)

        return each_picture(one, pictures)
