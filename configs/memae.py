"""memAE, Table 2 of the IPAD paper (frame AUC 61.1, mean of 16 scenes); video/baselines/mem_autoencoder.py.

    ipad-jax train --config memae --config.data.name=S01 --workdir runs/memae_S01
    ipad-jax train --config memae:factory --config.data.name=arm_synthetic --workdir runs/memae_arm
    ipad-jax evaluate --workdir runs/memae_arm

Parameters, and GFLOP a clip forward: 6.50M, 70.8 at 256x256; `:video_folder`
1.76M, 5.0 at 128x128; `:factory` 1.76M, 1.3 at 64x64 (ours there: 0.9M, 0.50). `train --describe` says so.

Batch 8 as all methods here (training_options.py of memAE: 14). Expected time and score: on IPAD not yet
run; on the factory devices see docs/results.md.
"""

from ml_collections import ConfigDict

from ipad_jax.configs._baselines import ARGS, baseline_config
from ipad_jax.video.baselines.mem_autoencoder import MemAutoencoderConfig

__all__ = ["ARGS", "get_config"]


def get_config(arg: str | None = None) -> ConfigDict:
    """The config; see the module's text and ARGS."""
    config = baseline_config(
        "memae", arg, MemAutoencoderConfig
    )  # Adam at 1e-4: training_options.py
    config.loss.entropy_weight = 0.0002  # of the weights' entropy in nats; EntropyLossWeight
    return config
