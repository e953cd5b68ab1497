"""Visual hull: the part of space that all silhouettes allow, as a grid, carved once on the host.

A voxel goes only where no part of it can be in a silhouette, so that nothing of the object is lost at the
grid's rounding.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from ipad_jax.data_builders.object_folder.transforms import View

HALF_PIXEL = 0.5**0.5  # from a pixel's centre to its corner, in pixels


def visual_hull(
    views: Sequence[View],
    silhouettes: Sequence[np.ndarray],
    low: np.ndarray,
    high: np.ndarray,
    side: int,
    overruled: float = 0.0,
) -> np.ndarray:
    """Voxels of a box that may hold the object (Laurentini, PAMI 1994).

    Args:
        views: pinhole cameras. silhouettes: bool [h, w] of each, true on the object.
        low, high: [3], corners of the box in the world. side: voxels along each edge.
        overruled: share of the views that together carve nothing, so that a part whose highlight looks like
            the background in some photos stays; 0: each view carves.

    Returns: bool [side, side, side] by x, y, z. A silhouette that meets its picture's border says nothing
        about what lies outside the picture; what no view judges is not in the hull.
    Raises:
        ValueError: a silhouette of another size or empty, a distorted view, or an empty hull with the views
            that speak against the voxel on which most agree.
    """
    for view, silhouette in zip(views, silhouettes, strict=True):
        if silhouette.shape != (view.height, view.width):
            raise ValueError(
                f"{view.path}: the silhouette has shape {silhouette.shape}, expected "
                f"{(view.height, view.width)}."
            )
        if view.distortion:
            raise ValueError(f"{view.path}: undistort the photo and its silhouette first.")
    empty = [str(view.path) for view, silhouette in zip(views, silhouettes) if not silhouette.any()]
    if empty:
        raise ValueError(f"The silhouette is empty, the object was not found, in {_some(empty)}.")
    size = (np.asarray(high, np.float32) - np.asarray(low, np.float32)) / side
    axes = [low[axis] + size[axis] * (np.arange(side) + 0.5) for axis in range(3)]
    centres = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    centres, radius = centres.astype(np.float32), float(np.linalg.norm(size)) / 2
    left = np.arange(len(centres))  # only these go on to the next view: most are gone after a few
    known, refused = np.zeros(len(centres), bool), np.zeros(len(centres), np.int32)
    for view, silhouette in zip(views, silhouettes):
        judged, missed = _judge(view, silhouette, centres[left], radius)
        known[left] |= judged
        refused[left] += missed
        left = left[refused[left] <= overruled * len(views)]
    left = left[known[left]]
    if not len(left):
        against = _views_against(views, silhouettes, centres, radius)
        box = f"{np.round(low, 4).tolist()} to {np.round(high, 4).tolist()}"
        raise ValueError(
            f"The hull is empty: no voxel of the box {box} is in all {len(views)} silhouettes. Where most "
            f"agree, {len(against)} do not: {_some(against) or 'no picture holds the box'}. Are their poses "
            "and silhouettes right, and is the box where the object is?"
        )
    hull = np.zeros(len(centres), bool)
    hull[left] = True
    return hull.reshape(side, side, side)


def _views_against(
    views: Sequence[View], silhouettes: Sequence[np.ndarray], centres: np.ndarray, radius: float
) -> list[str]:
    """Names of the views that refuse the ball which the fewest refuse."""
    pairs = list(zip(views, silhouettes))
    known, refused = np.zeros(len(centres), bool), np.zeros(len(centres), np.int32)
    for view, silhouette in pairs:
        judged, missed = _judge(view, silhouette, centres, radius)
        known |= judged
        refused += missed
    best = int(np.argmin(np.where(known, refused, len(pairs) + 1)))
    one = centres[best : best + 1]
    return [str(view.path) for view, s in pairs if _judge(view, s, one, radius)[1][0]]


def _judge(
    view: View, silhouette: np.ndarray, centres: np.ndarray, radius: float
) -> tuple[np.ndarray, np.ndarray]:
    """Of balls around centres [n, 3]: which the view judges, and which of those miss its silhouette.

    A silhouette that meets no border shows all of its object, so that what is outside the picture misses it;
    one that is cut off says nothing about what is outside.
    """
    pose = view.world_from_camera.astype(np.float32)
    seen = (centres - pose[:3, 3]) @ pose[:3, :3]
    depth = np.maximum(-seen[:, 2], 1e-9)
    x, y = view.cx + view.fx * seen[:, 0] / depth, view.cy - view.fy * seen[:, 1] / depth
    near_x, near_y = np.clip(x, 0, view.width - 1e-3), np.clip(y, 0, view.height - 1e-3)
    beside_px = np.hypot(x - near_x, y - near_y)
    away_px = cv2.distanceTransform((~silhouette).astype("u1"), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # Not less than this: the picture is convex, so the two legs meet at an obtuse angle.
    away_px = np.hypot(away_px[near_y.astype(int), near_x.astype(int)], beside_px)
    # A ball's picture is at most this wide; nearer than its radius it is all around the camera.
    slant = np.hypot(1, np.hypot(seen[:, 0], seen[:, 1]) / depth)
    reach_px = max(view.fx, view.fy) * radius * slant / np.maximum(depth - radius, 1e-9)
    missed = (away_px > reach_px + 2 * HALF_PIXEL) | (seen[:, 2] > radius)
    border = np.concatenate([silhouette[[0, -1]].ravel(), silhouette[:, [0, -1]].ravel()])
    if not border.any():
        return np.ones(len(centres), bool), missed
    judged = (seen[:, 2] < 0) & (beside_px < 1)
    return judged, judged & missed


def covered(
    views: Sequence[View],
    silhouettes: Sequence[np.ndarray],
    hull: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
) -> np.ndarray:
    """Share of each silhouette that a hull's picture covers, [n]: 1 where poses and silhouettes agree.

    Args: hull: bool [side, side, side] over the box low to high.
    """
    size = (np.asarray(high) - np.asarray(low)) / hull.shape
    places = np.asarray(low) + size * (np.argwhere(hull) + 0.5)
    found = []
    for view, silhouette in zip(views, silhouettes):
        pose = view.world_from_camera
        seen = (places - pose[:3, 3]) @ pose[:3, :3]
        depth = np.maximum(-seen[:, 2], 1e-9)
        column = view.cx + view.fx * seen[:, 0] / depth
        row = view.cy - view.fy * seen[:, 1] / depth
        inside = (column >= 0) & (column < view.width) & (row >= 0) & (row < view.height)
        shown = np.zeros(silhouette.shape, np.uint8)
        shown[row[inside].astype(int), column[inside].astype(int)] = 1
        reach = max(view.fx, view.fy) * np.linalg.norm(size) / 2 / np.median(depth)
        wide = 2 * int(np.ceil(reach)) + 1
        found.append(cv2.dilate(shown, np.ones((wide, wide), np.uint8))[silhouette].mean())
    return np.array(found)


def refusing_most(
    views: Sequence[View],
    silhouettes: Sequence[np.ndarray],
    low: np.ndarray,
    high: np.ndarray,
    side: int,
) -> list[str]:
    """Names of the views that alone, or with one other, refuse the most of what all the others allow."""
    size = (np.asarray(high, np.float32) - np.asarray(low, np.float32)) / side
    axes = [low[axis] + size[axis] * (np.arange(side) + 0.5) for axis in range(3)]
    centres = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    centres, radius = centres.astype(np.float32), float(np.linalg.norm(size)) / 2
    missed = np.stack([_judge(*pair, centres, radius)[1] for pair in zip(views, silhouettes)])
    few = (missed.sum(0) > 0) & (missed.sum(0) <= 2)
    counts = missed[:, few].sum(1)
    order = np.argsort(-counts, kind="stable")
    return [str(views[n].path) for n in order if counts[n] > 0.5 * counts[order[0]]]


def _some(names: list[str]) -> str:
    """The first five, and how many more."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def occupied_box(
    hull: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The smallest box of whole voxels around a hull that fills part of the box low to high: two corners [3].

    Args: hull: bool [side, side, side], not empty.
    """
    low, size = np.asarray(low), (np.asarray(high) - np.asarray(low)) / hull.shape
    places = np.argwhere(hull)
    return low + size * places.min(axis=0), low + size * (places.max(axis=0) + 1)
