"""The training views of an object as arrays: pictures, cameras, silhouettes, hull; and rays of them."""

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np

from ipad_jax.data_builders.object_folder.hull import covered, visual_hull
from ipad_jax.data_builders.object_folder.silhouettes import background_of, silhouette
from ipad_jax.data_builders.object_folder.transforms import View
from ipad_jax.data_builders.objects import ball_of, normalised
from ipad_jax.input.images import ImageSource

HULL_SIDE = 64  # voxels along each side of the box [-1, 1]^3
# Where the hull covers less than that of the silhouettes in the mean, some of them lack a part: so many of
# the views together carve nothing then. White highlights before white take a glossy part in so many
WHOLE, OVERRULED = 0.99, 0.05


@dataclasses.dataclass(frozen=True)
class Lens:
    """A pinhole camera without its pose: focal lengths, principal point and size, in pixels."""

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int

    def scaled(self, width: int, height: int) -> "Lens":
        """The same camera with a picture of another size."""
        x, y = width / self.width, height / self.height
        return Lens(self.fx * x, self.fy * y, self.cx * x, self.cy * y, width, height)

    def zoomed(self, times: float) -> "Lens":
        """The same camera with a focal length so many times as long."""
        return dataclasses.replace(self, fx=self.fx * times, fy=self.fy * times)

    def array(self) -> np.ndarray:
        """float64 [6]."""
        return np.array(dataclasses.astuple(self), np.float64)

    @classmethod
    def of(cls, values: np.ndarray) -> Self:
        """Of `array`."""
        fx, fy, cx, cy, width, height = (float(value) for value in values)
        return cls(fx, fy, cx, cy, int(width), int(height))

    def directions(self) -> np.ndarray:
        """Rays of all pixels in the camera's axes, of length 1, float32 [height * width, 3]."""
        x = (np.arange(self.width) + 0.5 - self.cx) / self.fx
        y = (np.arange(self.height) + 0.5 - self.cy) / self.fy
        x, y = np.meshgrid(x, -y)
        rays = np.stack([x.ravel(), y.ravel(), -np.ones(x.size)], axis=-1)
        return (rays / np.linalg.norm(rays, axis=1, keepdims=True)).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class ObjectViews:
    """Views of one object.

    Attributes:
      images: uint8 [n, h, w, 3].
      poses: world_from_camera float32 [n, 4, 4], the object in the unit ball.
      lenses: of each.
      background: float32 [3] in [0, 255].
      levels: by how many of 255 the object differs from it.
    """

    images: np.ndarray
    poses: np.ndarray
    lenses: tuple[Lens, ...]
    background: np.ndarray
    levels: float

    def __len__(self) -> int:
        return len(self.images)

    def chosen(self, indices: Sequence[int]) -> "ObjectViews":
        """Some of them."""
        rows = np.asarray(indices, int)
        lenses = tuple(self.lenses[i] for i in rows)
        return dataclasses.replace(
            self, images=self.images[rows], poses=self.poses[rows], lenses=lenses
        )

    @property
    def lens(self) -> Lens:
        """The camera of a query: the median of these."""
        return Lens.of(np.median([lens.array() for lens in self.lenses], axis=0))

    @cached_property
    def silhouettes(self) -> np.ndarray:
        """bool [n, h, w]."""
        return np.stack([silhouette(image, self.background, self.levels) for image in self.images])

    @cached_property
    def hull(self) -> np.ndarray:
        """Voxels that may hold the object, bool [HULL_SIDE] * 3 over the box [-1, 1]^3."""
        views = [_view(*pair) for pair in zip(self.lenses, self.poses)]
        box = (-np.ones(3), np.ones(3))
        silhouettes = list(self.silhouettes)
        hull = visual_hull(views, silhouettes, *box, HULL_SIDE)
        if covered(views, silhouettes, hull, *box).mean() >= WHOLE:
            return hull
        return visual_hull(views, silhouettes, *box, HULL_SIDE, OVERRULED)


def read_views(source: ImageSource, size: int) -> ObjectViews:
    """The training views of a prepared object, at `size` pixels of the longer side at most.

    Raises:
      ValueError: there are no poses, or views of several sizes.
    """
    images, lenses, poses = [], [], []
    for index in range(len(source)):
        record, image = source.records[index], source.image(index)
        pose = np.asarray(record["world_from_camera"], np.float32)
        if not np.isfinite(pose).all():
            raise ValueError(
                f"{source.path}: training view {index} has no camera pose, and an object is learned from "
                "views with poses alone. MAD-Real is published without: take a method that knows no pose, "
                "such as --config bank, or find its poses (COLMAP) and prepare it as object_folder."
            )
        height, width = image.shape[:2]
        lens = _lens(record, width, height)
        images.append(shrunk(image, size))
        lenses.append(lens.scaled(images[-1].shape[1], images[-1].shape[0]))
        poses.append(pose)
    if len({image.shape for image in images}) > 1:
        raise ValueError(f"{source.path}: the training views differ in size; one is expected.")
    background, levels = source.metadata.get("background"), source.metadata.get("levels")
    if background is None or levels is None:
        background, levels = background_of(images)
    background = np.asarray(background, np.float32)
    stacked = np.stack(poses)
    if "ball" not in source.metadata:  # of mad, which knows nothing of the object's place
        step = max(1, len(images) // 60)
        pairs = [
            (image, _view(lens, pose))
            for image, lens, pose in zip(images[::step], lenses[::step], poses[::step])
        ]
        centre, radius = ball_of(pairs, background, float(levels))
        stacked = np.stack([normalised(pose, tuple(centre), radius) for pose in poses])
    return ObjectViews(np.stack(images), stacked, tuple(lenses), background, float(levels))


def shrunk(image: np.ndarray, size: int) -> np.ndarray:
    """An image uint8 [h, w, 3] at `size` pixels of its longer side at most; 0: as it is."""
    height, width = image.shape[:2]
    scale = size / max(height, width)
    if not size or scale >= 1:
        return image
    return cv2.resize(
        image, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA
    )


def _lens(record: Any, width: int, height: int) -> Lens:
    if "focal" in record:
        (fx, fy), (cx, cy) = record["focal"], record["centre"]
        return Lens(float(fx), float(fy), float(cx), float(cy), width, height)
    focal = float(record["focal_px"])  # of mad
    return Lens(focal, focal, width / 2, height / 2, width, height)


def _view(lens: Lens, pose: np.ndarray) -> View:
    return View(Path("view"), lens.width, lens.height, lens.fx, lens.fy, lens.cx, lens.cy, pose)
