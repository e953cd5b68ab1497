"""What evaluate writes to look at: a turntable that plays, a cloud that a reader opens and that is true."""

import cv2
import numpy as np
import pytest
from ball_field import LENS, RADIUS, BallField, ball_renderer, pose_at

from ipad_jax.pose.showing import surface_points, turntable_poses, write_cloud, write_turntable
from ipad_jax.pose.warping import GoodViews

POSES = np.stack([pose_at(*(3 * v / np.linalg.norm(v))) for v in np.eye(3)[[0, 1, 0, 1]] + 0.3])


def read_ply(path):
    """Properties of the one element by name, as PLY's description has it, knowing nothing of the writer."""
    header, _, data = path.read_bytes().partition(b"end_header\n")
    lines = header.decode("ascii").split("\n")
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    (count,) = [int(line.split()[2]) for line in lines if line.startswith("element vertex")]
    types = {"float": "<f4", "uchar": "u1"}
    rows = [line.split() for line in lines if line.startswith("property")]
    found = np.frombuffer(data, [(name, types[kind]) for _, kind, name in rows])
    assert len(found) == count
    return found


def test_a_cloud_lies_on_the_surface_in_the_fields_colours(tmp_path):
    pictures = ball_renderer().pictures(POSES, LENS, (48, 24, 0))
    distances = [np.where(p.opacity > 0.5, p.distance, 0) for p in pictures]
    images = np.zeros((4, 64, 64, 3), np.uint8)
    good = GoodViews(images, np.stack(distances).astype(np.float16), POSES, (LENS,) * 4)
    points, colours = surface_points(BallField(), good)
    assert len(points) > 100
    away = np.linalg.norm(points, axis=1)
    assert abs(np.median(away) - RADIUS) < 0.03
    assert np.abs(away - RADIUS).max() < 0.1  # nothing floats around
    expected = 255 * (0.5 + 0.45 * np.sin(np.array([5.0, 7.0, 6.0]) * points + 1.0))
    np.testing.assert_allclose(colours, expected, atol=0.6)
    write_cloud(tmp_path / "a.ply", points, colours)
    read = read_ply(tmp_path / "a.ply")
    np.testing.assert_array_equal(np.stack([read[name] for name in "xyz"], 1), points)
    names = ("red", "green", "blue")
    np.testing.assert_array_equal(np.stack([read[name] for name in names], 1), colours)


def test_a_turn_goes_around_once_at_one_height():
    poses = turntable_poses(POSES, 8)
    eyes = poses[:, :3, 3]
    np.testing.assert_allclose(np.linalg.norm(eyes, axis=1), 3, rtol=1e-5)
    np.testing.assert_allclose(np.diff(eyes @ POSES[:, :3, 1].mean(0)), 0, atol=1e-5)
    steps = np.linalg.norm(eyes - np.roll(eyes, 1, axis=0), axis=1)
    np.testing.assert_allclose(steps, steps[0], rtol=1e-4)
    np.testing.assert_allclose(poses[:, :3, 2], eyes / 3, atol=1e-5)  # the object in the middle


@pytest.mark.slow
def test_a_turntable_plays(tmp_path):
    lens = LENS.scaled(63, 64)  # an odd width
    write_turntable(tmp_path / "a.webm", ball_renderer(), POSES, lens, frames=3)
    video = cv2.VideoCapture(str(tmp_path / "a.webm"))
    frames = []
    while (read := video.read())[0]:
        frames.append(read[1])
    assert [frame.shape for frame in frames] == [(64, 64, 3)] * 3
    for frame in frames:
        assert frame[:4].min() > 240  # white around a ball
        assert frame[24:40, 24:40].min() < 200
    assert [path.name for path in tmp_path.iterdir()] == ["a.webm"]
