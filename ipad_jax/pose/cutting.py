"""An object before a background that nobody knows, where a rendering says where it is.

GrabCut (Rother, Kolmogorov and Blake, 2004), from OpenCV: colours that belong to the object and to what is
around it, and the outline between them, are found in turn.
"""

import cv2
import numpy as np

INSIDE = 0.03  # of the picture's width: deeper inside the rendering is the object for certain
OUTSIDE = 0.04  # farther outside is the background for certain
ROUNDS = 3
NOTHING = 0.02  # opacity below which a rendering shows the background alone
# Gaussians over which the background is averaged, of the picture's width: the near one where it reaches.
AROUND = (0.0125, 0.05)
CLUSTERS = 5  # of colours of the object, as many as GrabCut needs pixels


def cut_out(image: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """Where an image shows the object, bool [h, w].

    Args: image uint8 [h, w, 3]. opacity [h, w] of a rendering from nearly the same pose.
    """
    solid = (opacity > 0.5).astype(np.uint8)
    certain = cv2.erode(solid, _disc(INSIDE * image.shape[1])) > 0
    around = cv2.dilate(solid, _disc(OUTSIDE * image.shape[1])) > 0
    if certain.sum() < CLUSTERS or around.all():
        return solid > 0
    marks = np.where(around, cv2.GC_PR_BGD, cv2.GC_BGD)
    marks = np.where(solid, np.where(certain, cv2.GC_FGD, cv2.GC_PR_FGD), marks).astype(np.uint8)
    cv2.setRNGSeed(0)  # of its clusters' first centres: the same answer every time
    models = np.zeros((1, 65)), np.zeros((1, 65))
    whole = (0, 0, image.shape[1], image.shape[0])  # not used where there are marks
    cv2.grabCut(image, marks, whole, *models, ROUNDS, cv2.GC_INIT_WITH_MASK)
    return (marks == cv2.GC_FGD) | (marks == cv2.GC_PR_FGD)


def with_known_background(
    query: np.ndarray, opacity: np.ndarray, background: np.ndarray
) -> np.ndarray:
    """A query float32 [h, w, 3] as if what a rendering does not cover were of one colour float32 [3].

    At the outline, which shows both, what is around is taken for what is behind. Args: opacity [h, w].
    """
    share = opacity[..., None]
    outside = (share < NOTHING).astype(np.float32)
    behind, known = np.zeros_like(query), np.zeros_like(outside)
    for width in AROUND:
        both = np.concatenate([query * outside, outside], axis=-1)
        both = cv2.GaussianBlur(both, (0, 0), width * query.shape[1])
        weight = both[..., 3:]
        fill = (known == 0) & (weight > 1e-3)
        behind = np.where(fill, both[..., :3] / np.maximum(weight, 1e-3), behind)
        known = np.maximum(known, fill)
    changed = np.clip(query + known * (1 - share) * (background - behind), 0, 1)
    return np.where(outside > 0, background, changed).astype(np.float32)


def _disc(radius: float) -> np.ndarray:
    side = 2 * max(1, round(radius)) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
