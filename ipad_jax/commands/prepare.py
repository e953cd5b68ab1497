"""`ipad-jax prepare NAME`: builds a TFDS dataset with a progress bar, all of it or nothing."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import logging as absl_logging
from rich.console import Console

from ipad_jax.prepare.arguments import (
    DEFAULT_DATA_DIR,
    DEFAULT_QUALITY,
    DEFAULT_SIZES,
    make_parser,
)
from ipad_jax.prepare.build import (
    build,
    differences,
    load_builder_class,
    make_configs,
    no_archive,
    rebuild,
)
from ipad_jax.prepare.narrate import report
from ipad_jax.run.cluster import own_share


def next_command(builder: Any, name: str, data_dir: str) -> str:
    """The command that trains on a prepared dataset; "" where none does.

    Args: builder name, and --data-dir as it was given.
    """
    config, metadata = builder.builder_config, builder.info.metadata
    if name == "mad" or "train" not in builder.info.splits:
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


def leftovers(place: Any) -> list[str]:
    """What a killed run left beside a dataset's place, and what to do with it."""
    lines = []
    for left in sorted(place.parent.glob("incomplete.*")):
        line = f"{left} was left by a run that was killed, or is being written"
        if (left / "replaced").exists() and not place.exists():  # killed between two renames
            line += (
                f"; it holds the dataset that was here: move {left / 'replaced'} to {place} first"
            )
        lines.append(f"{line}; delete it if no `ipad-jax prepare` runs (nothing reads it)")
    return lines


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
    if manual_dir is not None and (message := no_archive(manual_dir, builder_class)):
        errors.print(message, markup=False, soft_wrap=True)
        return 1
    status = 0
    try:
        for config in own_share(configs, os.environ):  # several processes build a scene each
            status |= not prepare_one(builder_class, config, args, console, errors)
    except KeyboardInterrupt:
        errors.print("interrupted; nothing half-built was kept")
        return 130
    return status


def prepare_one(
    builder_class: Any, config: Any, args: argparse.Namespace, console: Console, errors: Console
) -> bool:
    """Builds one dataset, or says that it is there; whether what was asked for is now there."""

    def complain(text: str) -> None:
        errors.print(text, markup=False, highlight=False, soft_wrap=True)

    manual_dir, workers = getattr(args, "manual_dir", None), getattr(args, "workers", 1)
    data_dir = os.path.expanduser(args.data_dir)
    builder = builder_class(config=config, data_dir=data_dir)
    there = builder.data_path.exists()
    for line in leftovers(builder.data_path):
        complain(line)
    if there and not args.overwrite:
        if changed := differences(builder):
            complain(
                f"{builder.data_dir} was prepared with {changed}. Use --overwrite to build it "
                "again, or another --name."
            )
            return False
    else:
        try:
            if str(getattr(config, "cycle", None)).startswith("auto"):
                from ipad_jax.prepare.cycle import measure_cycle  # imports TFDS

                config.measured = measure_cycle(
                    Path(config.source), config.fps or None, config.cycle, console
                )
            if there:
                rebuild(builder_class, config, data_dir, manual_dir, workers, console)
                builder = builder_class(config=config, data_dir=data_dir)
            else:
                build(builder, manual_dir, workers, console)
        except (ValueError, OSError) as error:
            complain(f"{args.builder}/{config.name} was not built.\n{error}")
            return False
    if there and not args.overwrite:
        line = f"already prepared: {builder.data_dir} (--overwrite builds it again)"
    else:
        line = f"prepared {builder.data_dir}"
    console.print(line, markup=False, highlight=False, soft_wrap=True)
    report(builder, console)
    if command := next_command(builder, args.builder, args.data_dir):
        console.print(f"next: {command}", markup=False, highlight=False, soft_wrap=True)
    return True
