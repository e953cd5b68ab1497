"""What preparing footage costs: decoding, reduction, encoding, and the whole of `prepare`.

The footage is two video files, each a piece of work of its own, or the same pictures as JPEGs. Each of the
first rows does what the one above it does and one thing more; the last ones do all of it, in processes.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from ipad_jax.data_builders.decoding import decode, probe
from ipad_jax.data_builders.encoding import encode_image
from ipad_jax.data_builders.shrink import shrink
from ipad_jax.data_builders.streaming import MIN_FRAMES_FOR_WORKERS
from ipad_jax.performance.input import draw_frames, pictures, prepare_drawn
from ipad_jax.performance.timing import alternate, number
from ipad_jax.run.cluster import num_cores
from ipad_jax.run.table import Table

VIDEOS = 2  # pieces enough for two workers
QUALITY = 95  # of stored JPEGs, the default of `prepare`


def time_prepare(
    *,
    width: int,
    height: int,
    jpeg: bool,
    frames: int,
    size: int,
    workers: Sequence[int],
    repeats: int,
) -> Table:
    """Draws frames of width x height pixels and prepares them at `size`, step by step.

    Args:
      width: of the drawn frames, of files even.
      height: of the drawn frames, of files even.
      jpeg: they are JPEGs; else H.264 files.
      frames: drawn, at least `MIN_FRAMES_FOR_WORKERS`.
      size: of the stored frames, pixels.
      workers: processes, a row for each number.
      repeats: counted rounds.

    Raises:
      ValueError: an odd width or height of files, or fewer frames.
    """
    if not jpeg and (width % 2 or height % 2):
        raise ValueError(f"{width}x{height}: H.264 has even widths and heights alone; give such.")
    if frames < MIN_FRAMES_FOR_WORKERS:
        raise ValueError(
            f"--frames {frames}: below {MIN_FRAMES_FOR_WORKERS} `prepare` starts no workers; give as many."
        )
    frames -= frames % VIDEOS  # as many in each
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # as in a worker
    try:
        with tempfile.TemporaryDirectory() as folder:
            footage = Path(folder) / "footage"
            draw = draw_frames if jpeg else draw_files
            draw(footage, VIDEOS, frames // VIDEOS, width, height)
            files = sorted(file for file in footage.rglob("*") if file.is_file())
            kilobytes = sum(file.stat().st_size for file in files) / frames / 1000

            def decoded() -> Iterator[np.ndarray]:
                for file in files:
                    yield from (
                        [np.asarray(cv2.imread(str(file)))] if jpeg else decode(file, probe(file))
                    )

            def reduced() -> Iterator[np.ndarray]:
                for picture in decoded():
                    yield shrink(picture, (size, size))

            def prepared(count: int) -> None:
                data_dir = Path(folder) / "data"
                prepare_drawn(footage, data_dir, size, count)
                shutil.rmtree(data_dir)

            calls: dict[str, Callable[[], Any]] = {
                "decoded": lambda: _exhaust(decoded()),
                f"reduced to {size}x{size}": lambda: _exhaust(reduced()),
                "encoded": lambda: _exhaust(
                    encode_image(picture, (size, size), QUALITY) for picture in decoded()
                ),
            }
            steps = len(calls)
            for count in workers:
                name = f"prepared, {count} worker{'s' * (count > 1)}"
                calls[name] = lambda count=count: prepared(count)
            timings = alternate(calls, repeats)
    finally:
        cv2.setNumThreads(threads)
    each = [1000 * timing.cpu_seconds / frames for timing in timings.values()]
    before = [0.0, *each[: steps - 1], *[each[steps - 1]] * len(workers)]
    kind = "JPEGs" if jpeg else f"frames, {VIDEOS} H.264 files"
    return Table(
        f"{frames} {kind} of {width}x{height} ({number(kilobytes)} kB each) stored at {size}x{size}",
        ("until", "frames/s", "CPU ms a frame", "of the last step"),
        tuple(
            (name, number(frames / timing.seconds), number(cost), f"{cost - last:+.1f}")
            for (name, timing), cost, last in zip(timings.items(), each, before)
        ),
        (
            f"medians; CPU time of all threads and workers; {num_cores()} cores, of which the decoder of "
            "a video file takes what is free",
        ),
    )


def draw_files(folder: Path, num_videos: int, num_frames: int, width: int, height: int) -> None:
    """Writes `pictures` as train/normal/NN.mp4, H.264 with x264's quickest preset."""
    target = folder / "train" / "normal"
    target.mkdir(parents=True)
    for video in range(num_videos):
        with av.open(str(target / f"{video + 1:02d}.mp4"), "w") as file:
            stream = file.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for picture in pictures(video, num_frames, width, height):
                file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
            file.mux(stream.encode())


def _exhaust(items: Iterable[Any]) -> None:
    for _ in items:
        pass
