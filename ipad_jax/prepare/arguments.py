"""The command line of `ipad-jax prepare`."""

from __future__ import annotations

import argparse
from pathlib import Path

from ipad_jax.run.cluster import num_cores

DESCRIPTION = "Build a dataset with a progress bar, all of it or nothing."
DEFAULT_DATA_DIR = "~/tensorflow_datasets"
# Pixels a side: data.size of configs/<name>.py, so that the defaults of the two commands fit; mad:
# half the archive's, as the published code.
DEFAULT_SIZES = {"ipad": 256, "mad": 400, "video_folder": 128, "factory": 64}
DEFAULT_QUALITY = 95  # JPEG


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


def parse_count(text: str) -> int:
    """'4' -> 4."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"number {text!r}: give 1 or more")
    return int(text)


def make_parser() -> argparse.ArgumentParser:
    """Parser of `ipad-jax prepare`."""
    parser = argparse.ArgumentParser(prog="ipad-jax prepare", description=DESCRIPTION)
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
            command.add_argument(
                "--source", type=Path, required=True, metavar="DIR", help="folder of the footage"
            )
            command.add_argument(
                "--fps",
                type=parse_rate,
                help="rate of frame folders; video files are resampled TO it (they state their own)",
            )
            command.add_argument(
                "--cycle",
                type=parse_cycle,
                metavar="SECONDS",
                help="cycle length, if every file starts at a cycle's start; "
                "or 'folder': each training folder is exactly one cycle; "
                "or 'auto:SECONDS': look for a cycle of about that length in the training videos, "
                "each of several cycles, and give every frame its phase; refused where none is found; "
                "or 'auto' where the length is unknown: check what it prints, which can be a multiple",
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
            default=str(DEFAULT_SIZES[name]),
            help="side of a square in pixels, or WIDTHxHEIGHT; frames are stored, and a model "
            "trained, at this size (default: %(default)s)",
        )
        command.add_argument(
            "--quality", type=int, default=DEFAULT_QUALITY, help="JPEG quality, 1..100"
        )
        if name != "factory":  # its frames are rendered in the size and format that is stored
            command.add_argument(
                "--workers",
                type=parse_count,
                default=num_cores(),
                metavar="N",
                help="processes that load, resize and encode at most; the dataset is the same for "
                "any number (default: the cores, %(default)s here)",
            )
        command.add_argument("--data-dir", default=DEFAULT_DATA_DIR, metavar="DIR")
        command.add_argument(
            "--overwrite",
            action="store_true",
            help="build again what is there; it stays until the new one is whole",
        )
    return parser
