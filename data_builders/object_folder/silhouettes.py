"""Where an object is in front of a background of one colour, known from the pictures' borders."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

LEAST_AREA = 0.0005  # of the picture; smaller regions are specks
LEAST_LEVELS = 3  # of 255: white parts in front of exact white differ by little more
EVEN = 60  # levels of 255; a border that differs by more from its own median is no even background


def background_of(images: Sequence[np.ndarray]) -> tuple[np.ndarray, float]:
    """The background's colour, float32 [3] in [0, 255], and by how many levels the object differs from it.

    Args: images uint8 [h, w, 3] each, of any sizes.
    Raises: ValueError where the borders show many colours.
    """
    borders = np.concatenate([border_of(image) for image in images]).astype(np.float32)
    colour = np.median(borders, axis=0)
    away = np.abs(borders - colour).max(axis=1)
    spread = float(np.percentile(away, 90))  # up to a tenth may show the object
    if spread > EVEN:
        raise ValueError(
            f"the pictures' borders have no one colour (a tenth of their pixels is {spread:.0f} or more "
            f"levels of 255 away from the median {colour.astype(int).tolist()}): put an even cloth or paper "
            "behind the object, or cut it out and save the photos with transparency"
        )
    return colour, float(np.clip(1.5 * np.percentile(away, 80) + 2, LEAST_LEVELS, EVEN))


def silhouette(image: np.ndarray, background: np.ndarray, levels: float) -> np.ndarray:
    """Where the object is, bool [h, w]: what differs from the background, holes filled, specks left out.

    Args: image uint8 [h, w, 3]. background, levels: see `background_of`.
    """
    away = np.abs(image.astype(np.float32) - background).max(axis=-1)
    found = (away > levels).astype(np.uint8)
    outer, _ = cv2.findContours(found, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    # A real hole that is filled costs some empty voxels; a white face of a white toy that is taken for a hole
    # would carve away all that lies behind it.
    filled = np.zeros_like(found)
    least = LEAST_AREA * found.size
    large = [c for c in outer if cv2.contourArea(c) >= least]
    cv2.drawContours(filled, large, -1, 1, cv2.FILLED)
    return filled.astype(bool)


def border_of(image: np.ndarray) -> np.ndarray:
    """The outermost pixels, [n, 3]."""
    rows = image[[0, -1]].reshape(-1, 3)
    return np.concatenate([rows, image[:, [0, -1]].reshape(-1, 3)])
