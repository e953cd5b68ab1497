"""`ipad-jax prepare NAME`: builds a TFDS dataset with a progress bar, all of it or nothing."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib
import io
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from absl import logging as absl_logging
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

DEFAULT_DATA_DIR = "~/tensorflow_datasets"
BUILDERS = ("ipad", "mad", "video_folder", "factory")


def parse_size(text: str) -> tuple[int, int]:
    """'256' -> (256, 256), '320x180' -> (320, 180): width, height."""
    parts = text.lower().split("x")
    if not 1 <= len(parts) <= 2 or not all(part.isdigit() for part in parts):
        raise argparse.ArgumentTypeError(f"size {text!r}: give 256 or WIDTHxHEIGHT")
    numbers = [int(part) for part in parts]
    return numbers[0], numbers[-1]


def parse_rate(text: str) -> float:
    """'25' -> 25.0 frames a second."""
    try:
        fps = float(text)
    except ValueError:
        fps = 0.0
    if not 0 < fps <= 1000:
        raise argparse.ArgumentTypeError(f"rate {text!r}: give frames a second, above 0")
    return fps


def parse_cycle(text: str) -> float | str:
    """'12.5' -> 12.5 seconds; 'folder' stays."""
    if text == "folder":
        return text
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(
            f"cycle {text!r}: give seconds above 0, or 'folder' (each training folder is one cycle)"
        )
    return seconds


def make_parser() -> argparse.ArgumentParser:
    """Parser of `ipad-jax prepare`."""
    parser = argparse.ArgumentParser(prog="ipad-jax prepare", description=__doc__)
    commands = parser.add_subparsers(dest="builder", required=True, metavar="NAME")
    for name, text in (
        ("ipad", "scenes of the IPAD archive, downloaded by hand"),
        ("mad", "classes of the MAD data, downloaded by hand"),
        ("video_folder", "your own footage"),
        ("factory", "rendered machines, nothing to download"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        if name in ("ipad", "mad"):
            command.add_argument("--manual-dir", type=Path, required=True, metavar="DIR")
        if name == "video_folder":
            command.add_argument("--name", required=True, help="name of the dataset, your choice")
            command.add_argument("--source", type=Path, required=True, metavar="DIR")
            command.add_argument(
                "--fps",
                type=parse_rate,
                help="rate of frame folders; video files are resampled to it",
            )
            command.add_argument(
                "--cycle",
                type=parse_cycle,
                metavar="SECONDS",
                help="cycle length, if every file starts at a cycle's start; "
                "or 'folder': each training folder is exactly one cycle",
            )
        else:
            command.add_argument(
                "--scene", "--class", nargs="+", required=True, help="one or more, or all"
            )
        if name == "factory":
            command.add_argument("--seed", type=int, help="another seed draws other videos")
        command.add_argument(
            "--size",
            type=parse_size,
            default="400" if name == "mad" else "256",
            help="256 or WIDTHxHEIGHT; stored at this size (default: %(default)s)",
        )
        command.add_argument("--quality", type=int, default=95, help="JPEG quality, 1..100")
        command.add_argument("--data-dir", default=DEFAULT_DATA_DIR, metavar="DIR")
    return parser


def load_builder_class(name: str) -> Any:
    """Builder class of a dataset; imported here, since TFDS takes a second to import."""
    return importlib.import_module(f"data_builders.{name}.{name}_dataset_builder").Builder


def make_configs(builder_class: Any, args: argparse.Namespace) -> list[Any]:
    """Builder configs the arguments ask for.

    Raises: ValueError naming the choices where a scene is unknown.
    """
    changes: dict[str, Any] = {
        "name": "",  # made anew from scene, size and quality
        "width": args.size[0],
        "height": args.size[1],
        "quality": args.quality,
    }
    known = {config.scene: config for config in builder_class.BUILDER_CONFIGS}
    if args.builder == "video_folder":
        if not args.name.replace("_", "").replace("-", "").isalnum():
            raise ValueError(f"--name {args.name!r}: use letters, digits, _ and - only.")
        changes |= {"scene": args.name, "source": str(args.source.expanduser().absolute())}
        changes |= {"fps": args.fps or 0.0, "cycle": args.cycle}
        known = {args.name: next(iter(known.values()))}
        scenes = [args.name]
    else:
        scenes = list(known) if args.scene == ["all"] else args.scene
    if getattr(args, "seed", None) is not None:
        changes["seed"] = args.seed
    unknown = [scene for scene in scenes if scene not in known]
    if unknown:
        raise ValueError(
            f"{args.builder} has no scene {', '.join(unknown)}; choose from {', '.join(known)}."
        )
    configs = [dataclasses.replace(known[scene], **changes) for scene in scenes]
    # TFDS wants its own object for a predefined name.
    predefined = {config.name: config for config in builder_class.BUILDER_CONFIGS}
    if args.builder == "video_folder" and configs[0].name in predefined:
        raise ValueError(f"--name {args.name} is taken by the builder itself; choose another.")
    return [predefined.get(config.name, config) for config in configs]


class BarProgress:
    """What a builder reports to: progress bars of frames stored and, for `factory`, rendered."""

    def __init__(self, bar: Progress, name: str):
        self._bar = bar
        self._name = name
        self._tasks: dict[str, TaskID] = {}

    def start(self, total: int | None) -> None:
        self._task("store", total)

    def advance(self, video: str) -> None:
        self._bar.advance(self._task("store", None))

    def render(self, done: int, total: int) -> None:
        self._bar.update(self._task("render", total), completed=done)

    def _task(self, work: str, total: int | None) -> TaskID:
        if work not in self._tasks:
            self._tasks[work] = self._bar.add_task(f"{work} {self._name}", total=total)
        return self._tasks[work]


def build(builder: Any, manual_dir: Path | None, console: Console) -> None:
    """Builds one dataset into a temporary folder beside its place, and renames it when complete.

    Raises: ValueError or OSError saying what is wrong; nothing is left behind then.
    """
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()  # and its prints: ours say the same and more
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        redirect_stdout=False,
    )
    try:
        with (
            bar,
            contextlib.redirect_stdout(io.StringIO()),
            _terminate_as_interrupt(),
            tempfile.TemporaryDirectory() as downloads,
        ):
            builder.progress = BarProgress(bar, builder.builder_config.name)
            if hasattr(builder.builder_config, "on_render"):  # factory
                builder.builder_config.on_render = builder.progress.render
            builder.download_and_prepare(
                download_dir=downloads,
                download_config=tfds.download.DownloadConfig(
                    manual_dir=None if manual_dir is None else str(manual_dir)
                ),
            )
    except RuntimeError as error:  # ArrayRecord's, on a full disk
        raise OSError(f"could not write to {builder.data_dir}: {error}") from error
    finally:
        _remove_empty(Path(builder.data_dir))


def _remove_empty(version_dir: Path) -> None:
    """Removes the folders of a dataset that was not built, as far as they hold nothing.

    TFDS itself removes its temporary folder, but leaves <data_dir>/<builder>/<config>/ and a
    .config beside it.
    """
    if version_dir.is_dir():
        return
    config_dir = version_dir.parent
    builder_dir = config_dir.parent
    with contextlib.suppress(OSError):
        config_dir.rmdir()
    if builder_dir.is_dir() and [p.name for p in builder_dir.iterdir()] == [".config"]:
        shutil.rmtree(builder_dir / ".config")
    with contextlib.suppress(OSError):
        builder_dir.rmdir()
        builder_dir.parent.rmdir()


@contextlib.contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """SIGTERM cleans up as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def report(builder: Any, console: Console) -> None:
    """Prints what a prepared dataset holds, and names what an evaluation has to know."""
    metadata = builder.info.metadata
    for split, info in builder.info.splits.items():
        videos = metadata.get("videos", {}).get(split)
        if videos is None:  # mad: images, not videos
            console.print(f"  {split}: {info.num_examples} images")
            continue
        lengths = [video["length"] for video in videos]
        line = f"  {split}: {len(videos)} videos, {sum(lengths)} frames"
        unlabelled = [video["name"] for video in videos if not video["labelled"]]
        console.print(line + (f", {len(unlabelled)} without labels" if unlabelled else ""))
    if metadata.get("mislabelled"):
        console.print(
            "  label count disagrees with the frames in test "
            f"{', '.join(metadata['mislabelled'])}: kept; surplus labels dropped, missing ones "
            "unknown (-1); the strict protocol leaves these out"
        )
    if metadata.get("no_phase"):
        names = ", ".join(metadata["no_phase"])
        console.print(f"  far shorter than the median, so without phase: train {names}")


