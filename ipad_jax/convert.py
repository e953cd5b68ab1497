"""Published weights into our models."""

from pathlib import Path

from flax import nnx

from ipad_jax.video.baselines.wider_resnet import WiderResNetConfig
from ipad_jax.video.baselines.wider_resnet_weights import load_wider_resnet
from ipad_jax.video.ipad.swin import SwinConfig
from ipad_jax.video.ipad.swin_weights import load_swin

__all__ = ["load_encoder", "load_swin", "load_wider_resnet"]


def load_encoder(path: str | Path, cfg: SwinConfig | WiderResNetConfig) -> nnx.Module:
    """The encoder of a configuration with published weights; see the function for its kind."""
    if isinstance(cfg, SwinConfig):
        return load_swin(path, cfg)
    return load_wider_resnet(path, cfg)
