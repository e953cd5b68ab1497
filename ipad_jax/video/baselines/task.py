"""The methods of IPAD's Table 2 as tasks: same data, same trainer, same scoring, each its own model and loss.

`config.task` names the method, `config.model` holds the fields of its configuration and `config.loss` the
keyword arguments of its loss. V-Swin-T needs no entry: it is `VideoTask` without memory and period head.
"""

import dataclasses
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, NamedTuple

import jax
from flax import nnx
from ml_collections import ConfigDict

from ipad_jax.input.frames import height_width
from ipad_jax.nn.dot import check_dtype
from ipad_jax.run.table import Table
from ipad_jax.training.state import named_leaves
from ipad_jax.video.baselines.astnet import (
    COMPILER_OPTIONS,
    AstNet,
    AstNetConfig,
    astnet_loss,
)
from ipad_jax.video.baselines.conv_autoencoder import (
    ConvAutoencoder,
    ConvAutoencoderConfig,
    conv_loss,
)
from ipad_jax.video.baselines.conv_lstm import ConvLstmAutoencoder, ConvLstmConfig, conv_lstm_loss
from ipad_jax.video.baselines.dmad import Dmad, DmadConfig, dmad_loss
from ipad_jax.video.baselines.mem_autoencoder import MemAutoencoder, MemAutoencoderConfig, mem_loss
from ipad_jax.video.baselines.wider_resnet import WiderResNetConfig
from ipad_jax.video.baselines.wider_resnet_weights import load_wider_resnet
from ipad_jax.video.clip_task import ClipTask, Prediction, normalise, tuples
from ipad_jax.video.ipad.model import num_parameters


class Method(NamedTuple):
    """One method.

    Attributes:
      config: dataclass with `clip_len`, `image_size`, `unscored` and the leaves of `config.model`.
      model: module made from it; called with clips it gives an output with `frames`.
      loss: (output, clip, **config.loss) -> (loss, terms).
      compiler_options: see `training.task.NeedsOptions`.
    """

    config: Any
    model: Callable[..., nnx.Module]
    loss: Callable[..., tuple[jax.Array, dict[str, jax.Array]]]
    compiler_options: Mapping[str, dict[str, Any]] = {}


BASELINES = {
    "conae": Method(ConvAutoencoderConfig, ConvAutoencoder, conv_loss),
    "memae": Method(MemAutoencoderConfig, MemAutoencoder, mem_loss),
    "astnet": Method(AstNetConfig, AstNet, astnet_loss, COMPILER_OPTIONS),
    "dmad": Method(DmadConfig, Dmad, dmad_loss),
    "convlstm": Method(ConvLstmConfig, ConvLstmAutoencoder, conv_lstm_loss),
}


class BaselineTask(ClipTask):
    """One of `BASELINES`, by `config.task`.

    Raises:
      ValueError: sizes that do not fit the model, unknown leaves; see also `ClipTask`.
    """

    def __init__(self, config: ConfigDict):
        self.method = BASELINES[config.task.removeprefix("video.")]
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
        self.compiler_options = self.method.compiler_options
        self.parts = tuple(nnx.state(self._abstract, nnx.Param))
        super().__init__(config)

    @cached_property
    def _abstract(self) -> nnx.Module:
        """The model's shapes."""
        return nnx.eval_shape(lambda: self.init_model(jax.random.key(0)))

    def read_weights(self, path: str) -> dict[str, Any]:
        """Published weights of the backbone, where the method has one."""
        backbone: WiderResNetConfig | None = getattr(self.model_config, "backbone", None)
        if backbone is None:
            return super().read_weights(path)
        loaded = nnx.state(load_wider_resnet(path, backbone))
        return {f"encoder.{name}": x for name, x in named_leaves(loaded).items()}

    def init_model(self, key: jax.Array) -> nnx.Module:
        """The model at its start."""
        return self.method.model(self.model_config, rngs=nnx.Rngs(key))

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
        """Table of parameters by part."""
        counts = {part: num_parameters(getattr(model, part)) for part in self.parts}
        counts["total"] = sum(counts.values())
        rows = tuple((name, f"{n:,}", f"{n / 1e6:.2f}M") for name, n in counts.items())
        return str(Table("", ("module", "parameters", ""), rows))
