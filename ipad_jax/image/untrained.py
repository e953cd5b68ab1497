"""Rows that need no training, for every table: the mean grey image, and the nearest good image.

A method that is not better than these has learned nothing useful.
"""

from typing import Any

import cv2
import numpy as np

SIDE = 64  # pixels, longer side at which images are compared; our choice
MAX_IMAGES = 300  # good images that are compared with, evenly spread; our choice
BLUR_PX = 1.0  # of the map, at SIDE: eval.blur_px at 256
ROWS = {
    "mean_image": "distance from the mean grey image",
    "nearest_image": "distance from the nearest good image, in grey",
}


def fit_untrained(normal: Any) -> dict[str, np.ndarray]:
    """Small good images, uint8 [n, h, w], of `task.NormalImages`."""
    count = min(len(normal), MAX_IMAGES)
    chosen = np.linspace(0, len(normal) - 1, count).round().astype(int)
    height, width = normal.views.height, normal.views.width
    scale = SIDE / max(height, width)
    size = (max(8, round(height * scale)), max(8, round(width * scale)))
    return {"images": np.stack([small(normal.image(int(i)), size) for i in chosen])}


def small(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image uint8 [h, w, 3] in grey at (height, width), uint8."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, size[::-1], interpolation=cv2.INTER_AREA)


def untrained_maps(images: np.ndarray, image: np.ndarray) -> dict[str, np.ndarray]:
    """Maps of the rows, float32 at the image's own size.

    Args:
      images: of `fit_untrained`.
      image: uint8 [h, w, 3].
    """
    good = images.astype(np.float32)
    grey = small(image, images.shape[1:]).astype(np.float32)
    nearest = good[np.abs(good - grey).mean((1, 2)).argmin()]
    maps = {"mean_image": np.abs(grey - good.mean(0)), "nearest_image": np.abs(grey - nearest)}
    return {
        name: cv2.resize(cv2.GaussianBlur(x, (0, 0), BLUR_PX), image.shape[1::-1])
        for name, x in maps.items()
    }
