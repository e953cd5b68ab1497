"""Distance to the nearest normal frame: against loops, and what it must not mind."""

import itertools

import numpy as np
import pytest

from ipad_jax.video.normal.frames import (
    BOX_PX,
    TRAIL_FRAMES,
    NormalFrames,
    Trail,
)
from ipad_jax.video.normal.places import spread
from ipad_jax.video.normal.small_picture import SmallPictures

SIDE = 16
VIEW = SmallPictures(SIDE)


def pictures(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (count, SIDE, SIDE, 3), dtype=np.uint8)


def slow_distance(picture: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """The module's text as loops."""
    reach = BOX_PX // 2
    best = np.full((SIDE, SIDE), np.inf)
    for candidate in candidates:
        apart = np.abs(picture.astype(int) - candidate).mean(axis=2) / 255
        padded = np.pad(apart, reach, mode="edge")
        for y, x in itertools.product(range(SIDE), repeat=2):
            best[y, x] = min(best[y, x], padded[y : y + BOX_PX, x : x + BOX_PX].mean())
    return best


def test_equals_the_loops_inside_and_takes_the_nearest_in_phase():
    normal = NormalFrames(
        pictures(6), np.float32([0.95, 0.3, 0.5, 0.02, 0.7, 0.1]), VIEW, share=2 / 6
    )
    query = pictures(1, seed=1)[0]
    found = normal.distance(query, 0.98)  # 0.95 and, over the cycle's end, 0.02
    expected = slow_distance(query, normal.pictures[[0, 3]])
    inner = slice(BOX_PX // 2 + 1, -BOX_PX // 2 - 1)
    np.testing.assert_allclose(found[inner, inner], expected[inner, inner], atol=1e-6)
    assert found.shape == (SIDE, SIDE)


def test_a_normal_frame_is_at_no_distance_from_itself():
    normal = NormalFrames(pictures(3), np.full(3, np.nan, np.float32), VIEW, share=1.0)
    for picture in normal.pictures:
        assert normal.distance(picture, np.nan).max() == 0


def test_an_object_that_belongs_to_another_phase_stands_out_where_it_is():
    empty = np.full((SIDE, SIDE, 3), 100, np.uint8)
    there = empty.copy()
    there[3:9, 4:10] = 200
    normal = NormalFrames(
        np.stack([empty] * 5 + [there] * 5),
        np.linspace(0, 0.9, 10, dtype=np.float32),
        VIEW,
        share=0.3,
    )
    assert normal.distance(there, 0.75).max() == 0
    map_ = normal.distance(there, 0.2)
    y, x = np.unravel_index(map_.argmax(), map_.shape)
    assert 3 <= y < 9
    assert 4 <= x < 10
    assert np.isnan(normal.distance(there, np.nan)).all()


def test_a_place_is_standardised_by_how_far_normal_frames_of_other_videos_lie_apart_there():
    many = pictures(6)
    phase = np.linspace(0, 0.9, 6, dtype=np.float32)
    group = np.int32([0, 0, 1, 1, 2, 2])
    plain = NormalFrames(many, phase, VIEW, share=0.5)
    normal = NormalFrames(many, phase, VIEW, group, share=0.5)
    maps = []
    for at in range(6):
        others = group != group[at]
        maps.append(
            NormalFrames(many[others], phase[others], VIEW, share=0.5).distance(many[at], phase[at])
        )
    query = pictures(1, seed=1)[0]
    expected = (plain.distance(query, 0.4) - np.mean(maps, axis=0)) / (
        np.std(maps, axis=0) + 1 / 255
    )
    # float32 means of values near 0.1, divided by as little as 1/255
    found = normal.distance(query, 0.4)
    np.testing.assert_allclose(found[1:-1, 1:-1], expected[1:-1, 1:-1], atol=1e-4)
    assert (found[0] == 0).all()  # 5 % of 16 pixels: one, all round
    assert (found[:, -1] == 0).all()


def test_a_fault_where_nothing_ever_moves_counts_more_than_one_where_normal_frames_differ():
    rng = np.random.default_rng(0)
    many = np.full((40, SIDE, SIDE, 3), 100, np.uint8)
    many[:, :, SIDE // 2 :] = rng.integers(0, 255, (40, SIDE, SIDE // 2, 3))
    normal = NormalFrames(
        many, np.full(40, np.nan, np.float32), VIEW, np.arange(40, dtype=np.int32) // 10, 1.0
    )
    here, there = many[0].copy(), many[0].copy()
    here[6:10, 2:6] = 130
    there[6:10, 10:14] = 255
    assert normal.distance(here, np.nan)[8, 4] > 2 * normal.distance(there, np.nan)[8, 12]


def test_a_score_is_the_mean_over_the_last_frames_that_have_one():
    largest = np.random.default_rng(0).random(9)
    largest[2] = np.nan
    trail = Trail()
    found = np.array([trail.add(value) for value in largest])
    assert np.isnan(found[2])
    known = np.delete(np.arange(9), 2)
    for place, at in enumerate(known):
        last = largest[known[max(0, place - TRAIL_FRAMES + 1) : place + 1]]
        np.testing.assert_allclose(found[at], last.mean(), rtol=1e-6)


@pytest.mark.parametrize(("count", "limit"), [(0, 5), (5, 5), (7, 5), (1000, 3)])
def test_spread_keeps_at_most_the_limit_evenly(count, limit):
    found = spread(count, limit)
    assert len(found) == min(count, limit)
    assert len(found) < 2 or np.ptp(np.diff(found)) <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((pictures(2).astype(float), np.zeros(2), VIEW), "expected uint8"),
        ((pictures(0), np.zeros(0), VIEW), "at least one"),
        ((pictures(2), np.zeros(3), VIEW), "2 normal frames have"),
        ((pictures(2), np.zeros(2), VIEW, None, 0.0), "share=0.0"),
        ((pictures(2), np.float32([0, np.nan]), VIEW), "1 of 2 normal frames"),
        ((pictures(2), np.zeros(2), VIEW, np.zeros(2, np.int32)), "two at least"),
    ],
)
def test_what_cannot_be_compared_with_says_why(arguments, message):
    with pytest.raises(ValueError, match=message):
        NormalFrames(*arguments)


def test_a_frame_of_another_size_is_refused():
    normal = NormalFrames(pictures(2), np.zeros(2, np.float32), VIEW, share=1.0)
    with pytest.raises(ValueError, match="expected"):
        normal.distance(pictures(1)[0][:8], 0.0)
