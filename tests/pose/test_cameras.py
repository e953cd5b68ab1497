"""Rays and projection are inverses, poses are rotations, and the maps of SE(3) are exact at every angle."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import expm
from scipy.spatial.transform import Rotation

from ipad_jax.pose.cameras import (
    Camera,
    exp_se3,
    log_se3,
    look_at,
    pixel_centres,
    pixel_rays,
    project,
)

ANGLES = (0.0, 1e-7, 1e-4, 1e-2, 0.5, 0.999, 1.001, 2.0, 3.0, np.pi - 1e-3)
exp, log = jax.jit(exp_se3), jax.jit(log_se3)
IDENTITY = np.eye(4, dtype=np.float32)


def drawn_twists(angle, count=4):
    rng = np.random.default_rng(int(1e6 * angle))
    axes = rng.standard_normal((count, 3))
    axes *= angle / np.linalg.norm(axes, axis=1, keepdims=True)
    return np.concatenate([axes, rng.standard_normal((count, 3))], axis=1).astype(np.float32)


def matrix_of(twist):
    """The twist as a matrix of the Lie algebra, whose matrix exponential is the motion."""
    x, y, z = twist[:3]
    matrix = np.zeros((4, 4))
    matrix[:3, :3] = [[0, -z, y], [z, 0, -x], [-y, x, 0]]
    matrix[:3, 3] = twist[3:]
    return matrix


@pytest.mark.parametrize("angle", ANGLES)
def test_exp_is_the_matrix_exponential(angle):
    for twist in drawn_twists(angle):
        # float32: a dozen roundings of numbers of size 1 to 3
        expected = expm(matrix_of(twist.astype(np.float64)))
        np.testing.assert_allclose(exp(twist), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("angle", ANGLES)
def test_log_is_the_inverse(angle):
    for twist in drawn_twists(angle):
        motion = expm(matrix_of(twist.astype(np.float64))).astype(np.float32)
        # near half a turn the axis is known from the matrix to its rounding, and V^-1 is large
        np.testing.assert_allclose(log(motion), twist, rtol=0, atol=1e-5)


def test_half_a_turn_is_one_of_its_two_twists():
    for axis in np.concatenate([np.eye(3), -np.eye(3), [[0.6, 0.0, -0.8], [0.0, 0.8, 0.6]]]):
        motion = IDENTITY.copy()
        motion[:3, :3] = Rotation.from_rotvec(np.pi * axis).as_matrix()
        found = log(motion)
        assert np.isfinite(found).all()
        np.testing.assert_allclose(np.linalg.norm(found[:3]), np.pi, rtol=1e-6)
        np.testing.assert_allclose(exp(found), motion, rtol=0, atol=2e-6)


@pytest.mark.slow
def test_derivatives_are_exact_at_zero():
    """d exp at 0 is the algebra's basis, d (log exp) the identity, and the second derivative is finite."""
    zero = jnp.zeros(6)
    basis = np.stack([matrix_of(row) for row in np.eye(6)], axis=-1)
    np.testing.assert_array_equal(jax.jit(jax.jacobian(exp_se3))(zero), basis)
    there_and_back = jax.jit(jax.jacobian(lambda twist: log_se3(exp_se3(twist))))
    np.testing.assert_allclose(there_and_back(zero), np.eye(6), rtol=0, atol=1e-6)
    second = jax.jit(jax.hessian(lambda twist: exp_se3(twist)[:3].sum()))(zero)
    assert np.isfinite(second).all()


@pytest.mark.parametrize("angle", [1e-4, 0.9, 1.1, 2.5])
def test_derivatives_agree_with_differences(angle):
    twist = drawn_twists(angle, 1)[0]
    found = jax.jit(jax.jacobian(exp_se3))(twist)
    step = 1e-5
    for i, unit in enumerate(np.eye(6)):
        ends = [expm(matrix_of(twist + sign * step * unit)) for sign in (1, -1)]
        np.testing.assert_allclose(
            found[..., i], (ends[0] - ends[1]) / (2 * step), rtol=0, atol=5e-6
        )


def drawn_camera():
    pose = look_at(
        jnp.asarray([1.0, -2.0, 1.5]), jnp.asarray([0.1, 0.0, 0.2]), jnp.asarray([0.0, 0, 1])
    )
    return Camera(fx=50.0, fy=60.0, cx=13.0, cy=9.5, world_from_camera=pose)


