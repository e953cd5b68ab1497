"""CutPaste (MVTec AD as published: image AUROC 95.2, pixel 96.0); image/methods/cutpaste.py.

    ipad-jax train --config cutpaste --config.data.name=bottle --workdir runs/bottle_cutpaste
    ipad-jax evaluate --workdir runs/bottle_cutpaste

The default learns on patches, so that it has a map. `:paper` sees pictures, as the published image AUROC; its
pixel AUROC needs patches: `--config.model.patch_px=64 --config.model.stride_px=4`. Not yet run.
"""

from ml_collections import ConfigDict

from ipad_jax.configs._images import ARGS, image_config

__all__ = ["ARGS", "get_config"]


def get_config(arg: str | None = None) -> ConfigDict:
    """The config; see the module's text and ARGS."""
    config, options = image_config("cutpaste", arg)
    config.model = model = ConfigDict()
    model.stages = 4  # of ResNet-18, all as published
    model.patch_px = 32  # pixels, side of a patch; 0: the picture
    model.stride_px = 16  # pixels between patches of a map
    config.batch_size = 16  # images, three views of each
    config.total_steps = 1000  # steps; our choice
    config.optim.lr = 1e-3  # our choice; the paper has SGD at 0.03
    config.data.height = config.data.width = 128  # pixels; our choice
    config.eval.blur_px = 2.0  # pixels
    if "paper" in options:
        config.data.height = config.data.width = 256  # pixels
        model.patch_px = 0
        config.batch_size = 32  # images; public code
        config.total_steps = 65_536  # 256 x 256 steps
        config.optim.weight_decay = 3e-5  # paper sec. 4
        config.optim.schedule = "cosine"  # the same
        config.eval.blur_px = 0.0  # pixels
    if "tiny" in options:
        config.total_steps = 20  # steps
        config.log_every = 5  # steps
        config.batch_size = 4  # images
        config.data.height = config.data.width = 64  # pixels
        model.stages = 2
    return config
