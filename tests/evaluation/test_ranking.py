"""Ranking metrics against slow, obvious loops; ties, monotone transforms, label flips."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ipad_jax.evaluation import ranking

# few distinct values, so that ties are the rule
SCORED = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=40)


def arrays(pairs):
    score = np.array([p[0] for p in pairs], float)
    label = np.array([p[1] for p in pairs], int)
    assume(0 < label.sum() < len(label))
    return score, label


def slow_auc(score, label):
    pairs = [(p > n) + (p == n) / 2 for p in score[label == 1] for n in score[label == 0]]
    return sum(pairs) / len(pairs)


def slow_operating_points(score, label):
    """(fpr, tpr) of every threshold 'score >= t', and of no alarm at all."""
    points = [(0.0, 0.0)]
    for threshold in sorted(set(score), reverse=True):
        alarm = score >= threshold
        points.append((alarm[label == 0].mean(), alarm[label == 1].mean()))
    return points


@settings(max_examples=150, deadline=None)
@given(SCORED)
def test_auc_counts_pairs_and_ties_as_half(pairs):
    score, label = arrays(pairs)
    assert ranking.auc_micro(score, label) == pytest.approx(slow_auc(score, label), abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(SCORED)
def test_monotone_transforms_change_nothing(pairs):
    score, label = arrays(pairs)
    stretched = np.exp(score) * 3 - 7
    for metric in (ranking.auc_micro, ranking.eer, ranking.fpr_at_recall):
        assert metric(score, label) == pytest.approx(metric(stretched, label), abs=1e-12)
    assert ranking.average_precision(score, label) == ranking.average_precision(stretched, label)


@settings(max_examples=100, deadline=None)
@given(SCORED)
def test_flipping_labels_or_scores_mirrors_the_auc(pairs):
    score, label = arrays(pairs)
    auc = ranking.auc_micro(score, label)
    assert ranking.auc_micro(score, 1 - label) == pytest.approx(1 - auc, abs=1e-12)
    assert ranking.auc_micro(-score, label) == pytest.approx(1 - auc, abs=1e-12)
    assert ranking.eer(-score, 1 - label) == pytest.approx(ranking.eer(score, label), abs=1e-12)


@settings(max_examples=150, deadline=None)
@given(SCORED, st.sampled_from([0.5, 0.8, 0.95, 1.0]))
def test_fpr_at_recall_is_the_best_threshold_that_finds_enough(pairs, recall):
    score, label = arrays(pairs)
    points = slow_operating_points(score, label)
    expected = min(fpr for fpr, tpr in points if tpr >= recall - 1e-12)
    assert ranking.fpr_at_recall(score, label, recall) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=150, deadline=None)
@given(SCORED)
def test_eer_lies_on_the_line_between_operating_points(pairs):
    score, label = arrays(pairs)
    points = slow_operating_points(score, label)
    expected = None
    for (fpr_a, tpr_a), (fpr_b, tpr_b) in pairwise(points):
        gap_a, gap_b = fpr_a + tpr_a - 1, fpr_b + tpr_b - 1
        if gap_a <= 0 <= gap_b and gap_b > gap_a:
            expected = fpr_a - gap_a / (gap_b - gap_a) * (fpr_b - fpr_a)
            break
    assert ranking.eer(score, label) == pytest.approx(expected, abs=1e-9)


@settings(max_examples=100, deadline=None)
@given(SCORED)
def test_average_precision_against_a_loop_over_thresholds(pairs):
    score, label = arrays(pairs)
    expected, found_before = 0.0, 0
    for threshold in sorted(set(score), reverse=True):
        alarm = score >= threshold
        found = (alarm & (label == 1)).sum()
        expected += (found - found_before) / label.sum() * found / alarm.sum()
        found_before = found
    assert ranking.average_precision(score, label) == pytest.approx(expected, abs=1e-12)


def test_macro_skips_videos_with_one_class_and_says_so():
    score = np.array([0, 1, 1, 0, 5, 6, 7.0])
    label = np.array([0, 1, 0, 1, 0, 0, 1])
    video = np.array([0, 0, 1, 1, 2, 2, 3])
    macro = ranking.auc_macro(score, label, video)
    assert (macro.mean, macro.num_videos, macro.num_skipped) == (0.5, 2, 2)
    assert macro.by_video == {0: 1.0, 1: 0.0}


def test_by_kind_ranks_each_kind_against_all_normal_frames():
    score = np.array([0, 1, 2, 3, 4, 5.0])
    label = np.array([0, 0, 1, 1, 1, 0])
    kind = np.array([0, 0, 1, 2, -1, 0])
    video = np.array([0, 0, 0, 1, 1, 1])
    table = ranking.by_kind(score, label, kind, video, ("normal", "shift", "stain", "never"))
    assert table == {
        "shift": {"auc": 2 / 3, "num_frames": 1, "num_videos": 1},
        "stain": {"auc": 2 / 3, "num_frames": 1, "num_videos": 1},
    }


@pytest.mark.parametrize("label", [np.zeros(4, int), np.ones(4, int)])
def test_one_class_gives_nan_not_a_number_made_up(label):
    score = np.arange(4.0)
    for metric in (
        ranking.auc_micro,
        ranking.eer,
        ranking.fpr_at_recall,
        ranking.average_precision,
    ):
        assert math.isnan(metric(score, label))
    assert math.isnan(ranking.auc_macro(score, label, np.zeros(4, int)).mean)


def test_nan_scores_and_unknown_labels_are_refused():
    with pytest.raises(ValueError, match="1 of 2 scores are NaN"):
        ranking.auc_micro(np.array([0, np.nan]), np.array([0, 1]))
    with pytest.raises(ValueError, match="Labels must be 0 or 1"):
        ranking.auc_micro(np.array([0, 1.0]), np.array([-1, 1]))
    with pytest.raises(ValueError, match="expected equal 1-D"):
        ranking.eer(np.zeros(3), np.zeros(2))
    with pytest.raises(ValueError, match=r"recall=0 must lie in \(0, 1\]"):
        ranking.fpr_at_recall(np.arange(2.0), np.array([0, 1]), 0)


def test_the_rightness_of_videos_adds_up_to_the_auc():
    rng = np.random.default_rng(0)
    label, video = rng.integers(0, 2, 300), np.repeat(np.arange(3), 100)
    score = (label + rng.normal(0, 2, 300)).round(1)  # some are equal
    found = ranking.rightness_by_video(score, label, np.zeros(300, int))
    assert found[0] == pytest.approx(ranking.auc_micro(score, label))  # all in one video
    found = ranking.rightness_by_video(score, label, np.arange(300))  # a video a frame
    for value in (0, 1):
        mean = np.mean([found[i] for i in np.flatnonzero(label == value)])
        assert mean == pytest.approx(ranking.auc_micro(score, label))
    score[video == 1] = np.where(label[video == 1], -9, 9)  # the second is wrong throughout
    found = ranking.rightness_by_video(score, label, video)
    assert min(found, key=found.get) == 1


def test_videos_of_one_class_are_ordered_by_their_highest_score():
    score, video = np.array([1.0, 5.0, 2.0, 3.0]), np.array([0, 0, 1, 1])
    assert ranking.rightness_by_video(score, np.zeros(4, int), video) == {0: -5.0, 1: -3.0}
    assert ranking.rightness_by_video(score, np.ones(4, int), video) == {0: 5.0, 1: 3.0}
