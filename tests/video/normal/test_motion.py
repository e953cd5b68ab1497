"""Motion against normal cycles: against loops, both directions, and what a fault that lasts looks like."""

import itertools
import math

import numpy as np
import pytest

from ipad_jax.video.normal import motion
from ipad_jax.video.normal.motion import (
    CELL_PX,
    FAST_BOX_PX,
    LAGS,
    FastestPlace,
    MotionStream,
    NormalMotion,
    change,
)
from ipad_jax.video.normal.small_picture import SmallPictures

SIDE = 32
VIEW = SmallPictures(SIDE)
CYCLE = 40


def drawn(turns, width: int = SIDE) -> list[np.ndarray]:
    """A bright block that goes up and down once a cycle, and rests below for a third of it."""
    out = []
    for turn in turns:
        picture = np.full((SIDE, width, 3), 80, np.uint8)
        up = max(0.0, math.sin(2 * math.pi * ((turn % 1) * 0.75)))  # rests where it is 0
        top = 22 - round(18 * up)
        picture[top : top + 8, 10:20] = 220
        out.append(picture)
    return out


def changes_of(pictures) -> np.ndarray:
    stream = MotionStream()
    return np.stack([stream.add(picture) for picture in pictures])


def learned(with_phase: bool = True) -> NormalMotion:
    """Normal cycles whose speeds differ by 10 % either way."""
    changes, phases = [], []
    for speed in (0.9, 1.0, 1.1):
        turns = speed * np.arange(5 * CYCLE) / CYCLE
        known = changes_of(drawn(turns))[max(LAGS) :]
        changes.append(known)
        phases.append(turns[max(LAGS) :] % 1)
    phase = np.concatenate(phases).astype(np.float32)
    return NormalMotion(
        np.concatenate(changes), phase if with_phase else np.full_like(phase, np.nan), VIEW
    )


def scores(normal: NormalMotion, turns) -> np.ndarray:
    changes = changes_of(drawn(turns))
    return np.array([normal.score(c, float(t % 1)) for c, t in zip(changes, turns)])


def test_a_change_equals_the_loops():
    rng = np.random.default_rng(0)
    now, earlier = rng.integers(0, 255, (2, 16, 24, 3), dtype=np.uint8)
    apart = np.abs(now.astype(int) - earlier).mean(axis=2) / 255
    found = change(now, earlier).reshape(2, 3)
    for y, x in itertools.product(range(2), range(3)):
        cell = apart[CELL_PX * y : CELL_PX * (y + 1), CELL_PX * x : CELL_PX * (x + 1)]
        assert found[y, x] == pytest.approx(cell.mean(), abs=1e-6)


def test_the_stream_takes_the_frames_of_each_lag_and_keeps_no_more():
    pictures = drawn(np.arange(40) / CYCLE)
    stream = MotionStream()
    for number, picture in enumerate(pictures):
        found = stream.add(picture)
        for row, lag in enumerate(LAGS):
            if lag > number:
                assert np.isnan(found[row]).all()
            else:
                np.testing.assert_array_equal(found[row], change(picture, pictures[number - lag]))
    assert len(stream._earlier) == max(LAGS)


def test_a_score_equals_the_loops():
    rng = np.random.default_rng(1)
    normal = NormalMotion(
        rng.random((50, len(LAGS), 4), np.float32), rng.random(50, np.float32), VIEW
    )
    frame = rng.random((len(LAGS), 4), np.float32)
    frame[3:] = np.nan  # the video has only just begun
    for phase in (0.0, 0.3, 0.999):
        away = [min(abs(p - phase), 1 - abs(p - phase)) for p in normal.phase]
        nearest = np.argsort(away, kind="stable")[: round(motion.SHARE * 50)]
        expected = min(
            np.abs(normal.changes[i, :3] - frame[:3]).max(axis=1).mean() for i in nearest
        )
        assert normal.score(frame, phase) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("with_phase", [True, False])
