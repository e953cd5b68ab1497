"""FAVAE (MVTec AD as published: pixel AUROC 95.3); image/methods/favae.py.

    ipad-jax train --config favae --config.data.name=bottle --workdir runs/bottle_favae
    ipad-jax evaluate --workdir runs/bottle_favae

The default is narrow, with EfficientNet-Lite0. `:paper` has the published width and schedule and needs a
VGG-16 (`--config.model.weights=vgg16-397923af.pth`), not yet run.
"""

from ml_collections import ConfigDict

from ipad_jax.configs._images import ARGS, backbone_section, image_config

__all__ = ["ARGS", "get_config"]


def get_config(arg: str | None = None) -> ConfigDict:
    """The config; see the module's text and ARGS."""
    config, options = image_config("favae", arg)
    config.model = model = backbone_section()
    model.width = 32  # channels of the first layer; our choice
    model.z = 100  # numbers of the code; public code
    model.kl_weight = 1.0  # of the divergence; public code
    config.batch_size = 16  # images; our choice
    config.total_steps = 1000  # steps; our choice
    config.optim.lr = 1e-3  # our choice; the public code has 5e-3
    config.optim.weight_decay = 1e-5  # public code
    config.data.height = config.data.width = 128  # pixels; public code
    config.eval.blur_px = 4.0  # pixels; public code
    if "paper" in options:
        model.backbone = "vgg16"
        model.stages = ("features.7", "features.14", "features.21")
        model.width = 128
        config.optim.lr = 5e-3  # public code
        config.batch_size, config.total_steps, config.epochs = 64, 0, 100.0
    if "tiny" in options:
        config.total_steps = 20  # steps
        config.log_every = 5  # steps
        config.batch_size = 4  # images
        config.data.height = config.data.width = 64  # pixels
        model.width, model.z = 8, 16
    return config
