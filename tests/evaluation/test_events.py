"""Events against an obvious version on seconds, and what counts as found, false and late."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipad_jax.evaluation.events import Event, event_metrics, find_events, true_intervals


def slow_events(score, threshold, fps, gap_s):
    """Mark alarm frames, close every gap shorter than gap_s, read off the runs."""
    alarm = [s > threshold for s in score]
    closed = list(alarm)
    for i in range(len(alarm)):
        for j in range(i + 1, len(alarm)):
            if alarm[i] and alarm[j] and (j - i - 1) / fps < gap_s:
                closed[i : j + 1] = [True] * (j + 1 - i)
    runs, i = [], 0
    while i < len(closed):
        if closed[i]:
            stop = i
            while stop < len(closed) and closed[stop]:
                stop += 1
            peak = max((k for k in range(i, stop) if alarm[k]), key=lambda k: (score[k], -k))
            runs.append(Event(i, stop, peak, float(score[peak])))
            i = stop
        i += 1
    return runs


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 1.0, 2.0, 3.0, math.nan]), min_size=1, max_size=40),
    st.sampled_from([4.0, 10.0, 25.0]),
)
def test_equals_the_slow_version(score, fps):
    found = find_events(np.array(score), np.arange(len(score)), 1.0, fps, 0.5)
    assert found == slow_events(score, 1.0, fps, 0.5)


def test_gap_of_exactly_half_a_second_ends_an_event():
    score = np.array([2, 0, 0, 0, 0, 0, 2.0])  # 5 frames at 10 a second
    assert len(find_events(score, np.arange(7), 1.0, fps=10)) == 2
    assert len(find_events(score[:-1], np.arange(6), 1.0, fps=10)) == 1
    score[3] = 2
    assert find_events(score, np.arange(7), 1.0, fps=10) == [Event(0, 7, 0, 2.0)]


def test_frames_that_are_missing_count_as_time():
    found = find_events(np.array([2.0, 2.0]), np.array([0, 100]), 1.0, fps=10)
    assert [(e.start, e.stop) for e in found] == [(0, 1), (100, 101)]


def test_the_threshold_itself_is_no_alarm():
    assert find_events(np.array([1.0, 1.0]), np.arange(2), 1.0, fps=10) == []


def test_true_intervals():
    assert true_intervals(np.array([0, 1, 1, 0, 1]), np.arange(5)) == [(1, 3), (4, 5)]
    assert true_intervals(np.array([1, 1, 1]), np.array([3, 4, 9])) == [(3, 5), (9, 10)]
    assert true_intervals(np.array([0, -1]), np.arange(2)) == []


def judge(score, label, fps=10.0, threshold=1.0, video=None):
    score, label = np.array(score, float), np.array(label)
    video = np.zeros(len(score), int) if video is None else np.array(video)
    frame = np.concatenate([np.arange((video == v).sum()) for v in np.unique(video)])
    return event_metrics(score, label, video, frame, np.full(video.max() + 1, fps), threshold)


def test_found_late_and_false():
    label = [0] * 10 + [1] * 10 + [0] * 20 + [1] * 5 + [0] * 5
    score = [0] * 14 + [2] * 3 + [0] * 13 + [2] + [0] * 19
    result = judge(score, label)
    assert (result.num_events, result.num_false_alarms) == (2, 1)
    assert (result.num_true, result.num_detected, result.event_recall) == (2, 1, 0.5)
    assert result.detection_delay_s == pytest.approx(0.4)  # 4 frames after the onset
    assert result.normal_hours == pytest.approx(35 / 10 / 3600)
    assert result.false_alarms_per_hour == pytest.approx(3600 / 3.5)


def test_an_alarm_already_on_at_the_onset_has_no_delay_and_is_not_false():
    result = judge([0, 2, 2, 2, 0], [0, 0, 1, 1, 0])
    assert (result.detection_delay_s, result.num_false_alarms, result.num_events) == (0.0, 0, 1)


def test_onset_end_and_the_time_between_are_measured():
    label = [0] * 5 + [1] * 10 + [0] * 15
    late = judge([0] * 7 + [2] * 2 + [0] * 6 + [2] * 3 + [0] * 12, label)
    assert late.detection_delay_s == pytest.approx(0.2)
    assert late.event_coverage == pytest.approx(0.2)  # two frames of ten, then it drifts off
    assert late.end_delay_s == pytest.approx(-0.6)
    whole = judge([0] * 4 + [2] * 15 + [0] * 11, label)
    assert (whole.detection_delay_s, whole.event_coverage) == (0, 1)
    assert whole.end_delay_s == pytest.approx(0.4)  # goes on 4 frames after the fault
    missed = judge([0] * 30, label)
    assert math.isnan(missed.event_coverage)
    assert math.isnan(missed.end_delay_s)


@pytest.mark.parametrize("stride", [2, 4])
def test_frames_that_are_scored_at_a_stride_count_faults_and_hours_as_all_do(stride):
    label = np.repeat([0, 1, 0, 1, 0], [40, 12, 20, 20, 28])
    score = np.where(label == 1, 2.0, 0.0)
    score[[60, 61, 62, 63]] = 2.0  # a false alarm between them
    frame, one_video = np.arange(len(label)), np.zeros(len(label), int)
    few = slice(None, None, stride)
    whole, thin = (
        event_metrics(score[at], label[at], one_video[at], frame[at], np.array([10.0]), 1.0)
        for at in (slice(None), few)
    )
    for name in ("num_true", "num_detected", "num_false_alarms", "normal_hours"):
        assert getattr(thin, name) == getattr(whole, name), name


def test_one_long_alarm_over_two_faults_finds_both():
    result = judge([2] * 9, [0, 1, 1, 0, 0, 0, 1, 1, 0])
    assert (result.num_events, result.num_detected, result.num_false_alarms) == (1, 2, 0)


def test_unlabelled_time_is_neither_normal_nor_a_false_alarm():
    result = judge([0, 0, 2, 2, 0, 0], [0, 0, -1, -1, 0, 0])
    assert (result.num_events, result.num_false_alarms) == (0, 0)
    assert result.normal_hours == pytest.approx(4 / 10 / 3600)


def test_unscored_frames_raise_nothing_and_are_no_normal_time():
    result = judge([math.nan] * 4 + [0] * 4, [0] * 8)
    assert result.normal_hours == pytest.approx(4 / 10 / 3600)
    assert (result.num_events, result.false_alarms_per_hour) == (0, 0.0)


def test_events_do_not_run_from_one_video_into_the_next():
    result = judge([0, 2, 2, 0], [0, 0, 0, 0], video=[0, 0, 1, 1])
    assert result.num_false_alarms == 2


def test_nothing_to_judge_is_nan():
    result = judge([0, 0], [0, 0])
    assert math.isnan(result.event_recall)
    assert math.isnan(result.detection_delay_s)
    assert math.isnan(judge([2, 2], [1, 1]).false_alarms_per_hour)


def test_bad_rates_are_refused():
    with pytest.raises(ValueError, match="fps=0"):
        find_events(np.zeros(1), np.zeros(1), 1.0, fps=0)
