"""From a query and its rendering to a raw map: their difference, as far as edges do not explain it."""

import cv2
import numpy as np

from ipad_jax.pose.pictures import Picture

FLOOR = 0.04  # of the expected difference, in colour from 0 to 1; our choice
SHIFT_PX = 0.75  # by which a pixel may be off
TOP_PIXELS = 20  # of a 200 x 200 picture, whose mean is an image's score


def difference_map(query: np.ndarray, picture: Picture, blur_px: float = 1.0) -> np.ndarray:
    """Raw map float32 [h, w]: the smallest colour difference over shifts, over what edges make of it.

    Args:
      query: float32 [h, w, 3] in [0, 1].
      blur_px: standard deviation of the Gaussian over differences and edges.
    """
    least = np.full(query.shape[:2], np.inf, np.float32)
    for dx in (-SHIFT_PX, 0.0, SHIFT_PX):
        for dy in (-SHIFT_PX, 0.0, SHIFT_PX):
            moved = _shifted(picture.rgb, dx, dy) if dx or dy else picture.rgb
            least = np.minimum(least, np.linalg.norm(query - moved, axis=-1))
    return _blur(least, blur_px) / (FLOOR + _blur(edges(picture.rgb), blur_px))


def edges(rgb: np.ndarray) -> np.ndarray:
    """Length of the colour gradient a pixel, float32 [h, w]."""
    down, across = np.gradient(rgb, axis=(0, 1))
    return np.sqrt(np.square(down).sum(-1) + np.square(across).sum(-1)).astype(np.float32)


def score_of(score_map: np.ndarray) -> float:
    """Mean of the highest pixels of a map, as many as are 20 of 200 x 200: a defect has an area."""
    count = max(1, round(TOP_PIXELS * score_map.size / 40_000))
    return float(np.partition(score_map.ravel(), -count)[-count:].mean())


def _blur(values: np.ndarray, blur_px: float) -> np.ndarray:
    if not blur_px:
        return values
    return cv2.GaussianBlur(values, (0, 0), blur_px, borderType=cv2.BORDER_REFLECT)


def _shifted(image: np.ndarray, dx: float, dy: float) -> np.ndarray:
    matrix = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
    size = (image.shape[1], image.shape[0])
    return cv2.warpAffine(
        image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
