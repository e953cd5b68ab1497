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


def rounded_solid(p: Point, half: Point, radius: jax.Array, is_cylinder: jax.Array) -> jax.Array:
    """Distance to a box, or to an upright cylinder, whose edges are rounded by `radius` (inside).

    A cylinder of radius `half[0]` and half height `half[2]` is the box's formula in (r, 0, z), so one
    formula serves both and a machine is a plain array of solids. A radius equal to all three half
    sizes makes a sphere.
    """
    r = jnp.sqrt(p[0] * p[0] + p[1] * p[1])
    x = jnp.abs(jnp.where(is_cylinder, r, p[0])) - (half[0] - radius)
    y = jnp.abs(jnp.where(is_cylinder, 0.0, p[1])) - (half[1] - radius)
    z = jnp.abs(p[2]) - (half[2] - radius)
    outside_x, outside_y, outside_z = jnp.maximum(x, 0.0), jnp.maximum(y, 0.0), jnp.maximum(z, 0.0)
    outside = jnp.sqrt(outside_x * outside_x + outside_y * outside_y + outside_z * outside_z)
    return outside + jnp.minimum(jnp.maximum(x, jnp.maximum(y, z)), 0.0) - radius


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
