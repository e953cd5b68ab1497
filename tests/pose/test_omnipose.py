"""The parts of the default method for objects: fields, samples along rays, and the search of a pose."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ball_field import LENS, ball_renderer, pose_at
from flax import nnx

from ipad_jax.data_builders.object_folder.hull import visual_hull
from ipad_jax.data_builders.toys import animals, switches
from ipad_jax.data_builders.toys.cast import cast
from ipad_jax.image.record import Result, summary
from ipad_jax.pose.alignment import align, bilinear, blurred, points_of
from ipad_jax.pose.cameras import exp_se3
from ipad_jax.pose.hash_field import HashConfig, HashField, corner_rows, interpolate
from ipad_jax.pose.marching import occupied_interval, place_samples
from ipad_jax.pose.object_views import HULL_SIDE, Lens, ObjectViews, _view
from ipad_jax.pose.pictures import Picture
from ipad_jax.pose.pose_search import FoundPose, Known, Level, _Climb
from ipad_jax.pose.retrieval import ROLLS, crop_of, degrees_apart, descriptor, gallery_of, starts
from ipad_jax.pose.scorer import PoseError


@pytest.fixture(scope="module")
def renderer():
    return ball_renderer()


def test_features_between_corners_are_what_a_slow_sum_gives():
    rng = np.random.default_rng(0)
    table = rng.normal(size=(5**3, 2)).astype(np.float32)  # 4 cells: a row for each corner
    points = rng.uniform(-1, 1, (40, 3)).astype(np.float32)
    found = interpolate(jnp.asarray(table), jnp.asarray(points), 4)
    for point, features in zip(points, found):
        scaled = (point + 1) * 2
        expected = np.zeros(2)
        for corner in np.ndindex(5, 5, 5):
            weight = np.prod(np.clip(1 - np.abs(scaled - corner), 0, None))
            expected += weight * table[(corner[0] * 5 + corner[1]) * 5 + corner[2]]
        np.testing.assert_allclose(features, expected, atol=1e-5)


def test_rows_are_in_the_table_and_shared_only_where_they_must_be():
    corners = np.stack(np.meshgrid(*[np.arange(17)] * 3, indexing="ij"), -1).reshape(-1, 3)
    corners = jnp.asarray(corners, jnp.uint32)
    own = np.asarray(corner_rows(corners, 16, 2**13))
    assert len(np.unique(own)) == 17**3
    shared = np.asarray(corner_rows(corners, 16, 2**10))
    assert shared.max() < 2**10
    assert len(np.unique(shared)) > 0.95 * 2**10


def test_a_part_that_few_silhouettes_lack_is_not_carved_away_and_nothing_changes_without():
    """A toy's views of which some have a white highlight before white, as large as a quarter of it."""
    solids = animals.build("duck").solids
    eyes = np.random.default_rng(3).normal(size=(40, 3))
    poses = np.stack([pose_at(*(3 * eye / np.linalg.norm(eye))) for eye in eyes])
    lens = Lens(139.0, 139.0, 50, 50, 100, 100)
    images = np.stack([cast(solids, pose, lens.fx, 100).image for pose in poses])
    white = np.full(3, 255, np.float32)
    whole = ObjectViews(images, poses.astype(np.float32), (lens,) * 40, white, 3.0)
    bright = images.copy()
    for image, shown in zip(bright[:2], whole.silhouettes[:2]):
        image[:, : np.quantile(np.nonzero(shown)[1], 0.4).astype(int)] = 255
    bitten = dataclasses.replace(whole, images=bright)
    strict = visual_hull(
        [_view(lens, pose) for pose in poses],
        list(bitten.silhouettes),
        -np.ones(3),
        np.ones(3),
        HULL_SIDE,
    )
    assert strict.sum() < 0.9 * whole.hull.sum()
    assert bitten.hull[whole.hull].all()
    assert bitten.hull.sum() < 1.3 * whole.hull.sum()


@pytest.mark.slow
def test_a_field_learns_where_matter_is():
    model = HashField(HashConfig(levels=3, coarsest=8, finest=24, log2_rows=10), rngs=nnx.Rngs(0))
    points = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (50, 3)), jnp.float32)
    density, rgb, bend = model(points, jnp.ones((50, 3)) / 3**0.5)
    assert density.shape == bend.shape == (50,)
    assert (density > 0).all()
    assert ((rgb > 0) & (rgb < 1)).all()
    np.testing.assert_allclose(density, model.density(points), rtol=1e-5)


