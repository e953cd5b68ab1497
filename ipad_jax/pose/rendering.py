"""Volume rendering along rays (NeRF, arXiv 2003.08934, sections 4 and 5.2).

Distances along a ray are in units of its direction's length; `lengths` are in the world's units. Conventions
are those of the published code (nerf-pytorch, run_nerf.py: raw2outputs, and run_nerf_helpers.py: sample_pdf).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

LAST_LENGTH = 1e10  # of the published last interval: what is dense there is opaque


class Rendered(NamedTuple):
    """What n rays show: rgb [n, 3], opacity [n] in [0, 1], depth [n], weights [n, k] of the k samples.

    `depth` is the sum of distances by weight, not divided by the opacity: 0 where a ray meets nothing.
    """

    rgb: jax.Array
    opacity: jax.Array
    depth: jax.Array
    weights: jax.Array


def stratified_distances(
    near: jax.Array, far: jax.Array, count: int, key: jax.Array | None = None
) -> jax.Array:
    """Distances of samples from near to far (eq. 2): [n] and [n] -> [n, count], rising.

    Without a key they are evenly spaced and contain both ends. With one, each is drawn between the middles
    towards its neighbours, so that the first and the last stratum are half as wide, as in the published code.
    """
    even = near[:, None] + (far - near)[:, None] * jnp.linspace(0.0, 1.0, count)[None]
    if key is None:
        return even
    middle = (even[:, 1:] + even[:, :-1]) / 2
    low = jnp.concatenate([even[:, :1], middle], axis=1)
    high = jnp.concatenate([middle, even[:, -1:]], axis=1)
    return low + (high - low) * jax.random.uniform(key, even.shape)


def interval_lengths(
    distances: jax.Array, directions: jax.Array, last: float | jax.Array = LAST_LENGTH
) -> jax.Array:
    """Length of the interval that each sample stands for, up to the next sample.

    Args:
        distances: [n, k], rising.
        directions: [n, 3]; not unit ones make the intervals longer, as in the published code.
        last: of the last interval before that factor, a number or [n]: `far - distances[:, -1]` where the
            field ends at `far`.
    """
    last = jnp.broadcast_to(jnp.asarray(last, distances.dtype), distances.shape[:1])
    steps = jnp.concatenate([jnp.diff(distances, axis=1), last[:, None]], axis=1)
    return steps * jnp.linalg.norm(directions, axis=-1, keepdims=True)


def compositing_weights(density: jax.Array, lengths: jax.Array) -> jax.Array:
    """Share of each sample in the colour of its ray (eq. 3): [n, k] and [n, k] -> [n, k].

    Not negative, and at most 1 in sum, for densities and lengths that are not negative.
    """
    absorbed = density * lengths
    before = jnp.cumsum(absorbed[:, :-1], axis=1)  # without the last, which may be huge
    before = jnp.concatenate([jnp.zeros_like(absorbed[:, :1]), before], axis=1)
    # Not expm1: on a ray that meets next to nothing the published importance samples show the difference.
    return jnp.exp(-before) * (1 - jnp.exp(-absorbed))


def composite(
    density: jax.Array,
    rgb: jax.Array,
    distances: jax.Array,
    lengths: jax.Array,
    background: jax.Array,
) -> Rendered:
    """Colour, opacity and depth of n rays from k samples each (eq. 3).

    Args:
        density: [n, k], not negative.
        rgb: [n, k, 3].
        distances: [n, k]. lengths: [n, k], from `interval_lengths`.
        background: [3], or [n, 3] of each ray; ones for white.
    """
    weights = compositing_weights(density, lengths)
    opacity = weights.sum(axis=1)
    seen = (weights[:, :, None] * rgb).sum(axis=1)
    behind = (1 - opacity)[:, None] * background.reshape(-1, 3)
    return Rendered(seen + behind, opacity, (weights * distances).sum(axis=1), weights)


def inverse_cdf(edges: jax.Array, weights: jax.Array, u: jax.Array) -> jax.Array:
    """Where the integral of a piecewise constant density reaches u, for each ray.

    Args:
        edges: [n, k + 1], rising.
        weights: [n, k], not negative, of the pieces between them; not all 0 in a row.
        u: [n, m] in [0, 1].

    Returns: [n, m] within the edges; exactly the last edge at 1, whatever the sums' rounding.
    """
    total = jnp.cumsum(weights, axis=1)
    cdf = jnp.minimum(total[:, :-1] / total[:, -1:], 1.0)
    cdf = jnp.pad(jnp.pad(cdf, ((0, 0), (1, 0))), ((0, 0), (0, 1)), constant_values=1.0)
    find = jax.vmap(lambda row, values: jnp.searchsorted(row, values, side="right"))
    upper = jnp.clip(find(cdf, u), 1, weights.shape[1])

    def ends(values: jax.Array) -> tuple[jax.Array, jax.Array]:
        return (
            jnp.take_along_axis(values, upper - 1, axis=1),
            jnp.take_along_axis(values, upper, axis=1),
        )

    (c0, c1), (e0, e1) = ends(cdf), ends(edges)
    width = c1 - c0
    share = jnp.where(width > 0, (u - c0) / jnp.where(width > 0, width, 1.0), 1.0)
    return e0 + jnp.clip(share, 0.0, 1.0) * (e1 - e0)


def importance_distances(
    distances: jax.Array, weights: jax.Array, count: int, key: jax.Array | None = None
) -> jax.Array:
    """More distances where the weights are (section 5.2): [n, k] and [n, k] -> [n, count].

    The pieces reach from middle to middle of the given distances, so that only the k - 2 inner weights count;
    each gets 1e-5 more, as in the published code. Without a key the quantiles are evenly spaced, both ends
    among them, and rise; with one they are drawn. No gradient flows back.
    """
    shape = (distances.shape[0], count)
    if key is None:
        u = jnp.broadcast_to(jnp.linspace(0.0, 1.0, count)[None], shape)
    else:
        u = jax.random.uniform(key, shape)
    middle = (distances[:, 1:] + distances[:, :-1]) / 2
    return jax.lax.stop_gradient(inverse_cdf(middle, weights[:, 1:-1] + 1e-5, u))


def box_distances(
    origins: jax.Array, directions: jax.Array, low: jax.Array, high: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Where rays enter and leave a box, in units of their directions: near [n] and far [n], not negative.

    Args: origins, directions: [n, 3]. low, high: [3]. A ray that misses the box has far = near.
    """
    safe = jnp.where(jnp.abs(directions) < 1e-12, 1e-12, directions)
    first, second = (low[None] - origins) / safe, (high[None] - origins) / safe
    near = jnp.maximum(jnp.minimum(first, second).max(axis=1), 0.0)
    far = jnp.maximum(first, second).min(axis=1)
    return near, jnp.maximum(far, near)
