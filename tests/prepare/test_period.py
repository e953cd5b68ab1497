"""Finding the cycle: drawn machines of known phase, rendered ones, and footage that has no cycle."""

import itertools

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipad_jax.prepare import period, period_template
from ipad_jax.prepare.period import NoCycleError, find_cycles, peaks, self_similarity, small_grey

SIDE = period.SIDE_PX


def drawn(turns: np.ndarray, seed: int = 0, light: float = 0.2, noise: float = 2.0) -> np.ndarray:
    """A machine at `turns` cycles: a block that circles, a lamp on for a third; light that drifts."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    background = 90 + 30 * np.sin(x / 3) * np.cos(y / 4)
    out = []
    for frame, turn in enumerate(turns):
        angle = 2 * np.pi * turn
        block = np.exp(-((x - 16 - 9 * np.cos(angle)) ** 2 + (y - 16 - 9 * np.sin(angle)) ** 2) / 8)
        lamp = 60.0 * (turn % 1 < 1 / 3) * ((x < 6) & (y < 6))
        gain = 1 + light * np.sin(frame / 37)
        picture = gain * (background + 90 * block + lamp) + rng.normal(0, noise, (SIDE, SIDE))
        out.append(np.clip(picture, 0, 255))
    return np.array(out, np.uint8)


def machine(lengths, start=0.0, pauses=()) -> np.ndarray:
    """Cycles gone at each frame of cycles of these lengths; `pauses` are (frame, frames)."""
    turns = np.concatenate([i + np.arange(n) / n for i, n in enumerate(lengths)]) + start
    stands = np.ones(len(turns), int)
    for at, frames in pauses:
        stands[at] += frames
    return np.repeat(turns, stands)


def phase_errors(phase, turns) -> np.ndarray:
    """Distances in cycles, after the origins are brought together."""
    apart = phase - turns
    offset = np.angle(np.exp(2j * np.pi * apart).mean()) / (2 * np.pi)
    return np.abs((apart - offset + 0.5) % 1 - 0.5)


@pytest.mark.parametrize("length", [10, 24.5, 60, 137, 400])
def test_any_length_is_found(length):
    turns = np.arange(round(6.3 * length)) / length
    found = find_cycles([drawn(turns)])
    assert found.cycle_frames == pytest.approx(length, rel=0.02)
    assert phase_errors(found.phase[0], turns).max() < 0.05
    assert found.explained > 0.6
    assert found.spread < 0.1


def test_speed_pauses_and_light_are_followed_and_cycles_counted():
    turns = machine([50, 62, 70, 55, 48, 66, 60], start=0.3, pauses=[(130, 25), (260, 14)])
    found = find_cycles([drawn(turns, light=0.3)])
    assert found.cycle_frames == pytest.approx(60, rel=0.06)
    errors = phase_errors(found.phase[0], turns)
    assert errors.mean() < 0.02
    assert errors.max() < 0.08
    assert np.ptp(found.cycle[0]) in (6, 7)
    # stands still where the machine does
    assert np.abs(np.diff(found.phase[0][135:150])).max() < 0.01


def test_phase_and_cycle_never_run_backwards_and_lie_in_range():
    found = find_cycles([drawn(machine([40, 44, 38, 41]), seed=s) for s in (0, 1)])
    assert len(found.phase) == len(found.cycle) == 2
    for phase, cycle in zip(found.phase, found.cycle):
        assert phase.dtype == np.float32
        assert cycle.dtype == np.int32
        assert ((phase >= 0) & (phase < 1)).all()
        assert cycle[0] == 0
        assert (np.diff(cycle + phase.astype(float)) >= -1e-6).all()


def test_videos_of_one_machine_share_the_phase():
    starts = (0.0, 0.4, 0.75)
    turns = [machine([45, 50, 47], start=s) for s in starts]
    found = find_cycles([drawn(t, seed=i) for i, t in enumerate(turns)])
    together = phase_errors(np.concatenate(found.phase), np.concatenate(turns))
    assert together.max() < 0.06


def test_a_cycle_of_two_different_halves_is_not_taken_for_half_of_it():
    turns = machine([60] * 10)
    pictures = drawn(turns)
    pictures[np.floor(turns) % 2 == 1, 24:, 24:] = 250  # every second one makes another piece
    assert find_cycles([pictures]).cycle_frames == pytest.approx(120, rel=0.05)


def wandering(count, seed):
    """Someone walks about: a block whose way is a random walk."""
    rng = np.random.default_rng(seed)
    way = np.cumsum(rng.normal(0, 0.02, (count, 2)), axis=0)
    y, x = np.mgrid[:SIDE, :SIDE]
    place = 16 + 12 * np.sin(2 * np.pi * way)
    out = [100 + 90 * np.exp(-((x - a) ** 2 + (y - b) ** 2) / 8) for a, b in place]
    return np.clip(np.array(out) + rng.normal(0, 2, (count, SIDE, SIDE)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("seed", range(4))
def test_a_way_at_random_has_no_cycle(seed):
    with pytest.raises(NoCycleError):
        find_cycles([wandering(500, seed)])


@pytest.mark.parametrize("seed", range(4))
def test_nor_has_it_one_of_a_length_that_someone_believes_in(seed):
    with pytest.raises(NoCycleError, match="a cycle of about"):
        find_cycles([wandering(500, seed)], about=60)


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_known_length_decides_between_a_cycle_and_its_multiples(times):
    pictures = [drawn(machine([40, 44, 38, 41, 43, 39, 40, 42, 41, 40, 42, 39]))]
    found = find_cycles(pictures, about=times * 40 * 1.1)  # 10 % off
    assert found.cycle_frames == pytest.approx(times * 41, rel=0.06)


def test_a_known_length_that_the_footage_cannot_hold_twice_says_so():
    with pytest.raises(NoCycleError, match=r"must hold two.*it has 120"):
        find_cycles([drawn(np.arange(120) / 40)], about=200)


def test_noise_a_still_picture_and_one_cycle_have_none():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (300, SIDE, SIDE), dtype=np.uint8)
    still = np.full((300, SIDE, SIDE), 90, np.uint8)
    once = drawn(np.arange(120) / 115)
    for pictures in (noise, still, once):
        with pytest.raises(NoCycleError):
            find_cycles([pictures])


@pytest.mark.parametrize("pictures", [[], [np.zeros((5, SIDE, SIDE), np.uint8)]])
def test_too_little_footage_says_so(pictures):
    with pytest.raises(NoCycleError, match=r"the longest video has [05] frames"):
        find_cycles(pictures)


def test_self_similarity_equals_the_loops():
    rng = np.random.default_rng(1)
    videos = [rng.normal(size=(n, 3)).astype(np.float32) for n in (20, 31)]
    found = self_similarity(videos)
    assert found.shape == (16, 3)
    for lag, d in itertools.product(range(16), range(3)):
        pairs = [(v[: len(v) - lag], v[lag:]) for v in videos]
        product = sum(float((a[:, d] * b[:, d]).sum()) for a, b in pairs)
        sizes = [sum(float((p[side] ** 2).sum()) for p in pairs) for side in (0, 1)]
        assert found[lag, d] == pytest.approx(product / np.sqrt(sizes[0] * sizes[1]), abs=1e-6)


def test_peaks_are_those_of_a_wave_and_shoulders_are_left_out():
    lag = np.arange(300)
    curve = np.cos(2 * np.pi * lag / 50) * np.exp(-lag / 400)
    curve[52] += 0.004  # a shoulder
    assert peaks(curve[:, None]) == pytest.approx([50, 100, 150, 200], abs=2)


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.5, 3.0))
def test_the_path_is_the_cheapest_of_all(seed, speed):
    rng = np.random.default_rng(seed)
    template = rng.normal(size=(4, 2)).astype(np.float32)
    video = rng.normal(size=(5, 2)).astype(np.float32)

    def cost(path):
        seen = (
            ((video - template[np.array(path) % 4]) ** 2).sum() * period_template.FIT_STRENGTH / 2
        )
        deviation = (np.diff(path) - speed) / (period_template.SPEED_SPREAD * speed + 0.3)
        return seen + np.minimum(deviation**2 / 2, period_template.PAUSE_COST).sum()

    found = period_template.cheapest_path(video, template, 1.0, speed)
    steps = range(int(np.ceil(2.5 * speed)) + 1)
    ways = (
        np.cumsum((first, *rest))
        for first in range(4)
        for rest in itertools.product(steps, repeat=4)
    )
    assert cost(found) == pytest.approx(min(map(cost, ways)), rel=1e-4)


def test_light_that_scales_the_picture_changes_nothing_much():
    pictures = drawn(np.arange(40) / 40, light=0, noise=0)
    brighter = np.clip(pictures * 1.3, 0, 255).astype(np.uint8)
    one, other = (period._without_light(p) for p in (pictures, brighter))
    change = np.abs(one - one.mean(axis=0)).mean()
    assert np.abs(one - other).mean() < 0.4 * change


def test_small_pictures_are_grey_and_small():
    frame = np.zeros((48, 100, 3), np.uint8)
    frame[:, 50:] = (10, 200, 30)
    small = small_grey(frame)
    assert small.shape == (SIDE, SIDE)
    assert small[0, 0] == 0
    assert small[0, -1] == cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)[0, -1]
