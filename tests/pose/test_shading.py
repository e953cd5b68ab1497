"""Lamps that moved: a surface's directions from its picture, and light as a function of them."""

import numpy as np
import pytest

from ipad_jax.pose.object_views import Lens
from ipad_jax.pose.pictures import Picture
from ipad_jax.pose.shading import REACH, light_of, normals

SIDE = 96
LENS = Lens(130.0, 130.0, SIDE / 2, SIDE / 2, SIDE, SIDE)
POSE = np.eye(4, dtype=np.float32)  # looks along -z
RADIUS, AWAY = 1.0, 4.0


def ball(lamp):
    """A ball of three colours under a lamp [3] and a sky, in closed form; its normals; where it is."""
    rays = LENS.directions()
    along = -AWAY * rays[:, 2]
    root = along**2 - (AWAY**2 - RADIUS**2)
    hit = root > 0
    distance = np.where(hit, along - np.sqrt(np.maximum(root, 0)), 0)
    points = rays * distance[:, None]
    normal = np.where(hit[:, None], points - [0, 0, -AWAY], 0)
    colours = np.array([[0.7, 0.2, 0.1], [0.2, 0.5, 0.2], [0.6, 0.6, 0.5]])
    albedo = colours[(np.floor(points[:, 1] * 2.5) % 3).astype(int)]
    lit = 0.4 + 0.6 * np.maximum(normal @ (np.array(lamp) / np.linalg.norm(lamp)), 0)
    rgb = np.where(hit[:, None], np.sqrt(albedo * lit[:, None]), 1).astype(np.float32)
    shape = (SIDE, SIDE)
    solid, distance = hit.astype(np.float32).reshape(shape), distance.astype(np.float32)
    picture = Picture(rgb.reshape(*shape, 3), solid, distance.reshape(shape))
    return picture, normal.reshape(*shape, 3), hit.reshape(shape)


def test_a_ball_s_normals_point_away_from_its_centre():
    picture, true, hit = ball((1, 1, 1))
    cosine = (normals(picture, LENS) * true).sum(-1)
    inner = hit & (true[..., 2] > 0.5)
    # not farther off than a neighbour at the end of the reach, on a surface seen at 60 degrees
    away_px = 2 * round(REACH * SIDE)
    bound = away_px / (LENS.fx * RADIUS / AWAY)
    assert np.arccos(np.clip(cosine[inner], -1, 1)).max() < bound
    assert np.median(np.arccos(np.clip(cosine[inner], -1, 1))) < bound / 4
    assert (normals(picture, LENS)[~hit] == 0).all()


def test_a_moved_lamp_is_explained_and_a_stain_is_not():
    """The error that a moved lamp leaves falls to a quarter; a stain stays as different as it was."""
    before, true, hit = ball((0.8, 0.4, 0.7))
    after, _, _ = ball((-0.5, 0.6, 0.7))
    stained = after.rgb.copy()
    stained[40:48, 40:48] = (0.1, 0.1, 0.9)
    light = light_of(stained, before, POSE, LENS)
    lit = light.on(before.rgb)
    clean = hit & (true[..., 2] > 0.3)
    clean[36:52, 36:52] = False

    def error(rgb):
        return np.sqrt(np.square(rgb - after.rgb).sum(-1)[clean].mean())

    assert error(lit) < error(before.rgb) / 4
    stain = np.s_[41:47, 41:47]
    assert np.linalg.norm(stained - lit, axis=-1)[stain].min() > 0.3
    assert light.change == pytest.approx(error(before.rgb), rel=0.5)


def test_light_that_did_not_move_changes_nothing_and_nothing_has_no_light():
    picture, _, hit = ball((0.8, 0.4, 0.7))
    light = light_of(picture.rgb, picture, POSE, LENS)
    assert light.change < 0.01
    np.testing.assert_allclose(light.on(picture.rgb)[~hit], picture.rgb[~hit], atol=1e-6)
    nothing = Picture(np.ones_like(picture.rgb), *[np.zeros((SIDE, SIDE), np.float32)] * 2)
    assert light_of(picture.rgb, nothing, POSE, LENS).change == 0


@pytest.mark.parametrize("factor", [(0.9, 0.8, 0.75), (1.2, 1.2, 1.2)])
def test_a_coloured_light_is_one_factor_a_channel(factor):
    picture, _, hit = ball((0.8, 0.4, 0.7))
    dimmed = Picture(picture.rgb * np.float32(0.8), picture.opacity, picture.distance)
    query = dimmed.rgb * np.array(factor, np.float32)
    lit = light_of(query, dimmed, POSE, LENS).on(dimmed.rgb)
    assert np.abs(lit - query)[hit].mean() < 0.01
