"""From a query and what a good object would show there to a raw map: their difference, over what is usual.

What is usual is learned: on good views that the field has not learned, the difference grows with edges, with
what the references disagree about, with steps in depth, and with how far the nearest reference looks from
another side. PAD compares features of one rendering instead (arXiv 2310.07716, section 4.3).
"""

from collections.abc import Sequence

import cv2
import numpy as np
from scipy.optimize import nnls

from ipad_jax.pose.pictures import Picture
from ipad_jax.pose.warping import Warped

FLOOR = 0.005  # of the usual difference, in colour from 0 to 1: a little over one level of 255
SHIFT_PX = 0.5  # by which a pixel may be off
TOP_PIXELS = 20  # of a 200 x 200 picture, whose mean is an image's score
REGION_LEVEL = 5.0  # times what is usual, above which pixels belong to a region
LARGEST_STEP = 0.2  # in depth, of the object's radius: a larger one counts as this one
EXPECTILE = 0.95  # what is usual covers more than the mean difference
ASIDE_DEGREES = 10.0  # to the nearest training view, that count as 1
TRAITS = ("constant", "edge", "disagreement", "depth_step", "outline", "seen_by_none")
# Those that count once more, times how far aside the nearest training view is.
FROM_ASIDE = ("edge", "disagreement")
NUM_TRAITS = len(TRAITS) + len(FROM_ASIDE)


def over_usual(
    least: np.ndarray,
    picture: Picture,
    warped: Sequence[Warped],
    aside: float,
    usual: np.ndarray,
    blur_px: float,
) -> np.ndarray:
    """Raw map float32 [h, w]: the least colour difference, over what is usual there.

    Args:
      least: of `least_difference`.
      picture: rendered from the query's pose. warped: training views from there.
      aside: degrees to the nearest of them, about the object's centre.
      usual: float64 [NUM_TRAITS], of `fit_usual`.
      blur_px: standard deviation of the Gaussian over differences and traits.
    """
    expected = traits(picture, warped, aside, blur_px) @ usual.astype(np.float32)
    return least / (FLOOR + expected)


def least_difference(
    query: np.ndarray, picture: Picture, warped: Sequence[Warped], blur_px: float
) -> np.ndarray:
    """The smallest colour difference over references and shifts, blurred: float32 [h, w]."""
    least = _over_shifts(query, picture.rgb)
    for view in warped:
        own = _over_shifts(query, _filled(view, picture))
        least = np.where(view.seen, np.minimum(least, own), least)
    return _blur(least, blur_px)


def traits(picture: Picture, warped: Sequence[Warped], aside: float, blur_px: float) -> np.ndarray:
    """What a good object's difference depends on, not negative: float32 [h, w, NUM_TRAITS].

    `TRAITS`, then those of `FROM_ASIDE`. Args as of `over_usual`.
    """
    solid = picture.opacity > 0.5
    references = np.stack([picture.rgb, *(_filled(view, picture) for view in warped)])
    disagreement = np.sqrt(references.var(axis=0).sum(-1))
    behind = picture.distance[solid].max() + 2 * LARGEST_STEP if solid.any() else 0.0
    step = np.minimum(_slope(np.where(solid, picture.distance, behind)), LARGEST_STEP)
    none = solid & ~np.any([view.seen for view in warped], axis=0) if warped else solid
    planes = (edges(picture.rgb), disagreement, step, _slope(picture.opacity), none)
    blurred = [_blur(np.asarray(plane, np.float32), blur_px) for plane in planes]
    found = [np.ones_like(blurred[0]), *blurred]
    share = np.float32(aside / ASIDE_DEGREES)
    more = [share * found[TRAITS.index(name)] for name in FROM_ASIDE]
    return np.stack([*found, *more], axis=-1)


def near_object(picture: Picture) -> np.ndarray:
    """Where a difference may arise although the object is good: on it and some pixels around, bool [h, w]."""
    return cv2.dilate((picture.opacity > 0.05).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0


def fit_usual(differences: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Weights of the traits whose sum is the expectile of differences (Newey and Powell, 1987): float64 [k].

    None is negative, so that what is usual is not either. Solved by least squares that weigh what lies above
    by `EXPECTILE` and the rest by 1 - `EXPECTILE`, anew until none changes sides.

    Args: differences [n] and traits [n, k] of pixels of good views.
    """
    found, differences = found.astype(np.float64), differences.astype(np.float64)
    above = np.zeros(len(differences), bool)
    weights = np.zeros(found.shape[1])
    for _ in range(50):
        root = np.sqrt(np.where(above, EXPECTILE, 1 - EXPECTILE))
        weights, _ = nnls(found * root[:, None], differences * root)
        now = differences > found @ weights
        if (now == above).all():
            break
        above = now
    return weights


def edges(rgb: np.ndarray) -> np.ndarray:
    """Length of the colour gradient a pixel, float32 [h, w]."""
    down, across = np.gradient(rgb, axis=(0, 1))
    return np.sqrt(np.square(down).sum(-1) + np.square(across).sum(-1)).astype(np.float32)


def score_of(score_map: np.ndarray, connected: bool = True) -> float:
    """Mean of the highest pixels of a map, as many as are 20 of 200 x 200: a defect has an area.

    Args: connected, all in one region above `REGION_LEVEL`, that for which the mean is largest; pixels that
      it lacks count as the level, and where there is no region the largest value is the score.
    """
    count = max(1, round(TOP_PIXELS * score_map.size / 40_000))
    if not connected:
        return float(np.partition(score_map.ravel(), -count)[-count:].mean())
    above = (score_map > REGION_LEVEL).astype(np.uint8)
    number, regions = cv2.connectedComponents(above, connectivity=8)
    best = min(float(score_map.max()), REGION_LEVEL)
    for region in range(1, number):
        highest = np.sort(score_map[regions == region])[-count:]
        best = max(best, REGION_LEVEL + float((highest - REGION_LEVEL).sum()) / count)
    return best


def _filled(view: Warped, picture: Picture) -> np.ndarray:
    """A warped view, the rendering where it sees nothing."""
    return np.where(view.seen[..., None], view.rgb, picture.rgb)


def _slope(values: np.ndarray) -> np.ndarray:
    return np.hypot(*np.gradient(values))


def _over_shifts(query: np.ndarray, reference: np.ndarray) -> np.ndarray:
    least = np.full(query.shape[:2], np.inf, np.float32)
    for dx in (-SHIFT_PX, 0.0, SHIFT_PX):
        for dy in (-SHIFT_PX, 0.0, SHIFT_PX):
            moved = _shifted(reference, dx, dy) if dx or dy else reference
            least = np.minimum(least, np.linalg.norm(query - moved, axis=-1))
    return least


def _blur(values: np.ndarray, blur_px: float) -> np.ndarray:
    if not blur_px:
        return values
    return cv2.GaussianBlur(values, (0, 0), blur_px, borderType=cv2.BORDER_REFLECT)


def _shifted(image: np.ndarray, dx: float, dy: float) -> np.ndarray:
    matrix = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
    size = (image.shape[1], image.shape[0])
    return cv2.warpAffine(
        image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
