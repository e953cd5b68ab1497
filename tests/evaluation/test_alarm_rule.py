"""The alarm rule against an obvious version; slow change is followed, a fault is not learnt away."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipad_jax.evaluation.alarm_rule import (
    FRAME,
    RELEASE,
    SUSTAINED,
    AlarmRule,
    AlarmStream,
    RunningMedian,
    follow,
)

FPS = 10.0


def runs(score, rule=None, fps=FPS):
    found = follow(score, range(len(score)), rule or AlarmRule(1.0), fps)
    return [(e.start, e.stop) for e in found.events]


def slow_events(score, threshold, quiet):
    """Walk on from each frame above the threshold until `quiet` frames in a row are below the release."""
    events, i = [], 0
    while i < len(score):
        if score[i] > threshold:
            last = i
            for j in range(i + 1, len(score)):
                if j - last > quiet:
                    break
                if score[j] > RELEASE * threshold:
                    last = j
            events.append((i, last + 1))
            i = last + quiet
        i += 1
    return events


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 0.7, 0.9, 1.5, 3.0, math.nan]), min_size=1, max_size=60),
    st.sampled_from([2.0, 4.0, 10.0]),
)
def test_equals_the_slow_version(score, fps):
    assert runs(score, fps=fps) == slow_events(score, 1.0, max(1, round(fps)))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([0.0, 1.0, 2.0, 5.0, math.nan]), max_size=40), st.integers(1, 9))
def test_the_running_median_is_that_of_the_last_frames(values, length):
    running = RunningMedian(length)
    for i, value in enumerate(values):
        found = running.add(i, value)
        window = np.array(values[max(0, i + 1 - length) : i + 1])
        known = window[np.isfinite(window)]
        if i + 1 < length or not len(known) or 2 * len(known) < length:
            assert math.isnan(found)
        else:
            assert found == np.median(known)


def test_a_hole_as_long_as_the_window_starts_the_median_anew():
    running = RunningMedian(3)
    assert [running.add(f, float(f)) for f in (0, 1, 2)][-1] == 1
    assert math.isnan(running.add(9, 9.0))
    assert [running.add(f, float(f)) for f in (10, 11)][-1] == 10


def test_a_second_of_quiet_ends_an_alarm_and_scores_near_the_threshold_do_not():
    assert len(runs([2.0] + [0.9] * 30 + [0.0] * 10 + [2.0])) == 2
    assert runs([2.0] + [0.9] * 30 + [0.0] * 9 + [2.0]) == [(0, 41)]
    assert runs([0.9] * 30) == []  # near the threshold is no alarm by itself
    assert runs([1.0, 1.0]) == []  # nor is the threshold


def test_what_lasts_is_found_where_no_single_frame_is_high():
    rule = AlarmRule(10.0, sustained=2.0, sustained_s=1.0)
    normal = np.tile([0.0, 6.0, 0.0, 0.0], 10)  # single frames are high in normal footage
    assert runs(normal, rule) == []
    stands_still = np.r_[normal, [3.0] * 20, normal]
    found = follow(stands_still, range(len(stands_still)), rule, FPS)
    (event,) = found.events
    assert event.rule == SUSTAINED
    assert 40 < event.start <= 40 + 10  # once the median's second is mostly of the fault
    assert event.strength == pytest.approx(1.5)
    assert found.sustained[59] == 3.0
    (single,) = follow([0.0, 11.0, 0.0], range(3), rule, FPS).events
    assert (single.rule, single.start, single.strength) == (FRAME, 1, pytest.approx(1.1))


def test_the_stream_says_at_each_frame_what_the_whole_video_does():
    rng = np.random.default_rng(0)
    score = np.cumsum(rng.normal(0, 0.3, 400))
    rule = AlarmRule(1.5, 1.2, 0.7)
    stream = AlarmStream(rule, FPS)
    verdicts = [stream.add(i, s) for i, s in enumerate(score)]
    found = follow(score, range(400), rule, FPS)
    np.testing.assert_array_equal([v.sustained for v in verdicts], found.sustained)
    assert [v.over for v in verdicts if v.over] == found.events[
        : len(found.events) - bool(stream.open)
    ]
    raised = np.array([v.alarm for v in verdicts])
    assert (found.alarm | ~raised).all()  # an event holds every frame that raised it


def test_fps_must_be_positive():
    with pytest.raises(ValueError, match="fps=0"):
        AlarmStream(AlarmRule(1.0), 0)
