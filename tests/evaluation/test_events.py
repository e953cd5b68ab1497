"""Alarms against the truth: what counts as found, false and late, and that constant alarms win nothing."""

import math

import numpy as np
import pytest

from ipad_jax.evaluation.alarm_rule import AlarmRule
from ipad_jax.evaluation.events import event_metrics, events_of, merged, true_intervals


def test_true_intervals():
    assert true_intervals(np.array([0, 1, 1, 0, 1]), np.arange(5)) == [(1, 3), (4, 5)]
    assert true_intervals(np.array([1, 1, 1]), np.array([3, 4, 9])) == [(3, 5), (9, 10)]
    assert true_intervals(np.array([0, -1]), np.arange(2)) == []


def judge(score, label, fps=10.0, video=None, frame=None):
    score, label = np.array(score, float), np.array(label)
    video = np.zeros(len(score), int) if video is None else np.array(video)
    if frame is None:
        frame = np.concatenate([np.arange((video == v).sum()) for v in np.unique(video)])
    rates = np.full(video.max() + 1, fps)
    events = events_of(score, video, frame, rates, AlarmRule(1.0))
    return event_metrics(events, label, video, frame, rates, np.isfinite(score))


def test_found_late_and_false():
    label = [0] * 10 + [1] * 10 + [0] * 20 + [1] * 5 + [0] * 5
    score = [0] * 14 + [2] * 3 + [0] * 13 + [2] + [0] * 19
    result = judge(score, label)
    assert (result.num_events, result.num_false_alarms) == (2, 1)
    assert (result.num_true, result.num_detected, result.event_recall) == (2, 1, 0.5)
    assert result.detection_delay_s == pytest.approx(0.4)  # 4 frames after the onset
    assert result.normal_hours == pytest.approx(35 / 10 / 3600)
    assert result.false_alarms_per_hour == pytest.approx(3600 / 3.5)
    assert result.normal_time_in_alarm == pytest.approx(1 / 35)


def test_an_alarm_that_was_on_before_a_fault_has_not_found_it():
    label = [0] * 30 + [1] * 20 + [0] * 30
    on_before = judge([0] * 20 + [2] * 40 + [0] * 20, label)
    assert (on_before.num_detected, on_before.num_false_alarms) == (0, 1)
    # a clip reaches ahead: so shortly before is not late, and no false alarm
    just_before = judge([0] * 26 + [2] * 30 + [0] * 24, label)
    assert (just_before.num_detected, just_before.num_false_alarms) == (1, 0)
    assert just_before.detection_delay_s == 0
    # over again before the fault: it did not find it
    assert judge([0] * 26 + [2] * 2 + [0] * 52, label).num_detected == 0
    # off for less than a second in between: the same alarm
    assert judge([0] * 10 + [2] * 15 + [0] * 7 + [2] * 10 + [0] * 38, label).num_detected == 0
    assert judge([0] * 10 + [2] * 10 + [0] * 12 + [2] * 10 + [0] * 38, label).num_detected == 1


def test_an_alarm_that_is_always_on_wins_nothing():
    label = np.zeros(36_000, int)  # an hour
    label[6000:6100] = label[20_000:20_050] = 1
    always = judge(np.full(36_000, 2.0), label)
    assert always.normal_time_in_alarm == 1
    assert (always.event_recall, always.num_detected) == (0, 0)
    assert always.false_alarms_per_hour == pytest.approx(60, abs=0.5)
    assert always.num_false_alarms == 1
    never = judge(np.zeros(36_000), label)
    assert (never.normal_time_in_alarm, never.event_recall, never.false_alarms_per_hour) == (
        0,
        0,
        0,
    )


def test_every_started_minute_of_a_false_alarm_counts_also_after_a_fault():
    quiet, minute = [0] * 600, [2] * 600
    assert judge([*quiet, *minute, *minute, 2, *quiet], [0] * 2401).num_false_calls == 3
    found = judge([*quiet, *minute, *minute, *minute, *quiet], [0] * 600 + [1] * 600 + [0] * 1800)
    assert (found.num_detected, found.num_false_alarms, found.num_false_calls) == (1, 0, 2)
    assert found.normal_time_in_alarm == pytest.approx(1200 / 2400)


def test_faults_nearer_than_an_alarm_can_end_are_one():
    assert merged([(0, 5), (9, 12), (30, 31)], 10) == [(0, 12), (30, 31)]
    label = [0] * 20 + [1] * 5 + [0] * 3 + [1] * 5 + [0] * 20
    assert judge([0] * 20 + [2] * 13 + [0] * 20, label).event_recall == 1


def test_onset_end_and_the_time_between_are_measured():
    label = [0] * 15 + [1] * 10 + [0] * 25
    late = judge([0] * 17 + [2] * 2 + [0] * 8 + [2] * 1 + [0] * 22, label)
    assert late.detection_delay_s == pytest.approx(0.2)
    assert late.event_coverage == pytest.approx(0.8)  # on until 3 frames after the fault
    assert late.end_delay_s == pytest.approx(0.3)
    short = judge([0] * 17 + [2] * 2 + [0] * 31, label)
    assert short.event_coverage == pytest.approx(0.2)  # two frames of ten, then it drifts off
    assert short.end_delay_s == pytest.approx(-0.6)
    missed = judge([0] * 50, label)
    assert math.isnan(missed.event_coverage)
    assert math.isnan(missed.end_delay_s)


@pytest.mark.parametrize("stride", [2, 4])
def test_frames_that_are_scored_at_a_stride_count_faults_and_hours_as_all_do(stride):
    label = np.repeat([0, 1, 0, 1, 0], [40, 12, 40, 20, 28])
    score = np.where(label == 1, 2.0, 0.0)
    score[[68, 69, 70, 71]] = 2.0  # a false alarm between them
    frame = np.arange(len(label))
    whole, thin = (
        judge(score[at], label[at], frame=frame[at])
        for at in (slice(None), slice(None, None, stride))
    )
    for name in ("num_true", "num_detected", "num_false_alarms", "normal_hours"):
        assert getattr(thin, name) == getattr(whole, name), name


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
