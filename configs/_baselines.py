"""What the configs of the compared methods share: options, scenes, and how a method is scored.

Every method takes the data, hold-out, budget and batch of the config that it is compared with
(configs/ipad.py, factory.py, video_folder.py); its own file says its model, loss, rate and score. Score: the
frame's reconstruction error (PSNR), as in all of the papers; the locally pooled error and the rows that
need no training stand beside it in every table.
"""

import dataclasses
from typing import Any

from ml_collections import ConfigDict

from ipad_jax.configs._base import make_tiny, parse_arg, video_config

ARGS = {
    "factory": "a rendered device at 64x64, the small model (our widths)",
    "video_folder": "own footage at 128x128, the medium model (our widths)",
    "full": "the published widths, also with factory and video_folder",
    "paper": "IPAD's set-up: nothing held out, protocol paper, stride 1",
    "tiny": "a CPU minute on a dataset prepared with --size 32",
}


def baseline_config(
    task: str, arg: str | None, model: Any, *, lr: float = 1e-4, schedule: str = "constant"
) -> ConfigDict:
    """The config of a method; without an option that of IPAD's scenes at 256x256, published widths.

    Args:
      task: name in video/baselines/task.BASELINES.
      arg: options, see ARGS.
      model: its configuration class, with the sizes full, medium, small and debug.
      lr: published learning rate, by default that of configs/_base.py; for the published widths.
      schedule: published schedule of it; the same.

    Raises:
      ValueError: unknown options, or two scenes at once.
    """
    options = parse_arg(arg, ARGS)
    config = scene_config(options)
    config.task = f"video.{task}"  # family and method
    if config.data.size == 256 or "full" in options:
        config.optim.lr = lr  # see the method's file
        config.optim.schedule = schedule  # the same
    size = (
        "full" if "full" in options else {64: "small", 128: "medium"}.get(config.data.size, "full")
    )
    config.loss = ConfigDict()  # the method's own
    config.eval.components = ConfigDict({"psnr_mean": 1.0})  # as published: the frame's error
    leave_out_ours(config)
    if "tiny" in options:
        make_tiny(config)
        size = "debug"
    chosen = getattr(model, size)()
    leaves = dataclasses.asdict(chosen)
    for leaf in ("clip_len", "image_size"):
        del leaves[leaf]
    config.model = ConfigDict(leaves)
    config.data.clip_len = chosen.clip_len  # frames; see the model's configuration
    if chosen.unscored:
        config.eval.stride = 1  # frames; each has its own prediction
    return config


def leave_out_ours(config: ConfigDict) -> None:
    """Switches off what our detector is scored by beside its model: no part of these methods."""
    for leaf in ("nearest_px", "motion_px"):
        if leaf in config.eval:
            config.eval[leaf] = 0  # pixels; off
    for leaf in ("register", "track_phase"):
        if leaf in config.eval:
            config.eval[leaf] = False


def scene_config(options: set[str]) -> ConfigDict:
    """Data, hold-out and budget of the scenes that the options name, without a model."""
    if {"factory", "video_folder"} <= options or {"paper", "factory"} <= options:
        raise ValueError(
            f"options {', '.join(sorted(options))} name two kinds of scenes: take one."
        )
    if {"paper", "video_folder"} <= options:
        raise ValueError("option paper is IPAD's set-up, not one of video_folder: take one.")
    config = video_config()
    if "factory" in options:  # as configs/factory.py
        config.data.builder = "factory"  # data_builders/factory
        config.data.name = "arm_synthetic"  # device and look
        config.data.size = 64  # pixels
        config.data.cache_mb = 500.0  # megabytes
        config.epochs = 0.0  # steps are given
        config.total_steps = 2000  # steps; our choice
        if "full" not in options:
            config.optim.lr = 1e-3  # narrow models bear more than the published rates; our choice
    elif "video_folder" in options:  # as configs/video_folder.py
        config.data.builder = "video_folder"  # data_builders/video_folder
        config.data.name = "footage"  # the name given to `ipad-jax prepare`
        config.data.size = 128  # pixels
        config.data.cache_mb = 2000.0  # megabytes
        config.epochs = 0.0  # steps are given
        config.total_steps = 20_000  # steps; our choice
        if "full" not in options:
            config.optim.lr = 3e-4  # the same
    if "paper" in options:
        config.data.holdout_share = 0.0  # the paper trains on every folder
        config.eval.protocol = "paper"  # centre frame, min-max over the scene, all folders
        config.eval.stride = 1  # frames; the protocol's own
        config.eval.spacing = 1  # frames; without a phase of no effect
    return config
