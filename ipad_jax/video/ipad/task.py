"""The video detector as a `Task`: trained on clips, scored clip by clip (paper, sec. 4)."""

import dataclasses
from typing import Any

import jax
from flax import nnx
from ml_collections import ConfigDict

from ipad_jax.training.state import named_leaves
from ipad_jax.video.clip_task import ClipTask, Prediction, box_mean, normalise, tuples
from ipad_jax.video.ipad.adapters import add_adapters, describe_trainable, is_adapted
from ipad_jax.video.ipad.losses import video_loss
from ipad_jax.video.ipad.model import VideoModel, VideoModelConfig, describe, make_model_config
from ipad_jax.video.ipad.period_head import circular_mean, phase_probabilities
from ipad_jax.video.ipad.swin_weights import load_swin

__all__ = ["VideoTask", "box_mean", "normalise"]


PARTS = ("encoder", "period_head", "memory", "decoder")  # attributes of the model


class VideoTask(ClipTask):
    """IPAD's model; its V-Swin-T is the same without memory and period head.

    Raises:
      ValueError: sizes that do not fit the model; see also `ClipTask`.
    """

    parts = PARTS
    adaptable = True

    def __init__(self, config: ConfigDict):
        super().__init__(config)
        if config.loss.get("period_width", 0.0) < 0:
            raise ValueError(
                f"loss.period_width={config.loss.period_width} is a standard deviation in cycles: "
                "0 (one class, as published) or more, such as 0.02."
            )
        self.model_config: VideoModelConfig = dataclasses.replace(
            make_model_config(tuples(config.model.to_dict())),
            clip_len=self.clip_len,
            image_size=self.image_size,
        )

    def read_weights(self, path: str) -> dict[str, Any]:
        """Published weights of the encoder."""
        loaded = nnx.state(load_swin(path, self.model_config.encoder))
        return {f"encoder.{name}": x for name, x in named_leaves(loaded).items()}

    def init_model(self, key: jax.Array) -> VideoModel:
        """The model at its start."""
        model = VideoModel(self.model_config, rngs=nnx.Rngs(key))
        if self.adapter_rank:
            add_adapters(model.encoder, self.adapter_rank, jax.random.fold_in(key, 1))
        return model

    @property
    def trainable(self) -> Any:
        """As of every task; with adapters the encoder's large matrices stay as they are (sec. 4.4)."""
        trained, adapted = super().trainable, bool(self.adapter_rank)
        return lambda path, value: trained(path, value) and not (adapted and is_adapted(path))

    def loss_fn(
        self, model: Any, batch: dict[str, Any], key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Reconstruction, entropy and period loss of a batch; see `losses.video_loss`."""
        clip = normalise(batch["clip"])
        output = model(clip, rngs=nnx.Rngs(dropout=key))
        loss, terms = video_loss(
            output,
            clip,
            batch["phase"],
            entropy_weight=self.config.loss.entropy_weight,
            period_weight=self.config.loss.period_weight,
            period_width=self.config.loss.period_width,
        )
        del terms["loss"]
        return loss, terms

    def predict(self, model: Any, clip: jax.Array) -> Prediction:
        """Reconstruction of the whole clip, and its phase."""
        output = model(clip)
        if output.phase_logits is None:
            return Prediction(output.reconstruction)
        return Prediction(
            output.reconstruction, circular_mean(phase_probabilities(output.phase_logits))
        )

    def describe_model(self, model: VideoModel) -> str:
        """See `model.describe`; where something is frozen, what trains."""
        text = describe(model)
        if not (self.adapter_rank or self.config.freeze):
            return text
        return f"{text}\n\n{describe_trainable(model, self.trainable)}"

    def data_note(self) -> str:
        """Where the period head and the data do not fit each other, says so."""
        known = any(video.cycle_frames for video in self.source.videos)
        if known and self.model_config.period_head == "none":
            return (
                "the cycle is known, but model.period_head=none leaves the phase out of everything; "
                "the config's option `cycle` (video_folder:cycle) puts it in"
            )
        if not known and self.model_config.period_head != "none":
            return (
                "no video has a known cycle, so the period head learns nothing: "
                "set model.period_head=none"
            )
        return ""