def test_too_little_and_too_much_stand_out_of_normal_speeds(with_phase):
    normal = learned(with_phase)
    usual = scores(normal, 1.05 * np.arange(4 * CYCLE) / CYCLE)
    limit = np.nanmax(usual)
    moving = 2 * CYCLE + 6  # on its way up
    start = moving / CYCLE
    after = np.arange(1, 12) / CYCLE
    before = np.arange(moving + 1) / CYCLE
    for speed in (0.0, 0.3, 2.5):
        turns = np.concatenate([before, start + speed * after])
        assert scores(normal, turns)[moving + 1 :].max() > 1.5 * limit, speed


def test_a_stop_that_lasts_is_as_odd_after_minutes_as_at_first():
    """Nothing adapts: from the longest lag on the score of a machine that stands does not change."""
    normal = learned()
    start = 2 + 6 / CYCLE
    turns = np.concatenate([np.arange(2 * CYCLE + 7) / CYCLE, np.full(25 * 180, start)])
    found = scores(normal, turns)
    limit = np.nanmax(scores(normal, 1.05 * np.arange(4 * CYCLE) / CYCLE))
    stopped = found[2 * CYCLE + 7 + max(LAGS) :]
    assert len(stopped) > 4400
    assert stopped.min() == stopped.max() > limit


def test_what_is_unknown_stays_unknown():
    normal = learned()
    frame = changes_of(drawn(np.arange(20) / CYCLE))
    assert math.isnan(normal.score(frame[0], 0.2))  # the first frame has nothing before it
    assert math.isnan(normal.score(frame[10], math.nan))
    assert math.isfinite(learned(with_phase=False).score(frame[10], math.nan))


@pytest.mark.parametrize(
    ("shape", "phase", "message"),
    [
        ((0, len(LAGS), 4), (0,), "n at least 1"),
        ((3, 2, 4), (3,), "lags, cells"),
        ((3, len(LAGS), 4), (2,), "3 normal frames have"),
    ],
)
def test_normal_motion_that_cannot_be_says_why(shape, phase, message):
    with pytest.raises(ValueError, match=message):
        NormalMotion(np.zeros(shape, np.float32), np.zeros(phase, np.float32), VIEW)


def test_mixed_phases_and_pictures_of_another_size_are_refused():
    with pytest.raises(ValueError, match="1 of 2 normal frames"):
        NormalMotion(np.zeros((2, len(LAGS), 4)), np.array([0.5, np.nan]), VIEW)
    wide = changes_of(drawn(np.arange(20) / CYCLE, width=64))[-1]
    with pytest.raises(ValueError, match=r"expected \[lags, cells\]"):
        learned().score(wide, 0.1)


def passing(speeds) -> list[np.ndarray]:
    """A block on its way across a still hall, so many pixels further in each frame."""
    left, out = 4, []
    for speed in speeds:
        left += speed
        picture = np.full((SIDE, 4 * SIDE, 3), 80, np.uint8)
        picture[10:18, left : left + 8] = 220
        out.append(picture)
    return out


def fastest(pictures) -> np.ndarray:
    stream = FastestPlace()
    return np.array([stream.add(picture) for picture in pictures])


def test_the_fastest_place_equals_the_loops():
    pictures = list(np.random.default_rng(2).integers(0, 255, (9, 40, 40, 3), dtype=np.uint8))
    found, largest = fastest(pictures), []
    assert np.isnan(found[0])
    for at in range(1, 9):
        apart = np.abs(pictures[at].astype(int) - pictures[at - 1]).mean(axis=2) / 255
        boxes = np.lib.stride_tricks.sliding_window_view(apart, (FAST_BOX_PX, FAST_BOX_PX))
        # EDGE of 40 pixels is 2: centres 2..37, which are rows 1..36 of whole boxes
        largest.append(boxes.mean(axis=(2, 3))[1:37, 1:37].max())
        assert found[at] == pytest.approx(np.median(largest[-5:]), abs=1e-6)


def test_what_passes_faster_is_faster_and_a_knock_is_not():
    walking, riding = fastest(passing([1] * 20)), fastest(passing([1] * 8 + [4] * 12))
    assert riding[12:].min() > 2 * walking[1:].max()
    knocked = passing([1] * 20)
    knocked[10] = np.roll(knocked[10], 9, axis=1)
    np.testing.assert_array_equal(fastest(knocked), walking)


def test_a_still_hall_and_its_first_frame_are_not_fast():
    found = fastest(passing([0] * 6))
    assert np.isnan(found[0])
    assert not found[1:].any()
