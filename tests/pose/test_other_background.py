"""An object before a background that the training views do not show: where it starts, and its outline."""

import cv2
import numpy as np
import pytest
from ball_field import pose_at

from ipad_jax.data_builders.toys import animals, switches
from ipad_jax.data_builders.toys.cast import cast
from ipad_jax.pose.cutting import cut_out, with_known_background
from ipad_jax.pose.object_views import Lens
from ipad_jax.pose.pictures import Picture
from ipad_jax.pose.pose_search import FoundPose
from ipad_jax.pose.retrieval import crop_of, degrees_apart, gallery_of
from ipad_jax.pose.templates import SIZE_STEP, templates_of

SIZE = 100
TOY_LENS = Lens(139.0, 139.0, 50, 50, SIZE, SIZE)
WHITE = np.full(3, 255.0)


def wall(seed, size=SIZE):
    """Boxes of any colours, uint8 [size, size, 3]."""
    rng = np.random.default_rng(seed)
    image = np.empty((size, size, 3), np.uint8)
    image[:] = rng.integers(0, 256, 3)
    for _ in range(25):
        x, y, w, h = rng.integers(0, size, 4)
        colour = [int(value) for value in rng.integers(0, 256, 3)]
        cv2.rectangle(image, (int(x), int(y)), (int(x + w / 3), int(y + h / 3)), colour, -1)
    return image


@pytest.mark.parametrize("seed", range(3))
def test_a_start_is_found_before_a_wall_whatever_the_roll_the_distance_and_the_place(seed):
    solids = animals.build("hound").solids
    poses = np.stack([pose_at(1.5, 2.4, 1.0), pose_at(-1.5, 2.4, -0.5), pose_at(2.4, -1.5, 0.6)])
    views = [cast(solids, pose, TOY_LENS.fx, SIZE).image for pose in poses]
    crops = [crop_of(image, WHITE, 3.0) for image in views]
    pictures, circles = (np.stack(column) for column in zip(*crops))
    gallery = gallery_of(pictures, circles, poses, [TOY_LENS] * 3, TOY_LENS)
    true = switches.rolled(poses[seed], 130.0 * (seed + 1), 1.1)
    true[:3, 3] += true[:3, 0] * 0.1  # to its right
    seen = cast(solids, true, TOY_LENS.fx, SIZE).image
    query = np.where((seen < 250).any(-1, keepdims=True), seen, wall(seed))
    nearest, *_ = templates_of(pictures, gallery).starts(query, gallery, TOY_LENS, 3)
    assert degrees_apart(nearest, true) < 8 + 3  # half a step of roll, and the place beside
    distance = [np.linalg.norm(pose[:3, 3]) for pose in (nearest, true)]
    # half a step of size and as much again, for a view that is not quite this one
    assert 1 / SIZE_STEP < distance[0] / distance[1] < SIZE_STEP


@pytest.mark.parametrize("seed", range(3))
def test_an_outline_is_found_that_a_rendering_beside_misses(seed):
    object_colours = wall(seed + 50)
    solid = np.zeros((SIZE, SIZE), np.uint8)
    cv2.ellipse(solid, (50, 50), (30, 18), 20, 0, 360, 1, -1)
    image = np.where(solid[..., None] > 0, object_colours // 2 + 120, wall(seed) // 3)
    beside = np.roll(solid, (2, -2), (0, 1)).astype(np.float32)
    found = cut_out(image.astype(np.uint8), beside)

    def overlap(other):
        return (other & (solid > 0)).sum() / (other | (solid > 0)).sum()

    assert overlap(found) > overlap(beside > 0.5)
    assert overlap(found) > 0.97
    np.testing.assert_array_equal(cut_out(image.astype(np.uint8), beside), found)  # every time


def test_nothing_rendered_cuts_out_nothing():
    assert not cut_out(wall(0), np.zeros((SIZE, SIZE), np.float32)).any()


def test_a_wall_is_replaced_behind_the_outline_and_the_object_is_left():
    opacity = np.zeros((SIZE, SIZE), np.float32)
    opacity[30:70, 30:70] = 1
    opacity = cv2.GaussianBlur(opacity, (0, 0), 1.0)
    share = opacity[..., None]
    inside = np.broadcast_to(np.float32([0.2, 0.6, 0.4]), (SIZE, SIZE, 3))
    behind, background = np.float32([0.5, 0.3, 0.1]), np.ones(3, np.float32)
    found = with_known_background(share * inside + (1 - share) * behind, opacity, background)
    expected = share * inside + (1 - share) * background
    # what is taken for covered by nothing is up to a fiftieth the object's
    np.testing.assert_allclose(found, expected, atol=0.02)
    np.testing.assert_array_equal(found[opacity == 1], inside[opacity == 1])


def test_what_is_not_judged_before_a_wall_is_said():
    picture = Picture(np.zeros((2, 2, 3)), np.zeros((2, 2)), np.zeros((2, 2)))
    found = FoundPose(np.eye(4), picture, 0.1, usual=0.09, strange=True)
    assert found.note == ""
    assert "background" in found.remark
    assert "not inspected" in FoundPose(np.eye(4), picture, 0.3, usual=0.09, strange=True).note
    assert FoundPose(np.eye(4), picture, 0.1, usual=0.09).remark == ""
