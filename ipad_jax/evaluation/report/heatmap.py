"""Heat maps: where in the picture the error lies, on one colour scale for all frames.

The scale comes from the calibration, never from the frame at hand: a map stretched to its own
maximum shows a glowing fault in every normal picture.
"""

import cv2
import numpy as np
from matplotlib import colormaps

OPACITY = 0.8  # of the hottest colour, so that the part beneath can still be seen
COLOURS = (colormaps["inferno"](np.linspace(0, 1, 256))[:, :3] * 255).round().astype(np.uint8)


def heat_range(location: float, scale: float) -> tuple[float, float]:
    """Where colour begins and where it is full, from the calibration of a map's maximum.

    Args:
      location: median over normal frames of the largest value of the map.
      scale: its spread.

    Returns:
      (low, high): colour begins 2 spreads below the usual largest value of a normal frame (at half of
      it where the spread is wide), so that normal pictures stay almost plain, and is full 8 above it.
    """
    low = max(location - 2 * scale, location / 2, 0.0)
    return low, max(location + 8 * scale, low + 1 / 255)


def colourise(error: np.ndarray, low: float, high: float) -> np.ndarray:
    """Error map [..., h, w] float -> colours uint8 [..., h, w, 3]; below `low` black, from `high` on pale."""
    return COLOURS[(heat(error, low, high) * 255).round().astype(np.uint8)]


def heat(error: np.ndarray, low: float, high: float) -> np.ndarray:
    """Error map on the scale: 0 up to `low`, 1 from `high` on; float32."""
    if not high > low:
        raise ValueError(f"The colour scale needs low < high, got {low} and {high}.")
    error = np.nan_to_num(np.asarray(error, np.float32))
    return np.clip((error - low) / (high - low), 0, 1).astype(np.float32)


def overlay(frame: np.ndarray, error: np.ndarray, low: float, high: float) -> np.ndarray:
    """The frame in grey with the heat over it.

    Args:
      frame: uint8 [h, w, 3] RGB.
      error: float [h, w], or smaller: it is enlarged.
      low, high: colour scale (`heat_range`).

    Returns:
      uint8 [h, w, 3]: below `low` the plain grey picture, hotter = more opaque.
    """
    height, width = frame.shape[:2]
    if error.shape != (height, width):
        error = cv2.resize(np.asarray(error, np.float32), (width, height))
    strength = heat(error, low, high)
    # the upper two thirds of the map: its dark end would darken, not mark
    colours = COLOURS[(85 + strength * 170).round().astype(np.uint8)].astype(np.float32)
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32)[..., None]
    opacity = OPACITY * np.sqrt(strength)[..., None]
    return (grey * (1 - opacity) + colours * opacity).round().astype(np.uint8)
