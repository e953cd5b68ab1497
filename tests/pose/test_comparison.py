"""References of a query: good views moved to its place, and what difference is usual."""

import numpy as np
import pytest

from ipad_jax.pose.cameras import look_at
from ipad_jax.pose.comparison import (
    EXPECTILE,
    NUM_TRAITS,
    REGION_LEVEL,
    TRAITS,
    fit_usual,
    least_difference,
    over_usual,
    score_of,
    traits,
)
from ipad_jax.pose.object_views import Lens
from ipad_jax.pose.pictures import Picture
from ipad_jax.pose.warping import GoodViews, Warped

LENS = Lens(130.0, 130.0, 48.0, 48.0, 96, 96)
RADIUS = 0.7


def pose_at(degrees):
    angle = np.radians(degrees)
    eye = np.array([3 * np.cos(angle), 3 * np.sin(angle), 0.5], np.float32)
    up = np.array([0.0, 0.0, 1.0], np.float32)
    return np.asarray(look_at(eye, np.zeros(3, np.float32), up), np.float32)


def ball(pose):
    """A coloured ball in closed form: its picture, and where its surface is, [h, w, 3]."""
    rays = LENS.directions() @ pose[:3, :3].T
    eye = pose[:3, 3]
    along = rays @ eye
    root = along**2 - (eye @ eye - RADIUS**2)
    hit = root > 0
    distance = np.where(hit, -along - np.sqrt(np.maximum(root, 0)), 0).astype(np.float32)
    points = eye + rays * distance[:, None]
    rgb = np.where(hit[:, None], 0.5 + 0.4 * np.sin(3 * points), 1).astype(np.float32)
    shape = (LENS.height, LENS.width)
    picture = Picture(rgb.reshape(*shape, 3), hit.reshape(shape) * 1.0, distance.reshape(shape))
    return picture, points.reshape(*shape, 3)


@pytest.fixture(scope="module")
def good():
    poses = np.stack([pose_at(degrees) for degrees in (0, 25, 50, 75, 180)])
    pictures = [ball(pose)[0] for pose in poses]
    images = np.stack([np.rint(255 * p.rgb).astype(np.uint8) for p in pictures])
    distances = np.stack([p.distance for p in pictures]).astype(np.float16)
    return GoodViews(images, distances, poses, (LENS,) * len(poses))


def test_a_moved_view_shows_what_the_query_shows_where_it_sees_it(good):
    pose = pose_at(35)
    picture, points = ball(pose)
    warped = good.warped(picture, pose, LENS)
    away = [np.abs(view.rgb - picture.rgb).max(axis=-1)[view.seen] for view in warped]
    # half a level of 255 by rounding, some levels at the ball's rim, where a pixel covers much of it
    assert all(np.median(x) < 1.5 / 255 for x in away)
    assert [view.seen.sum() for view in warped[:2]] > [1500, 1500]
    for view, eye in zip(warped, good.poses[[1, 2, 0, 3], :3, 3]):
        faces = (points * (eye - points)).sum(-1) / np.linalg.norm(eye - points, axis=-1) / RADIUS
        assert faces[view.seen].min() > -0.1  # nothing of the ball's far side
        assert view.seen[
            (picture.opacity > 0) & (faces > 0.5)
        ].all()  # at the rim a pixel spans the tolerance


def test_a_view_is_not_explained_by_itself(good):
    picture, _ = ball(good.poses[1])
    own = np.abs(good.warped(picture, good.poses[1], LENS)[0].rgb - picture.rgb).max(-1)
    assert own[picture.opacity > 0].max() < 1 / 255
    others = good.warped(picture, good.poses[1], LENS, without=1)
    assert not any(np.array_equal(view.rgb, others[0].rgb) for view in others[1:])
    assert len(good.warped(picture, good.poses[1], LENS)) == 4 == len(others)


def flat(colour, shape=(40, 40)):
    return Picture(np.full((*shape, 3), colour, np.float32), np.ones(shape), np.ones(shape))


def test_what_one_good_view_shows_is_no_defect_and_what_none_shows_is():
    picture = flat(0.4)
    query, other = picture.rgb.copy(), picture.rgb.copy()
    query[8:12, 8:12] = other[8:12, 8:12] = 0.9  # a highlight
    query[28:32, 28:32] = 0.9  # a stain
    seen = np.ones(picture.opacity.shape, bool)
    found = least_difference(query, picture, [Warped(other, seen)], 1.0)
    assert found[10, 10] < 0.01 < 0.3 < found[30, 30]
    hidden = least_difference(query, picture, [Warped(other, ~seen)], 1.0)
    assert hidden[10, 10] == pytest.approx(found[30, 30], rel=1e-3)


