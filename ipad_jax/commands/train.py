"""Trains a config, then sets the threshold on held-out footage. The same command resumes.

--config.LEAF=VALUE sets any leaf of the config, such as --config.optim.lr=1e-4.
It ends after total_steps, after max_seconds in the loop (compiling not counted, time before a resume
counted), or on SIGTERM or Ctrl-C; each of them leaves a checkpoint of the last step. Exit status 143
after SIGTERM and 130 after Ctrl-C, so that a scheduler starts the command again.
"""

import argparse

from ipad_jax.commands.parsing import UNITS, UsageError, add_config, load_with_leaves, new_parser


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
    if not (args.workdir or args.describe):
        raise UsageError("--workdir DIR is missing: the folder that the run is written to.")
    config = load_with_leaves(args.config, args.leaves)
    if args.describe:
        from ipad_jax.performance.products import describe_work
        from ipad_jax.training.task import make_task

        task = make_task(config)
        steps = hasattr(task, "loss_fn")
        print(f"{task.describe()}\n\n{describe_work(task) if steps else 'no steps: fitted once'}")
        return 0
    from ipad_jax.run.compile_cache import enable_compile_cache
    from ipad_jax.run.stopwatch import INTERRUPTED
    from ipad_jax.training.loop import train

    cache = enable_compile_cache()
    print(f"run folder {args.workdir}; compilation cache {cache or 'off'}")
    summary = train(config, args.workdir, step=args.step)
    if summary.reason in ("finished", "max_seconds"):
        _calibrate(args.workdir)
    return INTERRUPTED.get(summary.reason, 0)


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
