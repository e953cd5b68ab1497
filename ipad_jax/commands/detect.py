"""Marks faults in a video, a folder of frames or a camera, frame by frame, or in images.

Causal: what is written about a frame never changes. Rows are written as they come, so a killed process
leaves a readable scores.csv or results.csv. A camera that goes away is opened again, for ever; each
start has a folder of its own. Exit status 1 where a file could not be read to its end or an image was not
inspected; with --fail-on-alarm 3 where there was an alarm, and 2 at once where there is no threshold.
"""

import argparse
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipad_jax.commands.detect_images import (
    ALARM,
    check_can_be_folder,
    check_threshold,
    detect_by_file,
    detect_images,
)
from ipad_jax.commands.next_step import print_next
from ipad_jax.commands.parsing import UsageError, new_parser, positive, rate, share

if TYPE_CHECKING:
    from ipad_jax.input.camera import Camera
    from ipad_jax.input.live import VideoSource
    from ipad_jax.video.detector.notify import Notifier


OF_IMAGES = ("false_alarms", "seek_focal")
OF_FOOTAGE = ("stride", "fps", "batch_size", "on_alarm", "webhook")  # of a video or camera
CAMERA_ONLY = ("give_up_after", "keep_days", "keep_gb", "health_file")
MOST_CLIP_SECONDS = 30.0  # so much of the source is held in memory, and a clip has a minute at most
SOON_S, PATIENTLY_S = 0.3, 30.0  # for messages that wait, after Ctrl-C and at a file's end


