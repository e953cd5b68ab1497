"""A rendered machine of data_builders/factory: the embedded default, nothing to download.

    ipad-jax prepare factory --scene arm_synthetic --size 64
    ipad-jax train --config factory --config.data.name=arm_synthetic --workdir runs/arm
    ipad-jax evaluate --workdir runs/arm

`ipad-jax demo` does the three in one: about six minutes on two quiet cores; figures: docs/results.md.
"""

from ml_collections import ConfigDict

from ipad_jax.configs._base import make_tiny, model_section, parse_arg, video_config
from ipad_jax.video.ipad.model import VideoModelConfig

ARGS = {"tiny": "a CPU minute on a dataset prepared with --size 32"}


def get_config(arg: str | None = None) -> ConfigDict:
    """The config; see the module's text and ARGS."""
    options = parse_arg(arg, ARGS)
    config = video_config()
    config.model = model_section(VideoModelConfig.small())  # for 64x64 on a CPU; our choice
    config.data.builder = "factory"  # data_builders/factory
    config.data.name = "arm_synthetic"  # device and look
    config.data.size = 64  # pixels; small enough for two CPU cores
    config.data.cache_mb = 500.0  # megabytes; a scene of 3,000 frames at 64x64 takes 37
    config.batch_size = 8  # clips
    config.epochs = 0.0  # steps are given
    config.total_steps = 2000  # steps; our choice
    config.loss.period_weight = 0.2  # the phase is what minutes must teach; the paper's is 0.02
    config.loss.period_width = 0.02  # cycles; after 170 steps the phase is off by 0.012, not 0.070
    config.optim.lr = 1e-3  # small models bear more than the paper's 1e-4; our choice
    if "tiny" in options:
        make_tiny(config)
    return config
