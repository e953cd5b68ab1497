"""Normal frames are renewed from footage that is no alarm: slow change is followed, faults never taken up."""

import numpy as np
import pytest

from ipad_jax.evaluation.alarm_rule import AlarmRule, AlarmStream
from ipad_jax.video.normal.frames import NormalFrames
from ipad_jax.video.normal.renewed import CLEAR_S, EACH, SPAN, RenewedFrames, without_fault
from ipad_jax.video.normal.small_picture import SmallPictures

SIZE, CYCLE = 16, 8  # pixels, frames
FPS = 0.2
MINUTES, HOUR = 5.0, 720  # of a wait; frames
THRESHOLD = 8 / 255  # of the distance; noise stays under half of it
FAULT = (slice(4, 8), slice(4, 8))


def pictures(count, seed=0):
    """A part that moves once a cycle, and noise."""
    rng = np.random.default_rng(seed)
    drawn = rng.normal(100, 1.5, (count, SIZE, SIZE, 3))
    for number in range(count):
        drawn[number, 10:14, number % CYCLE * SIZE // CYCLE] += 60
    return drawn


def finished(drawn):
    return np.clip(np.rint(drawn), 0, 255).astype(np.uint8)


def phases(count, has_phase=True):
    turns = np.arange(count) % CYCLE / CYCLE if has_phase else np.full(count, np.nan)
    return turns.astype(np.float32)


def normal_frames(has_phase=True):
    seen = 10 * CYCLE
    view = SmallPictures(SIZE)
    return NormalFrames(finished(pictures(seen, seed=9)), phases(seen, has_phase), view, share=0.05)


def watched(drawn, minutes=MINUTES, *, has_phase=True, renewed=None, places=True):
    """Distances, alarms and what was taken up of pictures as they come.

    0 minutes: nothing is; without `places` nobody says where a fault is.
    """
    frames = normal_frames(has_phase)
    if minutes:
        renewed = renewed or RenewedFrames(frames, FPS, minutes)
    alarms = AlarmStream(AlarmRule(THRESHOLD), FPS)
    found, alarm = [], []
    for number, (picture, phase) in enumerate(
        zip(finished(drawn), phases(len(drawn), has_phase).tolist())
    ):
        more = None if renewed is None else renewed.near(phase)
        distance = frames.distance(picture, phase, more)
        found.append(float(distance.max()))
        alarm.append(alarms.add(number, found[-1]).alarm)
        if renewed is not None:
            strength = distance / THRESHOLD if places else None
            renewed.add(picture, phase, alarms.open is not None, strength)
    return np.array(found), np.array(alarm), renewed


def with_fault(drawn, start, stop, levels=60.0):
    drawn[(slice(start, stop), *FAULT)] += levels
    return drawn


def holds_fault(renewed):
    """Whether any frame taken up shows the fault: unlike its surroundings."""
    taken = renewed.arrays()["ring"][..., :10, :, :].astype(float)
    here = taken[..., FAULT[0], FAULT[1], :].mean(axis=(-3, -2, -1))
    return bool((abs(here - taken[..., :2, :, :].mean(axis=(-3, -2, -1))) > 10).any())


@pytest.mark.parametrize("has_phase", [True, False])
def test_light_that_changes_over_two_hours_raises_no_alarm(has_phase):
    drawn = pictures(2 * HOUR)
    drawn[:, :6, 9:] += np.linspace(0, 60, len(drawn))[:, None, None, None]
    _, without, _ = watched(drawn, 0, has_phase=has_phase)
    _, alarm, renewed = watched(drawn, has_phase=has_phase)
    assert without.mean() > 0.5
    assert not alarm.any()
    assert renewed.num_taken > 0
    drawn = with_fault(drawn, 2 * HOUR - 30, 2 * HOUR)
    _, alarm, _ = watched(drawn, has_phase=has_phase)
    assert alarm[-30:].all()  # a fault is as clear as before
    assert not alarm[:-30].any()


@pytest.mark.parametrize("minutes", [10, 60])
def test_a_fault_stays_an_alarm_as_long_as_it_lasts(minutes):
    start = HOUR // 2
    stop = start + minutes * HOUR // 60
    drawn = with_fault(pictures(stop + HOUR // 2), start, stop)
    _, alarm, renewed = watched(drawn)
    assert alarm[start:stop].all()
    assert not alarm[:start].any()
    assert not alarm[stop + 2 :].any()
    assert not holds_fault(renewed)
    assert renewed.num_taken > CYCLE * EACH // 2  # before and after it others were


@pytest.mark.parametrize("places", [True, False])
def test_light_that_moves_during_a_long_fault_raises_no_alarm_after_it(places):
    start, stop = HOUR // 2, HOUR * 3 // 2
    drawn = with_fault(pictures(2 * HOUR), start, stop)
    drawn += np.linspace(0, 60, len(drawn))[:, None, None, None]
    _, alarm, renewed = watched(drawn, places=places)
    assert not alarm[:start].any()
    assert alarm[start:stop].all()
    assert alarm[stop + 2 :].all() == (not places)
    assert alarm[stop + 2 :].any() == (not places)
    assert not holds_fault(renewed)


def test_a_fault_is_replaced_by_what_was_there_in_the_light_around_it():
    rng = np.random.default_rng(0)
    before, fault = finished(pictures(1))[0], np.zeros((SIZE, SIZE), bool)
    fault[FAULT] = True
    now = before + np.uint8(30)  # all of it is brighter
    now[fault] = rng.integers(0, 256, (fault.sum(), 3))
    made = without_fault(now, before, fault)
    np.testing.assert_array_equal(made, before + np.uint8(30))
    np.testing.assert_array_equal(without_fault(now, before, ~fault & fault), now)
    now[~fault] = rng.integers(0, 256, ((~fault).sum(), 3))
    np.testing.assert_array_equal(without_fault(now, before, fault)[~fault], now[~fault])


def test_an_alarm_without_a_place_lets_nothing_be_taken_up():
    frames, drawn = normal_frames(), finished(pictures(HOUR))
    nowhere = np.full((SIZE, SIZE), 0.9, np.float32)
    for strength in (None, nowhere):
        renewed = RenewedFrames(frames, FPS, MINUTES)
        for picture, phase in zip(drawn, phases(HOUR).tolist()):
            renewed.add(picture, phase, True, strength)
        assert not renewed.num_taken


def test_a_fault_that_comes_and_goes_is_never_taken_up():
    """Two cycles in every five show it, at half of the cycle: the other frames of it look sound."""
    drawn = pictures(3 * HOUR)
    number = np.arange(len(drawn))
    faulty = (number > HOUR) & (number // CYCLE % 5 < 2) & (number % CYCLE < CYCLE // 2)
    drawn[faulty, 4:8, 4:8] += 60
    _, alarm, renewed = watched(drawn)
    assert alarm[faulty].all()
    assert not holds_fault(renewed)


def test_a_fault_that_grows_within_minutes_stays_an_alarm():
    """Frames of its beginning wait when the alarm comes; none of them is taken up while it is on."""
    grows, drawn = 4 * HOUR // 60, pictures(2 * HOUR)
    levels = np.clip((np.arange(len(drawn)) - HOUR) / grows, 0, 1) * 60
    drawn[(slice(None), *FAULT)] += levels[:, None, None, None]
    _, alarm, _ = watched(drawn)
    assert alarm[HOUR + grows :].all()


def test_what_comes_later_changes_nothing_before():
    drawn = pictures(400)
    other = with_fault(drawn.copy(), 300, 400)
    found, expected = watched(other)[0], watched(drawn)[0]
    np.testing.assert_array_equal(found[:300], expected[:300])


def test_until_the_first_wait_is_over_nothing_differs():
    drawn = pictures(300)
    found, expected = watched(drawn)[0], watched(drawn, 0)[0]
    wait = round(60 * MINUTES * FPS)
    np.testing.assert_array_equal(found[: wait + 1], expected[: wait + 1])
    assert (found <= expected).all()  # more candidates are never further away
    assert (found < expected).any()


def test_memory_is_constant_and_the_newest_are_kept():
    renewed = RenewedFrames(normal_frames(), FPS, MINUTES)
    most, size = 0, renewed.arrays()["ring"].nbytes
    for number in range(3 * HOUR):
        picture = np.full((SIZE, SIZE, 3), 40 * (number // HOUR), np.uint8)
        renewed.add(picture, number % CYCLE / CYCLE, number % 400 == 399)
        most = max(most, len(renewed._waiting))
    assert most <= CYCLE * (EACH / SPAN + 1)
    assert renewed.arrays()["ring"].nbytes == size
    assert renewed.num_taken > CYCLE * EACH
    assert set(np.unique(renewed.near(0.0))) == {80}  # of the last hour


def test_around_an_alarm_nothing_is_taken_up():
    """A machine that stands, so that all is of one phase; pictures say when they were."""
    fps = 5.0
    clear, at = round(CLEAR_S * fps), 120
    renewed = RenewedFrames(normal_frames(), fps, 0.2)
    for number in range(at + 120):
        picture = np.full((SIZE, SIZE, 3), number, np.uint8)
        renewed.add(picture, 0.0, number == at)
    taken = np.unique(renewed.near(0.0)).astype(int)
    assert taken.min() <= at - clear < at + clear <= taken.max()
    assert not ((taken > at - clear) & (taken < at + clear)).any()


def test_another_start_goes_on_with_what_was_taken_up():
    first = watched(pictures(400))[2]
    second = RenewedFrames(normal_frames(), FPS, MINUTES)
    second.restore(first.arrays())
    for phase in phases(CYCLE).tolist():
        np.testing.assert_array_equal(second.near(phase), first.near(phase))
    assert second.near(np.nan) is None
    with pytest.raises(ValueError, match="expected uint8"):
        RenewedFrames(normal_frames(has_phase=False), FPS, MINUTES).restore(first.arrays())


@pytest.mark.parametrize(
    ("minutes", "fps"), [(-1.0, 25.0), (np.inf, 25.0), (np.nan, 25.0), (0.0, 25.0), (1.0, 0.0)]
)
def test_what_is_no_wait_is_refused(minutes, fps):
    with pytest.raises(ValueError, match=r"renew_minutes|positive"):
        RenewedFrames(normal_frames(), fps, minutes)
