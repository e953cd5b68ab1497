"""FastFlow (MVTec AD as published: pixel AUROC 98.1 with Wide ResNet-50); image/methods/fastflow.py.

    ipad-jax train --config fastflow --config.data.name=bottle --workdir runs/bottle_fastflow
    ipad-jax evaluate --workdir runs/bottle_fastflow

`:paper` has ResNet-18 and its schedule (`--config.model.weights=...`), not yet run.
"""

from ml_collections import ConfigDict

from ipad_jax.configs._images import ARGS, backbone_section, image_config

__all__ = ["ARGS", "get_config"]


def get_config(arg: str | None = None) -> ConfigDict:
    """The config; see the module's text and ARGS."""
    config, options = image_config("fastflow", arg)
    config.model = model = backbone_section()
    model.neighbourhood = 1  # of no effect
    model.steps = 8  # coupling steps a level; paper sec. 4.1
    model.ratio = 1.0  # hidden channels of a subnet; public code
    model.small_kernels = False  # every second step 1x1: with wide_resnet50_2
    config.total_steps = 1000  # steps; our choice
    config.optim.lr = 1e-3  # paper sec. 4.1
    config.optim.weight_decay = 1e-5  # the same
    config.optim.clip_norm = 1.0  # our choice: the public code's training is unstable
    config.eval.blur_px = 0.0  # as published
    if "paper" in options:
        model.backbone, model.stages = "resnet18", ("layer1", "layer2", "layer3")
        config.batch_size, config.total_steps, config.epochs = 32, 0, 500.0
        config.optim.clip_norm = 0.0  # no clipping, as published
    if "tiny" in options:
        config.total_steps = 20  # steps
        config.log_every = 5  # steps
        config.batch_size = 4  # images
        model.steps = 2
    return config
