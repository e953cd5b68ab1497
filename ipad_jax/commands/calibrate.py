"""Sets the alarm's thresholds on fresh normal footage: another day, another shift. Trains nothing.

The same --name adds files up; `detect` and `evaluate` use the newest calibration from then on. All of the
footage must be normal: a fault in it makes the alarm deaf to its like.

Without --video, --false-alarms-per-hour X sets other thresholds from the scores that are there.
"""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from ipad_jax.commands.next_step import detection, print_next
from ipad_jax.commands.parsing import (
    HOURS,
    OF_IMAGES,
    UsageError,
    config_of,
    false_alarm_rate,
    new_parser,
    rate,
)

if TYPE_CHECKING:
    from ml_collections import ConfigDict

DEFAULT_NAME = "fresh"


def make_parser() -> argparse.ArgumentParser:
    """Parser of `ipad-jax calibrate`."""
    parser = new_parser(
        "calibrate",
        __doc__,
        "--workdir DIR {--video PATH ..., --false-alarms-per-hour X, --table FILE} [options]",
        "ipad-jax calibrate --workdir runs/press --video monday.mp4 tuesday.mp4 --false-alarms-per-hour 1",
    )
    parser.add_argument(
        "--workdir", required=True, metavar="DIR", help="run folder made by `ipad-jax train`"
    )
    parser.add_argument(
        "--video",
        nargs="+",
        metavar="PATH",
        help="normal footage: video files, folders of them, folders of numbered frames",
    )
    parser.add_argument(
        "--name",
        default=DEFAULT_NAME,
        help="of the calibration, made or extended (default: %(default)s)",
    )
    parser.add_argument(
        "--false-alarms-per-hour",
        type=false_alarm_rate,
        metavar="X",
        help="at most (default: the config's); also 1/shift (8 h), 1/day, 3/week, 1/1000cycles",
    )
    parser.add_argument(
        "--table",
        type=Path,
        metavar="FILE",
        help="change nothing; write the thresholds of many rates and what they rest on, as JSON",
    )
    parser.add_argument("--step", type=int, metavar="N", help="checkpoint (default: the newest)")
    parser.add_argument(
        "--fps", type=rate, help="the footage's true rate, where it states none or a wrong one"
    )
    return parser


def run(args: argparse.Namespace) -> int:
    """Scores the footage and writes the calibration."""
    from ipad_jax.input.live import open_video, videos_in

    config = config_of(args.workdir, "video", "calibrate", OF_IMAGES)
    if not args.video:
        return _without_footage(args, config)
    if args.table:
        raise UsageError("--table goes without --video.")
    sources = [open_video(file, args.fps) for path in args.video for file in videos_in(path)]
    from ipad_jax.run.compile_cache import enable_compile_cache
    from ipad_jax.run.progress import frame_progress
    from ipad_jax.video.detector.detector import load
    from ipad_jax.video.detector.fresh_calibration import calibrate_on, with_wish

    enable_compile_cache()
    with frame_progress("loading") as progress:
        detector = load(args.workdir, step=args.step, progress=progress)
    if args.false_alarms_per_hour is not None:
        config = with_wish(config, hourly(args.false_alarms_per_hour, detector.footage.cycle_s))
    with frame_progress("scoring") as progress:
        found = calibrate_on(
            args.workdir,
            detector,
            sources,
            name=args.name,
            config=config,
            progress=progress,
        )
    print(found.summary())
    print_next(*detection(args.workdir, "video"))
    return 0


def _without_footage(args: argparse.Namespace, config: "ConfigDict") -> int:
    """Other thresholds, or the table of all that can be had, from saved scores."""
    from ipad_jax.run.files import write_atomic
    from ipad_jax.video.detector.fresh_calibration import with_wish
    from ipad_jax.video.detector.other_wish import take_wish, wish_table

    if args.table:
        table = wish_table(args.workdir, config, args.step)
        write_atomic(args.table, json.dumps(table, allow_nan=False).encode())
        print(f"written to {args.table}")
        return 0
    if args.false_alarms_per_hour is None:
        raise UsageError("give --video, or --false-alarms-per-hour alone for another rate.")
    cycle_s = None
    if args.false_alarms_per_hour[1] == "cycle":
        from ipad_jax.video.detector.footage import footage_of

        cycle_s = footage_of(args.workdir, config).cycle_s
    config = with_wish(config, hourly(args.false_alarms_per_hour, cycle_s))
    folder, found = take_wish(args.workdir, config, name=args.name, step=args.step)
    print(found.statement())
    print(f"written to {folder}; `detect` and `evaluate` use it from now on")
    return 0


def hourly(wish: tuple[float, str], cycle_s: float | None) -> float:
    """A wish as false alarms an hour.

    Raises:
      UsageError: counted in cycles, of a machine without one.
    """
    count, per = wish
    if per != "cycle":
        return count / HOURS[per]
    if cycle_s is None:
        raise UsageError("--false-alarms-per-hour in cycles: the run's footage has no known cycle.")
    return count * 3600 / cycle_s


def main(argv: list[str]) -> int:
    """The command; see `ipad-jax calibrate --help`."""
    return run(make_parser().parse_args(argv))
