"""conAE, Table 2 of the IPAD paper (frame AUC 56.7, mean of 16 scenes); video/baselines/conv_autoencoder.py.

    ipad-jax train --config conae --config.data.name=S01 --workdir runs/conae_S01
    ipad-jax train --config conae:factory --config.data.name=arm_synthetic --workdir runs/conae_arm
    ipad-jax evaluate --workdir runs/conae_arm

Parameters, and GFLOP a clip forward: 5.99M, 69.8 at 256x256; `:video_folder`
1.50M, 4.9 at 128x128; `:factory` 1.50M, 1.2 at 64x64 (ours there: 0.9M, 0.50). `train --describe` says so.

Expected time and score: on IPAD not yet run; on the factory devices see docs/results.md.
"""

from ml_collections import ConfigDict

from ipad_jax.configs._baselines import ARGS, baseline_config
from ipad_jax.video.baselines.conv_autoencoder import ConvAutoencoderConfig

__all__ = ["ARGS", "get_config"]


def get_config(arg: str | None = None) -> ConfigDict:
    """The config; see the module's text and ARGS."""
    # Batch 8, Adam at 1e-4, MSE alone: IPAD sec. 5.2 and its train.py, the values of configs/_base.py
    return baseline_config("conae", arg, ConvAutoencoderConfig)