def test_the_same_difference_counts_less_where_it_is_usual():
    picture = flat(0.4)
    picture.rgb[:, 20:] = 0.8
    query = picture.rgb.copy()
    query[10, 5:9] += 0.1  # within a face
    query[30, 18:22] += 0.1  # at an edge
    usual = np.zeros(NUM_TRAITS)
    usual[TRAITS.index("constant")], usual[TRAITS.index("edge")] = 0.01, 0.2
    found = over_usual(least_difference(query, picture, [], 1.0), picture, [], 0.0, usual, 1.0)
    assert found[10, 7] > 2 * found[30, 19]
    assert found[10, 7] > 20 * found[20, 7]


def test_the_same_difference_counts_less_where_the_nearest_view_looks_from_aside(good):
    picture = flat(0.4)
    picture.rgb[:, 20:] = 0.8
    query = picture.rgb.copy()
    query[20, 15:25] += 0.2
    usual = np.full(NUM_TRAITS, 0.01)
    least = least_difference(query, picture, [], 1.0)
    near, far = (over_usual(least, picture, [], aside, usual, 1.0) for aside in (2.0, 30.0))
    assert far[20, 20] < 0.9 * near[20, 20]  # at the edge
    assert far[20, 15] == pytest.approx(near[20, 15], rel=1e-3)  # but for the tail of the blur
    assert good.aside(pose_at(30)) == pytest.approx(
        5, abs=0.3
    )  # a little less: the cameras are 0.5 up
    assert good.aside(pose_at(25), without=1) == pytest.approx(25, abs=1)


def test_traits_of_a_good_object_are_not_negative_and_say_what_nobody_sees(good):
    picture, _ = ball(pose_at(300))
    found = traits(picture, good.warped(picture, pose_at(300), LENS), 5.0, 1.0)
    assert found.shape == (96, 96, NUM_TRAITS)
    assert (found >= 0).all()
    nobody = found[..., TRAITS.index("seen_by_none")]
    seen = traits(*_seen_from(good, 30), 5.0, 1.0)[..., TRAITS.index("seen_by_none")]
    assert nobody[40:56, 40:56].mean() > seen[40:56, 40:56].mean()
    alone = traits(picture, [], 5.0, 1.0)
    assert alone[40:56, 40:56, TRAITS.index("seen_by_none")].min() > 0.99
    assert alone[..., TRAITS.index("disagreement")].max() == 0


def _seen_from(good, degrees):
    picture, _ = ball(pose_at(degrees))
    return picture, good.warped(picture, pose_at(degrees), LENS)


def test_usual_is_the_expectile_and_never_negative():
    rng = np.random.default_rng(0)
    found = np.column_stack([np.ones(4000), rng.uniform(0, 1, (4000, 5))])
    differences = (0.02 + 0.3 * found[:, 1]) * rng.exponential(size=4000)
    weights = fit_usual(differences, found)
    assert (weights >= 0).all()
    assert weights[1] > 5 * weights[2:].max()
    off = differences - found @ weights
    balance = EXPECTILE * off[off > 0].sum() + (1 - EXPECTILE) * off[off < 0].sum()
    # the condition of the first order by the constant, which is not at its bound
    assert weights[0] > 0
    assert abs(balance) < 1e-6 * len(off)


def with_spots(*spots):
    """A calm map of 200 x 200 with squares of a side and value, far from each other."""
    found = np.full((200, 200), 1.0, np.float32)
    for place, (side, value) in enumerate(spots):
        row, column = divmod(place, 10)
        found[18 * row : 18 * row + side, 18 * column : 18 * column + side] = value
    return found


def test_a_region_counts_for_more_than_as_many_pixels_here_and_there():
    one, scattered = with_spots((5, 9.0)), with_spots(*[(1, 9.0)] * 25)
    assert score_of(one) == pytest.approx(9)
    assert score_of(scattered) == pytest.approx(REGION_LEVEL + 4 / 20)
    assert score_of(one, connected=False) == score_of(scattered, connected=False) == 9
    assert score_of(with_spots((1, 9.0), (5, 8.0))) == pytest.approx(8)  # of the best region
    assert score_of(with_spots((2, 8.0), (4, 9.0))) == pytest.approx(REGION_LEVEL + 16 * 4 / 20)


def test_a_score_rises_with_its_map_through_the_level():
    """Below it the largest value counts; there is no step, and a larger picture has as much of a region."""
    values = np.linspace(REGION_LEVEL - 1, REGION_LEVEL + 1, 41)
    scores = [score_of(with_spots((5, value))) for value in values]
    np.testing.assert_allclose(scores, values, rtol=1e-6)
    assert score_of(with_spots((1, REGION_LEVEL + 0.01))) == pytest.approx(REGION_LEVEL, abs=0.01)
    small = with_spots((3, 9.0))
    twice = small.repeat(2, 0).repeat(2, 1)
    assert score_of(twice) == pytest.approx(score_of(small), rel=0.01)
