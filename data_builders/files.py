"""Single files of a dataset: read whole, or said to be wrong in words a person can act on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")


@dataclasses.dataclass(frozen=True)
class Problem:
    """Something wrong with one file or folder, said so that a person can mend it."""

    path: Path
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class DataError(ValueError):
    """The data cannot be used; `problems` names every file."""

    def __init__(self, problems: Sequence[Problem], shown: int = 20):
        self.problems = tuple(problems)
        lines = [f"  {problem}" for problem in self.problems[:shown]]
        if len(self.problems) > shown:
            lines.append(f"  ... and {len(self.problems) - shown} more")
        super().__init__("The data cannot be used:\n" + "\n".join(lines))


def read_image(path: Path, flags: int = cv2.IMREAD_COLOR) -> np.ndarray:
    """Reads an image file whole, or says what is wrong with it.

    Args: flags of OpenCV; by default grey, transparent and 16-bit files become plain colour.
    Returns: [h, w, 3] uint8 BGR, or what the flags ask for.
    Raises: ValueError on a zero-byte, truncated or non-image file (OpenCV alone returns a
        truncated JPEG with a grey rest and no error).
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); restore the file") from error
    if not data:
        raise ValueError(f"{path}: is empty (0 bytes); copy the file again")
    # The end marker must follow the last scan's start; an embedded thumbnail has its own marker.
    scan = data.rfind(b"\xff\xda")
    if data.startswith(b"\xff\xd8") and (scan < 0 or data.rfind(b"\xff\xd9") < scan):
        raise ValueError(f"{path}: truncated JPEG ({len(data)} bytes); copy the file again")
    if data.startswith(b"\x89PNG") and b"IEND" not in data[-64:]:
        raise ValueError(f"{path}: truncated PNG ({len(data)} bytes); copy the file again")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if image is None:
        raise ValueError(
            f"{path}: not an image that can be read ({len(data)} bytes beginning {data[:4]!r}); copy the "
            "file again, or save it as PNG or JPEG"
        )
    return image
