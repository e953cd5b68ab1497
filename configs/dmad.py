"""DMAD, Table 2 of the IPAD paper (frame AUC 62.2, mean of 16 scenes); baselines/dmad.py, deformation.py.

    ipad-jax train --config dmad --config.data.name=S01 --workdir runs/dmad_S01
    ipad-jax train --config dmad:factory --config.data.name=arm_synthetic --workdir runs/dmad_arm
    ipad-jax evaluate --workdir runs/dmad_arm

Parameters, and GFLOP a clip of 5 frames, of which one is scored: 3.78M, 56.8 at 256x256; `:video_folder`
0.97M, 3.7 at 128x128; `:factory` 0.97M, 0.9 at 64x64 (ours there: 0.9M, 0.50). `train --describe` says so.

Each frame is predicted from the four before it; the first four of a video have no score.
Expected time and score: on IPAD not yet run; on the factory devices see docs/results.md.
"""

from ml_collections import ConfigDict

from ipad_jax.configs._baselines import ARGS, baseline_config
from ipad_jax.video.baselines.dmad import DmadConfig

__all__ = ["ARGS", "get_config"]


def get_config(arg: str | None = None) -> ConfigDict:
    """The config; see the module's text and ARGS."""
    # Train_ped2.py: --lr, and to 0 over the run
    config = baseline_config("dmad", arg, DmadConfig, lr=2e-4, schedule="cosine")
    config.optim.weight_decay = 0.01  # decoupled; AdamW's default, which Train_ped2.py keeps
    config.loss.gradient_weight = 1.0  # beta1 in final_future_prediction_ped2.py
    config.loss.quantisation_weight = 1.0  # gamma1, the same
    config.loss.commitment_weight = 0.25  # beta2, the same
    config.loss.deformation_weight = 0.25  # gamma2, the same: offsets' length and roughness
    # Evaluate_ped2.py: 0.2 offset, 0.4 mean error, 0.6 largest error of gradients, here largest error
    config.eval.components = ConfigDict(  # published code, see above
        {"deformation": 0.2, "psnr_mean": 0.4, "pooled_mean": 0.6}
    )
    return config
