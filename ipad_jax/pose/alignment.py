"""Render-and-align: a rendered picture's points are moved onto the query by Levenberg-Marquardt on SE(3).

Both pictures are blurred alike. The residual of a point is the query's colour where the point would be seen,
less the rendering's; its derivative is the query's gradient. Points of a band outside the silhouette, at
their neighbours' distance, make the outline count. Residuals are weighted by Geman and McClure's rule, so
that a defect has no say. The motion is of the camera about the object's centre (the world's origin). Where
the lens is not known, the logarithm of its focal length is a seventh unknown.
"""

import functools
from collections.abc import Sequence

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from ipad_jax.pose.cameras import exp_se3
from ipad_jax.pose.object_views import Lens
from ipad_jax.pose.pictures import Picture

BAND_PX = 3  # outside the silhouette
SCALE = 0.15  # of the residuals' weights, in colour from 0 to 1
BLUR_PX = 1.0
ZOOMS = (0.5, 2.0)  # limits of a focal length that is sought, times the training views'

_matmul = functools.partial(jnp.matmul, precision="highest")


def blurred(image: np.ndarray) -> np.ndarray:
    """float32 [h, w, 3], blurred as both pictures are."""
    return cv2.GaussianBlur(image, (0, 0), BLUR_PX, borderType=cv2.BORDER_REPLICATE)


def blurred_inside(picture: Picture, background: np.ndarray) -> np.ndarray:
    """A picture's object, blurred without the background float32 [3] that shows at its outline."""
    share = picture.opacity[..., None]
    both = np.concatenate([picture.rgb - (1 - share) * background, share], axis=-1)
    both = cv2.GaussianBlur(both, (0, 0), BLUR_PX, borderType=cv2.BORDER_REPLICATE)
    return both[..., :3] / np.maximum(both[..., 3:], 1e-3)


