"""Where a search begins: training views, turned about their axis, that look most like the query.

Views are compared by crops around the silhouette's centre, as wide as it is large, so that neither roll nor
distance nor place matters; these are then set from the two silhouettes.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from ipad_jax.data_builders.object_folder.silhouettes import silhouette
from ipad_jax.pose.object_views import Lens

ROLLS = 24  # of each view, evenly around
CROP_PX = 48  # side of a stored crop
SMALL_PX = 24  # side of the crops that are compared
WINDOW = 4.4  # width of a crop, in radii of the disc with the silhouette's area
APART_DEGREES = 16.0  # between two starts: more than between two rolls
NEARER = (0.6, 1.6)  # limits of a start's distance, times its view's


class Crop(NamedTuple):
    """Colours and silhouette uint8 [CROP_PX, CROP_PX, 4]; centre u, v and radius in pixels float32 [3]."""

    picture: np.ndarray
    circle: np.ndarray


def crop_of(image: np.ndarray, background: np.ndarray, levels: float) -> Crop:
    """The crop of an image uint8 [h, w, 3]; black, in the middle, where it shows no object.

    Args: background [3] in 0 to 255 and levels of `silhouettes.background_of`.
    """
    found = silhouette(image, background, levels)
    rows, columns = np.nonzero(found)
    if not len(rows):
        height, width = image.shape[:2]
        circle = np.array([width / 2, height / 2, min(width, height) / 4], np.float32)
        return Crop(np.zeros((CROP_PX, CROP_PX, 4), np.uint8), circle)
    u, v, radius = columns.mean() + 0.5, rows.mean() + 0.5, np.sqrt(len(rows) / np.pi)
    both = np.dstack([np.where(found[..., None], image, 0), found.astype(np.uint8) * 255])
    scale = CROP_PX / (WINDOW * radius)
    if scale < 1:
        both = cv2.GaussianBlur(both, (0, 0), 0.5 / scale)
    picture = cv2.warpAffine(both, about(u, v, scale, 0.0, CROP_PX), (CROP_PX, CROP_PX))
    return Crop(picture, np.array([u, v, radius], np.float32))


def descriptor(picture: np.ndarray, turn: float = 0.0) -> np.ndarray:
    """A crop turned by an angle from x to y (down), small, inside its circle: float32 [d]."""
    scale = SMALL_PX / CROP_PX
    matrix = about(CROP_PX / 2, CROP_PX / 2, scale, turn, SMALL_PX)
    smooth = cv2.GaussianBlur(picture, (0, 0), 1.4)
    small = cv2.warpAffine(smooth, matrix, (SMALL_PX, SMALL_PX)).astype(np.float32) / 255
    away = np.arange(SMALL_PX) + 0.5 - SMALL_PX / 2
    inside = np.hypot(*np.meshgrid(away, away)) < SMALL_PX / 2
    return (small * inside[..., None]).ravel()


def about(u: float, v: float, scale: float, turn: float, side: int) -> np.ndarray:
    """The map of pixels that brings u, v (the first pixel's centre at 0.5) into the middle: [2, 3]."""
    linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    shift = side / 2 - linear @ [u, v] + linear @ [0.5, 0.5] - 0.5
    return np.column_stack([linear, shift])


@dataclasses.dataclass(frozen=True)
class Gallery:
    """What starts are chosen from: views at every roll.

    Attributes:
      small: float32 [m, d], see `descriptor`.
      poses: world_from_camera [m, 4, 4].
      offsets: from where the world's origin is seen to the silhouette's centre, in pixels, [m, 2].
      radii: of silhouettes, in pixels, [m].
    """

    small: np.ndarray
    poses: np.ndarray
    offsets: np.ndarray
    radii: np.ndarray

    def starts(self, crop: Crop, lens: Lens, count: int) -> np.ndarray:
        """Poses [n, 4, 4] of the entries most like a crop, apart from each other, moved to its place."""
        chosen = starts(descriptor(crop.picture), self.small, self.poses, count)
        return np.stack([self.placed(index, crop.circle, lens) for index in chosen])

    def placed(self, index: int, circle: np.ndarray, lens: Lens) -> np.ndarray:
        """An entry's camera, moved until its silhouette has the place and size of a query's."""
        pose = self.poses[index].astype(np.float64)
        origin = -pose[:3, :3].T @ pose[:3, 3]
        larger = circle[2] / self.radii[index]
        depth = -origin[2] * np.clip(1 / larger, *NEARER)
        u, v = circle[:2] - larger * self.offsets[index]
        origin = depth * np.array([(u - lens.cx) / lens.fx, -(v - lens.cy) / lens.fy, -1.0])
        pose[:3, 3] = -pose[:3, :3] @ origin
        return pose


def gallery_of(
    crops: np.ndarray, circles: np.ndarray, poses: np.ndarray, lenses: Sequence[Lens], lens: Lens
) -> Gallery:
    """Of views: crops and circles as of `crop_of` [n, ...], poses [n, 4, 4]; `lens` is the query's."""
    turns = np.arange(ROLLS) * 2 * np.pi / ROLLS
    small, rolled, offsets, radii = [], [], [], []
    for picture, circle, pose, own in zip(crops, circles, poses, lenses):
        origin = -pose[:3, :3].T @ pose[:3, 3]
        seen = own.cx - own.fx * origin[0] / origin[2], own.cy + own.fy * origin[1] / origin[2]
        offset = (circle[:2] - seen) * lens.fx / own.fx
        for turn in turns:
            c, s = np.cos(turn), np.sin(turn)
            small.append(descriptor(picture, turn))
            # the camera turns against the picture: its y is up
            turned = pose.copy()
            turned[:3, :3] = pose[:3, :3] @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
            rolled.append(turned)
            offsets.append(np.array([[c, -s], [s, c]]) @ offset)
            radii.append(circle[2] * lens.fx / own.fx)
    return Gallery(np.stack(small), np.stack(rolled), np.stack(offsets), np.array(radii))


def starts(query: np.ndarray, small: np.ndarray, poses: np.ndarray, count: int) -> np.ndarray:
    """Indices of the nearest entries that lie `APART_DEGREES` from each other, nearest first.

    Args: query [d], small [m, d] of `descriptor`; poses [m, 4, 4].
    """
    # squared distances but for the query's own square
    away = np.einsum("md,md->m", small, small) - 2 * (small @ query)
    return apart(np.argsort(away, kind="stable"), poses, count)


def apart(order: np.ndarray, poses: np.ndarray, count: int) -> np.ndarray:
    """The first of an order of entries that lie `APART_DEGREES` from each other: [n], `count` at most.

    Args: order [m], indices of poses [m, 4, 4].
    """
    chosen: list[int] = []
    for index in order:
        if len(chosen) == count:
            break
        if all(degrees_apart(poses[index], poses[other]) > APART_DEGREES for other in chosen):
            chosen.append(int(index))
    return np.array(chosen)


def degrees_apart(a: np.ndarray, b: np.ndarray) -> float:
    """Angle of the rotation between two poses [4, 4]."""
    trace = float((a[:3, :3] * b[:3, :3]).sum())
    return float(np.degrees(np.arccos(np.clip((trace - 1) / 2, -1, 1))))
