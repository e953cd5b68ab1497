"""What preparing costs: draws frames at full resolution and builds a dataset of them, several times.

python -m ipad_jax.data_builders.measure --frames 256 --workers 1 2 --rounds 3

Prints seconds of wall and of CPU for 1,000 frames, the median over rounds that alternate between the
numbers of workers. On a machine that does other things too, believe the CPU seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from absl import logging as absl_logging


def draw(folder: Path, count: int, size: tuple[int, int]) -> int:
    """Writes `count` JPEGs of a part that moves before a still background; bytes of all.

    Args: size (width, height).
    """
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    coarse = rng.integers(60, 200, (size[1] // 32, size[0] // 32, 3)).astype(np.uint8)
    floor = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
    for i in range(count):
        image = floor.copy()
        left = (size[0] - size[0] // 8) * i // max(1, count - 1)
        image[size[1] // 3 : size[1] // 2, left : left + size[0] // 8] = (40, 160, 220)
        cv2.imwrite(str(folder / f"{i}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 75])
    return sum(path.stat().st_size for path in folder.iterdir())


def build(source: Path, side: int, workers: int) -> tuple[float, float]:
    """Builds the dataset into a folder that goes again; seconds of wall and of CPU, children's too."""
    import tensorflow_datasets as tfds

    from ipad_jax.data_builders.video_folder import video_folder_dataset_builder as video_folder

    config = video_folder.VideoFolderConfig(
        scene="drawn", width=side, height=side, source=str(source), fps=25.0
    )
    tfds.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        builder = video_folder.Builder(config=config, data_dir=folder)
        builder.workers = workers
        wall_s, cpu_s = time.perf_counter(), cpu_seconds()
        builder.download_and_prepare(download_dir=Path(folder) / "downloads")
        return time.perf_counter() - wall_s, cpu_seconds() - cpu_s


def cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def main(argv: Sequence[str]) -> int:
    """The command; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m ipad_jax.data_builders.measure",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--frames", type=int, default=256)
    parser.add_argument("--width", type=int, default=2492, help="of the drawn frames, as IPAD's")
    parser.add_argument("--height", type=int, default=988)
    parser.add_argument("--size", type=int, default=256, help="side of the stored frames")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args(list(argv))
    from ipad_jax.data_builders.streaming import (
        MIN_FRAMES_FOR_WORKERS,  # not at the top: workers import us
    )

    if args.frames < MIN_FRAMES_FOR_WORKERS:
        parser.error(f"--frames {args.frames}: workers start from {MIN_FRAMES_FOR_WORKERS} frames")
    absl_logging.set_verbosity(absl_logging.ERROR)
    found: dict[int, list[tuple[float, float]]] = {workers: [] for workers in args.workers}
    with tempfile.TemporaryDirectory() as folder:
        frames = Path(folder) / "source" / "training" / "frames" / "01"
        num_bytes = draw(frames, args.frames, (args.width, args.height))
        for done in range(args.rounds):
            for workers, seconds in found.items():
                seconds.append(build(Path(folder) / "source", args.size, workers))
                wall_s, cpu_s = seconds[-1]
                print(f"round {done + 1}, {workers} workers: {wall_s:.1f} s, CPU {cpu_s:.1f} s")
    print(
        f"\n{args.frames} JPEGs of {args.width}x{args.height} ({num_bytes / args.frames / 1e3:.0f} "
        f"kB each) stored at {args.size}x{args.size}; {os.cpu_count()} cores, load "
        f"{os.getloadavg()[0]:.1f}\n\n| workers | s for 1,000 frames | CPU s for 1,000 frames |"
        "\n|---|---|---|"
    )
    for workers, seconds in found.items():
        wall_s, cpu_s = np.median(np.asarray(seconds) * 1000 / args.frames, axis=0)
        print(f"| {workers} | {wall_s:.1f} | {cpu_s:.1f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
