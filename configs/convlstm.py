"""The ConvLSTM autoencoder of the third source; baselines/conv_lstm.py. Not in Table 2.

    ipad-jax train --config convlstm --config.data.name=S01 --workdir runs/convlstm_S01
    ipad-jax train --config convlstm:factory --config.data.name=arm_synthetic --workdir runs/convlstm_arm
    ipad-jax evaluate --workdir runs/convlstm_arm

Parameters, and GFLOP a clip forward: 2.71M, 48.2 at 256x256; `:video_folder`
0.68M, 3.1 at 128x128; `:factory` 0.68M, 0.8 at 64x64 (ours there: 0.9M, 0.50). `train --describe` says so.

Batch 8 as all methods here (README: 4). Expected time and score: on IPAD not yet run (the source has no
figure to compare with); on the factory devices see docs/results.md.
"""

from ml_collections import ConfigDict

from ipad_jax.configs._baselines import ARGS, baseline_config
from ipad_jax.video.baselines.conv_lstm import ConvLstmConfig

__all__ = ["ARGS", "get_config"]


def get_config(arg: str | None = None) -> ConfigDict:
    """The config; see the module's text and ARGS."""
    # Adam at 1e-4, 50 epochs, MSE alone: the source's README, the values of configs/_base.py
    return baseline_config("convlstm", arg, ConvLstmConfig)
