"""Where along a ray a field is looked at: in the hull, and there where its weight is."""

from typing import Any

import jax
import jax.numpy as jnp

from ipad_jax.pose.rendering import (
    Rendered,
    box_distances,
    composite,
    compositing_weights,
    inverse_cdf,
)


def occupied_interval(
    occupied: jax.Array, origins: jax.Array, directions: jax.Array, steps: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Between which distances rays can meet the object: whether at all [n], near [n], far [n].

    Args:
        occupied: bool [side, side, side] over the box [-1, 1]^3.
        origins, directions: [n, 3], unit directions.
        steps: places looked at along each ray.
    """
    side = occupied.shape[0]
    near, far = box_distances(origins, directions, -jnp.ones(3), jnp.ones(3))
    step = (far - near) / steps
    distances = near[:, None] + step[:, None] * (jnp.arange(steps) + 0.5)[None]
    points = origins[:, None] + directions[:, None] * distances[:, :, None]
    cells = jnp.clip(((points + 1) * (side / 2)).astype(jnp.int32), 0, side - 1)
    met = occupied[cells[..., 0], cells[..., 1], cells[..., 2]] & (step > 0)[:, None]
    first = jnp.argmax(met, axis=1)
    last = steps - 1 - jnp.argmax(met[:, ::-1], axis=1)
    return met.any(axis=1), near + step * (first - 0.5), near + step * (last + 1.5)


def place_samples(
    density_fn: Any,
    origins: jax.Array,
    directions: jax.Array,
    near: jax.Array,
    far: jax.Array,
    counts: tuple[int, int, int],
    key: jax.Array | None = None,
) -> jax.Array:
    """Distances of samples [n, fine + even], rising, mostly where the density's weight is.

    The density is looked at in `coarse` even pieces; `fine` samples follow its weights, each piece with at
    least half its neighbours' (a surface at a piece's rim), and `even` ones go everywhere, so that what is
    not there yet can grow. With a key samples are drawn in their pieces, else they are in the middle.

    Args:
        density_fn: points [m, 3] -> [m].
        counts: coarse, fine, even.
    """
    coarse, fine, even = counts
    keys = (None,) * 3 if key is None else tuple(jax.random.split(key, 3))
    count, span = len(near), (far - near)[:, None]

    def inner(pieces: int, own: jax.Array | None) -> jax.Array:
        """Shares of the way, one in each piece: [n, pieces]."""
        half = jnp.full((count, pieces), 0.5)
        place = half if own is None else jax.random.uniform(own, half.shape)
        return (jnp.arange(pieces)[None] + place) / pieces

    looked = near[:, None] + span * inner(coarse, keys[0])
    points = origins[:, None] + directions[:, None] * looked[:, :, None]
    density = density_fn(points.reshape(-1, 3)).reshape(looked.shape)
    weights = compositing_weights(density, jnp.broadcast_to(span / coarse, looked.shape))
    weights = jax.lax.stop_gradient(weights) + 0.01 / coarse
    around = jnp.pad(weights, ((0, 0), (1, 1)), mode="edge")
    weights = jnp.maximum(weights, 0.5 * jnp.maximum(around[:, :-2], around[:, 2:]))
    edges = near[:, None] + span * jnp.linspace(0.0, 1.0, coarse + 1)[None]
    distances = inverse_cdf(edges, weights, inner(fine, keys[1]))
    if even:
        distances = jnp.concatenate([distances, near[:, None] + span * inner(even, keys[2])], 1)
    return jnp.sort(distances, axis=1)


def render_rays(
    field: Any,
    origins: jax.Array,
    directions: jax.Array,
    near: jax.Array,
    far: jax.Array,
    background: jax.Array,
    counts: tuple[int, int, int],
    key: jax.Array | None = None,
) -> tuple[Rendered, jax.Array]:
    """What rays show, and the mean bend of their colours (see `HashField`).

    Args: as of `place_samples`; background [3] in [0, 1].
    """
    distances = place_samples(field.density, origins, directions, near, far, counts, key)
    points = origins[:, None] + directions[:, None] * distances[:, :, None]
    seen_from = jnp.broadcast_to(directions[:, None], points.shape)
    density, rgb, bend = field(points.reshape(-1, 3), seen_from.reshape(-1, 3))
    # A sample stands for the way from the middle before it to the one after it.
    middle = (distances[:, 1:] + distances[:, :-1]) / 2
    edges = jnp.concatenate([near[:, None], middle, far[:, None]], axis=1)
    lengths = jnp.maximum(jnp.diff(edges, axis=1), 0.0)
    shape = distances.shape
    found = composite(
        density.reshape(shape), rgb.reshape(*shape, 3), distances, lengths, background
    )
    return found, (bend.reshape(shape) * jax.lax.stop_gradient(found.weights)).sum(1).mean()
