"""Alarms at ends of cycles, counted by hand."""

import numpy as np

from ipad_jax.video.evaluation.cycle_ends import cycle_ends


def footage(*cycles: int) -> np.ndarray:
    """Numbers of cycles of 10 frames each."""
    return np.repeat(cycles, 10)


def test_ends_with_and_without_an_alarm_are_counted_and_so_are_stretches_elsewhere():
    cycle = footage(0, 1, 2)
    above = np.zeros(30, bool)
    above[21] = True  # within 2 of the second end
    above[4] = True  # in the middle of the first cycle
    none = np.zeros(30, int)
    # beside the two ends lie frames 0-7, 12-17, 22-29: two, one and two stretches of 4
    assert cycle_ends(above, none, none, cycle, 2) == (2, 1, 5, 1)


def test_an_end_beside_a_fault_or_a_videos_end_or_of_an_unknown_cycle_does_not_count():
    cycle = np.concatenate([footage(0, 1), footage(0, -1), footage(0, 1)[9:]])
    video = np.repeat([0, 1, 2], [20, 20, 11])
    label = np.zeros(51, int)
    label[11] = 1
    found = cycle_ends(np.ones(51, bool), label, video, cycle, 2)
    assert found.ends == 0  # a fault; an unknown cycle; the first frame of a video
    assert found.others == found.others_alarmed > 0


def test_two_videos_are_not_one():
    cycle = footage(0, 1)
    none = np.zeros(20, int)
    assert cycle_ends(none > 0, none, none, cycle, 3).ends == 1
    assert cycle_ends(none > 0, none, np.repeat([0, 1], 10), cycle, 3).ends == 0
