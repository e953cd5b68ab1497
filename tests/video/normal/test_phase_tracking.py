"""Phase tracking: against a filter in loops, and on a drawn machine whose phase is known."""

import math

import numpy as np
import pytest

from ipad_jax.video.normal import phase_tracking as module
from ipad_jax.video.normal.phase_tracking import (
    ANYWHERE,
    BINS,
    HEAD_SPREAD,
    NEIGHBOURS,
    REACH,
    PhaseMap,
    PhaseTracker,
)

SIDE = 32
CYCLE = 50


def around(a, b):
    return np.abs((np.asarray(a) - np.asarray(b) + 0.5) % 1 - 0.5)


def drawn(turns, seed: int = 0) -> np.ndarray:
    """A bright block on a round way, in noise: uint8 [n, h, w, 3]."""
    rng = np.random.default_rng(seed)
    pictures = rng.normal(80, 4, (len(turns), SIDE, SIDE, 3))
    for picture, turn in zip(pictures, turns):
        y, x = 12 + 9 * math.sin(2 * math.pi * turn), 12 + 9 * math.cos(2 * math.pi * turn)
        picture[round(y) : round(y) + 7, round(x) : round(x) + 7] = 200
    return np.clip(np.rint(pictures), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def learned() -> PhaseMap:
    turns = np.concatenate([s * np.arange(3 * CYCLE) / CYCLE for s in (0.9, 1.0, 1.1)])
    group = np.repeat([0, 1, 2], 3 * CYCLE)
    return PhaseMap(drawn(turns, seed=1), (turns % 1).astype(np.float32), group)


def tracked(phase_map, turns, heads, cycle=CYCLE) -> np.ndarray:
    tracker = PhaseTracker(phase_map, cycle)
    return np.array(list(map(tracker.add, drawn(turns), heads)))


def test_what_a_picture_says_equals_the_loops(learned):
    tiny = [module._tiny(picture) for picture in learned.pictures]
    seen = drawn([0.31])[0]
    away = np.zeros(BINS)
    for at in range(BINS):
        middle = (at + 0.5) / BINS
        near = [i for i, p in enumerate(learned.phase) if around(p, middle) < REACH / BINS]
        near = near or [int(np.argmin(around(learned.phase, middle)))]
        roots = [math.sqrt(np.mean((tiny[i] - module._tiny(seen)) ** 2)) for i in near]
        away[at] = np.mean(sorted(roots)[:NEIGHBOURS])
    found = learned.log_likelihood(seen)
    # roots of float32 differences of sums near 100
    np.testing.assert_allclose(found, (away.min() - away) / learned._spread, rtol=1e-4, atol=1e-3)
    assert around((found.argmax() + 0.5) / BINS, 0.31) < 0.02


class Says:
    """In place of a map: what is said of a picture is the picture."""

    def warm_up(self):
        pass

    def log_likelihood(self, picture):
        return picture


def test_the_filter_equals_the_loops():
    rng = np.random.default_rng(0)
    said = rng.normal(0, 2, (5, BINS))
    heads = [0.1, 0.13, math.nan, 0.99, 0.01]
    advance = module._advance(BINS / 37)
    tracker = PhaseTracker(Says(), 37)
    state = np.full(BINS, 1 / BINS)
    for step, (one, head) in enumerate(zip(said, heads)):
        if step:
            moved = np.zeros(BINS)
            for start in range(BINS):
                for by in range(BINS):
                    moved[(start + by) % BINS] += state[start] * advance[by]
            state = (1 - ANYWHERE) * moved + ANYWHERE / BINS
        likely = np.exp(one)
        if not math.isnan(head):
            likely = likely * np.exp(-around((np.arange(BINS) + 0.5) / BINS, head) / HEAD_SPREAD)
        state = state * likely
        state /= state.sum()
        found = tracker.add(one, head)
        np.testing.assert_allclose(tracker._now, state, rtol=1e-8, atol=1e-12)
        assert math.isnan(found) == math.isnan(head)
        assert math.isnan(found) or around(found, (state.argmax() + 0.5) / BINS) < 5 / BINS


@pytest.mark.parametrize("cycle", [4, 60, 240, 3000])
def test_a_frame_goes_on_by_the_usual_step_on_average_however_long_the_cycle(cycle):
    advance = module._advance(BINS / cycle)
    assert advance.sum() == pytest.approx(1)
    assert (advance >= 0).all()
    if cycle >= 60:  # below, twice the step reaches round half the circle
        assert advance @ np.arange(BINS) == pytest.approx(BINS / cycle, rel=1e-6)


@pytest.mark.parametrize("speed", [0.85, 1.0, 1.15])
def test_it_errs_less_than_a_head_that_was_not_taught_for_long(learned, speed):
    rng = np.random.default_rng(3)
    turns = speed * np.arange(4 * CYCLE) / CYCLE
    heads = (turns + rng.laplace(0, 0.04, len(turns))) % 1
    found = tracked(learned, turns, heads)
    assert ((found >= 0) & (found < 1)).all()
    # a bin is 0.004; the block moves a pixel in 0.02 of a cycle
    assert np.percentile(around(found, turns)[5:], 90) < 0.02
    assert np.median(around(found, turns)) < 0.4 * np.median(around(heads, turns))


def test_a_machine_that_stands_is_tracked_as_standing_and_then_on(learned):
    turns = np.concatenate([np.arange(60), np.full(500, 60), 60 + np.arange(1, 40)]) / CYCLE
    found = tracked(learned, turns, turns % 1)
    assert around(found, turns)[60:].max() < 0.03


def test_it_recovers_after_a_jump(learned):
    turns = np.concatenate([np.arange(60), np.arange(60, 120) + 20]) / CYCLE
    found = tracked(learned, turns, turns % 1)
    assert around(found, turns)[65:].max() < 0.03


def test_an_unknown_phase_stays_unknown_but_the_frame_counts(learned):
    turns = np.arange(40) / CYCLE
    heads = turns.copy()
    heads[10:20] = np.nan
    found = tracked(learned, turns, heads)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(heads))
    assert around(found, turns)[20] < 0.02


@pytest.mark.parametrize(
    ("pictures", "phase", "group", "message"),
    [
        (3, [0.1, 0.2], [0, 1], "as many of each"),
        (0, [], [], "one at least"),
        (2, [0.1, np.nan], [0, 1], "known phases"),
        (2, [0.1, 0.2], [0, 0], "two videos at least"),
    ],
)
def test_what_cannot_be_tracked_by_says_why(pictures, phase, group, message):
    with pytest.raises(ValueError, match=message):
        PhaseMap(drawn(np.zeros(pictures)), np.float32(phase), np.int32(group))


def test_a_picture_of_another_size_and_no_cycle_are_refused(learned):
    with pytest.raises(ValueError, match="expected"):
        learned.log_likelihood(drawn([0.0])[0][:8])
    with pytest.raises(ValueError, match="cycle_frames"):
        PhaseTracker(learned, 0)