@pytest.mark.slow
def test_samples_follow_the_weight_and_stay_in_the_interval():
    near, far = jnp.full(3, 1.0), jnp.full(3, 4.0)
    origins, directions = jnp.zeros((3, 3)), jnp.broadcast_to(jnp.array([[0.0, 0.0, 1.0]]), (3, 3))

    def wall(points):
        return jnp.where(points[:, 2] > 2.6, 50.0, 0.0)

    for key in (None, jax.random.key(0)):
        found = np.asarray(place_samples(wall, origins, directions, near, far, (30, 16, 4), key))
        assert found.shape == (3, 20)
        assert (np.diff(found) >= 0).all()
        assert found.min() >= 1
        assert found.max() <= 4
        assert (np.abs(found - 2.65) < 0.2).sum() >= 3 * 11


@pytest.mark.slow
def test_a_ray_keeps_all_of_the_hull_it_crosses():
    occupied = np.zeros((16, 16, 16), bool)
    occupied[4:12, 6:10, 7:9] = True
    origins = np.random.default_rng(0).normal(size=(200, 3))
    origins = (3 * origins / np.linalg.norm(origins, axis=1, keepdims=True)).astype(np.float32)
    target = np.random.default_rng(1).uniform(-0.4, 0.4, (200, 3))
    directions = (target - origins).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    met, near, far = map(
        np.asarray, occupied_interval(jnp.asarray(occupied), origins, directions, 96)
    )
    walk = np.linspace(1, 5, 4000)
    points = origins[:, None] + directions[:, None] * walk[None, :, None]
    cells = np.clip(((points + 1) * 8).astype(int), 0, 15)
    inside = occupied[tuple(np.moveaxis(cells, -1, 0))]
    long = inside.sum(1) > 60  # a cut corner is shorter than a step
    assert 50 < long.sum() < 200
    assert met[long].all()
    assert not met[~inside.any(1)].any()
    first, last = walk[inside.argmax(1)], walk[3999 - inside[:, ::-1].argmax(1)]
    assert (near[long] <= first[long] + 0.02).all()
    assert (far[long] >= last[long] - 0.02).all()


def test_no_ray_is_left_out_of_a_picture(renderer):
    """More rays than a chunk holds, and the silhouette of a ball in closed form."""
    large = LENS.scaled(128, 128)
    picture = renderer.pictures([pose_at(0.0, 3.0, 0.0)], large, (32, 12, 0))[0]
    y, x = np.mgrid[:128, :128]
    sine = 0.7 / 3
    radius = large.fx * sine / np.sqrt(1 - sine**2)
    away = np.hypot(x + 0.5 - 64, y + 0.5 - 64)
    assert (picture.opacity[away < radius - 1.5] > 0.95).all()
    assert (picture.opacity[away > radius + 1.5] < 0.05).all()
    np.testing.assert_array_equal(picture.rgb[0, 0], 1)
    assert abs(picture.distance[64, 64] - 2.3) < 0.03


def test_sampling_between_pixels_is_exact_for_a_ramp():
    y, x = np.mgrid[:20, :30]
    ramp = jnp.asarray(np.stack([x + 0.5, y + 0.5], -1), jnp.float32)
    places = np.random.default_rng(0).uniform(1, 19, (50, 2)).astype(np.float32)
    np.testing.assert_allclose(bilinear(ramp, places[:, 0], places[:, 1]), places, atol=1e-4)


