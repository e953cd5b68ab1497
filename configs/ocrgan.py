"""OCR-GAN (MVTec AD as published: image AUROC 98.3); image/methods/ocrgan.py.

    ipad-jax train --config ocrgan --config.data.name=bottle --workdir runs/bottle_ocrgan
    ipad-jax evaluate --workdir runs/bottle_ocrgan

The default is narrow, sees 128 px and scores by the map's maximum. `:paper` has the published widths, size,
schedule and score, not yet run.
"""

from ml_collections import ConfigDict

from ipad_jax.configs._images import ARGS, image_config

__all__ = ["ARGS", "get_config"]


def get_config(arg: str | None = None) -> ConfigDict:
    """The config; see the module's text and ARGS."""
    config, options = image_config("ocrgan", arg)
    config.model = model = ConfigDict()
    model.width = 16  # channels of the first layers; our choice
    model.z = 100  # features of the judge; public code
    model.score = "max"  # of the blurred map; mean: as published
    config.batch_size = 8  # images; our choice
    config.total_steps = 1500  # steps; our choice
    config.optim.lr = 2e-4  # public code
    config.data.height = config.data.width = 128  # pixels; our choice
    config.eval.blur_px = 2.0  # pixels; our choice
    if "paper" in options:
        model.width, model.score = 64, "mean"
        config.data.height = config.data.width = 256  # pixels
        config.batch_size, config.total_steps, config.epochs = 32, 0, 200.0
        config.eval.blur_px = 0.0  # pixels
    if "tiny" in options:
        config.total_steps = 20  # steps
        config.log_every = 5  # steps
        config.batch_size = 4  # images
        config.data.height = config.data.width = 64  # pixels
        model.width = 4
        config.optim.lr = 1e-3  # our choice: few steps
    return config
