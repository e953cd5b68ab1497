"""PatchCore: the bank with the paper's parameters (MVTec AD: image / pixel AUROC 99.2 / 98.1);
image/methods/bank.py.

    ipad-jax train --config patchcore --config.data.name=bottle --workdir runs/bottle_patchcore
    ipad-jax evaluate --workdir runs/bottle_patchcore

On EfficientNet-Lite0, a tenth of all cells, no held-out images and so no threshold; `:paper` with a Wide
ResNet-50-2 from a file (`--config.model.weights=...`), not yet run.
"""

from ml_collections import ConfigDict

from ipad_jax.configs import bank
from ipad_jax.configs._images import ARGS, parse_arg

__all__ = ["ARGS", "get_config"]


def get_config(arg: str | None = None) -> ConfigDict:
    """The config; see the module's text and ARGS."""
    options = parse_arg(arg, ARGS)
    config = bank.get_config(",".join(sorted(options | {"paper"})))
    if "paper" not in options:
        config.model.backbone = "efficientnet_lite0"  # for two cores
        config.model.stages = ("blocks.4", "blocks.10")  # of strides 8 and 16, as layer2 and layer3
    return config
