"""Clips a second from a prepared dataset, against full-size JPEGs read, resized and stacked for each clip.

Both read the same clips in one thread and keep no frames. The second way is the published loader's.
"""

import argparse
import tempfile
from pathlib import Path

import cv2
import numpy as np

from ipad_jax.input.frames import dataset_dir, open_source
from ipad_jax.performance.drawn import SCENE, draw_frames, prepare_drawn
from ipad_jax.performance.timing import Table, alternate, number


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `ipad-jax bench input`."""
    parser.add_argument("--width", type=int, default=2492, help="of the drawn frames (%(default)s)")
    parser.add_argument("--height", type=int, default=988, help="of the drawn frames (%(default)s)")
    parser.add_argument("--frames", type=int, default=64, help="drawn (%(default)s)")
    parser.add_argument("--size", type=int, default=256, help="of the dataset (%(default)s)")
    parser.add_argument("--clip-len", type=int, default=16, help="frames (%(default)s)")
    parser.add_argument("--clips", type=int, default=4, help="read a round (%(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="counted rounds (%(default)s)")


def run(args: argparse.Namespace) -> Table:
    """Draws, prepares and times both ways."""
    if args.frames < args.clip_len:
        raise ValueError(f"--frames {args.frames} must be at least --clip-len {args.clip_len}.")
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            frames, data_dir = Path(folder) / "frames", Path(folder) / "data"
            draw_frames(frames, 1, args.frames, args.width, args.height)
            prepare_drawn(frames, data_dir, args.size)
            files = sorted((frames / "training" / "frames" / "01").iterdir())
            source = open_source(
                dataset_dir(data_dir, "video_folder", SCENE, args.size), "train", cache_mb=0
            )
            starts = np.linspace(0, args.frames - args.clip_len, args.clips).astype(int).tolist()

            def ours() -> list[np.ndarray]:
                return [source.clip(0, start, args.clip_len)[0] for start in starts]

            def published() -> list[np.ndarray]:
                return [
                    load_clip(files[start : start + args.clip_len], args.size) for start in starts
                ]

            check_alike(ours(), published())
            timings = alternate({"prepared": ours, "full size": published}, args.repeats)
            kilobytes = np.mean([file.stat().st_size for file in files]) / 1000
    finally:
        cv2.setNumThreads(threads)
    rates = {name: args.clips / timing.seconds for name, timing in timings.items()}
    return Table(
        f"Input: clips of {args.clip_len} frames at {args.size}x{args.size}, one thread, no frames kept",
        ("read from", "clips/s", "CPU ms a clip", "ratio"),
        (
            (
                "prepared dataset",
                number(rates["prepared"]),
                number(timings["prepared"].cpu_seconds / args.clips * 1e3),
                number(rates["prepared"] / rates["full size"]),
            ),
            (
                f"{args.width}x{args.height} JPEGs of {kilobytes:.0f} kB",
                number(rates["full size"]),
                number(timings["full size"].cpu_seconds / args.clips * 1e3),
                "1",
            ),
        ),
    )


def load_clip(files: list[Path], size: int) -> np.ndarray:
    """A clip as the published loader makes it: read, resize, scale, stack; float32 [t, h, w, 3] RGB."""
    frames = []
    for file in files:
        image = cv2.imread(str(file))
        if image is None:
            raise ValueError(f"{file} cannot be read.")
        frames.append(cv2.resize(image, (size, size)).astype(np.float32) / 127.5 - 1)
    return np.stack(frames)[..., ::-1]


def check_alike(ours: list[np.ndarray], theirs: list[np.ndarray]) -> None:
    """Raises RuntimeError if the two ways do not read the same pictures."""
    # they differ in the resize (area, bilinear) and by one more JPEG
    difference = np.mean([np.abs(a / 127.5 - 1 - b).mean() for a, b in zip(ours, theirs)])
    if difference > 0.1:
        raise RuntimeError(f"the two ways read other pictures: mean difference {difference:.3f}.")
