"""How an image of any size becomes pictures of one size for a network, and their maps one map again.

Proportions are kept and nothing is cropped: what an image lacks of a picture's proportions is filled by
repeating its border, and left out of the map.
"""

import dataclasses
from typing import NamedTuple

import cv2
import numpy as np

SAME_PROPORTIONS = 0.05  # relative; an image this near is stretched, not filled


class Placed(NamedTuple):
    """Where an image lies on the canvas: first row and column, height, width."""

    top: int
    left: int
    height: int
    width: int


@dataclasses.dataclass(frozen=True)
class Views:
    """Pictures of an image: one, or tiles that overlap by half.

    Attributes:
      height, width: of a picture, pixels.
      tiles: pictures along each side; the canvas they cut up is (tiles + 1) / 2 pictures high and wide.
    """

    height: int = 256
    width: int = 256
    tiles: int = 1

    def __post_init__(self) -> None:
        for name, side in (("height", self.height), ("width", self.width)):
            if side < 16 or side % 16:
                raise ValueError(f"data.{name}={side} must be a multiple of 16 pixels.")
        if self.tiles < 1:
            raise ValueError(f"data.tiles={self.tiles} must be 1 (none) or more.")

    @property
    def canvas(self) -> tuple[int, int]:
        """Height and width of all pictures together."""
        return self.height * (self.tiles + 1) // 2, self.width * (self.tiles + 1) // 2

    def place(self, shape: tuple[int, int]) -> Placed:
        """Where an image of (height, width) pixels lies on the canvas."""
        rows, columns = self.canvas
        scale = min(rows / shape[0], columns / shape[1])
        height, width = (max(1, min(m, round(n * scale))) for n, m in zip(shape, self.canvas))
        if height > rows * (1 - SAME_PROPORTIONS) and width > columns * (1 - SAME_PROPORTIONS):
            return Placed(0, 0, rows, columns)
        return Placed((rows - height) // 2, (columns - width) // 2, height, width)

    def cut(self, image: np.ndarray) -> np.ndarray:
        """Pictures uint8 [tiles * tiles, height, width, 3] of an image uint8 [h, w, 3]."""
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(
                f"image is {image.dtype} {image.shape}, expected uint8 [h, w, 3] in RGB."
            )
        place = self.place(image.shape[:2])
        size = (place.width, place.height)
        if image.shape[:2] != size[::-1]:
            shrinks = place.height < image.shape[0] or place.width < image.shape[1]
            way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            image = cv2.resize(image, size, interpolation=way)
        rows, columns = self.canvas
        below, right = rows - place.top - place.height, columns - place.left - place.width
        edges = (place.top, below, place.left, right)
        if any(edges):
            image = cv2.copyMakeBorder(image, *edges, cv2.BORDER_REPLICATE)
        return np.stack([image[y : y + self.height, x : x + self.width] for y, x in self._corners])

    def inside(self, shape: tuple[int, int], grid: tuple[int, int]) -> np.ndarray:
        """Which cells of a grid over each picture show the image, bool [tiles * tiles, *grid].

        Args:
          shape: height and width of the image.
          grid: rows and columns of cells.
        """
        place = self.place(shape)
        y, x = ((np.arange(n) + 0.5) * side / n for n, side in zip(grid, (self.height, self.width)))
        found = []
        for top, left in self._corners:
            rows = (y + top >= place.top) & (y + top < place.top + place.height)
            columns = (x + left >= place.left) & (x + left < place.left + place.width)
            found.append(rows[:, None] & columns)
        return np.stack(found)

    def join(self, maps: np.ndarray, shape: tuple[int, int], blur_px: float = 0.0) -> np.ndarray:
        """The map of an image from those of its pictures.

        Args:
          maps: float32 [tiles * tiles, h', w'], on any grid.
          shape: height and width of the image.
          blur_px: standard deviation of a Gaussian, in pixels of the pictures.

        Returns:
          float32 [height, width] of the image; between tiles a weighted mean.
        """
        rows, columns = self.canvas
        total, weight = np.zeros((rows, columns), np.float32), np.zeros((rows, columns), np.float32)
        tent = np.outer(*(_tent(side) for side in (self.height, self.width)))
        for (y, x), part in zip(self._corners, maps, strict=True):
            part = cv2.resize(np.asarray(part, np.float32), (self.width, self.height))
            where = slice(y, y + self.height), slice(x, x + self.width)
            total[where] += tent * part
            weight[where] += tent
        joined = total / weight if self.tiles > 1 else part
        if blur_px:
            joined = cv2.GaussianBlur(joined, (0, 0), blur_px, borderType=cv2.BORDER_REFLECT)
        place = self.place(shape)
        own = joined[place.top : place.top + place.height, place.left : place.left + place.width]
        return cv2.resize(own, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)

    @property
    def _corners(self) -> list[tuple[int, int]]:
        """First row and column of each picture."""
        steps = range(self.tiles)
        return [(y * self.height // 2, x * self.width // 2) for y in steps for x in steps]


def _tent(side: int) -> np.ndarray:
    """Weights that fall to the border, float32 [side]."""
    return np.minimum(np.arange(side) + 1, np.arange(side)[::-1] + 1).astype(np.float32)
