"""Published weights into our models: each loader with the configuration it fills. No room imports this.

from ipad_jax.convert import SwinConfig, load_swin

encoder = load_swin("swin3d_t.safetensors", SwinConfig.tiny())
"""

from ipad_jax.nn.efficientnet_weights import load_efficientnet_lite0
from ipad_jax.nn.resnet import ResNetConfig
from ipad_jax.nn.resnet_weights import load_resnet
from ipad_jax.nn.vit import ViTConfig
from ipad_jax.nn.vit_weights import load_vit
from ipad_jax.pose.nerf import NerfConfig
from ipad_jax.pose.nerf_weights import load_nerf
from ipad_jax.video.baselines.wider_resnet import WiderResNetConfig
from ipad_jax.video.baselines.wider_resnet_weights import load_wider_resnet
from ipad_jax.video.ipad.swin import SwinConfig
from ipad_jax.video.ipad.swin_weights import load_swin

__all__ = [
    "NerfConfig",
    "ResNetConfig",
    "SwinConfig",
    "ViTConfig",
    "WiderResNetConfig",
    "load_efficientnet_lite0",
    "load_nerf",
    "load_resnet",
    "load_swin",
    "load_vit",
    "load_wider_resnet",
]
