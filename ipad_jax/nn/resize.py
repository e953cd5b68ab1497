"""Matrices that interpolate along one axis, as PyTorch's `interpolate` with half-pixel centres."""

from collections.abc import Callable

import numpy as np


def linear(distance: np.ndarray) -> np.ndarray:
    """Triangle of width 1 on either side."""
    return np.maximum(1.0 - np.abs(distance), 0.0)


def cubic(distance: np.ndarray, a: float = -0.75) -> np.ndarray:
    """Keys' cubic convolution; PyTorch takes a = -0.75, and -0.5 where it filters (`antialias`)."""
    x = np.abs(distance)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def resize_matrix(
    old: int, new: int, kernel: Callable[..., np.ndarray], step: float | None = None
) -> np.ndarray:
    """Interpolation of `old` values at `new` places, border values repeated: float64 [new, old].

    Args:
        old, new: numbers of values.
        kernel: `linear` or `cubic`.
        step: old values from one place to the next, old / new where None; PyTorch takes 1 / scale_factor
            where that is given, whatever number of places it gives.
    """
    matrix = np.zeros((new, old))
    for row in range(new):
        position = (row + 0.5) * (old / new if step is None else step) - 0.5
        for tap in range(int(np.floor(position)) - 1, int(np.floor(position)) + 3):
            matrix[row, np.clip(tap, 0, old - 1)] += kernel(np.float64(position - tap))
    return matrix


def filtered_cubic_matrix(old: int, new: int) -> np.ndarray:
    """As `resize_matrix` for a cubic with antialias=True: wider where it shrinks, cut at the border."""
    scale = old / new
    stretch = max(scale, 1.0)
    places = np.arange(old)
    matrix = np.zeros((new, old))
    for row in range(new):
        centre = scale * (row + 0.5)
        first = max(int(centre - 2 * stretch + 0.5), 0)
        last = min(int(centre + 2 * stretch + 0.5), old)
        near = (places >= first) & (places < last)
        weights = np.where(near, cubic((places + 0.5 - centre) / stretch, a=-0.5), 0.0)
        matrix[row] = weights / weights.sum()
    return matrix
