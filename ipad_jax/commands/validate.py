"""`ipad-jax validate NAME`: checks downloaded or own data before it is prepared."""

from __future__ import annotations

import argparse
import datetime
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ipad_jax.data_builders.ipad import scenes as ipad
from ipad_jax.data_builders.ipad.ipad_dataset_builder import Builder as IpadBuilder
from ipad_jax.prepare import check
from ipad_jax.prepare.arguments import parse_rate
from ipad_jax.prepare.build import no_archive
from ipad_jax.prepare.check import Findings, check_footage, check_ipad_scene, totals_problem


def print_findings(findings: Sequence[Findings], console: Console) -> None:
    """A table of scenes, then every problem and note by file."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 0, 0, 1))  # 80 columns are enough
    table.add_column("scene")
    for title in ("train", "frames", "test", "frames", "fps", "time", "anomalous", "state"):
        table.add_column(title, justify="right")
    for f in findings:
        share = "-" if np.isnan(f.anomalous) else f"{f.anomalous:.1%}"
        state = f"{len(f.problems)} problems" if f.problems else "usable"
        state = state[:-1] if len(f.problems) == 1 else state
        table.add_row(
            f.name,
            f"{f.train_videos}",
            f"{f.train_frames:,}",
            f"{f.test_videos}",
            f"{f.test_frames:,}",
            ", ".join(f"{fps:.4g}" for fps in f.fps) or "-",
            _clock(f.seconds),
            share,
            state,
        )
    if len(findings) > 1:
        sums = [
            sum(getattr(f, name) for f in findings)
            for name in ("train_videos", "train_frames", "test_videos", "test_frames")
        ]
        table.add_section()
        table.add_row("all", *(f"{n:,}" for n in sums), *[""] * 4)
    console.print(table)
    for title, attribute in (("problem", "problems"), ("note", "notes")):
        for f in findings:
            for problem in getattr(f, attribute):
                console.print(f"{title}: {problem}", markup=False, soft_wrap=True, highlight=False)


def _clock(seconds: float) -> str:
    """3725 -> '1:02:05'."""
    return "-" if np.isnan(seconds) else str(datetime.timedelta(seconds=round(seconds)))


def make_parser() -> argparse.ArgumentParser:
    """Parser of `ipad-jax validate`."""
    parser = argparse.ArgumentParser(prog="ipad-jax validate", description=check.__doc__)
    commands = parser.add_subparsers(dest="builder", required=True, metavar="NAME")
    command = commands.add_parser("ipad", help="the IPAD archive, unpacked")
    command.add_argument("--manual-dir", type=Path, required=True, metavar="DIR")
    command.add_argument("--scene", nargs="+", help="only these scenes (default: all sixteen)")
    command.add_argument("--full", action="store_true", help="open every image, not a sample")
    command = commands.add_parser("video_folder", help="your own footage")
    command.add_argument("--source", type=Path, required=True, metavar="DIR")
    command.add_argument(
        "--fps",
        type=parse_rate,
        help="as for prepare: rate of frame folders; video files are resampled TO it",
    )
    command.add_argument(
        "--full", action="store_true", help="decode all, not a sample of what is long"
    )
    return parser


def main(argv: Sequence[str]) -> int:
    """Runs the command; 0 usable, 1 not usable, 2 wrong arguments."""
    try:
        args = make_parser().parse_args(list(argv))
    except SystemExit as exit_:  # argparse has printed why
        return int(exit_.code or 0)
    console = Console(file=sys.stdout)
    root = args.manual_dir if args.builder == "ipad" else args.source
    if args.builder == "ipad" and (message := no_archive(root, IpadBuilder)):
        print(message, file=sys.stderr)
        return 1
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        if args.builder == "ipad":
            names = args.scene or list(ipad.SCENES)
            unknown = [name for name in names if name not in ipad.SCENES]
            if unknown:
                choices = ", ".join(ipad.SCENES)
                print(
                    f"IPAD has no scene {', '.join(unknown)}; choose from {choices}.",
                    file=sys.stderr,
                )
                return 2
            findings = [check_ipad_scene(root, name, args.full, bar) for name in names]
        else:
            try:
                findings = [check_footage(root.absolute(), args.fps, args.full, bar)]
            except FileNotFoundError as error:
                print(error, file=sys.stderr)
                return 1
    print_findings(findings, console)
    extra = totals_problem(findings, root) if args.builder == "ipad" else []
    for problem in extra:
        console.print(f"problem: {problem}", markup=False, soft_wrap=True, highlight=False)
    good = [f.name for f in findings if not f.problems]
    if extra or len(good) < len(findings):
        console.print(f"not usable as a whole; without problems: {', '.join(good) or 'none'}")
        return 1
    decoded, total = (
        sum(n) for n in zip(*((f.decoded, f.train_frames + f.test_frames) for f in findings))
    )
    console.print(f"usable; {decoded:,} of {total:,} frames were decoded")
    return 0
