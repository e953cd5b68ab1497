"""Where an object is before a background that nobody knows: training views, turned, slid over the query.

No silhouette is needed: a view's colours are compared where it shows the object and nowhere else, at every
place, in every size and turn, as template matching with a mask does (OpenCV's `matchTemplate`). All views and
turns are one matrix product, for some rows of places in a size at once.
"""

import dataclasses
from collections.abc import Iterator

import cv2
import numpy as np

from ipad_jax.pose.object_views import Lens
from ipad_jax.pose.retrieval import CROP_PX, ROLLS, WINDOW, Gallery, about, apart

SIDE_PX = 24  # of a template, whose object has a radius of SIDE_PX / WINDOW
SIZE_STEP = 1.15  # from one size of the object in the picture to the next
SIZES = (0.85, 1.18)  # of the object, times those of the smallest and the largest training view
MOST_VIEWS = 256  # as many are enough to be near each side; more are taken evenly
MOST_PLACES = 4096  # of one size; an object is small where there are more, and they are thinned out
PLACES_AT_ONCE = 1024  # of one product: enough for its speed, 40 MB
INSIDE = 0.95  # of a template's pixel, that must be the object's
OUT_OF_PICTURE = 0.3  # squared colour difference of what would lie outside the query


@dataclasses.dataclass(frozen=True)
class Templates:
    """Training views at every roll, as rows of one product.

    Attributes:
      rows: float32 [m, SIDE_PX**2 * 4]: -2 times the colours, then 1 where the object is.
      squares: of the colours, summed [m]. areas: pixels of the object [m].
      entries: of each row in the gallery [m].
      radii: of the object in the picture that are tried, in pixels.
    """

    rows: np.ndarray
    squares: np.ndarray
    areas: np.ndarray
    entries: np.ndarray
    radii: np.ndarray

    def starts(self, image: np.ndarray, gallery: Gallery, lens: Lens, count: int) -> np.ndarray:
        """Poses [n, 4, 4] of the views most like some place of an image uint8 [h, w, 3], apart."""
        least = np.full(len(self.rows), np.inf, np.float32)
        circles = np.zeros((len(self.rows), 3))
        for radius in self.radii:
            for windows, places in _windows(image, SIDE_PX / (WINDOW * radius)):
                away = windows @ self.rows.T
                at = away.argmin(0)
                mean = (away[at, np.arange(len(at))] + self.squares) / self.areas
                better = mean < least
                least[better] = mean[better]
                circles[better, :2], circles[better, 2] = places[at[better]], radius
        chosen = apart(np.argsort(least, kind="stable"), gallery.poses[self.entries], count)
        return np.stack([gallery.placed(int(self.entries[i]), circles[i], lens) for i in chosen])


def templates_of(crops: np.ndarray, gallery: Gallery) -> Templates:
    """Of a gallery and the crops of its views uint8 [n, CROP_PX, CROP_PX, 4], see `retrieval.crop_of`."""
    number = len(crops)
    views = np.unique(np.linspace(0, number - 1, min(number, MOST_VIEWS)).round().astype(int))
    turned = np.stack(
        [_turned(crops[v], 2 * np.pi * k / ROLLS) for v in views for k in range(ROLLS)]
    )
    inside = (turned[..., 3] > INSIDE).astype(np.float32)
    colours = inside[..., None] * turned[..., :3] / np.maximum(turned[..., 3:], INSIDE)
    entries = (views[:, None] * ROLLS + np.arange(ROLLS)).ravel()
    rows = np.concatenate([-2 * colours, inside[..., None]], axis=-1).reshape(len(entries), -1)
    areas = inside.sum((1, 2))
    some = areas > 0
    low, high = gallery.radii.min() * SIZES[0], gallery.radii.max() * SIZES[1]
    steps = 1 + int(np.ceil(np.log(high / low) / np.log(SIZE_STEP)))
    squares = np.square(colours).sum((1, 2, 3))
    radii = np.geomspace(low, high, steps)
    return Templates(rows[some], squares[some], areas[some], entries[some], radii)


def _turned(picture: np.ndarray, turn: float) -> np.ndarray:
    """A crop turned by an angle from x to y (down), of `SIDE_PX`: float32 [., ., 4] in [0, 1]."""
    scale = SIDE_PX / CROP_PX
    matrix = about(CROP_PX / 2, CROP_PX / 2, scale, turn, SIDE_PX)
    smooth = cv2.GaussianBlur(picture, (0, 0), 0.5 / scale)
    return cv2.warpAffine(smooth, matrix, (SIDE_PX, SIDE_PX)).astype(np.float32) / 255


def _windows(image: np.ndarray, scale: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Windows of an image times `scale`: [n, SIDE_PX**2 * 4], and their middles [n, 2], some rows at a time.

    A window has colours and their squares' sum; middles are in the image's own pixels, x and y. There is one
    around every pixel, or around every other or third, where there are more than `MOST_PLACES`.
    """
    height, width = image.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = image.astype(np.float32) / 255
    if scale < 1:
        small = cv2.GaussianBlur(small, (0, 0), 0.5 / scale)
    small = cv2.resize(small, size, interpolation=cv2.INTER_LINEAR)
    four = np.dstack([small, np.square(small).sum(-1)])
    half = SIDE_PX // 2
    four = cv2.copyMakeBorder(
        four, half, half, half, half, cv2.BORDER_CONSTANT, value=(0, 0, 0, OUT_OF_PICTURE)
    )
    views = np.lib.stride_tricks.sliding_window_view(four, (SIDE_PX, SIDE_PX), axis=(0, 1))
    step = int(np.ceil(np.sqrt(views.shape[0] * views.shape[1] / MOST_PLACES)))
    views = views[::step, ::step]
    across = np.arange(views.shape[1]) * step * width / size[0]
    together = max(1, PLACES_AT_ONCE // len(across))
    for first in range(0, len(views), together):
        some = views[first : first + together]
        down = (first + np.arange(len(some))) * step * height / size[1]
        # a window's middle is the corner between four pixels
        middles = np.stack(np.meshgrid(across, down), axis=-1).reshape(-1, 2)
        yield some.transpose(0, 1, 3, 4, 2).reshape(len(middles), -1), middles
