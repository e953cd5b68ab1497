"""CFA (MVTec AD as published: image / pixel AUROC 99.3 / 98.2); image/methods/cfa.py.

    ipad-jax train --config cfa --config.data.name=bottle --workdir runs/bottle_cfa
    ipad-jax evaluate --workdir runs/bottle_cfa

`:paper` has Wide ResNet-50-2 and its schedule (`--config.model.weights=...`), not yet run.
"""

from ml_collections import ConfigDict

from ipad_jax.configs._images import ARGS, backbone_section, image_config

__all__ = ["ARGS", "get_config"]


def get_config(arg: str | None = None) -> ConfigDict:
    """The config; see the module's text and ARGS."""
    config, options = image_config("cfa", arg)
    config.model = model = backbone_section()
    model.neighbourhood = 3  # cells, side of the box each is averaged over; public code
    model.shrink = 1.0  # of the channels by the descriptor; gamma_d of the paper
    config.batch_size = 4  # images; public code
    config.total_steps = 600  # steps; our choice
    config.optim.lr = 1e-3  # public code
    config.optim.weight_decay = 5e-4  # the same
    if "paper" in options:
        model.backbone = "wide_resnet50_2"
        model.stages = ("layer1", "layer2", "layer3")
        config.data.height = config.data.width = 224  # pixels; the code crops 224 from 256
        config.total_steps, config.epochs = 0, 30.0
    if "tiny" in options:
        config.total_steps = 20  # steps
        config.log_every = 5  # steps
        config.batch_size = 4  # images
    return config
