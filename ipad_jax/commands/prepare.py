"""Builds a dataset that training reads, with a progress bar, all of it or nothing."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from ipad_jax.commands.next_step import print_command
from ipad_jax.commands.parsing import (
    DEFAULT_DATA_DIR,
    UsageError,
    add_named,
    new_parser,
    positive,
    rate,
)
from ipad_jax.run.cluster import num_cores, own_share

# Pixels a side: data.size of configs/<name>.py, so that the defaults of the two commands fit; mad:
# half the archive's, as the published code.
DEFAULT_SIZES = {
    "ipad": 256,
    "mad": 400,
    "video_folder": 128,
    "factory": 64,
    "toys": 200,
    "object_folder": 400,
}
DEFAULT_QUALITY = 95  # JPEG
# What is prepared: in a line, usage, example.
NAMES = {
    "ipad": (
        "Scenes of the IPAD archive, downloaded by hand.",
        "--manual-dir DIR --scene SCENE [SCENE ...] [options]",
        "ipad-jax prepare ipad --manual-dir ~/IPAD_dataset --scene S01 R01",
    ),
    "mad": (
        "Classes of the MAD data, downloaded by hand.",
        "--manual-dir DIR --class CLASS [CLASS ...] [options]",
        "ipad-jax prepare mad --manual-dir ~/MAD --class 01Gorilla",
    ),
    "video_folder": (
        "Your own footage.",
        "--name NAME --source DIR [options]",
        "ipad-jax prepare video_folder --name press --source ~/press",
    ),
    "factory": (
        "Rendered machines, nothing to download.",
        "--scene SCENE [SCENE ...] [options]",
        "ipad-jax prepare factory --scene arm_synthetic",
    ),
    "image_folder": (
        "Your own images, or categories of an archive in MVTec AD's layout.",
        "--source DIR (--name NAME | --category NAME [NAME ...]) [options]",
        "ipad-jax prepare image_folder --name bottle --source ~/bottle",
    ),
    "parts": (
        "Rendered parts with defects, nothing to download.",
        "--scene NAME [NAME ...] [options]",
        "ipad-jax prepare parts --scene plate",
    ),
    "toys": (
        "Rendered brick animals seen from any side, nothing to download.",
        "--scene NAME [NAME ...] [options]",
        "ipad-jax prepare toys --scene cat",
    ),
    "object_folder": (
        "Your own object: photos from all around with their camera poses.",
        "--source DIR --name NAME [options]",
        "ipad-jax prepare object_folder --name valve --source ~/valve",
    ),
}
IMAGES = ("image_folder", "parts")  # stored at their own resolution, without loss
OBJECTS = ("toys", "object_folder")  # stored at --size pixels of the longer side, without loss
RENDERED = ("factory", "parts", "toys")
LEARNED_AT = "an object is learned at data.size of them, 200 by default"


def parse_size(text: str) -> tuple[int, int]:
    """'256' -> (256, 256), '320x180' -> (320, 180): width, height."""
    parts = text.lower().split("x")
    if not 1 <= len(parts) <= 2 or not all(part.isdigit() for part in parts):
        raise argparse.ArgumentTypeError(f"size {text!r}: give 256 or WIDTHxHEIGHT")
    numbers = [int(part) for part in parts]
    return numbers[0], numbers[-1]


def parse_cycle(text: str) -> float | str:
    """'12.5' -> 12.5 seconds; 'folder', 'auto' and 'auto:12.5' stay."""
    if text in ("folder", "auto"):
        return text
    try:
        seconds = float(text.removeprefix("auto:"))
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(
            f"cycle {text!r}: give seconds above 0, 'folder' (each training folder is one cycle), "
            "'auto' (look for it) or 'auto:SECONDS' (look for one of about that length)"
        )
    return text if text.startswith("auto:") else seconds


def make_parser() -> argparse.ArgumentParser:
    """Parser of `ipad-jax prepare`."""
    parser = new_parser("prepare", __doc__, "NAME [arguments]", NAMES["factory"][2])
    commands = parser.add_subparsers(dest="builder", required=True, metavar="NAME")
    for name, (text, usage, example) in NAMES.items():
        command = add_named(commands, "prepare", name, text, usage, example)
        _add_what(command, name)
        _add_how(command, name)
    return parser


def _add_what(command: argparse.ArgumentParser, name: str) -> None:
    """What is prepared."""
    if name in ("ipad", "mad"):
        command.add_argument(
            "--manual-dir", type=Path, required=True, metavar="DIR", help="the unpacked archive"
        )
    if name == "image_folder":
        what = command.add_mutually_exclusive_group(required=True)
        what.add_argument("--name", help="name of the dataset, your choice")
        what.add_argument(
            "--category",
            nargs="+",
            metavar="NAME",
            help="categories of an archive of many, or all; each is a dataset of its own",
        )
        command.add_argument(
            "--source", type=Path, required=True, metavar="DIR", help="folder of the images"
        )
        return
    if name == "object_folder":
        command.add_argument("--name", required=True, help="name of the object, your choice")
        command.add_argument(
            "--source", type=Path, required=True, metavar="DIR", help="folder of the photos"
        )
        return
    if name != "video_folder":
        command.add_argument(
            "--scene",
            "--class",
            nargs="+",
            required=True,
            metavar="NAME",
            help="one or more, or all",
        )
        if name in RENDERED:
            what = "videos" if name == "factory" else "images"
            command.add_argument("--seed", type=int, metavar="N", help=f"draws other {what}")
        return
    command.add_argument("--name", required=True, help="name of the dataset, your choice")
    command.add_argument(
        "--source", type=Path, required=True, metavar="DIR", help="folder of the footage"
    )
    command.add_argument(
        "--fps",
        type=rate,
        help="rate of frame folders; video files, which state their own, are resampled to it",
    )
    command.add_argument(
        "--cycle",
        type=parse_cycle,
        metavar="SECONDS",
        help="cycle length, if every file starts at a cycle's start; 'folder': each training folder is "
        "exactly one cycle; 'auto:SECONDS': look for a cycle of about that length in training videos of "
        "several cycles; 'auto' where the length is unknown: check what it prints, which can be a multiple",
    )


def _add_how(command: argparse.ArgumentParser, name: str) -> None:
    """How it is stored."""
    if name in OBJECTS:
        command.add_argument(
            "--size",
            type=positive,
            default=DEFAULT_SIZES[name],
            metavar="PIXELS",
            help=f"of the longer side at which pictures are stored (default: %(default)s); {LEARNED_AT}",
        )
    elif name not in IMAGES:
        kept = "frames are stored and a model is trained (default: %(default)s)"
        if name == "mad":
            kept = f"pictures are stored (default: %(default)s); {LEARNED_AT}"
        command.add_argument(
            "--size",
            type=parse_size,
            default=str(DEFAULT_SIZES[name]),
            help=f"side of a square in pixels, or WIDTHxHEIGHT, at which {kept}",
        )
    if name not in (*IMAGES, *OBJECTS, "mad"):  # which are stored without loss
        command.add_argument(
            "--quality",
            type=int,
            default=DEFAULT_QUALITY,
            metavar="Q",
            help="of JPEG, 1..100 (default: %(default)s)",
        )
    if name not in RENDERED:  # rendered in the format that is stored
        command.add_argument(
            "--workers",
            type=positive,
            default=num_cores(),
            metavar="N",
            help="processes at most; the dataset is the same for any number (default: the cores, "
            "%(default)s here)",
        )
    command.add_argument(
        "--data-dir",
        default=DEFAULT_DATA_DIR,
        metavar="DIR",
        help="of prepared datasets (default: %(default)s)",
    )
    command.add_argument(
        "--overwrite",
        action="store_true",
        help="build again what is there; it stays until the new one is complete",
    )


def run(args: argparse.Namespace) -> int:
    """Builds each dataset; 1 where one of them was not built."""
    from absl import logging

    from ipad_jax.prepare.build import leftovers, prepare
    from ipad_jax.prepare.narrate import describe
    from ipad_jax.run.progress import Bars

    logging.set_verbosity(logging.ERROR)  # TFDS warns of any size that is not predefined
    manual_dir = getattr(args, "manual_dir", None)
    builder_class, configs = builder_and_configs(args)
    failed = False
    for config in own_share(configs, os.environ):  # several processes build a scene each
        data_dir = os.path.expanduser(args.data_dir)
        for line in leftovers(builder_class(config=config, data_dir=data_dir).data_path):
            print(line, file=sys.stderr)
        try:
            with Bars(transient=False) as bars:
                builder, is_new = prepare(
                    builder_class,
                    config,
                    data_dir,
                    manual_dir=manual_dir,
                    workers=getattr(args, "workers", 1),
                    overwrite=args.overwrite,
                    bars=bars,
                )
        except (ValueError, OSError) as error:  # of this one; the others may be well
            print(f"{args.builder}/{config.name} was not built.\n{error}", file=sys.stderr)
            failed = True
            continue
        again = "" if is_new else " (--overwrite builds it again)"
        print(f"{'prepared' if is_new else 'already prepared:'} {builder.data_dir}{again}")
        print("\n".join(f"  {line}" for line in describe(builder)))
        if command := next_command(builder, args.builder, args.data_dir):
            print_command(command)
    return 1 if failed else 0


def builder_and_configs(args: argparse.Namespace) -> tuple[Any, list[Any]]:
    """The builder's class, and a config for each dataset that the arguments ask for."""
    from ipad_jax.prepare import build

    builder_class = build.load_builder_class(args.builder)
    if args.builder == "image_folder":
        return builder_class, build.image_configs(args.source, args.name, args.category or ())
    if args.builder == "object_folder":
        return builder_class, [build.object_config(args.source, args.name, args.size)]
    seed = {} if getattr(args, "seed", None) is None else {"seed": args.seed}
    if args.builder in ("parts", "toys"):
        leaves = seed | ({"size": args.size} if args.builder == "toys" else {})
        try:
            found = build.scene_configs(builder_class, args.builder, args.scene, **leaves)
            return builder_class, found
        except ValueError as error:
            raise UsageError(str(error)) from error
    width, height = args.size
    quality = getattr(args, "quality", DEFAULT_QUALITY)  # of mad in the name alone
    stored = {"width": width, "height": height, "quality": quality}
    try:
        if args.builder == "video_folder":
            found = build.footage_config(
                builder_class, args.name, args.source, fps=args.fps, cycle=args.cycle, **stored
            )
            return builder_class, [found]
        configs = build.scene_configs(builder_class, args.builder, args.scene, **stored, **seed)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if args.builder != "factory":
        build.check_archive(args.manual_dir, builder_class)
    if args.builder == "mad" and args.scene == ["all"]:
        # of MAD-Sim or MAD-Real, where one of them is there
        from ipad_jax.prepare.check_mad import classes_in

        there = classes_in(args.manual_dir)
        configs = [config for config in configs if config.scene in there]
    return builder_class, configs


