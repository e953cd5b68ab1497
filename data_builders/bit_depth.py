"""Pictures of more than 8 bits: how many bits are used, and 8 bits made of them.

A camera of 12 bits writes 16-bit files whose values end at 4095. The depth is that of the largest
value in all the footage; it belongs to the dataset, so that a detector reads new pictures alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from ipad_jax.data_builders.files import DataError, Problem, read_image

DEPTHS = (8, 10, 12, 14, 16)  # bits of cameras
ANY_DEPTH = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH


def find_bit_depth(files: Sequence[Path], workers: int = 4) -> int | None:
    """Bits that the largest value of 16-bit pictures needs; None where pictures have 8.

    Reads the first picture, and all where it has 16 bits.
    Raises: ValueError where one cannot be read, or is neither 8 nor 16 bits; DataError naming those of 8
        bits among others of 16.
    """
    if not files or _read(files[0]).dtype == np.uint8:
        return None
    with ThreadPoolExecutor(workers) as pool:
        found = list(pool.map(_bits_and_largest, files))
    message = "is an 8-bit picture among 16-bit ones; convert all alike"
    if odd := [Problem(path, message) for path, (bits, _) in zip(files, found) if bits == 8]:
        raise DataError(odd)
    largest = max(value for _, value in found)
    return next(depth for depth in DEPTHS if largest < 1 << depth)


def _bits_and_largest(path: Path) -> tuple[int, int]:
    """Bits that a picture's values are stored in, and the largest of them."""
    image = _read(path)
    return 8 * image.itemsize, int(image.max())


def read_picture(path: Path, bit_depth: int | None = None) -> np.ndarray:
    """Reads a picture of 8 bits, or the top 8 of the `bit_depth` bits that 16-bit ones use.

    Returns: [h, w, 3] uint8 BGR; what lies above the depth is white.
    Raises: ValueError where it cannot be read, or has 16 bits and no depth is known.
    """
    image = _read(path)
    if image.dtype == np.uint8:
        return image
    if bit_depth is None:
        raise ValueError(f"{path}: is a 16-bit picture among 8-bit ones; convert all alike")
    return (np.minimum(image, (1 << bit_depth) - 1) >> (bit_depth - 8)).astype(np.uint8)


def describe_bit_depth(bit_depth: int) -> str:
    """What is done to pictures of this depth, for a person."""
    return f"its 16-bit pictures use {bit_depth} bits; the upper 8 of these are taken"


def _read(path: Path) -> np.ndarray:
    """A picture of either depth."""
    image = read_image(path, ANY_DEPTH)
    if image.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"{path}: has values of {image.dtype}; convert it to 8 or 16 bits")
    return image
