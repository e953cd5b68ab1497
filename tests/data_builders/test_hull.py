"""The visual hull loses nothing of the object, is what a slow loop finds, and says why it is empty."""

import dataclasses
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from ipad_jax.data_builders.object_folder.hull import (
    covered,
    occupied_box,
    refusing_most,
    visual_hull,
)
from ipad_jax.data_builders.object_folder.transforms import View
from ipad_jax.pose.cameras import Camera, look_at, pixel_centres, pixel_rays

LOW, HIGH = np.full(3, -1.0), np.full(3, 1.0)
CENTRE, RADIUS = np.array([0.1, -0.2, 0.15]), 0.4
EYES = np.array(
    [[3, 0, 0.5], [0, 3, 1], [-2, -2, 1], [1, -1, 2.5], [0.1, 0.2, -3], [2, 2, -1], [-3, 1, -0.5]],
    np.float32,
)


def ball_views(width=40, height=32):
    """Cameras around, and the exact silhouettes of a ball: pixels whose centre's ray meets it."""
    views, silhouettes = [], []
    for number, eye in enumerate(EYES):
        pose = np.asarray(look_at(jnp.asarray(eye), jnp.zeros(3), jnp.asarray([0.0, 0.0, 1.0])))
        view = View(Path(f"{number}.png"), width, height, 50.0, 52.0, 20.5, 15.0, pose.astype("f8"))
        camera = Camera(view.fx, view.fy, view.cx, view.cy, jnp.asarray(pose))
        rays = pixel_rays(camera, pixel_centres(width, height))
        to = CENTRE - np.asarray(rays.origins)
        miss = np.linalg.norm(np.cross(to, np.asarray(rays.directions)), axis=1)
        views.append(view)
        silhouettes.append((miss < RADIUS).reshape(height, width))
    return views, silhouettes


VIEWS, SILHOUETTES = ball_views()


def test_the_whole_ball_is_in_the_hull_and_little_else():
    side = 32
    hull = visual_hull(VIEWS, SILHOUETTES, LOW, HIGH, side)
    voxel = 2 / side
    at = LOW[0] + voxel * (np.arange(side) + 0.5)
    centres = np.stack(np.meshgrid(at, at, at, indexing="ij"), axis=-1)
    distance = np.linalg.norm(centres - CENTRE, axis=-1)
    half_diagonal = voxel * 3**0.5 / 2
    touching = distance < RADIUS + half_diagonal - 0.05  # 0.05: a pixel at this distance
    assert hull[touching].all()
    low, high = occupied_box(hull, LOW, HIGH)
    assert (low <= CENTRE - RADIUS).all()
    assert (high >= CENTRE + RADIUS).all()
    # What seven cameras cannot tell from a ball, a voxel and a pixel around it
    assert hull.sum() * voxel**3 < 3 * 4 / 3 * np.pi * RADIUS**3


def test_thin_things_are_not_lost():
    """A silhouette of one pixel keeps a voxel, however coarse the grid."""
    for side in (3, 8, 30):
        points = []
        for view in VIEWS:
            seen = view.world_from_camera[:3, :3].T @ (CENTRE - view.world_from_camera[:3, 3])
            x = view.cx - view.fx * seen[0] / seen[2]
            y = view.cy + view.fy * seen[1] / seen[2]
            silhouette = np.zeros((view.height, view.width), bool)
            silhouette[int(y), int(x)] = True
            points.append(silhouette)
        hull = visual_hull(VIEWS, points, LOW, HIGH, side)
        assert hull[tuple(((CENTRE + 1) / 2 * side).astype(int))]


def test_more_views_only_carve():
    part = visual_hull(VIEWS[:3], SILHOUETTES[:3], LOW, HIGH, 16)
    every = visual_hull(VIEWS, SILHOUETTES, LOW, HIGH, 16)
    assert (part | ~every).all()
    assert part.sum() > every.sum()