def main(argv: Sequence[str]) -> int:
    """Runs the command; 0 built or already there, 1 the data cannot be used, 2 wrong arguments."""
    try:
        args = make_parser().parse_args(list(argv))
    except SystemExit as exit_:  # argparse has printed why
        return int(exit_.code or 0)
    console, errors = Console(file=sys.stdout), Console(stderr=True)
    absl_logging.set_verbosity(absl_logging.ERROR)  # TFDS warns of any size that is not predefined
    manual_dir = getattr(args, "manual_dir", None)
    builder_class = load_builder_class(args.builder)
    try:
        configs = make_configs(builder_class, args)
    except ValueError as error:
        errors.print(str(error), markup=False, soft_wrap=True)
        return 2
    if manual_dir is not None and not (manual_dir.is_dir() and any(manual_dir.iterdir())):
        state = "is empty" if manual_dir.is_dir() else "no such folder"
        message = (
            f"--manual-dir {manual_dir}: {state}.\n{builder_class.MANUAL_DOWNLOAD_INSTRUCTIONS}"
        )
        errors.print(message, markup=False, soft_wrap=True)
        return 1
    data_dir = os.path.expanduser(args.data_dir)
    failed = 0
    for config in configs:
        builder = builder_class(config=config, data_dir=data_dir)
        if builder.data_path.exists():
            console.print(f"already prepared: {builder.data_dir} (remove it to build it again)")
            report(builder, console)
            continue
        for leftover in builder.data_path.parent.glob("incomplete.*"):
            message = (
                f"{leftover} was left by a run that was killed, or is being written; remove it"
            )
            errors.print(message + " if nothing runs", markup=False, soft_wrap=True)
        try:
            build(builder, manual_dir, console)
        except KeyboardInterrupt:
            errors.print(f"interrupted; nothing of {config.name} was kept")
            return 130
        except (ValueError, OSError) as error:
            errors.print(f"{args.builder}/{config.name} was not built.")
            errors.print(str(error), markup=False, soft_wrap=True)
            failed += 1
            continue
        console.print(f"prepared {builder.data_dir}", soft_wrap=True)
        report(builder, console)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
