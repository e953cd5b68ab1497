"""Where rays meet a box."""

import jax
import jax.numpy as jnp
import numpy as np

from ipad_jax.pose.rendering import box_distances


def test_rays_enter_and_leave_the_box_where_a_fine_walk_does():
    rng = np.random.default_rng(0)
    origins = rng.uniform(-3, 3, (200, 3)).astype(np.float32)
    directions = rng.standard_normal((200, 3)).astype(np.float32)
    directions[::7, rng.integers(3)] = 0  # along a face
    directions[::2] = (rng.uniform(-1, 1, (100, 3)) - origins[::2]) / 2  # most meet the box
    origins[:5] = 0.2  # inside
    low, high = np.array([-1, -0.5, -0.8], np.float32), np.array([0.7, 0.9, 1], np.float32)
    near, far = jax.jit(box_distances)(origins, directions, low, high)
    walk = np.arange(0, 12, 0.002)
    places = origins[:, None] + walk[None, :, None] * directions[:, None]
    inside = ((places > low) & (places < high)).all(axis=2)
    assert 50 < inside.any(axis=1).sum() < 190
    for ray in range(200):
        if not inside[ray].any():
            assert far[ray] - near[ray] < 0.005  # missed, or cut a corner between two steps
            continue
        first, last = walk[inside[ray]][[0, -1]]
        assert abs(near[ray] - first) < 0.005
        assert abs(min(far[ray], 12) - last) < 0.005
    assert (near[:5] == 0).all()


def test_a_ray_along_a_face_has_no_nan():
    origins = jnp.asarray([[0.0, 1.0, -5.0], [0.0, 2.0, -5.0]])
    near, far = box_distances(
        origins, jnp.asarray([[0.0, 0.0, 1.0]] * 2), -jnp.ones(3), jnp.ones(3)
    )
    assert np.isfinite(near).all()
    assert far[1] == near[1]
