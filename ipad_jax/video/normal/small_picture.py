"""Small pictures: frames as they are compared with normal ones, of one size, one light and one place.

What differs between two frames of a sound machine is, more than anything else, the hall's light and the
camera's shake. Both are taken out first, so that pixels can then be compared with pixels:

    1. The frame is reduced to at most `side` pixels.
    2. Each colour channel is scaled to the same median: light that rises and falls over the whole picture.
    3. The picture is shifted to where a reference picture of the scene has the same grey levels (enhanced
       correlation coefficient, Evangelidis and Psarakis 2008, as OpenCV has it): a camera that shakes.
       A large part that stands out of everything else pulls the picture along by a fraction of a pixel.
"""

from dataclasses import dataclass

import cv2
import numpy as np

MIN_PX = 8  # longest side of a picture that can be compared: a box of 5 and an edge must fit
MEDIAN = 128  # grey level every channel's median is scaled to; brighter than 2x of it saturates
MAX_SHIFT = 0.1  # of the shorter side; a picture that would move further is no shaken one
STEPS, PRECISION = 20, 1e-3  # of the search for the shift; our choice
BLUR_PX = 3  # pixels, side of the Gaussian that the search sees both pictures through; our choice
_STOP = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, STEPS, PRECISION)


@dataclass(frozen=True, eq=False)
class SmallPictures:
    """Makes frames comparable; a call takes uint8 [h, w, 3] of any size and gives uint8 [h', w', 3].

    Attributes:
      side: pixels, longest side of a small picture.
      reference: float32 [h', w'], `reference_of` the scene; None: shakes stay.
    """

    side: int
    reference: np.ndarray | None = None

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """The small picture of a frame."""
        picture = small_picture(frame, self.side)
        return picture if self.reference is None else registered(picture, self.reference)


def small_picture(frame: np.ndarray, side: int) -> np.ndarray:
    """A frame made small, every channel's median the same.

    Args:
      frame: uint8 [h, w, 3].
      side: pixels of the longest side.

    Returns:
      uint8 [h', w', 3]; a channel whose median is 0 is left as it is.
    """
    frame = reduced(frame, side)
    median = np.median(frame, axis=(0, 1))
    gain = np.where(median > 0, MEDIAN / np.maximum(median, 1), 1.0)
    return np.clip(np.rint(frame * gain), 0, 255).astype(np.uint8)


def reduced(frame: np.ndarray, side: int) -> np.ndarray:
    """A frame, uint8 [h, w, 3], at most `side` pixels long; a smaller one as it is."""
    height, width = frame.shape[:2]
    factor = side / max(height, width)
    if factor >= 1:
        return frame
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA)


def reference_of(pictures: np.ndarray) -> np.ndarray:
    """What others are shifted to: grey median of small pictures, uint8 [n, h, w, 3] -> float32 [h, w]."""
    return _grey(np.median(pictures, axis=0).astype(np.uint8))


def registered(picture: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """A small picture shifted to where the reference has the same grey levels.

    Args:
      picture: uint8 [h, w, 3].
      reference: float32 [h, w], from `reference_of`.

    Returns:
      uint8 [h, w, 3]; the picture as it is where no shift is found or it is above `MAX_SHIFT`. What
      comes in over the edge repeats the edge.

    Raises:
      ValueError: the reference is of another size.
    """
    if picture.shape[:2] != reference.shape:
        raise ValueError(
            f"picture is {picture.shape[:2]}, the reference {reference.shape}: give frames of the training "
            "footage's proportions, as `Detector.prepare` makes them."
        )
    shift = np.eye(2, 3, dtype=np.float32)
    try:
        how = (cv2.MOTION_TRANSLATION, _STOP, None, BLUR_PX)  # no mask
        _, shift = cv2.findTransformECC(reference, _grey(picture), shift, *how)  # type: ignore
    except cv2.error:  # nothing in the picture to hold on to
        return picture
    height, width = reference.shape
    if not np.abs(shift[:, 2]).max() <= MAX_SHIFT * min(height, width):
        return picture
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(
        picture, shift, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )


def _grey(picture: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
