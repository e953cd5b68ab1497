"""A memory bank of frozen features, the default for images; image/methods/bank.py.

    ipad-jax prepare image_folder --name bottle --source ~/bottle
    ipad-jax train --config bank --config.data.name=bottle --workdir runs/bottle
    ipad-jax evaluate --workdir runs/bottle

`:paper` has PatchCore's settings (MVTec AD: image / pixel AUROC 99.2 / 98.1, 224 px, 10 % of the cells) and
needs a WideResNet-50-2, `--config.model.weights=wide_resnet50_2-95faca4d.pth`; not yet run, since no such
file was at hand. Figures of the default: docs/results.md.
"""

from ml_collections import ConfigDict

from ipad_jax.configs._images import ARGS, backbone_section, image_config

__all__ = ["ARGS", "get_config"]


def get_config(arg: str | None = None) -> ConfigDict:
    """The config; see the module's text and ARGS."""
    # small pictures enlarged: bottle of 128 pixels ranks better so (docs/results.md)
    config, options = image_config("bank", arg, parts_px=256)
    config.model = model = backbone_section()
    model.neighbourhood = 3  # cells, side of the box each is averaged over; PatchCore, sec. 3.1
    model.evenness = 3.0  # of the lengths of features: contrast and light count less; our choice
    model.rows = 4000  # of the bank; 1.4 MB; bottle loses nothing against 10,000
    model.rows_share = 0.0  # of the candidates instead, if fewer; PatchCore: 0.1 or 0.01
    model.candidates = 40_000  # random cells that rows are chosen from
    model.projection = 64  # dimensions in which they are chosen; 0: all; PatchCore's code: 128
    model.brightness = ()  # factors of copies in the bank, such as (0.8, 1.2)
    if "paper" in options:
        model.backbone, model.stages = "wide_resnet50_2", ("layer2", "layer3")
        model.evenness = 0.0
        model.rows_share, model.rows = 0.1, 10_000_000  # of all cells
        model.candidates, model.projection = 10_000_000, 128
        config.data.height = config.data.width = 224  # pixels; the paper crops 224 from 256
    if "tiny" in options:
        model.rows, model.candidates = 200, 1000
        model.projection = 16
    return config