@pytest.mark.slow
def test_alignment_moves_a_pose_home(renderer):
    """From 6 degrees aside, by pictures of the field itself; a foreign patch has no say."""
    true = pose_at(1.5, 2.4, 1.0)
    query = renderer.pictures([true], LENS, (32, 12, 0))[0].rgb.copy()
    query[30:38, 28:36] = (0.9, 0.05, 0.05)
    twist = jnp.array([0.06, -0.05, 0.07, 0.02, -0.01, 0.015])
    pose = np.asarray(exp_se3(twist)) @ true
    before = PoseError.between(pose, true)
    for _ in range(6):
        picture = renderer.pictures([pose], LENS, (32, 12, 0))[0]
        points, counts = points_of(picture, pose, LENS)
        assert np.isfinite(points).all()
        colours = blurred(picture.rgb).reshape(1, -1, 3)
        moved, _ = align(blurred(query), colours, points[None], counts[None], pose[None], [LENS], 4)
        pose = moved[0]
    after = PoseError.between(pose, true)
    assert before.degrees > 5
    assert after.degrees < 0.4
    assert after.units < 0.02
    np.testing.assert_allclose(pose[:3, :3].T @ pose[:3, :3], np.eye(3), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("times", [0.8, 1.25])
def test_a_focal_length_that_nobody_knows_is_found_with_the_pose(renderer, times):
    """By pictures of the field itself, from 6 degrees aside; taken for known, it is paid for in the pose."""
    true, lens = pose_at(1.2, 1.92, 0.8), LENS.zoomed(times)
    query = blurred(renderer.pictures([true], lens, (32, 12, 0))[0].rgb)
    twist = jnp.array([0.06, -0.05, 0.07, 0.02, -0.01, 0.015])
    found = {}
    for sought in (True, False):
        pose, zooms = (np.asarray(exp_se3(twist)) @ true)[None], np.ones(1)
        for _ in range(12):
            own = [LENS.zoomed(zooms[0])]
            picture = renderer.pictures(pose, own, (32, 12, 0))[0]
            points, counts = points_of(picture, pose[0], own[0])
            colours = blurred(picture.rgb).reshape(1, -1, 3)
            pose, zooms = align(
                query, colours, points[None], counts[None], pose, own, 6, zooms if sought else None
            )
        found[sought] = PoseError.between(pose[0], true), float(zooms[0])
    error, zoom = found[True]
    assert found[False][1] == 1
    assert abs(zoom / times - 1) < 0.03, found
    assert error.degrees < 0.5
    assert error.units < 0.1 < found[False][0].units  # in depth, which goes with the focal length


def test_nothing_rendered_gives_points_that_do_not_count():
    empty = Picture(np.ones((8, 8, 3), np.float32), np.zeros((8, 8)), np.zeros((8, 8)))
    points, counts = points_of(empty, np.eye(4), LENS.scaled(8, 8))
    assert not counts.any()
    assert np.isfinite(points).all()


def test_starts_lie_apart():
    rng = np.random.default_rng(0)
    poses = [pose_at(*(3 * v / np.linalg.norm(v))) for v in rng.normal(size=(40, 3))]
    poses += [poses[0]] * 5
    small = rng.normal(size=(45, 6)).astype(np.float32)
    small[40:] = small[0]
    chosen = starts(small[0], small, np.stack(poses), 4)
    assert len(chosen) == 4
    assert chosen[0] in (0, *range(40, 45))
    assert sum(index == 0 or index >= 40 for index in chosen) == 1


def test_a_crop_knows_neither_roll_nor_distance_nor_place_and_a_start_has_them():
    """A toy seen by a camera that is rolled, nearer and beside: its own view is found, and moved there."""
    size, solids = 100, animals.build("hound").solids
    lens = Lens(139.0, 139.0, 50, 50, size, size)
    poses = np.stack([pose_at(1.5, 2.4, 1.0), pose_at(-1.5, 2.4, -0.5), pose_at(2.4, -1.5, 0.6)])
    views = [cast(solids, pose, lens.fx, size).image for pose in poses]
    crops = [crop_of(image, np.full(3, 255.0), 3.0) for image in views]
    gallery = gallery_of(
        np.stack([c.picture for c in crops]),
        np.stack([c.circle for c in crops]),
        poses,
        [lens] * 3,
        lens,
    )
    true = switches.rolled(poses[1], 130.0, 1.15)
    true[:3, 3] += true[:3, 0] * 0.1  # to its right
    query = crop_of(cast(solids, true, lens.fx, size).image, np.full(3, 255.0), 3.0)
    nearest, *_ = gallery.starts(query, lens, 3)
    assert degrees_apart(nearest, true) < 8 + 3  # half a step of roll, and the place beside
    assert PoseError.between(nearest, true).units < 0.08
    found = descriptor(query.picture)
    assert np.square(found - gallery.small).sum(1).argmin() // ROLLS == 1


def test_a_strange_background_is_told_from_an_object_that_leaves_the_picture():
    white = np.full((40, 40, 3), 255, np.uint8)
    known = Known(None, None, None, LENS, np.full(3, 255.0), 3.0)  # type: ignore[arg-type]
    assert not known.strange_background(white)
    out_of_picture = white.copy()
    out_of_picture[5:, 10:30] = 90  # the object leaves below
    assert not known.strange_background(out_of_picture)
    assert known.strange_background(
        np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    )


def test_an_answer_says_why_it_cannot_be_trusted():
    picture = Picture(np.zeros((2, 2, 3)), np.zeros((2, 2)), np.zeros((2, 2)))

    def note(**changes):
        return FoundPose(np.eye(4), picture, **{"residual": 0.1, "usual": 0.09, **changes}).note

    assert note() == ""
    assert "does not fit" in note(residual=0.2)
    assert "another pose" in note(tied=True)
    assert note(degrees_to_view=34.9) == ""
    assert "not inspected: no training view" in note(degrees_to_view=35.1)
    assert "not inspected" in note(degrees_to_view=35.1, residual=0.2)


def test_an_alarm_whose_pose_is_doubtful_is_said_to_be():
    results = [
        Result("a.png", 9.0, True, 3, 4, note="pose uncertain: why", doubtful=True),
        Result("b.png", 8.0, True, 5, 6, note="background: what was not judged"),
        Result("c.png", np.nan, False, note="not inspected: why", inspected=False),
        Result("d.png", np.nan, False, problem="torn", inspected=False),
    ]
    text = summary(results, Path("out"))
    assert "2 images judged, 2 with an alarm (1 of them doubtful); 1 NOT INSPECTED" in text
    assert "a.png: 9, at x 3, y 4, doubtful" in text
    assert "b.png: 8, at x 5, y 6\n" in text
    for line in ("a.png: pose uncertain: why", "c.png: not inspected: why", "not judged: torn"):
        assert line in text


class Greys:
    """Renders one grey level for a place along x, as a table says, with a patch of another grey at will."""

    def __init__(self, level, patch=lambda x: None):
        self.level, self.patch = level, patch

    def pictures(self, poses, lens, counts, steps=0):
        found = []
        for pose in poses:
            place = round(float(pose[0, 3]), 3)
            rgb = np.full((10, 10, 3), self.level(place), np.float32)
            if (other := self.patch(place)) is not None:
                rgb[0] = other  # a tenth of the pixels
            found.append(Picture(rgb, np.ones((10, 10)), np.ones((10, 10))))
        return found


def climb(renderer, starts, turns, monkeypatch):
    """`_Climb.up` of starts at places along x, each turned about z by an angle, towards a grey of 0.5.

    Every alignment moves all of them by 1.
    """
    known = SimpleNamespace(renderer=renderer, lens=Lens(10.0, 10.0, 5, 5, 10, 10))
    query = np.full((10, 10, 3), 0.5, np.float32)

    def aligned(self, target, pictures, poses, lenses, zooms, steps):
        moved = poses.copy()
        moved[:, 0, 3] += 1
        return moved, zooms

    monkeypatch.setattr(_Climb, "_aligned", aligned)
    poses = np.stack([np.eye(4)] * len(starts))
    for pose, x, degrees in zip(poses, starts, turns):
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        pose[:2, :2], pose[0, 3] = [[c, -s], [s, c]], x
    seen = np.ones((10, 10), bool)
    return _Climb(known, query, seen, False, lambda text: None).up(  # type: ignore[arg-type]
        poses, np.ones(len(poses)), [Level(1.0, 2, 1, 3, (8, 4, 0))]
    )


def test_the_best_of_a_search_is_kept_and_not_the_last(monkeypatch):
    """Of three pictures the second is right; alignment goes on and leaves it."""
    greys = {0.0: 0.8, 1.0: 0.5, 2.0: 0.9}
    best = climb(Greys(greys.get), [0.0], [0], monkeypatch)
    assert best.pose[0, 3] == 1


def test_a_trimmed_residual_picks_the_winner(monkeypatch):
    """A pose that is right but for a defect wins over one that is a little off everywhere."""
    greys = Greys(lambda x: 0.5 if x < 5 else 0.6, lambda x: 1.0 if x < 5 else None)
    defect, off = (greys.pictures([pose], None, None)[0] for pose in placed(0.0, 10.0))
    whole = [np.sqrt(np.square(picture.rgb - 0.5).mean()) for picture in (defect, off)]
    assert whole[0] > 1.4 * whole[1]  # by the plain root mean square the other would win
    best = climb(greys, [10.0, 0.0], [0, 90], monkeypatch)
    assert best.pose[0, 3] < 5
    assert not best.tied


def placed(*places):
    poses = np.stack([np.eye(4)] * len(places))
    poses[:, 0, 3] = places
    return poses


@pytest.mark.parametrize(
    ("degrees", "times", "tied"), [(90, 1.05, True), (90, 1.15, False), (6, 1.05, False)]
)
def test_two_poses_that_explain_a_query_as_well_leave_it_open(degrees, times, tied, monkeypatch):
    """Where they are far from each other, and their residuals alike."""
    greys = Greys(lambda x: 0.6 if x < 5 else 0.5 + 0.1 * times)
    best = climb(greys, [10.0, 0.0], [degrees, 0], monkeypatch)
    assert best.pose[0, 3] < 5
    assert best.tied == tied
    answer = FoundPose(best.pose, best.picture, 0.01, best.tied, usual=1.0)
    assert answer.note == ("pose uncertain: another pose fits as well" if tied else "")