def test_projection_inverts_rays():
    camera = drawn_camera()
    places = pixel_centres(24, 18)
    assert places.shape == (24 * 18, 2)
    np.testing.assert_array_equal(places[:2], [[0.5, 0.5], [1.5, 0.5]])
    rays = pixel_rays(camera, places)
    np.testing.assert_allclose(jnp.linalg.norm(rays.directions, axis=1), 1, rtol=1e-6)
    for distance in (0.5, 4.0):
        found, depth = project(camera, rays.origins + distance * rays.directions)
        np.testing.assert_allclose(found, places, rtol=0, atol=1e-4)  # pixels
        assert ((depth > 0) & (depth <= distance * 1.00001)).all()
        assert (project(camera, rays.origins - distance * rays.directions)[1] < 0).all()
    assert np.isfinite(project(camera, rays.origins[:1])[0]).all()


def test_axes_are_right_up_and_back():
    camera = Camera(2.0, 2.0, 1.0, 1.0, jnp.eye(4))
    places, depth = project(camera, jnp.asarray([[1.0, 0, -4], [0, 1.0, -4], [0.0, 0, -4]]))
    np.testing.assert_allclose(places, [[1.5, 1], [1, 0.5], [1, 1]], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(depth, 4)


def test_the_published_rays_go_through_the_pixels_corner():
    """nerf-pytorch get_rays: ((i - W / 2) / f, -(j - H / 2) / f, -1) turned into the world."""
    focal, width, height = 20.0, 6, 4
    pose = np.asarray(drawn_camera().world_from_camera)
    camera = Camera(focal, focal, width / 2, height / 2, jnp.asarray(pose))
    rays = pixel_rays(camera, pixel_centres(width, height) - 0.5)
    for row in range(height):
        for column in range(width):
            seen = [(column - width / 2) / focal, -(row - height / 2) / focal, -1]
            expected = pose[:3, :3] @ seen
            expected /= np.linalg.norm(expected)
            found = rays.directions[row * width + column]
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


look = jax.jit(look_at)


@pytest.mark.parametrize("up", [(0, 0, 1), (0, 2, 0), (1, 0, 0), (1, 1, 1), (-1, 2, 0.5)])
def test_look_at_is_a_rotation_that_sees_its_target(up):
    up = np.array(up, np.float32)
    target = np.array([0.3, -0.2, 0.1], np.float32)
    for eye in (target + 3 * up, target - 2 * up, np.array([2.0, 1.0, -1.0], np.float32)):
        pose = np.asarray(look(eye, target, up))
        np.testing.assert_allclose(pose[:3, :3].T @ pose[:3, :3], np.eye(3), rtol=0, atol=1e-5)
        np.testing.assert_allclose(np.linalg.det(pose[:3, :3]), 1, rtol=1e-5)
        camera = Camera(10.0, 10.0, 0.0, 0.0, jnp.asarray(pose))
        place, depth = project(camera, jnp.asarray(target)[None])
        np.testing.assert_allclose(place[0], 0, rtol=0, atol=1e-4)
        np.testing.assert_allclose(depth, np.linalg.norm(eye - target), rtol=1e-5)
    assert pose[:3, 1] @ up > 0  # of the last, which does not look along it


def test_many_cameras_by_vmap():
    camera = drawn_camera()
    many = jax.tree.map(lambda leaf: jnp.stack([jnp.asarray(leaf)] * 2), camera)
    places = jnp.asarray([[[0.5, 0.5]], [[3.0, 4.0]]])
    together = jax.vmap(pixel_rays)(many, places)
    for i in range(2):
        alone = pixel_rays(camera, places[i])
        np.testing.assert_allclose(together.directions[i], alone.directions, rtol=0, atol=1e-6)


@pytest.mark.real_data
def test_mads_cameras_look_at_the_origin(real_data):
    for name, radius in {"07Owl": 3.5, "10Sheep": 3.0}.items():
        content = json.loads((real_data / "mad_cameras" / name / "transforms.json").read_text())
        poses = jnp.asarray([frame["transform_matrix"] for frame in content["frames"]])
        cameras = Camera(*(jnp.full(len(poses), n) for n in (555.556, 555.556, 200, 200)), poses)
        origin = jnp.zeros((len(poses), 1, 3))
        places, depth = jax.vmap(project)(cameras, origin)
        np.testing.assert_allclose(places, 200, rtol=0, atol=1e-3)
        np.testing.assert_allclose(depth, radius, rtol=1e-6)
