"""Signed distances of the few solids that the factory's machines are made of.

A point is a tuple (x, y, z) of equally shaped float32 arrays, not one array with a trailing axis of 3:
XLA's CPU code runs along the last axis, and 3 does not fill a vector register. Only + - * / sqrt, min
and max are used, so that a value does not depend on how many others are computed beside it (a vector
loop and its scalar remainder round those alike; exponentials and powers they need not).

After I. Quilez, "Distance functions" (the formulas are folklore; the code is ours).
"""

import jax
import jax.numpy as jnp

Point = tuple[jax.Array, jax.Array, jax.Array]


def dot(a: Point, b: Point) -> jax.Array:
    """Inner product of two points (or of a point and a direction)."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def along(origin: Point, direction: Point, distance: jax.Array) -> Point:
    """The point `distance` away from `origin` on the ray."""
    return tuple(o + d * distance for o, d in zip(origin, direction))  # type: ignore[return-value]


def normalise(v: Point) -> Point:
    """`v` at length 1; a zero vector stays zero."""
    scale = 1.0 / jnp.sqrt(jnp.maximum(dot(v, v), 1e-12))
    return v[0] * scale, v[1] * scale, v[2] * scale


def rounded_box(p: Point, half: Point, radius: jax.Array) -> jax.Array:
    """Distance to a box with half sizes `half` whose edges are rounded by `radius` (inside them).

    A radius equal to all three half sizes makes a sphere.
    """
    x = jnp.abs(p[0]) - (half[0] - radius)
    y = jnp.abs(p[1]) - (half[1] - radius)
    z = jnp.abs(p[2]) - (half[2] - radius)
    outside_x, outside_y, outside_z = jnp.maximum(x, 0.0), jnp.maximum(y, 0.0), jnp.maximum(z, 0.0)
    outside = jnp.sqrt(outside_x * outside_x + outside_y * outside_y + outside_z * outside_z)
    return outside + jnp.minimum(jnp.maximum(x, jnp.maximum(y, z)), 0.0) - radius


def rounded_cylinder(p: Point, half: Point, radius: jax.Array) -> jax.Array:
    """Distance to an upright cylinder: radius `half[0]`, half height `half[2]`, rounded edges."""
    r = jnp.sqrt(p[0] * p[0] + p[1] * p[1]) - (half[0] - radius)
    z = jnp.abs(p[2]) - (half[2] - radius)
    outside_r, outside_z = jnp.maximum(r, 0.0), jnp.maximum(z, 0.0)
    outside = jnp.sqrt(outside_r * outside_r + outside_z * outside_z)
    return outside + jnp.minimum(jnp.maximum(r, z), 0.0) - radius


SOLIDS = {"box": rounded_box, "cylinder": rounded_cylinder}


def slab(
    origin: Point, direction: Point, low: jax.Array, high: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Where a ray enters and leaves the axis-aligned box [low, high]; it misses if leave <= enter."""
    enter, leave = jnp.zeros_like(direction[0]), jnp.full_like(direction[0], 1e3)
    for axis in range(3):
        d = direction[axis]
        inverse = 1.0 / jnp.where(jnp.abs(d) < 1e-6, 1e-6, d)
        first, second = (low[axis] - origin[axis]) * inverse, (high[axis] - origin[axis]) * inverse
        enter = jnp.maximum(enter, jnp.minimum(first, second))
        leave = jnp.minimum(leave, jnp.maximum(first, second))
    return enter, leave