def test_a_highlight_that_one_view_takes_for_the_background_carves_nothing_where_one_is_overruled():
    every = visual_hull(VIEWS, SILHOUETTES, LOW, HIGH, 24)
    bitten = [silhouette.copy() for silhouette in SILHOUETTES]
    bitten[2][:, : np.nonzero(bitten[2].any(0))[0].mean().astype(int)] = False
    carved = visual_hull(VIEWS, bitten, LOW, HIGH, 24)
    kept = visual_hull(VIEWS, bitten, LOW, HIGH, 24, overruled=1 / len(VIEWS))
    assert carved.sum() < 0.8 * every.sum()  # a quarter is gone
    assert kept[every].all()
    assert kept.sum() < 2 * every.sum()
    lost, whole = (covered(VIEWS, SILHOUETTES, hull, LOW, HIGH).min() for hull in (carved, kept))
    assert lost < 0.99 < whole
    assert refusing_most(VIEWS, bitten, LOW, HIGH, 24)[0] == "2.png"


def test_a_cut_off_silhouette_says_nothing_about_what_its_picture_does_not_hold():
    """A camera that looks past the box, with something at its picture's border, changes nothing."""
    pose = VIEWS[0].world_from_camera.copy()
    pose[:3, 3] += [0.0, 50.0, 0.0]
    beside = dataclasses.replace(VIEWS[0], path=Path("beside.png"), world_from_camera=pose)
    cut = SILHOUETTES[0].copy()
    cut[5, 0] = True
    together = visual_hull([*VIEWS, beside], [*SILHOUETTES, cut], LOW, HIGH, 16)
    np.testing.assert_array_equal(together, visual_hull(VIEWS, SILHOUETTES, LOW, HIGH, 16))
    with pytest.raises(ValueError, match="no picture holds the box"):
        visual_hull([beside], [cut], LOW, HIGH, 8)


def test_a_silhouette_inside_its_picture_carves_what_is_outside():
    """A close-up that shows the ball alone, from a camera whose picture holds a part of the box only."""
    close = dataclasses.replace(VIEWS[0], path=Path("close.png"), fx=200.0, fy=200.0)
    ball = np.zeros_like(SILHOUETTES[0])
    ball[10:20, 15:25] = True
    whole = visual_hull([close], [ball], LOW, HIGH, 16)
    cut = ball.copy()
    cut[:, :20] = True
    part = visual_hull([close], [cut], LOW, HIGH, 16)
    assert 0 < whole.sum() < part.sum()
    behind = close.world_from_camera.copy()
    behind[:3, :3] = behind[:3, :3] @ np.diag([-1, 1, -1])  # turned round: the box is behind it
    away = dataclasses.replace(close, world_from_camera=behind)
    with pytest.raises(ValueError, match=r"1 do not: close\.png"):
        visual_hull([away], [ball], LOW, HIGH, 16)


def test_an_empty_hull_names_the_view_that_disagrees():
    mirrored = list(SILHOUETTES)
    mirrored[3] = np.zeros_like(SILHOUETTES[3])
    mirrored[3][2:4, 2:4] = True
    with pytest.raises(
        ValueError, match=r"hull is empty.*all 7 silhouettes.*1 do not: 3\.png\. Are"
    ):
        visual_hull(VIEWS, mirrored, LOW, HIGH, 16)


def test_silhouettes_that_cannot_be_used_are_named():
    nothing = [*SILHOUETTES[:-1], np.zeros_like(SILHOUETTES[-1])]
    with pytest.raises(ValueError, match=r"silhouette is empty.*6\.png"):
        visual_hull(VIEWS, nothing, LOW, HIGH, 8)
    with pytest.raises(ValueError, match=r"0\.png.*shape \(40, 32\), expected \(32, 40\)"):
        visual_hull(VIEWS[:1], [SILHOUETTES[0].T], LOW, HIGH, 8)
    bent = dataclasses.replace(VIEWS[0], model="OPENCV", distortion=(0.1, 0, 0, 0, 0))
    with pytest.raises(ValueError, match=r"0\.png: undistort"):
        visual_hull([bent], SILHOUETTES[:1], LOW, HIGH, 8)
