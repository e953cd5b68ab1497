"""Sets the alarm's thresholds on fresh normal footage or images: another day, another shift. Trains nothing.

The same --name adds files up; `detect` and `evaluate` use the newest calibration from then on. All of the
footage or images must be normal: a fault in them makes the alarm deaf to its like.

Without --video, --false-alarms-per-hour X sets other thresholds from the scores that are there; of images,
--false-alarms SHARE does without --images.
"""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from ipad_jax.commands.next_step import detection, print_next
from ipad_jax.commands.parsing import (
    HOURS,
    IMAGE_FAMILIES,
    UsageError,
    config_and_family,
    false_alarm_rate,
    new_parser,
    rate,
    share,
)

if TYPE_CHECKING:
    from ml_collections import ConfigDict

DEFAULT_NAME = "fresh"
OF_VIDEO = ("--video", "--false-alarms-per-hour", "--fps")
OF_IMAGES = ("--images", "--false-alarms")


def make_parser() -> argparse.ArgumentParser:
    """Parser of `ipad-jax calibrate`."""
    parser = new_parser(
        "calibrate",
        __doc__,
        "--workdir DIR [--video PATH ... | --images PATH | --table FILE] [options]",
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
    parser.add_argument("--images", type=Path, metavar="PATH", help="good image or folder of them")
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
        "--false-alarms",
        type=share,
        metavar="SHARE",
        help="of good images that may raise an alarm, at most, such as 1%% (default: the config's)",
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
    """Scores the footage or images and writes the calibration."""
    config, family = config_and_family(args.workdir)
    of_images = family in IMAGE_FAMILIES
    for option in OF_VIDEO if of_images else OF_IMAGES:
        if getattr(args, option.removeprefix("--").replace("-", "_")) is not None:
            instead = ", ".join(OF_IMAGES if of_images else OF_VIDEO)
            raise UsageError(
                f"{option}: {args.workdir} is a run of the {family} family: give {instead}."
            )
    return _on_images(args) if of_images else _on_footage(args, config)


def _on_footage(args: argparse.Namespace, config: "ConfigDict") -> int:
    """Thresholds of a video run."""
    from ipad_jax.input.live import open_video, videos_in

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


def _on_images(args: argparse.Namespace) -> int:
    """Threshold of a run of images."""
    if args.table:
        return _image_table(args)
    if args.images is None and args.false_alarms is None:
        raise UsageError("give --images, or --false-alarms alone for another share.")
    from ipad_jax.image.detector import load
    from ipad_jax.image.fresh_calibration import calibrate_on, take_wish
    from ipad_jax.image.record import images_in
    from ipad_jax.run.compile_cache import enable_compile_cache
    from ipad_jax.run.progress import frame_progress

    files = [] if args.images is None else images_in(args.images)
    enable_compile_cache()
    with frame_progress("loading", "images") as progress:
        detector = load(args.workdir, step=args.step, batch_size=1, progress=progress)
    if files:
        with frame_progress("scoring", "images") as progress:
            found = calibrate_on(
                args.workdir,
                detector,
                files,
                name=args.name,
                false_alarms=args.false_alarms,
                progress=progress,
            )
    else:
        found = take_wish(args.workdir, detector, name=args.name, false_alarms=args.false_alarms)
    print(found.summary())
    print_next(*detection(args.workdir, "image"))
    return 0


def _image_table(args: argparse.Namespace) -> int:
    """The table of all thresholds that can be had for a run of images."""
    if args.images is not None or args.false_alarms is not None:
        raise UsageError("--table goes alone.")
    from ipad_jax.image.detector import load
    from ipad_jax.image.evaluation.tested import tested_images
    from ipad_jax.image.fresh_calibration import wish_table
    from ipad_jax.run.files import write_atomic

    detector = load(args.workdir, step=args.step, batch_size=1)
    if detector.calibration is None:
        raise ValueError(f"{args.workdir} has no calibration: give good images, --images.")
    table = wish_table(detector.calibration) | {"tested": tested_images(args.workdir, detector)}
    write_atomic(args.table, json.dumps(table, allow_nan=False).encode())
    print(f"written to {args.table}")
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
