"""The residual of frozen features outside the subspace of normal ones; image/methods/pca.py.

    ipad-jax train --config pca --config.data.name=bottle --workdir runs/bottle_pca
    ipad-jax evaluate --workdir runs/bottle_pca

The idea of SubspaceAD (2026), there with DINOv2-G and few images. A model of 50 kB, and no search.
"""

from ml_collections import ConfigDict

from ipad_jax.configs._images import ARGS, backbone_section, image_config

__all__ = ["ARGS", "get_config"]


def get_config(arg: str | None = None) -> ConfigDict:
    """The config; see the module's text and ARGS."""
    # small pictures enlarged: bottle of 128 pixels ranks better so (docs/results.md)
    config, options = image_config("pca", arg, parts_px=256)
    config.model = model = backbone_section()
    model.neighbourhood = 3  # cells, side of the box each is averaged over
    model.directions = 64  # principal directions that are taken out, of 176
    if "tiny" in options:
        model.directions = 16
    return config
