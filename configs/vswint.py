"""V-Swin-T, Table 2 of the IPAD paper (frame AUC 66.5, mean of 16 scenes): our encoder and decoder alone.

    ipad-jax train --config vswint --config.data.name=S01 --workdir runs/vswint_S01
    ipad-jax train --config vswint:factory --config.data.name=arm_synthetic --workdir runs/vswint_arm
    ipad-jax evaluate --workdir runs/vswint_arm

The model of `ipad`, `factory` or `video_folder` with memory and period head switched off, scored like
the other methods. Parameters, and GFLOP a clip forward: 35.9M, 137 at 256x256; `:video_folder` 7.21M, 7.8 at
128x128; `:factory` 0.31M, 0.50 at 64x64. `train --describe` says so.

`--config.init_from=FILE` takes published Kinetics weights where the shapes are theirs (see ipad:kinetics).
Expected time and score: on IPAD not yet run; on the factory devices see docs/results.md.
"""

from ml_collections import ConfigDict

from ipad_jax.configs._base import make_tiny, model_section, parse_arg
from ipad_jax.configs._baselines import ARGS, leave_out_ours, scene_config
from ipad_jax.configs.video_folder import medium
from ipad_jax.video.ipad.model import VideoModelConfig

__all__ = ["ARGS", "get_config"]


def get_config(arg: str | None = None) -> ConfigDict:
    """The config; see the module's text and ARGS."""
    options = parse_arg(arg, ARGS)
    config = scene_config(options)
    model = {64: VideoModelConfig.small, 128: medium}.get(config.data.size, VideoModelConfig.full)
    config.model = model_section(VideoModelConfig.full() if "full" in options else model())
    if "tiny" in options:
        make_tiny(config)
    config.model.use_memory = False  # Table 2: encoder and decoder alone
    config.model.period_head = "none"  # the same
    config.loss.entropy_weight = 0.0  # no memory
    config.loss.period_weight = 0.0  # no phase
    config.eval.components = ConfigDict({"psnr_mean": 1.0})  # as published: the frame's error
    leave_out_ours(config)
    return config
