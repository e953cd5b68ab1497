"""Says whether a downloaded archive or your own footage is usable, before it is prepared.

Exit status 0: usable; 1: not, with every file that is wrong.
"""

from __future__ import annotations

import argparse
import datetime
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipad_jax.commands.next_step import print_next
from ipad_jax.commands.parsing import UsageError, add_named, new_parser, rate

if TYPE_CHECKING:
    from ipad_jax.prepare.check import Findings
    from ipad_jax.prepare.check_images import ImageFindings
    from ipad_jax.prepare.check_mad import ClassFindings
    from ipad_jax.run.table import Table

ALIKE = 3  # files with the same problem that have a line each
# What is checked: in a line, usage, example.
NAMES = {
    "ipad": (
        "The IPAD archive, unpacked: folders, frames and labels against what is known of it.",
        "--manual-dir DIR [--scene SCENE ...] [--full]",
        "ipad-jax validate ipad --manual-dir ~/IPAD_dataset",
    ),
    "mad": (
        "The MAD data, unpacked: layout, counts, masks paired by name, camera poses.",
        "--manual-dir DIR [--class CLASS ...] [--full]",
        "ipad-jax validate mad --manual-dir ~/MAD --class 01Gorilla",
    ),
    "video_folder": (
        "Your own footage, as `ipad-jax prepare video_folder` would read it.",
        "--source DIR [--fps RATE] [--full]",
        "ipad-jax validate video_folder --source ~/press",
    ),
    "image_folder": (
        "Your own images, or categories of an archive in MVTec AD's layout.",
        "--source DIR [--category NAME ...]",
        "ipad-jax validate image_folder --source ~/bottle",
    ),
    "object_folder": (
        "Photos of your own object with their camera poses: files, axes, silhouettes, hull.",
        "--source DIR",
        "ipad-jax validate object_folder --source ~/valve",
    ),
}


def make_parser() -> argparse.ArgumentParser:
    """Parser of `ipad-jax validate`."""
    parser = new_parser("validate", __doc__, "NAME [arguments]", NAMES["video_folder"][2])
    commands = parser.add_subparsers(dest="builder", required=True, metavar="NAME")
    for name, (text, usage, example) in NAMES.items():
        command = add_named(commands, "validate", name, text, usage, example)
        if name in ("image_folder", "object_folder"):
            command.add_argument(
                "--source", type=Path, required=True, metavar="DIR", help="folder of the images"
            )
            if name == "image_folder":
                command.add_argument(
                    "--category", nargs="+", metavar="NAME", help="of an archive of many, or all"
                )
            continue  # always opens every image
        if name == "video_folder":
            command.add_argument(
                "--source", type=Path, required=True, metavar="DIR", help="folder of the footage"
            )
            command.add_argument(
                "--fps",
                type=rate,
                metavar="RATE",
                help="as for prepare: rate of frame folders; video files are resampled to it",
            )
        else:
            command.add_argument(
                "--manual-dir", type=Path, required=True, metavar="DIR", help="the unpacked archive"
            )
            command.add_argument(
                "--scene", "--class", nargs="+", metavar="NAME", help="only these (default: all)"
            )
        command.add_argument(
            "--full", action="store_true", help="open every image and frame, not a sample of them"
        )
    return parser


def run(args: argparse.Namespace) -> int:
    """Checks and prints; 1 where something is not usable."""
    status = _check(args)
    if status:
        print_next("validate", args.builder, *_where(args), note="when that is mended")
    else:
        print_next("prepare", args.builder, *_where(args), *_named(args))
    return status


def _where(args: argparse.Namespace) -> tuple[object, ...]:
    """The words that say what was checked."""
    if args.builder in ("ipad", "mad"):
        option = "--class" if args.builder == "mad" else "--scene"
        return ("--manual-dir", args.manual_dir, *((option, *args.scene) if args.scene else ()))
    category = getattr(args, "category", None)
    return ("--source", args.source, *(("--category", *category) if category else ()))


