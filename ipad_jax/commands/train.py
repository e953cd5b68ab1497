"""Trains a config, then sets the threshold on held-out footage or images. The same command resumes.

--config.LEAF=VALUE sets any leaf of the config, such as --config.optim.lr=1e-4.
It ends after total_steps, in max_seconds, or on SIGTERM or Ctrl-C; each of them leaves a checkpoint of the
last step. max_seconds is the wall time of this command, compiling and calibration included. Exit status 143
after SIGTERM and 130 after Ctrl-C, so that a scheduler starts the command again.
"""

import argparse
import shlex
import time

from ipad_jax.commands.next_step import detection, print_next
from ipad_jax.commands.parsing import (
    IMAGE_FAMILIES,
    UNITS,
    UsageError,
    add_config,
    load_with_leaves,
    new_parser,
)


def make_parser() -> argparse.ArgumentParser:
    """Parser of `ipad-jax train`."""
    parser = new_parser(
        "train",
        __doc__,
        "--config FILE[:ARG] --workdir DIR [--config.LEAF=VALUE ...] [--step N] [--describe]",
        "ipad-jax train --config factory:tiny --config.total_steps=9 --workdir runs/a",
        takes_leaves=True,
    )
    add_config(parser)
    parser.add_argument("--workdir", metavar="DIR", help="run folder, made or resumed")
    parser.add_argument(
        "--step", type=int, metavar="N", help="go on from this checkpoint; newer ones are set aside"
    )
    parser.add_argument(
        "--describe", action="store_true", help="print parameter counts and data, and leave"
    )
    return parser


def run(args: argparse.Namespace) -> int:
    """Trains and calibrates; 143 or 130 where a signal ended it."""
    started = time.perf_counter()
    if not (args.workdir or args.describe):
        raise UsageError("--workdir DIR is missing: the folder that the run is written to.")
    config = load_with_leaves(args.config, args.leaves)
    if args.describe:
        from ipad_jax.performance.products import describe_work
        from ipad_jax.training.task import make_task

        task = make_task(config)
        steps = hasattr(task, "loss_fn")
        print(f"{task.describe()}\n\n{describe_work(task) if steps else 'no steps: fitted once'}")
        workdir = args.workdir or "runs/first"
        print_next("train", "--config", args.config, *args.leaves, "--workdir", workdir)
        return 0
    from ipad_jax.run.compile_cache import enable_compile_cache
    from ipad_jax.run.stopwatch import INTERRUPTED
    from ipad_jax.training.loop import train

    cache = enable_compile_cache()
    print(f"run folder {args.workdir}; compilation cache {cache or 'off'}")
    summary = train(config, args.workdir, step=args.step, started=started)
    again = ("train", "--config", args.config, *args.leaves, "--workdir", args.workdir)
    if summary.reason in INTERRUPTED:
        print_next(*again, note="goes on")
        return INTERRUPTED[summary.reason]
    before = time.perf_counter()
    _calibrate(args.workdir)
    if config.max_seconds:
        now = time.perf_counter()
        print(
            f"calibration took {now - before:.0f} s; {now - started:.0f} s in all of "
            f"max_seconds={config.max_seconds:g}"
        )
        if summary.reason == "max_seconds":
            print(f"to train longer: ipad-jax {shlex.join(again)}")
    print_next(*next_words(args.workdir))
    return 0


def next_words(workdir: str) -> tuple[object, ...]:
    """`evaluate`; of images without any to test on, which it refuses, `detect`."""
    from ipad_jax.input.images import open_images
    from ipad_jax.run.config import read_config
    from ipad_jax.training.task import family_of

    config = read_config(workdir)
    family = family_of(config)
    if family in IMAGE_FAMILIES and not len(open_images(config, "test")):
        return detection(workdir, family)
    return ("evaluate", "--workdir", workdir)


def _calibrate(workdir: str) -> None:
    """Sets the threshold on held-out footage, so that `detect` works in the run folder from now on."""
    import jax

    from ipad_jax.run.config import read_config
    from ipad_jax.run.progress import frame_progress
    from ipad_jax.training.task import family_module, family_of

    if jax.process_count() > 1:
        return  # `evaluate` and `detect` calibrate when first run
    config = read_config(workdir)
    calibrate = family_module(config, "detector").calibrate
    unit = UNITS.get(family_of(config), "frames")
    try:
        with frame_progress("calibrating", unit) as progress:
            calibration = calibrate(workdir, progress=progress)
    except ValueError as error:  # several scenes; footage that never changes
        return print(f"uncalibrated: {error}")
    print(calibration.statement() if calibration else "uncalibrated: nothing normal was held out")


def main(argv: list[str]) -> int:
    """The command; see `ipad-jax train --help`."""
    return run(make_parser().parse_args(argv))
