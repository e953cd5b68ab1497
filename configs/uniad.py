"""UniAD (MVTec AD as published, one model for all classes: 96.5 / 96.8); image/methods/uniad.py.

    ipad-jax train --config uniad --config.data.name=bottle --workdir runs/bottle_uniad
    ipad-jax evaluate --workdir runs/bottle_uniad

The default has one layer where the paper has four, so that its schedule ends in four minutes of a core.
`:paper` has EfficientNet-B4 and its schedule (`--config.model.weights=...`), one model a dataset, not yet
run.
"""

from ml_collections import ConfigDict

from ipad_jax.configs._images import ARGS, backbone_section, image_config

__all__ = ["ARGS", "get_config"]


def get_config(arg: str | None = None) -> ConfigDict:
    """The config; see the module's text and ARGS."""
    config, options = image_config("uniad", arg)
    config.model = model = backbone_section(
        "efficientnet_lite0", "blocks.0", "blocks.2", "blocks.4", "blocks.10"
    )
    model.neighbourhood = 1  # cells
    model.width, model.heads, model.hidden = 256, 8, 1024  # public code
    model.layers = 1  # of encoder and decoder each; our choice, the code has 4
    model.jitter = 20.0  # of features in training; public code
    config.total_steps = 500  # steps; our choice
    config.optim.lr = 1e-3  # our choice; the paper has 1e-4 for 1000 epochs
    config.optim.schedule, config.optim.warmup_steps = "cosine", 20  # our choice
    config.optim.weight_decay = 1e-4  # paper sec. 4.2
    config.optim.clip_norm = 0.1  # the same
    config.data.height = config.data.width = 224  # pixels; paper sec. 4.2
    config.eval.blur_px = 0.0  # pixels, the published map's; its score is of means over 16 x 16
    if "paper" in options:
        model.backbone = "efficientnet_b4"
        model.stages = ("blocks.1", "blocks.5", "blocks.9", "blocks.21")
        model.layers = 4
        config.total_steps, config.epochs = 0, 1000.0
        config.optim.lr = 1e-4  # paper
        config.optim.schedule, config.optim.warmup_steps = "constant", 0
    if "tiny" in options:
        config.total_steps, config.optim.warmup_steps = 20, 0  # steps
        config.log_every = 5  # steps
        config.batch_size = 4  # images
        config.data.height = config.data.width = 128  # pixels
        model.width, model.heads, model.hidden = 32, 2, 32
    return config