def _named(args: argparse.Namespace) -> tuple[str, ...]:
    """What `prepare` must be given besides."""
    if args.builder in ("ipad", "mad"):
        option = "--class" if args.builder == "mad" else "--scene"
        return () if args.scene else (option, option.strip("-").upper())
    return () if getattr(args, "category", None) else ("--name", args.source.absolute().name)


def _check(args: argparse.Namespace) -> int:
    from ipad_jax.prepare.check import check_footage, totals_problem
    from ipad_jax.run.progress import Bars

    if args.builder == "mad":
        return _run_mad(args)
    if args.builder == "image_folder":
        return _run_images(args)
    if args.builder == "object_folder":
        return _run_object(args)
    extra = []
    with Bars() as bars:
        if args.builder == "ipad":
            from ipad_jax.data_builders.ipad import scenes
            from ipad_jax.data_builders.ipad.ipad_dataset_builder import Builder
            from ipad_jax.prepare.build import check_archive
            from ipad_jax.prepare.check import check_ipad_scene

            check_archive(args.manual_dir, Builder)
            names = chosen("IPAD has no scene", args.scene, scenes.SCENES)
            findings = [check_ipad_scene(args.manual_dir, n, args.full, bars) for n in names]
            extra = totals_problem(findings, args.manual_dir)
        else:
            findings = [check_footage(args.source.absolute(), args.fps, args.full, bars)]
    decoded = sum(f.decoded for f in findings)
    total = sum(f.train_frames + f.test_frames + f.calibrate_frames for f in findings)
    opened = f"{decoded:,} of {total:,} frames were decoded"
    return report(findings, footage_table(findings), opened, extra)


def _run_mad(args: argparse.Namespace) -> int:
    """Checks classes of MAD: those that are named, else those that are there."""
    from ipad_jax.data_builders.mad.archive import REAL_CLASSES, SIM_CLASSES
    from ipad_jax.data_builders.mad.mad_dataset_builder import Builder
    from ipad_jax.prepare.build import check_archive
    from ipad_jax.prepare.check_mad import check_class, classes_in
    from ipad_jax.run.progress import Bars

    check_archive(args.manual_dir, Builder)
    names = chosen("MAD has no class", args.scene, (*SIM_CLASSES, *REAL_CLASSES))
    if not args.scene:
        names = classes_in(args.manual_dir)
    with Bars() as bars:
        findings = [check_class(args.manual_dir, name, args.full, bars) for name in names]
    total = sum(f.train + f.good + f.defective for f in findings)
    opened = f"{sum(f.opened for f in findings):,} of {total:,} images were opened"
    return report(findings, class_table(findings), opened)


def _run_images(args: argparse.Namespace) -> int:
    """Checks a folder of images, or categories of an archive."""
    from ipad_jax.data_builders.image_folder.layout import categories, category_folder
    from ipad_jax.prepare.check_images import check_images
    from ipad_jax.run.progress import Bars

    source = args.source.absolute()
    names = args.category or [""]
    if "all" in names:
        names = categories(category_folder(source, ""))
    folders = [category_folder(source, name) for name in names]
    with Bars() as bars:
        findings = [check_images(folder, folder.name, bars) for folder in folders]
    opened = f"{sum(f.opened for f in findings):,} images were opened"
    return report(findings, image_table(findings), opened)


def _run_object(args: argparse.Namespace) -> int:
    """Checks photos of an object with their poses."""
    from ipad_jax.prepare.check_objects import check_object
    from ipad_jax.run.progress import Bars

    with Bars() as bars:
        findings = [check_object(args.source.absolute(), bars)]
    return report(findings, image_table(findings), f"{findings[0].opened:,} images were opened")


def chosen(complaint: str, names: Sequence[str] | None, known: Iterable[str]) -> list[str]:
    """The names that were given, else all; raises UsageError where one is unknown."""
    known = list(known)
    if unknown := [name for name in names or () if name not in known]:
        raise UsageError(f"{complaint} {', '.join(unknown)}; choose from {', '.join(known)}.")
    return list(names or known)


