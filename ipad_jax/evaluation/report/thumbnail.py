"""Small pictures inside JSON: what a table of thresholds shows of each known fault."""

import base64

import cv2
import numpy as np

SIDE_PX = 200  # the longer side
MOST = 60  # pictures of a table: half a megabyte


def thumbnail(picture: np.ndarray) -> str:
    """A picture uint8 [h, w, 3] RGB as a small JPEG in base64.

    Raises:
      ValueError: it cannot be encoded.
    """
    height, width = picture.shape[:2]
    scale = min(1.0, SIDE_PX / max(height, width))
    size = max(1, round(scale * width)), max(1, round(scale * height))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    done, data = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
    if not done:
        raise ValueError(f"a picture of shape {picture.shape} cannot be encoded as a JPEG.")
    return base64.b64encode(data.tobytes()).decode()
