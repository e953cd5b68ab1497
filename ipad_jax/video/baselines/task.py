"""The methods of IPAD's Table 2 as tasks: same data, same trainer, same scoring, each its own model and loss.

`config.task` names the method, `config.model` holds the fields of its configuration and `config.loss` the
keyword arguments of its loss. V-Swin-T needs no entry: it is `VideoTask` without memory and period head.
"""

import dataclasses
from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from ipad_jax.input.frames import height_width
from ipad_jax.nn.dot import check_dtype
from ipad_jax.performance.products import traced_products
from ipad_jax.performance.roofline import Product
from ipad_jax.video.baselines.astnet import AstNet, AstNetConfig, astnet_loss
from ipad_jax.video.baselines.conv_autoencoder import (
    ConvAutoencoder,
    ConvAutoencoderConfig,
    conv_loss,
)
from ipad_jax.video.baselines.conv_lstm import ConvLstmAutoencoder, ConvLstmConfig, conv_lstm_loss
from ipad_jax.video.baselines.dmad import Dmad, DmadConfig, dmad_loss
from ipad_jax.video.baselines.mem_autoencoder import MemAutoencoder, MemAutoencoderConfig, mem_loss
from ipad_jax.video.baselines.wider_resnet import WiderResNetConfig
from ipad_jax.video.clip_task import ClipTask, Prediction, normalise, tuples
from ipad_jax.video.ipad.model import num_parameters


class Method(NamedTuple):
    """One method.

    Attributes:
      config: dataclass with `clip_len`, `image_size`, `unscored` and the leaves of `config.model`.
      model: module made from it; called with clips it gives an output with `frames`.
      loss: (output, clip, **config.loss) -> (loss, terms).
    """

    config: Any
    model: Callable[..., nnx.Module]
    loss: Callable[..., tuple[jax.Array, dict[str, jax.Array]]]


METHODS = {
    "conae": Method(ConvAutoencoderConfig, ConvAutoencoder, conv_loss),
    "memae": Method(MemAutoencoderConfig, MemAutoencoder, mem_loss),
    "astnet": Method(AstNetConfig, AstNet, astnet_loss),
    "dmad": Method(DmadConfig, Dmad, dmad_loss),
    "convlstm": Method(ConvLstmConfig, ConvLstmAutoencoder, conv_lstm_loss),
}


class BaselineTask(ClipTask):
    """One of `METHODS`, by `config.task`.

    Raises:
      ValueError: sizes that do not fit the model, unknown leaves; see also `ClipTask`.
    """

    def __init__(self, config: ConfigDict):
        self.method = METHODS[config.task]
        leaves = tuples(config.model.to_dict())
        known = {field.name for field in dataclasses.fields(self.method.config)}
        if unknown := sorted(set(leaves) - known):
            raise ValueError(f"model has unknown keys {unknown}; choices: {sorted(known)}.")
        check_dtype("model.dtype", leaves.get("dtype", "float32"))
        size = height_width(config.data.size)
        self.model_config = self.method.config(
            **leaves, clip_len=config.data.clip_len, image_size=size
        )
        self.unscored = self.model_config.unscored
        self.parts = tuple(nnx.state(self._abstract, nnx.Param))
        super().__init__(config)

    @cached_property
    def _abstract(self) -> nnx.Module:
        """The model's shapes."""
        return nnx.eval_shape(lambda: self.init_model(jax.random.key(0)))

    @property
    def encoder_config(self) -> WiderResNetConfig | None:
        """What published backbone weights must fit (`init_from`); None where none are meant."""
        return getattr(self.model_config, "backbone", None)

    def init_model(self, key: jax.Array) -> nnx.Module:
        """The model at its start."""
        return self.method.model(self.model_config, rngs=nnx.Rngs(key))

    def products(self, *, train: bool, padded: bool = False) -> list[Product]:
        """The work of one clip, counted in the traced forward pass; nothing is padded.

        A training step counts both gradients of every product, that of the pictures, which is not needed,
        included.
        """
        model = nnx.view(
            self._abstract,
            raise_if_not_found=False,
            deterministic=True,
            use_running_average=True,
        )
        graphdef, state = nnx.split(model)
        clip = jax.ShapeDtypeStruct((1, self.clip_len, *self.image_size, 3), jnp.float32)
        found = traced_products(lambda s, x: nnx.merge(graphdef, s)(x), state, clip)
        if not train:
            return found
        return [p for q in found for p in (q, q.gradient("m"), q.gradient("n"))]

    def loss_fn(
        self, model: Any, batch: dict[str, Any], key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The method's own loss."""
        clip = normalise(batch["clip"])
        output = model(clip, rngs=nnx.Rngs(dropout=key))
        return self.method.loss(output, clip, **self.config.loss)

    def predict(self, model: Any, clip: jax.Array) -> Prediction:
        """The frames that the method makes, and what it deformed them by."""
        output = model(clip)
        return Prediction(output.frames, deformation=getattr(output, "deformation", None))

    def describe_model(self, model: nnx.Module) -> str:
        """Table of parameters by part, and the forward pass' work."""
        counts = {part: num_parameters(getattr(model, part)) for part in self.parts}
        counts["total"] = sum(counts.values())
        lines = [f"{'module':<20}{'parameters':>14}"]
        lines += [f"{name:<20}{n:>14,}{n / 1e6:>10.2f}M" for name, n in counts.items()]
        flops = sum(product.flops for product in self.products(train=False))
        h, w = self.image_size
        scored = self.clip_len - self.unscored
        lines.append(
            f"{self.config.task}, clips {self.clip_len}x{h}x{w} of which {scored} frames are scored: "
            f"{flops / 1e9:.2f} GFLOP forward, {flops / scored / 1e9:.3f} a scored frame"
        )
        return "\n".join(lines)
