"""One factor a channel for light and exposure."""

import numpy as np
import pytest

from ipad_jax.pose.lighting import object_gain, with_background, without_gain
from ipad_jax.pose.pictures import Picture

WHITE = np.full(3, 250.0, np.float32)


@pytest.fixture
def photo():
    image = np.full((60, 80, 3), 250, np.uint8)
    image[15:45, 20:60] = np.random.default_rng(0).integers(30, 200, (30, 40, 3))
    return image


@pytest.mark.parametrize("factor", [(0.85, 0.75, 0.7), (0.6, 0.6, 0.6)])
def test_a_darker_exposure_is_undone(photo, factor):
    darker = np.rint(photo * np.array(factor)).astype(np.uint8)
    found = with_background(darker, WHITE, 8.0)
    # a level of the darker photo is at most 1 / 0.6 of one here, and both are rounded
    assert np.abs(found.astype(int) - photo.astype(int)).max() <= 2


@pytest.mark.parametrize("border", [250, 245, 100, 20])
def test_the_same_background_or_quite_another_one_is_left(photo, border):
    photo[photo == 250] = border
    np.testing.assert_array_equal(with_background(photo, WHITE, 8.0), photo)


def picture_of(photo):
    solid = np.zeros(photo.shape[:2], np.float32)
    solid[15:45, 20:60] = 1
    return Picture(photo.astype(np.float32) / 255, solid, solid)


def test_light_on_the_object_is_undone_and_a_defect_is_not(photo):
    picture = picture_of(photo)
    gain = np.array([0.9, 0.8, 0.75], np.float32)
    query = picture.rgb.copy()
    query[20:25, 25:32] = (0.1, 0.9, 0.1)  # a stain
    stained = query.copy()
    query[15:45, 20:60] *= gain
    np.testing.assert_allclose(object_gain(query, picture), gain, rtol=0.02)
    found = without_gain(query, picture, np.full(3, 0.05))
    np.testing.assert_allclose(found, stained, atol=0.02)


def test_a_gain_as_in_training_views_changes_nothing(photo):
    picture = picture_of(photo)
    query = picture.rgb * 0.97
    assert without_gain(query, picture, np.full(3, 0.05)) is query


def test_a_channel_with_a_usual_gain_is_left_when_another_is_not(photo):
    picture = picture_of(photo)
    query = picture.rgb * np.array([0.9, 0.97, 0.8], np.float32)
    query[picture.opacity == 0] = picture.rgb[picture.opacity == 0]
    found = without_gain(query, picture, np.array([0.05, 0.05, 0.3]))
    np.testing.assert_array_equal(found[..., 1:], query[..., 1:])
    np.testing.assert_allclose(found[..., 0], picture.rgb[..., 0], atol=0.02)


def test_nothing_rendered_has_no_gain(photo):
    nothing = Picture(np.ones((60, 80, 3), np.float32), np.zeros((60, 80)), np.zeros((60, 80)))
    np.testing.assert_array_equal(object_gain(photo / 255, nothing), 1)
