"""Slow change is followed at its speed, by place and phase; a fault is not."""

import numpy as np
import pytest

from ipad_jax.evaluation.alarm_rule import AlarmRule, follow
from ipad_jax.video.normal.slow_change import USUAL, SlowChange

PER_HOUR = 20.0  # spreads
THRESHOLD = 8.0  # of the largest distance of a frame: normal footage below stays under 5
SIZE = (8, 8)


def normal_maps(seconds, seed=0):
    """One map a second of footage like the training's, as pooling makes it: spreads, mean 0."""
    return np.random.default_rng(seed).normal(0, 1, (seconds, *SIZE)).astype(np.float32)


def largest(maps, slow_change=None):
    if slow_change is not None:
        maps = [slow_change.add(found) for found in maps]
    return np.array([found.max() for found in maps])


def in_alarm(score):
    return follow(score, range(len(score)), AlarmRule(THRESHOLD), 1.0).alarm


def test_a_fault_of_ten_minutes_stays_an_alarm_for_ten_minutes():
    maps, fault = normal_maps(3600), slice(1800, 2400)
    maps[fault, 2:4, 2:4] += 12.0
    alarm = in_alarm(largest(maps, SlowChange(PER_HOUR, 1.0)))
    assert alarm[fault].all()
    assert not alarm[:1800].any()
    assert not alarm[2400:].any()


@pytest.mark.parametrize("lasting_s", [3600, 7200])
def test_light_that_changes_over_an_hour_or_two_raises_no_alarm(lasting_s):
    maps = normal_maps(lasting_s)
    maps[:, :, 5:] += np.linspace(0, 15, lasting_s, dtype=np.float32)[:, None, None]
    assert in_alarm(largest(maps)).mean() > 0.3
    assert not in_alarm(largest(maps, SlowChange(PER_HOUR, 1.0))).any()
    # where nothing changed, a fault is as far away as before
    slow_change = SlowChange(PER_HOUR, 1.0)
    for found in maps:
        slow_change.add(found)
    stained = np.zeros(SIZE, np.float32)
    stained[2, 2] = 10.0
    assert slow_change.add(stained).max() > 9.5


def test_a_fault_in_every_fourth_cycle_is_not_learnt_from_its_repetition():
    """Of 2 s in 80, as no place has every tenth frame."""
    maps = normal_maps(4 * 3600)
    faulty = np.arange(len(maps)) % 80 < 2
    maps[faulty, 4, 4] += 12.0
    found = largest(maps, SlowChange(PER_HOUR, 1.0))
    assert (found[faulty] > THRESHOLD).mean() > 0.99


def test_the_level_rests_where_one_frame_in_ten_is_above():
    lasting = 3 * 3600
    maps = normal_maps(lasting)
    maps[:, 0, 0] += 5.0  # for ever
    slow_change = SlowChange(60.0, 1.0)
    found = np.stack([slow_change.add(one) for one in maps])[lasting // 2 :]
    assert (found[:, 0, 0] > USUAL).mean() == pytest.approx(0.1, abs=0.02)
    assert slow_change.level[0, 0, 0] == pytest.approx(5.0, abs=0.3)
    others = slow_change.level[0, 4:]
    assert others.max() < 0.3  # normal footage is at 0 nearly everywhere
    assert (found <= maps[lasting // 2 :]).all()  # never more sensitive than without


def test_pieces_of_footage_that_go_on_from_each_other_are_one():
    maps = normal_maps(300)
    maps[:, 3:] += 4.0
    maps[100:110] = np.nan  # frames without a phase change nothing
    whole = SlowChange(PER_HOUR, 25.0)
    first = SlowChange(PER_HOUR, 25.0)
    expected = np.stack([whole.add(found) for found in maps])
    found = [first.add(one) for one in maps[:120]]
    second = SlowChange(PER_HOUR, 25.0, first.level)
    found += [second.add(one) for one in maps[120:]]
    assert whole.level.max() > 0
    np.testing.assert_array_equal(np.stack(found), expected)
    assert np.isnan(expected[100:110]).all()
    assert np.isfinite(expected[110:]).all()


def test_a_part_that_passes_is_followed_while_it_is_there_and_nowhere_else():
    """Cycles of 10 s at one frame a second; at a tenth of the phases a part has another colour for ever."""
    maps = normal_maps(2 * 3600)
    phase = np.arange(len(maps)) % 10 / 10
    maps[np.isclose(phase, 0.3), 2, 2] += 9.0
    score = largest([one.copy() for one in maps])
    assert in_alarm(score).any()
    slow_change = SlowChange(PER_HOUR, 1.0)
    found = np.array([slow_change.add(one, at).max() for one, at in zip(maps, phase)])
    assert not in_alarm(found[3600:]).any()
    assert slow_change.level[18, 2, 2] > 7.5
    assert np.delete(slow_change.level[:, 2, 2], 18).max() < 1.0


def test_a_machine_that_stands_is_followed_no_faster_than_one_that_runs():
    fault = np.full(SIZE, 12.0, np.float32)
    for cycle in (1, 10, 60):  # seconds; the first stands still
        slow_change = SlowChange(PER_HOUR, 1.0)
        for second in range(600):
            slow_change.add(fault, second % cycle / cycle)
        assert 0.7 * PER_HOUR / 6 < slow_change.level.max() <= PER_HOUR / 6 + 1e-9


@pytest.mark.parametrize(
    ("per_hour", "fps"), [(-1.0, 25.0), (np.inf, 25.0), (0.0, 25.0), (1.0, 0.0)]
)
def test_what_is_no_speed_is_refused(per_hour, fps):
    with pytest.raises(ValueError, match=r"drift_per_hour|positive"):
        SlowChange(per_hour, fps)