def next_command(builder: Any, name: str, data_dir: str) -> str:
    """The command that trains on a prepared dataset; "" where none does.

    Args: builder name, and --data-dir as it was given.
    """
    config, metadata = builder.builder_config, builder.info.metadata
    if name in IMAGES:
        return next_image_command(builder, name, data_dir)
    if name in (*OBJECTS, "mad"):
        return next_object_command(builder, name, data_dir)
    if "train" not in builder.info.splits:
        return ""
    phase = any(video["cycle_frames"] for video in metadata["videos"]["train"])
    leaves: dict[str, Any] = {"name": config.scene}
    if variant := config.name.rpartition(f"_q{config.quality}")[2].lstrip("_"):
        leaves["variant"] = variant
    if config.width != DEFAULT_SIZES[name]:
        leaves["size"] = config.width
    if config.quality != DEFAULT_QUALITY:
        leaves["quality"] = config.quality
    if data_dir != DEFAULT_DATA_DIR:
        leaves["data_dir"] = data_dir
    words = ["ipad-jax", "train", "--config", name + ":cycle" * (name == "video_folder" and phase)]
    words += [f"--config.data.{leaf}={value}" for leaf, value in leaves.items()]
    command = shlex.join([*words, "--workdir", f"runs/{config.scene}"])
    if config.width != config.height:
        size = (config.height, config.width)
        command += f"  # in a config of your own with data.size = {size}, height and width"
    return command


