"""ipad-jax train --config FILE[:arg] [--config.x.y=V ...] --workdir DIR [--step N] [--describe]

Trains a config; the same command resumes. FILE is a path or a name in configs/, arg a variant such
as `tiny`, and `--config.x.y=V` sets a leaf. `--step N` goes on from that checkpoint and sets newer
ones aside. `--describe` prints parameter counts and data instead.

It ends after `total_steps`, after `max_seconds` in the loop (compiling not counted, time before a resume
counted), or on SIGTERM or Ctrl-C; each of them leaves a checkpoint of the last step. Exit status: 0 done;
143 after SIGTERM and 130 after Ctrl-C, so that a scheduler starts the command again; 1 when something is
wrong.
"""

import sys

import jax
from absl import flags

from ipad_jax.run.compile_cache import enable_compile_cache
from ipad_jax.run.config import read_config, take_config
from ipad_jax.run.progress import frame_progress
from ipad_jax.run.stopwatch import INTERRUPTED
from ipad_jax.training.loop import train
from ipad_jax.training.task import make_task
from ipad_jax.video.detector import calibrate
from ipad_jax.video.detector.scene_folder import check_one_scene


def main(argv: list[str]) -> int:
    """`ipad-jax train`: see the module's text for arguments and exit statuses."""
    if {"--help", "-h"} & set(argv):
        print(__doc__)
        return 0
    flag_values = flags.FlagValues()
    rest = take_config(flag_values, argv)
    flags.DEFINE_string("workdir", None, "run folder", flag_values=flag_values)
    flags.DEFINE_integer("step", None, "checkpoint to go on from", flag_values=flag_values)
    flags.DEFINE_boolean("describe", False, "print and leave", flag_values=flag_values)
    try:
        if extra := flag_values(["ipad-jax train", *rest])[1:]:
            raise flags.Error(f"unexpected argument {extra[0]!r}")
        if not (flag_values.workdir or flag_values.describe):
            raise flags.Error("--workdir DIR is missing")
    except (flags.Error, AttributeError, KeyError) as error:
        print(f"ipad-jax train: {error}", file=sys.stderr)
        return 2
    config = flag_values.config
    if flag_values.describe:
        print(make_task(config).describe())
        return 0
    cache = enable_compile_cache()
    print(f"run folder {flag_values.workdir}; compilation cache {cache or 'off'}")
    summary = train(config, flag_values.workdir, step=flag_values.step)
    if summary.reason in ("finished", "max_seconds"):
        _calibrate(flag_values.workdir)
    return INTERRUPTED.get(summary.reason, 0)


def _calibrate(workdir: str) -> None:
    """Sets the threshold on held-out footage, so that `detect` works in the run folder from now on."""
    # Here: the loop above knows no model.

    if jax.process_count() > 1:
        return  # `evaluate` and `detect` calibrate when first run
    try:
        check_one_scene(read_config(workdir), workdir)
    except ValueError as several:
        return print(f"uncalibrated: {several}")
    with frame_progress("calibrating") as progress:
        calibration = calibrate(workdir, progress=progress)
    print(calibration.statement() if calibration else "uncalibrated: no footage was held out")