def report(
    findings: Sequence[Findings] | Sequence[ClassFindings] | Sequence[ImageFindings],
    table: Table,
    opened: str,
    extra: Sequence[Any] = (),
) -> int:
    """Prints a table, every problem and note by file, and what follows; the exit status."""
    from ipad_jax.run.table import screen_width

    print(table.text(screen_width()))
    print()
    for title, attribute in (("problem", "problems"), ("note", "notes")):
        for f in findings:
            for line in told(getattr(f, attribute)):
                print(f"{title}: {line}")
    for problem in extra:
        print(f"problem: {problem}")
    good = [f.name for f in findings if not f.problems]
    if extra or len(good) < len(findings):
        print(f"not usable as a whole; without problems: {', '.join(good) or 'none'}")
        return 1
    print(f"usable; {opened}")
    return 0


def told(problems: Sequence[Any]) -> list[str]:
    """A line each; of many files with the same words the first `ALIKE`, and the names of the others."""
    of_words: dict[str, list[Any]] = {}
    for problem in problems:
        of_words.setdefault(getattr(problem, "message", str(problem)), []).append(problem)
    lines = []
    for alike in of_words.values():
        shown = alike if len(alike) <= ALIKE + 1 else alike[:ALIKE]
        lines += map(str, shown)
        if rest := alike[len(shown) :]:
            names = ", ".join(problem.path.name for problem in rest)
            lines.append(f"the same of {len(rest)} more: {names}")
    return lines


def footage_table(findings: Sequence[Findings]) -> Table:
    """Videos, frames, rates and labels by scene."""
    from ipad_jax.run.table import Table

    heads = ("scene", "train", "frames", "test", "frames", "fps", "time", "anomalous", "state")
    rows = []
    for f in findings:
        counts = (f.train_videos, f.train_frames, f.test_videos, f.test_frames)
        share = "-" if math.isnan(f.anomalous) else f"{f.anomalous:.1%}"
        rates = ", ".join(f"{fps:.4g}" for fps in f.fps) or "-"
        shown = (*(f"{n:,}" for n in counts), rates, _clock(f.seconds), share, _state(f.problems))
        rows.append((f.name, *shown))
    names = ("train_videos", "train_frames", "test_videos", "test_frames")
    return Table("", heads, (*rows, *_sums(findings, names)))


def class_table(findings: Sequence[ClassFindings]) -> Table:
    """Images, masks and poses by class of MAD."""
    from ipad_jax.run.table import Table

    names = ("train", "poses", "good", "defective", "masks", "opened")
    heads = ("class", "train", "poses", "test good", "defective", "masks", "opened", "state")
    rows = [
        (f.name, *(f"{getattr(f, name):,}" for name in names), _state(f.problems)) for f in findings
    ]
    return Table("", heads, (*rows, *_sums(findings, names)))


def image_table(findings: Sequence[ImageFindings]) -> Table:
    """Images and masks by kind, a folder after the other."""
    from ipad_jax.run.table import Table

    rows = []
    for f in findings:
        rows.append((f.name, "train", "good", f"{f.train:,}", "", _state(f.problems)))
        if f.good:
            rows.append(("", "test", "good", f"{f.good:,}", "", ""))
        rows += [("", "test", k, f"{n:,}", f"{m:,}", "") for k, (n, m) in f.defects.items()]
    heads = ("folder", "split", "kind", "images", "masks", "state")
    return Table("", heads, tuple(rows), left=(0, 1, 2))


def _sums(findings: Sequence[Any], names: Sequence[str]) -> list[tuple[str, ...]]:
    """A last row with the sums, where there are several."""
    if len(findings) < 2:
        return []
    return [("all", *(f"{sum(getattr(f, name) for f in findings):,}" for name in names))]


def _state(problems: Sequence[Any]) -> str:
    """'usable', '1 problem', '2 problems'."""
    count = len(problems)
    return f"{count} problem{'s' * (count > 1)}" if count else "usable"


def _clock(seconds: float) -> str:
    """3725 -> '1:02:05'."""
    return "-" if math.isnan(seconds) else str(datetime.timedelta(seconds=round(seconds)))


def main(argv: list[str]) -> int:
    """The command; see `ipad-jax validate --help`."""
    return run(make_parser().parse_args(argv))