def next_image_command(builder: Any, name: str, data_dir: str) -> str:
    """The command that fits the default detector to prepared images; arguments as of `next_command`."""
    from ipad_jax.prepare.check_images import fitting_size

    leaves: dict[str, Any] = {"name": builder.builder_config.name}
    size = fitting_size(builder.info.metadata["sizes"])
    leaves |= {leaf: side for leaf, side in zip(("height", "width"), size) if side != 256}
    if data_dir != DEFAULT_DATA_DIR:
        leaves["data_dir"] = data_dir
    words = [f"--config.data.{leaf}={value}" for leaf, value in leaves.items()]
    run_folder = f"runs/{builder.builder_config.name}"
    config = "bank:parts" if name == "parts" else "bank"
    return shlex.join(["ipad-jax", "train", "--config", config, *words, "--workdir", run_folder])


def next_object_command(builder: Any, name: str, data_dir: str) -> str:
    """The command that learns an object, of one without poses its images; arguments as of `next_command`."""
    own = builder.builder_config.scene if name == "mad" else builder.builder_config.name
    leaves = {"name": own} | ({"data_dir": data_dir} if data_dir != DEFAULT_DATA_DIR else {})
    config = {"toys": "omnipose", "object_folder": "omnipose:own", "mad": "omnipose:mad"}[name]
    if name == "mad" and builder.info.metadata["camera_angle_x"] is None:
        config, leaves = "bank", {"builder": name} | leaves
    words = [f"--config.data.{leaf}={value}" for leaf, value in leaves.items()]
    return shlex.join(["ipad-jax", "train", "--config", config, *words, "--workdir", f"runs/{own}"])


def main(argv: list[str]) -> int:
    """The command; see `ipad-jax prepare --help`."""
    return run(make_parser().parse_args(argv))
