"""Losses of predicted frames: differences of gradients, and multi-scale structural similarity.

All take two pictures float32 [n, h, w, 3] in [-1, 1] and give a float32 scalar. The two methods that
compare gradients do so differently; each function says whose it is.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # weights of the five scales; Wang et al. 2003
WINDOW, SIGMA = 11, 1.5  # pixels, of the Gaussian; the same
RANGE = 2.0  # from -1 to 1


def gradient_loss(made: jax.Array, true: jax.Array) -> jax.Array:
    """ASTNet's: mean difference of the gradients' sizes, down plus across (loss_util.py).

    Beyond the last row and column stand zeros, as there.
    """

    def sizes(x: jax.Array, axis: int) -> jax.Array:
        return jnp.abs(jnp.diff(x, axis=axis, append=0.0))

    return jnp.mean(
        sum(jnp.abs(sizes(made, axis) - sizes(true, axis)) for axis in (1, 2))  # type: ignore
    )


def signed_gradient_loss(made: jax.Array, true: jax.Array) -> jax.Array:
    """DMAD's: mean size of the gradients' difference, colours summed before, down plus across.

    Before the first row and column stand zeros (final_future_prediction_ped2.py, Gradient_Loss).
    """
    error = jnp.sum(made - true, axis=-1)
    return jnp.mean(
        sum(jnp.abs(jnp.diff(error, axis=axis, prepend=0.0)) for axis in (1, 2))  # type: ignore
    )


def ms_ssim(made: jax.Array, true: jax.Array) -> jax.Array:
    """Multi-scale structural similarity in [0, 1], as ASTNet's loss has it (loss_util.py).

    Windows lie wholly inside the picture and shrink to it where it is smaller; similarity and contrast
    are moved from [-1, 1] to [0, 1]. As there, the last scale's similarity enters once for each of the four
    other scales, not once, as Wang et al. 2003 have it.
    """
    contrasts = []
    similarity = jnp.ones(())
    for _ in SCALES:
        similarity, contrast = _ssim(made, true)
        contrasts.append(contrast)
        made, true = _halve(made), _halve(true)
    product = jnp.ones(())
    for contrast, weight in zip(contrasts[:-1], SCALES):
        product = product * contrast**weight * similarity ** SCALES[-1]
    return product


def _ssim(made: jax.Array, true: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean similarity and contrast over all windows, in [0, 1]."""
    small, large = (0.01 * RANGE) ** 2, (0.03 * RANGE) ** 2
    mean_made, mean_true = _blur(made), _blur(true)
    square_made, square_true = jnp.square(mean_made), jnp.square(mean_true)
    product = mean_made * mean_true
    variance_made = _blur(jnp.square(made)) - square_made
    variance_true = _blur(jnp.square(true)) - square_true
    covariance = _blur(made * true) - product
    contrast = (2 * covariance + large) / (variance_made + variance_true + large)
    light = (2 * product + small) / (square_made + square_true + small)
    return (jnp.mean(light * contrast) + 1) / 2, (jnp.mean(contrast) + 1) / 2


def _blur(x: jax.Array) -> jax.Array:
    """Mean under a Gaussian window at each place where it fits: [n, h, w, c] -> [n, h', w', c]."""
    side = min(WINDOW, *x.shape[1:3])
    rows, columns = (_windows(n, side) for n in x.shape[1:3])
    # variances are small differences of such means: GPUs and TPUs would round the factors
    precision = jax.lax.Precision.HIGHEST
    return jnp.einsum("yh,nhwc,xw->nyxc", rows, x, columns, precision=precision)


@functools.cache
def _windows(size: int, side: int) -> np.ndarray:
    """Matrix [size - side + 1, size], a Gaussian window in each row."""
    gauss = np.exp(-np.square(np.arange(side) - side // 2) / (2 * SIGMA**2))
    gauss /= gauss.sum()
    return np.stack([np.pad(gauss, (i, size - side - i)) for i in range(size - side + 1)]).astype(
        np.float32
    )


def _halve(x: jax.Array) -> jax.Array:
    """Mean of each 2 x 2 pixels; an odd last row or column is left out; sides of 1 stay."""
    for axis in (1, 2):
        if (n := x.shape[axis] // 2) > 0:
            x = jax.lax.slice_in_dim(x, 0, 2 * n, axis=axis)
            x = x.reshape(*x.shape[:axis], n, 2, *x.shape[axis + 1 :]).mean(axis=axis + 1)
    return x
