"""DRAEM (MVTec AD as published: image / pixel AUROC 98.0 / 97.3); image/methods/draem.py.

    ipad-jax train --config draem --config.data.name=bottle --workdir runs/bottle_draem
    ipad-jax evaluate --workdir runs/bottle_draem

The default is narrow and sees 128 px, so that its schedule ends in four minutes of a core. `:paper` has the
published widths, size and schedule: weeks of two cores, not yet run; its faults are of photographs of
textures (DTD) with `--config.model.textures=~/dtd/images`.
"""

from ml_collections import ConfigDict

from ipad_jax.configs._images import ARGS, image_config

__all__ = ["ARGS", "get_config"]


def get_config(arg: str | None = None) -> ConfigDict:
    """The config; see the module's text and ARGS."""
    config, options = image_config("draem", arg)
    config.model = model = ConfigDict()
    model.widths = (16, 8)  # of the two networks; our choice
    model.textures = "drawn"  # laid over as faults; or a folder of images: the paper has DTD
    config.batch_size = 4  # images; our choice, the paper has 8 (sec. 4.1)
    config.total_steps = 500  # steps; our choice
    config.optim.lr = 1e-3  # our choice; the paper has 1e-4
    config.optim.schedule, config.optim.warmup_steps = "cosine", 20  # our choice
    config.data.height = config.data.width = 128  # pixels; our choice
    config.eval.blur_px = 2.0  # pixels; the code averages 21 x 21 of 256
    if "paper" in options:
        model.widths = (128, 64)  # public code
        config.batch_size = 8  # images; paper sec. 4.1
        config.data.height = config.data.width = 256  # pixels
        config.total_steps, config.epochs = 0, 700.0
        config.optim.lr = 1e-4  # paper
        config.optim.schedule, config.optim.warmup_steps = "constant", 0
        config.eval.blur_px = 6.0  # pixels
    if "tiny" in options:
        config.total_steps, config.optim.warmup_steps = 20, 0  # steps
        config.log_every = 5  # steps
        config.data.height = config.data.width = 64  # pixels
        model.widths = (8, 4)
    return config
