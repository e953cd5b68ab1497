"""Footage drawn for a benchmark: frames of a camera's size as JPEG files, and the dataset made of them."""

import contextlib
import io
import os
from pathlib import Path

import cv2
import numpy as np

from ipad_jax.prepare import build as prepare

SCENE = "drawn"
JPEG = (cv2.IMWRITE_JPEG_QUALITY, 75)


def draw_frames(folder: Path, num_videos: int, num_frames: int, width: int, height: int) -> None:
    """Writes training/frames/NN/NNNN.jpg: a shaded background, a grid, and a disc that moves.

    Smooth and of quality 75, 100 kB at 2492x988: decoding time grows with the bytes, and IPAD's
    frames are small (15 kB on average).
    """
    y, x = np.mgrid[:height, :width].astype(np.float32)
    shade = np.stack([90 + 60 * np.sin(x / 190 + k) * np.cos(y / 130 - k) for k in range(3)], -1)
    background = np.clip(shade + 40, 0, 255).astype(np.uint8)
    for column in range(0, width, max(width // 12, 8)):
        cv2.line(background, (column, 0), (column, height), (40, 40, 40), 3)
    for video in range(num_videos):
        target = folder / "training" / "frames" / f"{video + 1:02d}"
        target.mkdir(parents=True)
        for frame in range(num_frames):
            picture = background.copy()
            angle = 2 * np.pi * frame / num_frames + video
            place = (width * (0.5 + 0.3 * np.cos(angle)), height * (0.5 + 0.3 * np.sin(angle)))
            cv2.circle(picture, (int(place[0]), int(place[1])), height // 8, (30, 60, 200), -1)
            cv2.imwrite(str(target / f"{frame:04d}.jpg"), picture, JPEG)


def prepare_drawn(frames: Path, data_dir: Path, size: int) -> None:
    """`ipad-jax prepare video_folder` on such a folder.

    Raises:
      ChildProcessError: it failed; with what it said.
    """
    argv = ["video_folder", "--name", SCENE, "--source", os.fspath(frames), "--fps", "25"]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = prepare.main([*argv, "--size", str(size), "--data-dir", os.fspath(data_dir)])
    if status:
        raise ChildProcessError(f"preparing the drawn footage failed: {said.getvalue()}")
