"""Single photographs as every part of the product reads them: 8 bits, RGB, upright, over white."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ipad_jax.data_builders.encoding import encode
from ipad_jax.data_builders.files import IMAGE_SUFFIXES, read_image

SUFFIXES = (*IMAGE_SUFFIXES, ".webp")  # in any case
_ORIENTATION = 274  # EXIF tag


def is_photo(path: Path) -> bool:
    """Whether a name is that of an image file, and not of a hidden one."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def read_photo(path: Path, bit_depth: int | None = None) -> np.ndarray:
    """Reads a photograph of any kind: grey, 16 bits, transparent (laid over white), turned by EXIF.

    Args:
        bit_depth: bits that the 16-bit images of a dataset use, the upper 8 of which are taken; None
            where it has none.

    Returns: [h, w, 3] uint8 RGB.
    Raises: ValueError where it cannot be read, or has 16 bits and no depth is known.
    """
    image = read_image(path, cv2.IMREAD_UNCHANGED)
    if image.dtype == np.uint16:
        if bit_depth is None:
            raise ValueError(f"{path}: is a 16-bit image among 8-bit ones; convert all alike")
        image = (np.minimum(image, (1 << bit_depth) - 1) >> (bit_depth - 8)).astype(np.uint8)
    elif image.dtype != np.uint8:
        raise ValueError(f"{path}: has values of {image.dtype}; convert it to 8 or 16 bits")
    return upright(_over_white(image), orientation_of(path))


def _over_white(image: np.ndarray) -> np.ndarray:
    """uint8 grey, BGR or BGRA to RGB."""
    if image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    rgb = cv2.cvtColor(np.ascontiguousarray(image[..., :3]), cv2.COLOR_BGR2RGB)
    if image.shape[2] == 3:
        return rgb
    alpha = image[..., 3:].astype(np.float32) / 255
    return np.rint(rgb * alpha + 255 * (1 - alpha)).astype(np.uint8)


def size_of(path: Path) -> tuple[int, int] | None:
    """Width and height of a photograph as `read_photo` gives it, by its head alone; None: it has none."""
    try:
        with Image.open(path) as image:
            width, height = image.size
    except (OSError, ValueError, SyntaxError):
        return None
    return (height, width) if orientation_of(path) >= 5 else (width, height)


def orientation_of(path: Path) -> int:
    """EXIF orientation of a file, 1 (as it is) to 8; 1 where it has none."""
    if path.suffix.lower() in (".tif", ".tiff", ".bmp"):  # OpenCV turns TIFF itself
        return 1
    try:
        with Image.open(path) as image:
            found = image.getexif().get(_ORIENTATION, 1)
    except (OSError, ValueError, SyntaxError):  # damaged metadata of a readable image
        return 1
    return found if found in range(1, 9) else 1


def upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """The image as it is to be seen, from how a camera stored it (EXIF 2.3, tag 0x0112)."""
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)  # 5: that is all
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return np.ascontiguousarray(image)


def stored_bytes(path: Path, bit_depth: int | None) -> tuple[bytes, tuple[int, int]]:
    """What a dataset keeps of an image, without loss, and its (height, width).

    A JPEG that is upright is kept byte for byte, all else as PNG: read again, both give the pixels that
    `read_photo` gives.
    """
    image = read_photo(path, bit_depth)
    if path.suffix.lower() in (".jpg", ".jpeg") and orientation_of(path) == 1:
        data = path.read_bytes()
        if data.startswith(b"\xff\xd8"):  # a PNG may be called .jpg
            return data, image.shape[:2]
    return encode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR)), image.shape[:2]


def read_mask(path: Path) -> np.ndarray:
    """Reads a mask: bool [h, w], True on the defect.

    Values above half count, of a mask of 0 and 1 those of 1.
    Raises: ValueError where it cannot be read.
    """
    image = read_image(path, cv2.IMREAD_UNCHANGED)
    if image.ndim == 3:
        image = image[..., : 3 if image.shape[2] == 4 else image.shape[2]].max(axis=2)
    largest = np.iinfo(image.dtype).max if np.issubdtype(image.dtype, np.integer) else 1
    return upright(image > (0 if image.max() <= 1 else largest // 2), orientation_of(path))
