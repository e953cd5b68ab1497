"""Photographs of the good object, moved to where a query sees it: sharp where the field is blurred.

Image-based rendering with the field's geometry (as View-Dependent Texture Mapping, Debevec et al. 1996): each
surface point that a rendering shows is looked up in the nearest training views that see it.
"""

import dataclasses
from typing import NamedTuple

import cv2
import numpy as np

from ipad_jax.pose.object_views import Lens
from ipad_jax.pose.pictures import Picture

NEAREST = 4  # views; more explain more of a defect away
DEPTH_TOLERANCE = 0.03  # of the object's radius: a view that is nearer to something else is hidden


class Warped(NamedTuple):
    """rgb float32 [h, w, 3] in [0, 1], and where the view sees the same surface, bool [h, w]."""

    rgb: np.ndarray
    seen: np.ndarray


@dataclasses.dataclass(frozen=True)
class GoodViews:
    """Training views with the distances that the field gives them.

    Attributes:
      images: uint8 [n, h, w, 3].
      distances: float16 [n, h, w] along the rays; 0 where nothing is.
      poses: world_from_camera float32 [n, 4, 4].
      lenses: of each.
    """

    images: np.ndarray
    distances: np.ndarray
    poses: np.ndarray
    lenses: tuple[Lens, ...]

    def aside(self, pose: np.ndarray, without: int | None = None) -> float:
        """Degrees from a pose to the nearest view, about the object's centre; `without` as of `warped`."""
        return float(np.degrees(np.arccos(np.clip(self._cosines(pose, without).max(), -1, 1))))

    def warped(
        self, picture: Picture, pose: np.ndarray, lens: Lens, without: int | None = None
    ) -> list[Warped]:
        """The `NEAREST` views by direction, as seen from a pose whose rendering is given, nearest first.

        Args:
          without: a view that is left out, to see how the others explain it.
        """
        rays = lens.directions() @ pose[:3, :3].T
        points = pose[:3, 3] + rays * picture.distance.reshape(-1, 1)
        cosine = self._cosines(pose, without)
        number = min(NEAREST, len(cosine) - (without is not None))
        found = np.argsort(-cosine, kind="stable")[:number]
        return [self._seen_by(int(view), points, picture.opacity > 0.5) for view in found]

    def _cosines(self, pose: np.ndarray, without: int | None) -> np.ndarray:
        """Of the angle between the directions of a pose and of each view; -inf of one left out."""
        eyes = self.poses[:, :3, 3]
        lengths = np.linalg.norm(eyes, axis=1) * np.linalg.norm(pose[:3, 3])
        cosine = eyes @ pose[:3, 3] / lengths
        if without is not None:
            cosine[without] = -np.inf
        return cosine

    def _seen_by(self, view: int, points: np.ndarray, solid: np.ndarray) -> Warped:
        lens, pose = self.lenses[view], self.poses[view]
        local = (points - pose[:3, 3]) @ pose[:3, :3]
        depth = np.maximum(-local[:, 2], 1e-6)
        column = (lens.cx + lens.fx * local[:, 0] / depth - 0.5).reshape(solid.shape)
        row = (lens.cy - lens.fy * local[:, 1] / depth - 0.5).reshape(solid.shape)
        column, row = column.astype(np.float32), row.astype(np.float32)
        image = self.images[view].astype(np.float32) / 255
        rgb = cv2.remap(image, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        distance = self.distances[view].astype(np.float32)
        there = cv2.remap(distance, column, row, cv2.INTER_NEAREST, borderValue=0.0)
        own = np.linalg.norm(local, axis=1).reshape(solid.shape)
        return Warped(rgb, solid & (np.abs(there - own) < DEPTH_TOLERANCE))
