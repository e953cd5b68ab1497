"""Pinhole cameras, their rays, and rigid motions: pure functions of one camera; `jax.vmap` gives many.

Axes are OpenGL's, as in NeRF's and MAD's files: x right, y up, looking along -z. A place in a picture is
(x, y) in pixels from its upper left corner, so that the first pixel's centre is (0.5, 0.5), as in Blender,
COLMAP and nerfstudio. The published NeRF code casts its rays through (0, 0), (1, 0) ... with the same
principal point, half a pixel off, in training and in queries alike; with its weights, do the same.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

# 3x3 products cost nothing, and the default of accelerators keeps 8 to 11 bits: several pixels.
_matmul = functools.partial(jnp.matmul, precision="highest")


class Camera(NamedTuple):
    """Focal lengths fx, fy and principal point cx, cy in pixels; world_from_camera [4, 4], a rigid motion."""

    fx: jax.Array | float
    fy: jax.Array | float
    cx: jax.Array | float
    cy: jax.Array | float
    world_from_camera: jax.Array


class Rays(NamedTuple):
    """origins: [n, 3] in the world; directions: [n, 3], of length 1."""

    origins: jax.Array
    directions: jax.Array


def pixel_centres(width: int, height: int) -> jax.Array:
    """Places (x, y) of all pixels' centres, row by row: [height * width, 2]."""
    x, y = jnp.meshgrid(jnp.arange(width) + 0.5, jnp.arange(height) + 0.5)
    return jnp.stack([x.ravel(), y.ravel()], axis=-1)


def pixel_rays(camera: Camera, places: jax.Array) -> Rays:
    """Rays of one camera through places [n, 2] of its picture."""
    x = (places[:, 0] - camera.cx) / camera.fx
    y = (places[:, 1] - camera.cy) / camera.fy
    seen = jnp.stack([x, -y, -jnp.ones_like(x)], axis=-1)
    directions = _matmul(seen, camera.world_from_camera[:3, :3].T)
    directions /= jnp.linalg.norm(directions, axis=-1, keepdims=True)
    return Rays(jnp.broadcast_to(camera.world_from_camera[:3, 3], directions.shape), directions)


