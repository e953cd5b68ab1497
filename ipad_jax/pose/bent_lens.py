"""Photos of a lens that bends straight lines: made a pinhole's, as `prepare` made the training views."""

import dataclasses
from functools import cached_property
from pathlib import Path
from typing import Self

import cv2
import numpy as np

from ipad_jax.data_builders.object_folder.transforms import (
    FISHEYE,
    View,
    bent,
    pinhole_of,
    scaled,
    straightened,
)


@dataclasses.dataclass(frozen=True)
class BentLens:
    """The camera of the photos; `view` has its numbers, and neither file nor pose of its own."""

    view: View

    @classmethod
    def of(cls, numbers: np.ndarray) -> Self:
        """Of what `objects.bent_lens` gives where a lens bends."""
        width, height, fx, fy, cx, cy, fisheye, *bends = (float(number) for number in numbers)
        size, model = (int(width), int(height)), FISHEYE if fisheye else "OPENCV"
        return cls(View(Path("photo"), *size, fx, fy, cx, cy, np.eye(4), model, tuple(bends)))

    @cached_property
    def pinhole(self) -> View:
        """The camera of the training views as they were stored."""
        return pinhole_of(self.view)

    def straight(self, image: np.ndarray) -> np.ndarray:
        """A photo uint8 [h, w, 3], of any scale, as that pinhole camera would have taken it."""
        height, width = image.shape[:2]
        return straightened(image, *(scaled(v, width, height) for v in (self.view, self.pinhole)))

    def map_on_photo(self, score_map: np.ndarray, width: int, height: int) -> np.ndarray:
        """A map of `straight`'s photo, float32 [h, w], as it lies on the photo: float32 [height, width].

        0 at the photo's rim, which the pinhole camera does not show.
        """
        rows, columns = score_map.shape
        both = (scaled(view, columns, rows) for view in (self.view, self.pinhole))
        found = bent(score_map, *both)
        return cv2.resize(found, (width, height), interpolation=cv2.INTER_LINEAR)