def points_of(
    picture: Picture, pose: np.ndarray, lens: Lens, band_px: int = BAND_PX
) -> tuple[np.ndarray, np.ndarray]:
    """Points of the world that a picture shows, [h * w, 3] float32, and which of them count, bool [h * w].

    Those of a band outside the silhouette count too. All have a finite place, since what is not finite would
    stop every step without a word.
    """
    solid = picture.opacity > 0.5
    if not solid.any():
        return np.zeros((solid.size, 3), np.float32), np.zeros(solid.size, bool)
    empty = (~solid).astype(np.uint8)
    away, nearest = cv2.distanceTransformWithLabels(
        empty, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    nearest = np.asarray(nearest, np.int64)
    of_label = np.zeros(int(nearest.max()) + 1, np.float32)
    of_label[nearest[solid]] = picture.distance[solid]
    distance = np.where(solid, picture.distance, of_label[nearest])
    rays = lens.directions() @ pose[:3, :3].T.astype(np.float32)
    points = pose[:3, 3].astype(np.float32) + rays * distance.reshape(-1, 1)
    return points, (away <= band_px).ravel()


def align(
    query: np.ndarray,
    colours: np.ndarray,
    points: np.ndarray,
    counts: np.ndarray,
    poses: np.ndarray,
    lenses: Sequence[Lens],
    steps: int,
    zooms: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Better poses of k hypotheses [k, 4, 4], and their zooms [k].

    Args:
      query: float32 [h, w, 3], blurred.
      colours: [k, n, 3] of the renderings, blurred.
      points: [k, n, 3] of the world. counts: bool [k, n].
      poses: world_from_camera [k, 4, 4].
      lenses: of each.
      steps: of Levenberg-Marquardt; one that makes it worse is not taken.
      zooms: focal lengths of `lenses`, times the training views' [k], which are sought too; None: the
        lenses are known.
    """
    down, across = np.gradient(query, axis=(0, 1))
    sampled = np.concatenate([query, across, down], axis=-1).astype(np.float32)
    sought = zooms is not None
    start = np.zeros(len(poses)) if zooms is None else np.log(zooms)
    # one program for every hypothesis, whatever their number
    found = [
        _align(
            sampled,
            c,
            p,
            m.astype(np.float32),
            q.astype(np.float32),
            *_numbers(lens),
            z,
            steps,
            sought,
        )
        for c, p, m, q, lens, z in zip(
            colours, points, counts, poses, lenses, start.astype(np.float32)
        )
    ]
    return np.stack([np.asarray(pose) for pose, _ in found]), np.exp([float(z) for _, z in found])


def _numbers(lens: Lens) -> tuple[float, float, float, float]:
    return lens.fx, lens.fy, lens.cx, lens.cy


@functools.partial(jax.jit, static_argnames=("steps", "sought"))
def _align(
    sampled, colours, points, counts, pose, fx, fy, cx, cy, zoom, steps, sought
) -> tuple[jax.Array, jax.Array]:
    """Pose and logarithm of the zoom, which fx and fy have at the start."""
    fx0, fy0, zoom0 = fx, fy, zoom

    def parts(pose, zoom):
        """Residuals [n, 3], their derivatives [n, 3, 6 or 7], weights [n]; the robust cost."""
        larger = jnp.exp(zoom - zoom0) if sought else 1.0
        fx, fy = fx0 * larger, fy0 * larger
        rotation = pose[:3, :3]
        seen = _matmul(points - pose[:3, 3][None], rotation)
        depth = jnp.maximum(-seen[:, 2], 1e-3)
        x, y = seen[:, 0] / depth, seen[:, 1] / depth
        values = bilinear(sampled, cx + fx * x, cy - fy * y)
        residual = values[:, :3] - colours
        zero = jnp.zeros_like(x)
        by_u = jnp.stack([fx / depth, zero, fx * x / depth], -1)
        by_v = jnp.stack([zero, -fy / depth, -fy * y / depth], -1)
        by_seen = (
            values[:, 3:6, None] * by_u[:, None] + values[:, 6:9, None] * by_v[:, None]
        )  # [n, 3 colours, 3]
        by_world = -_matmul(by_seen.reshape(-1, 3), rotation.T).reshape(by_seen.shape)
        # of a turn w about the origin: -(w x p) . g = -w . (p x g), g the derivative by the world
        by_turn = jnp.cross(jnp.broadcast_to(points[:, None], by_world.shape), by_world)
        jacobian = jnp.concatenate([by_turn, by_world], axis=-1)
        if sought:
            by_zoom = values[:, 3:6] * (fx * x)[:, None] - values[:, 6:9] * (fy * y)[:, None]
            jacobian = jnp.concatenate([jacobian, by_zoom[..., None]], axis=-1)
        square = (residual**2).sum(-1)
        weights = counts * (SCALE**2 / (SCALE**2 + square)) ** 2
        cost = (counts * square / (SCALE**2 + square)).sum()
        return residual, jacobian, weights, cost

    def step(_, state):
        pose, zoom, damping = state
        residual, jacobian, weights, cost = parts(pose, zoom)
        flat = jacobian.reshape(-1, jacobian.shape[-1])
        weighted = flat * jnp.repeat(weights, 3)[:, None]
        hessian = _matmul(weighted.T, flat)
        gradient = _matmul(weighted.T, residual.reshape(-1, 1))[:, 0]
        scale = jnp.diagonal(hessian) + 1e-6
        change = -jnp.linalg.solve(hessian + jnp.diag(damping * scale), gradient)
        moved, wider = _matmul(exp_se3(change[:6]), pose), zoom
        if sought:
            wider = jnp.clip(zoom + change[6], *np.log(ZOOMS))
        better = parts(moved, wider)[3] < cost
        pose, zoom = jnp.where(better, moved, pose), jnp.where(better, wider, zoom)
        return pose, zoom, jnp.where(better, damping / 4, damping * 6)

    return jax.lax.fori_loop(0, steps, step, (pose, zoom, jnp.asarray(1e-2)))[:2]


def bilinear(image: jax.Array, u: jax.Array, v: jax.Array) -> jax.Array:
    """Values of an image [h, w, c] at places u, v in pixels, the first centre at 0.5: [n, c]; clamped."""
    height, width = image.shape[:2]
    x, y = jnp.clip(u - 0.5, 0, width - 1), jnp.clip(v - 0.5, 0, height - 1)
    left = jnp.clip(jnp.floor(x), 0, max(width - 2, 0)).astype(jnp.int32)
    top = jnp.clip(jnp.floor(y), 0, max(height - 2, 0)).astype(jnp.int32)
    a, b = (x - left)[:, None], (y - top)[:, None]
    upper = image[top, left] * (1 - a) + image[top, left + 1] * a
    lower = image[top + 1, left] * (1 - a) + image[top + 1, left + 1] * a
    return upper * (1 - b) + lower * b