def project(camera: Camera, points: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Where one camera sees points of the world: [n, 3] -> places [n, 2], depth [n] along its axis.

    Points at depth 0 or less are not seen, whatever their place.
    """
    rotation = camera.world_from_camera[:3, :3]
    seen = _matmul(points - camera.world_from_camera[:3, 3][None], rotation)
    depth = -seen[:, 2]
    # Away from 0, so that a point that is not seen gives no NaN to a sum that leaves it out.
    divisor = jnp.where(jnp.abs(depth) < 1e-9, 1e-9, depth)
    x = camera.cx + camera.fx * seen[:, 0] / divisor
    y = camera.cy - camera.fy * seen[:, 1] / divisor
    return jnp.stack([x, y], axis=-1), depth


def look_at(eye: jax.Array, target: jax.Array, up: jax.Array) -> jax.Array:
    """world_from_camera of a camera at `eye` that looks at `target`, with `up` upwards: [3] each -> [4, 4].

    Where `up` is along the axis, an axis of the world takes its place. `eye` and `target` must differ.
    """
    back = (eye - target) / jnp.linalg.norm(eye - target)
    up = up / jnp.linalg.norm(up)
    along = jnp.abs((up * back).sum()) > 1 - 1e-6
    up = jnp.where(along, jnp.eye(3)[jnp.argmin(jnp.abs(back))], up)
    right = jnp.cross(up, back)
    right /= jnp.linalg.norm(right)
    rotation = jnp.stack([right, jnp.cross(back, right), back], axis=1)
    return _rigid(rotation, eye)


def exp_se3(twist: jax.Array) -> jax.Array:
    """Rigid motion of a twist (rotation vector in radians, velocity): [6] -> [4, 4].

    Exact for any angle, with exact derivatives at 0 too: the rotation exp(w) by Rodrigues' formula, the
    translation V(w) v with V the integral of exp(s w) over s from 0 to 1.
    """
    w, v = twist[:3], twist[3:]
    a, b, c = _rotation_series((w * w).sum())
    cross = _cross_matrix(w)
    square = _matmul(cross, cross)
    identity = jnp.eye(3, dtype=twist.dtype)
    return _rigid(identity + a * cross + b * square, _matmul(identity + b * cross + c * square, v))


def log_se3(motion: jax.Array) -> jax.Array:
    """The twist of a rigid motion, with an angle of at most pi: [4, 4] -> [6], the inverse of `exp_se3`.

    Of the two rotation vectors of half a turn it takes one; no derivative exists there.
    """
    w = _log_so3(motion[:3, :3])
    squared = (w * w).sum()
    a, b, _ = _rotation_series(squared)
    near = squared < 1
    s = jnp.where(near, squared, 0.0)
    # (1 - (t / 2) cot(t / 2)) / t^2 of the angle t
    series = 1 / 12 + s * (1 / 720 + s * (1 / 30240 + s * (1 / 1209600 + s / 47900160)))
    d = jnp.where(near, series, (1 - a / (2 * b)) / jnp.where(near, 1.0, squared))
    cross = _cross_matrix(w)
    inverse = jnp.eye(3, dtype=motion.dtype) - cross / 2 + d * _matmul(cross, cross)
    return jnp.concatenate([w, _matmul(inverse, motion[:3, 3])])


def _rotation_series(squared: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """sin t / t, (1 - cos t) / t^2 and (t - sin t) / t^3 of a squared angle t^2.

    Below one radian by their series, whose next term is under float32's rounding: there the last formula
    loses its digits, and at 0 the root has no derivative.
    """
    near = squared < 1
    s = jnp.where(near, squared, 0.0)
    t = jnp.sqrt(jnp.where(near, 1.0, squared))
    series_a = 1 - s * (1 / 6 - s * (1 / 120 - s * (1 / 5040 - s * (1 / 362880 - s / 39916800))))
    series_b = 1 / 2 - s * (1 / 24 - s * (1 / 720 - s * (1 / 40320 - s / 3628800)))
    series_c = 1 / 6 - s * (1 / 120 - s * (1 / 5040 - s * (1 / 362880 - s / 39916800)))
    return (
        jnp.where(near, series_a, jnp.sin(t) / t),
        jnp.where(near, series_b, (1 - jnp.cos(t)) / t**2),
        jnp.where(near, series_c, (t - jnp.sin(t)) / t**3),
    )


def _log_so3(r: jax.Array) -> jax.Array:
    """Rotation vector of a rotation matrix, by its quaternion: [3, 3] -> [3]."""
    x, y, z = r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]
    xy, xz, yz = r[0, 1] + r[1, 0], r[0, 2] + r[2, 0], r[1, 2] + r[2, 1]
    a, b, c = r[0, 0], r[1, 1], r[2, 2]
    # Four times the products of the quaternion's parts; the row of the largest part loses no digits.
    rows = (
        (1 + a + b + c, x, y, z),
        (x, 1 + a - b - c, xy, xz),
        (y, xy, 1 - a + b - c, yz),
        (z, xz, yz, 1 - a - b + c),
    )
    products = jnp.stack([jnp.stack(row) for row in rows])
    row = products[jnp.argmax(jnp.diagonal(products))]
    quaternion = row / jnp.linalg.norm(row)
    quaternion = quaternion * jnp.where(quaternion[0] < 0, -1.0, 1.0)
    squared = (quaternion[1:] ** 2).sum()
    near = squared < 1e-8
    sine = jnp.sqrt(jnp.where(near, 1.0, squared))  # of half the angle
    far_factor = 2 * jnp.arctan2(sine, quaternion[0]) / sine
    near_factor = 2 + squared / 3  # of 2 asin(sine) / sine, the cosine being positive
    return jnp.where(near, near_factor, far_factor) * quaternion[1:]


def _cross_matrix(w: jax.Array) -> jax.Array:
    """The matrix of w x: [3] -> [3, 3]."""
    x, y, z = w
    zero = jnp.zeros_like(x)
    rows = ((zero, -z, y), (z, zero, -x), (-y, x, zero))
    return jnp.stack([jnp.stack(row) for row in rows])


def _rigid(rotation: jax.Array, translation: jax.Array) -> jax.Array:
    """[3, 3] and [3] -> [4, 4]."""
    upper = jnp.concatenate([rotation, translation[:, None]], axis=1)
    return jnp.concatenate([upper, jnp.asarray([[0.0, 0.0, 0.0, 1.0]], upper.dtype)])
