"""Makes events or images marked normal (`ipad-jax review`) raise no alarm any more. Trains nothing.

They are added to what frames or images are compared with, where the method has such a thing, and to the
calibration, which is in force from then on as calibrations/learnt. What is marked fault must still be an
alarm afterwards, else nothing is written. What is replaced is copied first; --undo goes back one step.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ipad_jax.commands.next_step import detection, print_next
from ipad_jax.commands.parsing import IMAGE_FAMILIES, UsageError, config_and_family, new_parser
from ipad_jax.commands.review import marks_of_family

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ml_collections import ConfigDict

    from ipad_jax.image import marks as image_marks
    from ipad_jax.video.detector import marks as video_marks


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
        help="events.csv or results.csv whose marks are learnt (default: all below WORKDIR/detect); faults "
        "marked below WORKDIR/detect are checked in any case",
    )
    parser.add_argument(
        "--force", action="store_true", help="also where a fault would raise no alarm any more"
    )
    parser.add_argument("--undo", action="store_true", help="go back one step")
    parser.add_argument("--step", type=int, metavar="N", help="checkpoint (default: the newest)")
    return parser


def run(args: argparse.Namespace) -> int:
    """Learns, or goes back; 1 where an event marked normal is still an alarm."""
    config, family = config_and_family(args.workdir)
    of_images = family in IMAGE_FAMILIES
    if args.undo and (args.events or args.force):
        raise UsageError("--undo goes alone.")
    from ipad_jax.run.marks import NORMAL, marked_folders

    if args.undo:
        if of_images:
            from ipad_jax.image.learn import undo
        else:
            from ipad_jax.video.detector.learn import undo
        left = undo(args.workdir)
        print(f"back to what was there before the last `learn`; {left} more can be undone")
        print_next(*detection(args.workdir, family))
        return 0
    if missing := [str(path) for path in args.events if not path.exists()]:
        raise FileNotFoundError(
            f"{', '.join(missing)} does not exist; give a table that `ipad-jax detect` wrote."
        )
    below = marked_folders(args.workdir)
    given = [path if path.is_dir() else path.parent for path in args.events] or below
    chosen = {folder.resolve() for folder in given}
    folders = sorted({*chosen, *(folder.resolve() for folder in below)})
    room = marks_of_family(family)
    made = sorted((m for folder in folders for m in room.marks_of(folder)), key=lambda m: m.utc)
    marks = [m for m in room.counting(made) if m.mark != NORMAL or m.folder in chosen]
    still = learn_images(args, marks) if of_images else learn_events(args, config, marks)
    print_next(*detection(args.workdir, family))
    return 1 if still else 0


def learn_events(
    args: argparse.Namespace, config: "ConfigDict", marks: "Sequence[video_marks.Mark]"
) -> bool:
    """Learns from events; whether one marked normal is still an alarm."""
    from ipad_jax.run.compile_cache import enable_compile_cache
    from ipad_jax.run.progress import frame_progress
    from ipad_jax.video.detector.detector import load
    from ipad_jax.video.detector.learn import learn

    enable_compile_cache()
    with frame_progress("loading") as progress:
        detector = load(args.workdir, step=args.step, progress=progress)
    found = learn(args.workdir, detector, config, marks, force=args.force)
    print(found.summary())
    return any(judged.alarm for judged in found.normal)


def learn_images(args: argparse.Namespace, marks: "Sequence[image_marks.Mark]") -> bool:
    """The same from images, of which none marked normal is an alarm any more."""
    from ipad_jax.image.detector import load
    from ipad_jax.image.learn import learn
    from ipad_jax.run.compile_cache import enable_compile_cache
    from ipad_jax.run.progress import frame_progress

    enable_compile_cache()
    with frame_progress("loading", "images") as progress:
        detector = load(args.workdir, step=args.step, batch_size=1, progress=progress)
    with frame_progress("scoring", "images") as progress:
        found = learn(args.workdir, detector, marks, force=args.force, progress=progress)
    print(found.summary())
    return False


def main(argv: list[str]) -> int:
    """The command; see `ipad-jax learn --help`."""
    return run(make_parser().parse_args(argv))
