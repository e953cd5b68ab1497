"""A field in closed form, a hard coloured ball of radius 0.7, and pictures of it."""

import jax.numpy as jnp
import numpy as np
from flax import nnx

from ipad_jax.pose.cameras import look_at
from ipad_jax.pose.object_views import Lens
from ipad_jax.pose.pictures import Renderer

LENS = Lens(90.0, 90.0, 32.0, 32.0, 64, 64)
RADIUS = 0.7


class BallField(nnx.Module):
    """Density and colours of the ball."""

    def density(self, points):
        return jnp.where((points**2).sum(-1) < RADIUS**2, 60.0, 0.0)

    def __call__(self, points, directions):
        colour = 0.5 + 0.45 * jnp.sin(jnp.array([[5.0, 7.0, 6.0]]) * points + 1.0)
        return self.density(points), colour, jnp.zeros(len(points))


def pose_at(x, y, z):
    """A camera there that looks at the origin, z upwards."""
    eye = jnp.array([x, y, z])
    return np.asarray(look_at(eye, jnp.zeros(3), jnp.array([0.0, 0.0, 1.0])))


def ball_renderer(field=None, reach=0.77):
    """Renders a ball on white, from `BallField` and as far as `reach` from the centre."""
    axis = (np.arange(32) + 0.5) / 16 - 1
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    return Renderer(field or BallField(), x**2 + y**2 + z**2 < reach**2, np.ones(3))
