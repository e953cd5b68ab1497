"""ASTNet, Table 2 of the IPAD paper (frame AUC 61.5, mean of 16 scenes); video/baselines/astnet.py.

    ipad-jax train --config astnet --config.data.name=S01 --workdir runs/astnet_S01
    ipad-jax train --config astnet:factory --config.data.name=arm_synthetic --workdir runs/astnet_arm
    ipad-jax evaluate --workdir runs/astnet_arm

Parameters, and GFLOP a clip of 5 frames, of which one is scored: 151.0M, 1200 at 256x256; `:video_folder`
3.72M, 6.2 at 128x128; `:factory` 1.65M, 0.7 at 64x64 (ours there: 0.9M, 0.50). `train --describe` says so.

The published backbone is pretrained on ImageNet: `--config.init_from=wider_resnet38.pth` loads such weights
into `astnet` or a `:full` one (never run: the file is not here). WITHOUT it, and in every narrower size,
the backbone learns from noise with the rest, at the same rate, which the paper does not do.
Each frame is predicted from the four before it; the first four of a video have no score.
Expected time and score: on IPAD not yet run; on the factory devices see docs/results.md.
"""

from ml_collections import ConfigDict

from ipad_jax.configs._baselines import ARGS, baseline_config
from ipad_jax.video.baselines.astnet import AstNetConfig

__all__ = ["ARGS", "get_config"]


def get_config(arg: str | None = None) -> ConfigDict:
    """The config; see the module's text and ARGS."""
    # ped2_wresnet.yaml, LR; halved there at 2/3 and 5/6 of the epochs
    config = baseline_config("astnet", arg, AstNetConfig, lr=2e-4)
    config.loss.gradient_weight = 1.0  # of the gradients' difference; train.py sums all four
    config.loss.similarity_weight = 1.0  # of (1 - MS-SSIM) / 2; the same
    config.loss.root_weight = 1.0  # of the root of the MSE; the same
    return config
