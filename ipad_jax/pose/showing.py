"""What was learned, to look at: a turntable video, and a cloud of coloured points that viewers open."""

import os
from collections.abc import Callable
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ipad_jax.evaluation.report.webm import WebmWriter
from ipad_jax.pose.cameras import look_at
from ipad_jax.pose.object_views import Lens
from ipad_jax.pose.pictures import Counts, Renderer
from ipad_jax.pose.warping import GoodViews
from ipad_jax.run.files import write_atomic

TURNTABLE, CLOUD = "turntable.webm", "object.ply"
FRAMES, FPS = 48, 12  # a turn in four seconds
ELEVATION = 20.0  # degrees, where the training views have it
SAMPLES: Counts = (32, 12, 0)  # as the last level of a search, so no further program
CLOUD_SIDE = 160  # cells along the box at most, each with one point at most
PIXELS = 1.5  # along a cell, at least
SEEN_BY = 3  # pixels that must meet a cell: what floats between two surfaces is met once
STEP = 0.05  # of the object's radius: pixels whose neighbours differ more lie on no surface
COLOURED = 8192  # points of one program


def upright(poses: np.ndarray) -> np.ndarray:
    """Three axes, rows of [3, 3], the last upwards: where most of cameras [n, 4, 4] have it, else z."""
    up = poses[:, :3, 1].mean(axis=0)
    up = up / np.linalg.norm(up) if np.linalg.norm(up) > 0.1 else np.array([0.0, 0.0, 1.0])
    first = np.eye(3)[np.argmin(np.abs(up))]
    first = first - up * (first @ up)
    first /= np.linalg.norm(first)
    return np.stack([first, np.cross(up, first), up])


def turntable_poses(poses: np.ndarray, frames: int) -> np.ndarray:
    """Cameras around the object at one height among those of the training views: [frames, 4, 4].

    Upwards is where most training views have it; so is the distance.
    """
    eyes = poses[:, :3, 3]
    distance = float(np.median(np.linalg.norm(eyes, axis=1)))
    first, second, up = upright(poses)
    heights = np.degrees(np.arcsin(np.clip(eyes @ up / np.linalg.norm(eyes, axis=1), -1, 1)))
    height = np.radians(np.clip(ELEVATION, *np.percentile(heights, (10, 90))))
    found = []
    for angle in np.linspace(0, 2 * np.pi, frames, endpoint=False):
        flat = np.cos(angle) * first + np.sin(angle) * second
        eye = distance * (np.cos(height) * flat + np.sin(height) * up)
        found.append(np.asarray(look_at(jnp.asarray(eye), jnp.zeros(3), jnp.asarray(up))))
    return np.stack(found)


def write_turntable(
    path: str | os.PathLike[str],
    renderer: Renderer,
    poses: np.ndarray,
    lens: Lens,
    progress: Callable[[int, int], None] = lambda done, total: None,
    frames: int = FRAMES,
) -> None:
    """Writes a .webm of the learned object, once around.

    Args:
      poses: of the training views. lens: of the pictures.
      frames: pictures of a turn.
    """
    size = (lens.width + lens.width % 2, lens.height + lens.height % 2)  # VP9 wants even ones
    own = lens.scaled(*size)
    with WebmWriter(path, size, FPS) as file:
        for number, pose in enumerate(turntable_poses(poses, frames)):
            picture = renderer.pictures([pose], own, SAMPLES, steps=64)[0]
            file.write(np.rint(np.clip(picture.rgb, 0, 1) * 255).astype(np.uint8))
            progress(number + 1, frames)


def surface_points(field: Any, good: GoodViews) -> tuple[np.ndarray, np.ndarray]:
    """Points where training views meet the field, one a cell, and the field's colours from there.

    Returns: float32 [n, 3] in the unit ball's box, uint8 [n, 3].
    """
    points, seen_from = [], []
    for distances, pose, lens in zip(good.distances, good.poses, good.lenses):
        away = distances.astype(np.float32)
        around = cv2.dilate(away, np.ones((3, 3))) - cv2.erode(away, np.ones((3, 3)))
        met = ((away > 0) & (around < STEP)).ravel()
        away = away.ravel()
        rays = (lens.directions() @ pose[:3, :3].T)[met]
        points.append(pose[:3, 3] + rays * away[met, None])
        seen_from.append(rays)
    every, rays = np.concatenate(points), np.concatenate(seen_from)
    inside = (np.abs(every) < 1).all(axis=1)
    every, rays = every[inside], rays[inside]
    pixel = float(np.median(np.linalg.norm(good.poses[:, :3, 3], axis=1)) / good.lenses[0].fx)
    side = max(1, min(CLOUD_SIDE, int(2 / (PIXELS * pixel))))
    cells = ((every + 1) * (side / 2)).astype(np.int64)
    number = (cells[:, 0] * side + cells[:, 1]) * side + cells[:, 2]
    _, first, cell, count = np.unique(
        number, return_index=True, return_inverse=True, return_counts=True
    )
    centres = np.stack([np.bincount(cell, every[:, axis]) / count for axis in range(3)], axis=1)
    often = count >= SEEN_BY
    centres, first = centres[often].astype(np.float32), first[often]
    return centres, _colours(field, centres, rays[first])


def _colours(field: Any, points: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """The field's colours at points seen along rays [n, 3]: uint8 [n, 3]."""
    graph, state = nnx.split(field)

    @jax.jit
    def colour(state: Any, points: jax.Array, rays: jax.Array) -> jax.Array:
        return nnx.merge(graph, state)(points, rays)[1]

    found = [np.zeros((0, 3), np.float32)]
    for start in range(0, len(points), COLOURED):
        rows = slice(start, start + COLOURED)
        more = ((0, COLOURED - len(points[rows])), (0, 0))
        batch = [np.pad(x[rows], more, mode="edge").astype(np.float32) for x in (points, rays)]
        found.append(np.asarray(colour(state, *batch))[: len(points[rows])])
    return np.rint(np.clip(np.concatenate(found), 0, 1) * 255).astype(np.uint8)


def write_cloud(path: str | os.PathLike[str], points: np.ndarray, colours: np.ndarray) -> None:
    """Writes a PLY file, binary little endian: x, y, z float32 and red, green, blue uint8 a vertex.

    Args: points [n, 3], in the units that the file is to have. colours uint8 [n, 3].
    """
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(points)}"]
    lines += [f"property float {axis}" for axis in "xyz"]
    lines += [f"property uchar {colour}" for colour in ("red", "green", "blue")]
    vertices = np.empty(len(points), [("place", "<f4", 3), ("colour", "u1", 3)])
    vertices["place"], vertices["colour"] = points, colours
    header = "\n".join([*lines, "end_header", ""]).encode("ascii")
    write_atomic(path, header + vertices.tobytes())
