"""Footage drawn for a benchmark: frames of a camera's size as JPEG files, and the dataset made of them."""

import os
from pathlib import Path

import cv2
import numpy as np

from ipad_jax.data_builders.video_folder.video_folder_dataset_builder import VideoFolderConfig
from ipad_jax.prepare.build import build, load_builder_class

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
    """Prepares such a folder as `ipad-jax prepare video_folder` does."""
    config = VideoFolderConfig(scene=SCENE, source=str(frames), fps=25.0, width=size, height=size)
    builder = load_builder_class("video_folder")(config=config, data_dir=os.fspath(data_dir))
    build(builder, None, 1)
