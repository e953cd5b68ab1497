"""Makes events marked normal (`ipad-jax review`) raise no alarm any more. Trains nothing.

They are added to what frames are compared with and to the calibration, which is in force from then on as
calibrations/learnt. Events marked fault must still be alarms afterwards, else nothing is written. What is
replaced is copied first; --undo goes back one step.
"""

import argparse
from pathlib import Path

from ipad_jax.commands.next_step import detection, print_next
from ipad_jax.commands.parsing import OF_IMAGES, UsageError, config_of, new_parser


def make_parser() -> argparse.ArgumentParser:
    """Parser of `ipad-jax learn`."""
    parser = new_parser(
        "learn",
        __doc__,
        "--workdir DIR [--events FILE ...] [--force] | --workdir DIR --undo",
        "ipad-jax learn --workdir runs/press",
    )
    parser.add_argument(
        "--workdir", required=True, metavar="DIR", help="run folder made by `ipad-jax train`"
    )
    parser.add_argument(
        "--events",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="events.csv whose marks are learnt (default: all below WORKDIR/detect); faults marked below "
        "WORKDIR/detect are checked in any case",
    )
    parser.add_argument(
        "--force", action="store_true", help="also where a fault would raise no alarm any more"
    )
    parser.add_argument("--undo", action="store_true", help="go back one step")
    parser.add_argument("--step", type=int, metavar="N", help="checkpoint (default: the newest)")
    return parser


def run(args: argparse.Namespace) -> int:
    """Learns, or goes back; 1 where an event marked normal is still an alarm."""

    config = config_of(args.workdir, "video", "learn", OF_IMAGES)
    if args.undo and (args.events or args.force):
        raise UsageError("--undo goes alone.")
    from ipad_jax.run.compile_cache import enable_compile_cache
    from ipad_jax.run.progress import frame_progress
    from ipad_jax.video.detector.detector import load
    from ipad_jax.video.detector.learn import learn, undo
    from ipad_jax.video.detector.marks import NORMAL, counting, marked_folders, marks_of

    if args.undo:
        left = undo(args.workdir)
        print(f"back to what was there before the last `learn`; {left} more can be undone")
        print_next(*detection(args.workdir, "video"))
        return 0
    if missing := [str(path) for path in args.events if not path.exists()]:
        raise FileNotFoundError(f"{', '.join(missing)} does not exist; give an events.csv.")
    below = marked_folders(args.workdir)
    given = [path if path.is_dir() else path.parent for path in args.events] or below
    chosen = {folder.resolve() for folder in given}
    folders = sorted({*chosen, *(folder.resolve() for folder in below)})
    made = sorted((m for folder in folders for m in marks_of(folder)), key=lambda m: m.utc)
    marks = [m for m in counting(made) if m.mark != NORMAL or m.folder in chosen]
    enable_compile_cache()
    with frame_progress("loading") as progress:
        detector = load(args.workdir, step=args.step, progress=progress)
    found = learn(args.workdir, detector, config, marks, force=args.force)
    print(found.summary())
    print_next(*detection(args.workdir, "video"))
    return 1 if any(judged.alarm for judged in found.normal) else 0


def main(argv: list[str]) -> int:
    """The command; see `ipad-jax learn --help`."""
    return run(make_parser().parse_args(argv))
