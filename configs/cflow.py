"""CFlow (MVTec AD as published: image / pixel AUROC 98.3 / 98.6 with Wide ResNet-50);
image/methods/cflow.py.

    ipad-jax train --config cflow --config.data.name=bottle --workdir runs/bottle_cflow
    ipad-jax evaluate --workdir runs/bottle_cflow

`:paper` has Wide ResNet-50-2 and its schedule (`--config.model.weights=...`), not yet run.
"""

from ml_collections import ConfigDict

from ipad_jax.configs._images import ARGS, backbone_section, image_config

__all__ = ["ARGS", "get_config"]


def get_config(arg: str | None = None) -> ConfigDict:
    """The config; see the module's text and ARGS."""
    config, options = image_config("cflow", arg)
    config.model = model = backbone_section()
    model.neighbourhood = 1  # of no effect
    model.steps = 8  # coupling steps a level; public code
    model.cells = 2048  # random cells of a batch a level and step; the code's fibers are 256
    config.total_steps = 1000  # steps; our choice
    config.optim.lr = 2e-4  # public code
    config.optim.clip_norm = 1.0  # our choice
    config.eval.blur_px = 0.0  # as published
    if "paper" in options:
        model.backbone = "wide_resnet50_2"
        model.stages = ("layer2", "layer3", "layer4")
        config.batch_size, config.total_steps, config.epochs = 32, 0, 200.0
        config.optim.schedule = "cosine"  # published code
    if "tiny" in options:
        config.total_steps = 20  # steps
        config.log_every = 5  # steps
        config.batch_size = 4  # images
        model.steps, model.cells = 2, 128
    return config
