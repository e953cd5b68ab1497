"""Clips a second from a prepared dataset, against full-size JPEGs read, resized and stacked for each clip.

Both read the same clips in one thread and keep no frames. The second way is the published loader's.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from absl import logging

from ipad_jax.data_builders.video_folder.video_folder_dataset_builder import VideoFolderConfig
from ipad_jax.input.frames import dataset_dir, open_source
from ipad_jax.performance.timing import alternate, number
from ipad_jax.prepare.build import build, load_builder_class
from ipad_jax.run.table import Table

SCENE = "drawn"
JPEG = (cv2.IMWRITE_JPEG_QUALITY, 75)


def compare_input(
    *, width: int, height: int, frames: int, size: int, clip_len: int, clips: int, repeats: int
) -> Table:
    """Draws frames of width x height pixels, prepares them at `size` and times both ways.

    Args:
      width: of the drawn frames.
      height: of the drawn frames.
      frames: drawn, at least `clip_len`.
      size: of the prepared frames, pixels.
      clip_len: frames.
      clips: read a round.
      repeats: counted rounds.
    """
    if frames < clip_len:
        raise ValueError(f"frames={frames} must be at least clip_len={clip_len}.")
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            footage, data_dir = Path(folder) / "frames", Path(folder) / "data"
            draw_frames(footage, 1, frames, width, height)
            prepare_drawn(footage, data_dir, size)
            files = sorted((footage / "training" / "frames" / "01").iterdir())
            source = open_source(
                dataset_dir(data_dir, "video_folder", SCENE, size), "train", cache_mb=0
            )
            starts = np.linspace(0, frames - clip_len, clips).astype(int).tolist()

            def ours() -> list[np.ndarray]:
                return [source.clip(0, start, clip_len)[0] for start in starts]

            def published() -> list[np.ndarray]:
                return [load_clip(files[start : start + clip_len], size) for start in starts]

            check_alike(ours(), published())
            timings = alternate({"prepared": ours, "full size": published}, repeats)
            kilobytes = np.mean([file.stat().st_size for file in files]) / 1000
    finally:
        cv2.setNumThreads(threads)
    rates = {name: clips / timing.seconds for name, timing in timings.items()}
    return Table(
        f"Input: clips of {clip_len} frames at {size}x{size}, one thread, no frames kept",
        ("read from", "clips/s", "CPU ms a clip", "ratio"),
        (
            (
                "prepared dataset",
                number(rates["prepared"]),
                number(timings["prepared"].cpu_seconds / clips * 1e3),
                number(rates["prepared"] / rates["full size"]),
            ),
            (
                f"{width}x{height} JPEGs of {kilobytes:.0f} kB",
                number(rates["full size"]),
                number(timings["full size"].cpu_seconds / clips * 1e3),
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


def draw_frames(folder: Path, num_videos: int, num_frames: int, width: int, height: int) -> None:
    """Writes `pictures` as training/frames/NN/NNNN.jpg of quality 75, 100 kB each at 2492x988."""
    for video in range(num_videos):
        target = folder / "training" / "frames" / f"{video + 1:02d}"
        target.mkdir(parents=True)
        for frame, picture in enumerate(pictures(video, num_frames, width, height)):
            cv2.imwrite(str(target / f"{frame:04d}.jpg"), picture, JPEG)


def pictures(video: int, num_frames: int, width: int, height: int) -> Iterator[np.ndarray]:
    """BGR uint8 pictures of a shaded background, a grid, and a disc that moves.

    Smooth: decoding time grows with the bytes, and IPAD's frames are small (15 kB on average).
    """
    y, x = np.mgrid[:height, :width].astype(np.float32)
    shade = np.stack([90 + 60 * np.sin(x / 190 + k) * np.cos(y / 130 - k) for k in range(3)], -1)
    background = np.clip(shade + 40, 0, 255).astype(np.uint8)
    for column in range(0, width, max(width // 12, 8)):
        cv2.line(background, (column, 0), (column, height), (40, 40, 40), 3)
    for frame in range(num_frames):
        picture = background.copy()
        angle = 2 * np.pi * frame / num_frames + video
        place = (width * (0.5 + 0.3 * np.cos(angle)), height * (0.5 + 0.3 * np.sin(angle)))
        cv2.circle(picture, (int(place[0]), int(place[1])), height // 8, (30, 60, 200), -1)
        yield picture


def prepare_drawn(footage: Path, data_dir: Path, size: int, workers: int = 1) -> None:
    """Prepares such a folder as `ipad-jax prepare video_folder` does."""
    logging.set_verbosity(logging.ERROR)  # TFDS warns of any scene that is not predefined
    config = VideoFolderConfig(scene=SCENE, source=str(footage), fps=25.0, width=size, height=size)
    builder = load_builder_class("video_folder")(config=config, data_dir=os.fspath(data_dir))
    build(builder, None, workers)
