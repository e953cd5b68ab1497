"""A woven cloth, close up, drawn with NumPy: yarns of two colours over and under each other.

Normal images differ in phase, stretch, thickness of single yarns and light.
"""

import cv2
import numpy as np

DEFECTS = ("cut", "hole", "stain", "thread")
YARN = 8.0  # pixels from one yarn to the next in an image of 160


def draw(rng: np.random.Generator, defects: list[str], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of as many pieces as there are defects, "" for none, and the same pieces without them.

    Returns:
        uint8 [n, size, size, 3] RGB each, without sensor noise.
    """
    pairs = [_piece(rng, defect, size) for defect in defects]
    faulty, whole = (np.stack(images) for images in zip(*pairs))
    return faulty, whole


def _piece(rng: np.random.Generator, defect: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    """One piece with its defect and without, uint8 [size, size, 3]."""
    y, x = np.mgrid[:size, :size].astype(np.float32)
    pitch = YARN * size / 160 * rng.uniform(0.96, 1.04)
    bend = pitch * 0.5
    u = (x + bend * np.sin(2 * np.pi * (y / size * rng.uniform(0.4, 0.9) + rng.uniform()))) / pitch
    v = (y + bend * np.sin(2 * np.pi * (x / size * rng.uniform(0.4, 0.9) + rng.uniform()))) / pitch
    u, v = u + rng.uniform(), v + rng.uniform()
    shade = rng.uniform(0.88, 1.12, (2, size))  # of single yarns
    number_u, number_v = np.floor(u).astype(int) % size, np.floor(v).astype(int) % size
    warp = (0.35 + 0.65 * np.sin(np.pi * (u % 1)) ** 0.7) * shade[0][number_u]
    weft = (0.35 + 0.65 * np.sin(np.pi * (v % 1)) ** 0.7) * shade[1][number_v]
    over = (number_u + number_v) % 2 == 0
    light = (
        rng.uniform(0.85, 1.15)
        + rng.uniform(-0.1, 0.1) * (x / size)
        + rng.uniform(-0.1, 0.1) * (y / size)
    )
    colours = np.array([[0.62, 0.55, 0.42], [0.40, 0.43, 0.50]], np.float32)

    def weave(over: np.ndarray, warp: np.ndarray, weft: np.ndarray) -> np.ndarray:
        return np.where(over[..., None], warp[..., None] * colours[0], weft[..., None] * colours[1])

    whole = weave(over, warp, weft)
    faulty = whole
    centre = rng.uniform(0.2, 0.8, 2) * size
    away = np.hypot(x - centre[0], y - centre[1])
    if defect == "hole":
        ragged = 1 + 0.25 * np.sin(5 * np.arctan2(y - centre[1], x - centre[0]) + rng.uniform(0, 6))
        inside = away < size * rng.uniform(0.035, 0.06) * ragged
        faulty = np.where(inside[..., None], np.float32(0.06), whole)
    elif defect == "stain":
        depth = 0.55 * np.exp(-((away / (size * rng.uniform(0.05, 0.09))) ** 2))
        faulty = whole * (1 - depth[..., None] * np.array([0.35, 0.7, 1.0], np.float32))
    elif defect == "cut":
        angle, length = rng.uniform(0, np.pi), size * rng.uniform(0.08, 0.16)
        along = (x - centre[0]) * np.cos(angle) + (y - centre[1]) * np.sin(angle)
        across = -(x - centre[0]) * np.sin(angle) + (y - centre[1]) * np.cos(angle)
        inside = (np.abs(along) < length) & (np.abs(across) < size * 0.009)
        faulty = np.where(inside[..., None], np.float32(0.08), whole)
    elif defect == "thread":  # a yarn of the warp is missing over some length: the weft lies bare
        column = number_u[int(centre[1]), int(centre[0])]
        inside = (number_u == column) & (np.abs(y - centre[1]) < size * rng.uniform(0.15, 0.3))
        faulty = weave(over & ~inside, warp, weft)
    shown = (np.clip(light[..., None] * image, 0, 1) for image in (faulty, whole))
    faulty, whole = (
        cv2.GaussianBlur(np.rint(image * 255).astype(np.uint8), (3, 3), 0.6) for image in shown
    )
    return faulty, whole