def make_parser() -> argparse.ArgumentParser:
    """Parser of `ipad-jax detect`."""
    parser = new_parser(
        "detect",
        __doc__,
        "--workdir DIR (--video PATH | --camera ADDRESS | --images PATH) [options]",
        "ipad-jax detect --workdir runs/press --video today.mp4\n"
        "  ipad-jax detect --workdir runs/bottle --images today --fail-on-alarm",
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--workdir", metavar="DIR", help="run folder made by `ipad-jax train`")
    which.add_argument(
        "--model",
        type=Path,
        metavar="FILE",
        help="exported file instead of a run, for --images",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--video", metavar="PATH", help="video file, folder of numbered frames, or folder of videos"
    )
    what.add_argument(
        "--camera",
        metavar="ADDRESS",
        help="number or device, rtsp:// or http:// address, or a video played as live",
    )
    what.add_argument("--images", type=Path, metavar="PATH", help="image file, or folder of images")
    parser.add_argument(
        "--fail-on-alarm", action="store_true", help="exit status 3 where there was an alarm"
    )
    parser.add_argument(
        "--false-alarms",
        type=share,
        metavar="SHARE",
        help="of good images that may raise an alarm, such as 1%% (default: the config's)",
    )
    parser.add_argument(
        "--threshold",
        type=float,
        metavar="X",
        help="alarm above it (default: calibrated): of images a raw score; of footage in spreads of normal "
        "footage, without calibration the pooled error, 0 to 1",
    )
    parser.add_argument(
        "--calibration",
        default="",
        metavar="NAME",
        help='made by `ipad-jax calibrate`, or "held_out" (default: the newest)',
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="for the results (default: WORKDIR/detect/NAME); of a camera each start has a folder there, "
        "named by its UTC",
    )
    parser.add_argument(
        "--stride", type=int, metavar="N", help="frames between clips (default: the config's)"
    )
    parser.add_argument(
        "--fps",
        type=rate,
        help="the source's true rate, where it states none or a wrong one (frames are picked to the "
        "training's rate in any case)",
    )
    parser.add_argument(
        "--seek-focal",
        action="store_true",
        help="seek the focal length too: photos of an object by another camera or zoom",
    )
    parser.add_argument("--step", type=int, metavar="N", help="checkpoint (default: the newest)")
    parser.add_argument(
        "--batch-size", type=positive, metavar="N", help="clips at once (default: the config's)"
    )
    parser.add_argument(
        "--side-by-side",
        action=argparse.BooleanOptionalAction,
        help="write the video of frame, reconstruction and heat map, all of it (default: no), or overlays "
        "of images (default: yes)",
    )
    parser.add_argument(
        "--give-up-after",
        type=amount,
        metavar="SECONDS",
        help="end when the camera has shown nothing for so long (default: never)",
    )
    add_alarm_options(parser)
    return parser


def add_alarm_options(parser: argparse.ArgumentParser) -> None:
    """What becomes of an alarm in a video or beside a camera, and of the watch itself."""
    parser.add_argument(
        "--clip-seconds",
        type=seconds,
        default=5.0,
        metavar="S",
        help="of the clip before and after an alarm; 0: a picture alone (default: 5)",
    )
    parser.add_argument(
        "--on-alarm",
        metavar="COMMAND",
        help="program with its arguments (no shell), run as an alarm begins and as it ends, with a JSON on "
        'standard input: "state" is "on" or "over"',
    )
    parser.add_argument(
        "--webhook",
        metavar="URL",
        help="posted the same JSON, again and again until it is taken",
    )
    parser.add_argument(
        "--keep-days",
        type=amount,
        metavar="N",
        help="remove a camera's pictures and clips of older alarms",
    )
    parser.add_argument(
        "--keep-gb",
        type=amount,
        metavar="N",
        help="remove the oldest of them when there is more",
    )
    parser.add_argument(
        "--health-file",
        type=Path,
        metavar="PATH",
        help="JSON of the watch, written once a second beside a camera",
    )


def seconds(text: str) -> float:
    """Zero or more."""
    return 0.0 if text == "0" else amount(text)


def amount(text: str) -> float:
    """A number above zero."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}: give a number above 0")
    return value


def run(args: argparse.Namespace) -> int:
    """Detects in each source; 1 where one could not be read to its end, 130 or 143 after a signal."""
    if args.images is not None:
        refuse(args, OF_FOOTAGE, "--video and --camera")
        refuse(args, CAMERA_ONLY, "--camera")
    if args.model is not None:
        return detect_by_file(args)
    if "://" in args.workdir and args.out is None:
        raise UsageError(
            f"--workdir {args.workdir} is remote: give --out, a local folder for results."
        )
    from ipad_jax.run.config import read_config
    from ipad_jax.training.task import family_of

    family = family_of(read_config(args.workdir))
    if (family in ("image", "pose")) != (args.images is not None):
        wanted = "--images" if family in ("image", "pose") else "--video or --camera"
        raise UsageError(f"{args.workdir} is a run of the {family} family: give {wanted}.")
    if args.images is not None:
        return detect_images(args)
    refuse(args, OF_IMAGES, "--images")
    # Sources and folders first: a wrong path is named before a model is loaded.
    check_alarm_options(args)
    sources = open_sources(args)
    out = args.out or Path(args.workdir) / "detect"
    single = args.out is not None and len(sources) == 1
    folders = [out if single else out / source.name for source in sources]
    for folder in folders:
        check_can_be_folder(folder, "--out" if args.out else "--workdir")
    from ipad_jax.input.camera import Camera
    from ipad_jax.run.compile_cache import enable_compile_cache
    from ipad_jax.run.progress import frame_progress
    from ipad_jax.run.stopwatch import INTERRUPTED
    from ipad_jax.video.detector.alarm_log import Wanted
    from ipad_jax.video.detector.clips import Keep
    from ipad_jax.video.detector.detect import detect, summary
    from ipad_jax.video.detector.detector import load
    from ipad_jax.video.detector.watch import watch

    enable_compile_cache()
    with frame_progress("calibrating") as progress:
        detector = load(
            args.workdir,
            step=args.step,
            threshold=args.threshold,
            stride=args.stride,
            calibration=args.calibration,
            progress=progress,
        )
    check_threshold(args, detector.threshold)
    if detector.threshold is None:
        print(
            "no alarms: the run held out no normal footage, so it has no threshold; pass --threshold to "
            "mark events"
        )
    else:
        print(detector.threshold_statement())
    delay = detector.delay_frames
    print(f"a frame is judged {delay} frames ({delay / detector.fps:.1f} s) after it is seen")
    say = partial(print, flush=True)
    notifiers = make_notifiers(args, say)

    def tell(message: dict[str, Any]) -> None:
        for notifier in notifiers:
            notifier.put(message)

    wanted = Wanted(
        args.clip_seconds,
        Keep(args.keep_days, args.keep_gb) if args.keep_days or args.keep_gb else None,
        tell=tell,
        say=say,
    )
    problems = alarms = 0
    for source, folder in zip(sources, folders):
        try:
            if isinstance(source, Camera):
                record = watch(
                    detector,
                    source,
                    folder,
                    fps_given=args.fps is not None,
                    side_by_side=bool(args.side_by_side),
                    wanted=wanted,
                    notifiers=notifiers,
                    health_file=args.health_file,
                    say=say,
                )
            else:
                with frame_progress("detecting") as progress:
                    record = detect(
                        detector,
                        source,
                        folder,
                        side_by_side=bool(args.side_by_side),
                        wanted=wanted,
                        batch_size=args.batch_size or detector.config.eval.batch_size,
                        progress=progress,
                        say=say,
                    )
        except ValueError as error:  # of this source; the others may be well
            print(f"ipad-jax detect: {error}", file=sys.stderr, flush=True)
            problems += 1
            continue
        print(summary(record, source), flush=True)
        if record.interrupted:
            close(notifiers, SOON_S)
            return INTERRUPTED[record.interrupted]
        problems += bool(source.problem) or not record.num_frames
        alarms += record.num_alarms
    close(notifiers, PATIENTLY_S)
    if alarms and args.camera is None:
        print_next("review", "--workdir", args.workdir, "--events", folders[0])
    else:
        print_next("detect", "--workdir", args.workdir, "--camera", "0")
    if args.fail_on_alarm and alarms:
        return ALARM
    return 1 if problems else 0


def refuse(args: argparse.Namespace, options: Sequence[str], owner: str) -> None:
    """Raises UsageError for options that would be of no effect without others, which it names."""
    for option in options:
        value = getattr(args, option)
        if value is not None and value is not False:
            raise UsageError(f"--{option.replace('_', '-')} is for {owner}.")


def make_notifiers(args: argparse.Namespace, say: Callable[[str], None]) -> "list[Notifier]":
    """Those that the arguments ask for, each with its thread."""
    from ipad_jax.video.detector.notify import Notifier, command, shown_url, webhook

    found = []
    if args.on_alarm is not None:
        argv = command_of(args.on_alarm)
        found.append(Notifier(f"--on-alarm {argv[0]}", command(argv), say))
    if args.webhook is not None:
        found.append(Notifier(f"--webhook {shown_url(args.webhook)}", webhook(args.webhook), say))
    return found


def check_alarm_options(args: argparse.Namespace) -> None:
    """Raises UsageError for what could not be told of the first alarm."""
    if args.on_alarm is not None:
        command_of(args.on_alarm)
    if args.clip_seconds > MOST_CLIP_SECONDS:
        raise UsageError(f"--clip-seconds {args.clip_seconds:g}: at most {MOST_CLIP_SECONDS:g}.")
    if args.webhook is not None and not args.webhook.startswith(("http://", "https://")):
        raise UsageError("--webhook must start with http:// or https://.")
    if args.health_file is not None and not args.health_file.absolute().parent.is_dir():
        raise UsageError(f"--health-file {args.health_file}: its folder does not exist.")


def command_of(text: str) -> list[str]:
    """Program and arguments of --on-alarm.

    Raises:
      UsageError: it is empty, has a quote without its end, or the program is not there.
    """
    try:
        argv = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"--on-alarm {text!r}: {error}.") from error
    if not argv or shutil.which(argv[0]) is None:
        raise UsageError(
            f"--on-alarm {text!r}: there is no program {argv[0] if argv else ''!r} that can be run; no "
            "shell is used, give a program and its arguments."
        )
    return argv


def close(notifiers: "Sequence[Notifier]", timeout_s: float) -> None:
    """Gives what is queued a last chance."""
    for notifier in notifiers:
        notifier.close(timeout_s)


def open_sources(args: argparse.Namespace) -> "Sequence[VideoSource | Camera]":
    """The camera, the video, or the videos of a folder, each with a name of its own."""
    from ipad_jax.input.camera import open_camera
    from ipad_jax.input.live import open_video, videos_in

    if args.camera is not None:
        return [open_camera(args.camera, args.fps, args.give_up_after)]
    refuse(args, CAMERA_ONLY, "--camera")
    paths = videos_in(args.video)
    sources: list[VideoSource] = [open_video(path, args.fps) for path in paths]
    if len({source.name for source in sources}) < len(sources):  # a.mp4 beside a.avi
        for source, path in zip(sources, paths):
            source.name = path.name
    return sources


def main(argv: list[str]) -> int:
    """The command; see `ipad-jax detect --help`."""
    return run(make_parser().parse_args(argv))
