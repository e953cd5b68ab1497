"""STFPM (MVTec AD as published: image / pixel AUROC 95.5 / 97.0); image/methods/stfpm.py.

    ipad-jax train --config stfpm --config.data.name=bottle --workdir runs/bottle_stfpm
    ipad-jax evaluate --workdir runs/bottle_stfpm

`:paper` has the published network and schedule, ResNet-18 from a file (`--config.model.weights=...`);
without it the teacher is EfficientNet-Lite0. Figures: docs/results.md; `:paper` not yet run.
"""

from ml_collections import ConfigDict

from ipad_jax.configs._images import ARGS, backbone_section, image_config

__all__ = ["ARGS", "get_config"]


def get_config(arg: str | None = None) -> ConfigDict:
    """The config; see the module's text and ARGS."""
    config, options = image_config("stfpm", arg)
    config.model = backbone_section()  # leaves: nn/backbones.py
    config.model.neighbourhood = 1  # cells, side; of no effect
    config.total_steps = 1000  # steps; our choice
    config.optim.lr = 1e-3  # our choice; the paper has SGD at 0.4
    config.eval.blur_px = 0.0  # as published
    if "paper" in options:
        config.model.backbone, config.model.stages = "resnet18", ("layer1", "layer2", "layer3")
        config.batch_size, config.total_steps, config.epochs = 32, 0, 100.0  # paper sec. 4.1
        config.optim.weight_decay = 1e-4  # published code
    if "tiny" in options:
        config.total_steps = 20  # steps
        config.log_every = 5  # steps
        config.batch_size = 4  # images
        config.model.neighbourhood = 1  # cells, side
    return config
