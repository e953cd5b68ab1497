"""The published search: its motion, its region of interest, and that it finds a pose."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ball_field import LENS, RADIUS, BallField, ball_renderer, pose_at

from ipad_jax.pose.adam_search import adam_search, interest_region, screw
from ipad_jax.pose.cameras import exp_se3
from ipad_jax.pose.pose_search import Known
from ipad_jax.pose.scorer import PoseError


def test_the_published_motion_is_a_screw_only_where_its_axis_has_length_1():
    numbers = np.random.default_rng(0).normal(size=7).astype(np.float32)
    numbers[:3] /= np.linalg.norm(numbers[:3])
    twist = jnp.asarray(np.concatenate([numbers[:3], numbers[3:6]]) * numbers[6])
    motion = jax.jit(screw)
    np.testing.assert_allclose(motion(numbers), jax.jit(exp_se3)(twist), atol=1e-5)
    numbers[:3] *= 0.5
    turn = np.asarray(motion(numbers))[:3, :3]
    assert np.abs(turn.T @ turn - np.eye(3)).max() > 0.05


def test_pixels_around_corners_are_of_interest():
    image = np.full((64, 64, 3), 200, np.uint8)
    assert not interest_region(image).any()
    image[20:40, 20:40] = 30
    assert 0 < interest_region(image).mean() < 0.6


class SoftBall(BallField):
    """A ball whose rim can be followed: a hard one has a silhouette without a gradient."""

    def density(self, points):
        return 60 * jax.nn.sigmoid(25 * (RADIUS - jnp.sqrt((points**2).sum(-1) + 1e-9)))


@dataclasses.dataclass
class OneStart:
    """A gallery that has one answer."""

    pose: np.ndarray

    def starts(self, *_):
        return self.pose[None]


@pytest.mark.slow
def test_it_finds_a_pose_from_4_degrees_aside():
    renderer = ball_renderer(SoftBall(), 0.95)
    true = pose_at(1.5, 2.4, 1.0)
    image = np.rint(255 * renderer.pictures([true], LENS, (32, 12, 0))[0].rgb).astype(np.uint8)
    start = np.asarray(exp_se3(jnp.array([0.04, -0.03, 0.05, 0, 0, 0]))) @ true
    gallery = OneStart(start)
    known = Known(renderer, gallery, None, LENS, np.full(3, 255.0), 3.0)  # type: ignore[arg-type]
    found = adam_search(image, known, steps=80, pixels=192)
    before, after = PoseError.between(start, true), PoseError.between(found.pose, true)
    assert before.degrees > 3.5
    assert after.degrees < before.degrees / 3
    again = adam_search(image, known, steps=80, pixels=192)
    np.testing.assert_array_equal(again.pose, found.pose)
