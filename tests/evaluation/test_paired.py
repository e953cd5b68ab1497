"""Means and differences over scenes, videos and seeds: against copied videos, and on simulated data."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipad_jax.evaluation.paired import (
    Judgement,
    difference_interval,
    mean_interval,
    on_common_frames,
    scene_differences,
)
from ipad_jax.evaluation.ranking import auc_micro

SPREAD = 0.5  # of a video's level and of its faults' strength


def simulate(rng, *, num_videos=12, num_seeds=3, frames=20, seed_spread=0.3, strength=1.0):
    """A scene: videos with a level and a strength of their own, seeds that see faults more or less."""
    video = np.repeat(np.arange(num_videos), frames)
    frame = np.tile(np.arange(frames), num_videos)
    label = (rng.uniform(size=len(video)) < 0.3).astype(int)
    level = rng.normal(0, SPREAD, num_videos)[video]
    power = rng.normal(strength, SPREAD, num_videos)[video]
    return [
        Judgement(
            rng.normal(size=len(video)) + level + (power + rng.normal(0, seed_spread)) * label,
            label,
            video,
            frame,
        )
        for _ in range(num_seeds)
    ]


def weaker(scenes, by):
    """A method that sees the same, but faults less."""
    return [
        [Judgement(run.score - by * run.label, run.label, run.video, run.frame) for run in runs]
        for runs in scenes
    ]


def test_the_estimate_is_the_mean_over_scenes_of_the_mean_over_seeds():
    rng = np.random.default_rng(0)
    scenes = [simulate(rng, num_seeds=3), simulate(rng, num_seeds=1, frames=60)]
    means = [np.mean([auc_micro(run.score, run.label) for run in runs]) for runs in scenes]
    interval = mean_interval(scenes, num_resamples=50)
    assert interval.estimate == pytest.approx(np.mean(means), abs=1e-12)
    assert interval.low < interval.estimate < interval.high
    assert interval.num_videos == 24


def test_one_seed_and_a_hundred_videos_equal_copying_the_videos():
    # with one seed only videos are drawn: the spread is that of AUCs of copied videos
    (run,) = simulate(np.random.default_rng(1), num_videos=40, num_seeds=1)
    interval = mean_interval([[run]], num_resamples=400)
    rng = np.random.default_rng(2)
    copied = []
    for _ in range(400):
        rows = np.concatenate([np.flatnonzero(run.video == v) for v in rng.integers(40, size=40)])
        copied.append(auc_micro(run.score[rows], run.label[rows]))
    low, high = np.quantile(copied, [0.025, 0.975])
    # two sets of 400 draws: a quantile of theirs varies by a tenth of the width
    assert interval.low == pytest.approx(low, abs=0.15 * (high - low))
    assert interval.high == pytest.approx(high, abs=0.15 * (high - low))


def test_seeds_that_differ_widen_the_interval_and_equal_ones_do_not():
    rng = np.random.default_rng(3)
    far = simulate(rng, num_seeds=3, seed_spread=1.5)
    same = [far[0]] * 3
    one = mean_interval([far[:1]], num_resamples=400)
    of_same = mean_interval([same], num_resamples=400)
    assert (of_same.low, of_same.high) == pytest.approx((one.low, one.high), abs=1e-12)
    wide = mean_interval([far], num_resamples=400)
    assert wide.high - wide.low > 1.3 * (one.high - one.low)


@pytest.mark.parametrize("num_scenes", [1, 4])
def test_the_mean_is_covered_at_about_the_stated_rate(num_scenes):
    rng = np.random.default_rng(99)
    many = simulate(rng, num_videos=600, num_seeds=100)
    truth = np.mean([auc_micro(run.score, run.label) for run in many])
    hits = 0
    for trial in range(150):
        rng = np.random.default_rng(1000 + trial)
        scenes = [simulate(rng) for _ in range(num_scenes)]
        interval = mean_interval(scenes, seed=trial, num_resamples=200)
        hits += interval.low <= truth <= interval.high
    # 95 % wanted; 12 videos and 3 seeds make percentiles run low, and 150 trials vary by +-4 %
    assert 0.88 <= hits / 150 <= 0.99


def test_a_difference_of_equals_is_covered_at_about_the_stated_rate():
    # two methods of one strength, each trained anew: the interval must hold 0 nineteen times in twenty
    hits = 0
    for trial in range(150):
        rng = np.random.default_rng(5000 + trial)
        first, second = [], []
        for _ in range(3):
            runs = simulate(rng, num_seeds=6)  # one test split, two methods of three seeds
            first.append(runs[:3])
            second.append(runs[3:])
        interval = difference_interval(first, second, seed=trial, num_resamples=200)
        hits += interval.low <= 0 <= interval.high
    assert 0.88 <= hits / 150 <= 0.99


def test_a_paired_difference_sees_what_single_intervals_hide():
    scenes = [simulate(np.random.default_rng(i)) for i in range(3)]
    worse = weaker(scenes, 0.3)
    assert mean_interval(scenes).low < mean_interval(worse).high  # they overlap
    found = difference_interval(scenes, worse)
    assert found.low > 0
    difference = mean_interval(scenes).estimate - mean_interval(worse).estimate
    assert found.estimate == pytest.approx(difference, abs=1e-12)
    swapped = difference_interval(worse, scenes)
    assert (swapped.low, swapped.high) == pytest.approx((-found.high, -found.low), abs=1e-12)
    np.testing.assert_allclose(scene_differences(scenes, worse).mean(), found.estimate, atol=1e-12)
    zero = difference_interval(scenes, scenes)
    assert (zero.low, zero.high) == (0.0, 0.0)


def test_methods_are_compared_on_the_frames_that_both_judge():
    (run,) = simulate(np.random.default_rng(7), num_seeds=1)
    later = run.select(run.frame >= 5)  # a method that predicts from the five frames before
    shuffled = later.select(np.random.default_rng(0).permutation(len(later.label)))
    found = difference_interval([[run]], [[shuffled]], num_resamples=10)
    assert found.estimate == 0.0
    assert auc_micro(run.score, run.label) != auc_micro(later.score, later.label)
    assert len(on_common_frames([run, shuffled])[1].label) == len(later.label)


def test_a_kind_is_judged_against_all_normal_frames_and_missing_ones_are_left_out():
    rng = np.random.default_rng(8)
    with_kind, without = [], []
    for index in range(2):
        (run,) = simulate(rng, num_seeds=1)
        names = np.where(run.label == 1, "jam" if index else "stain", "normal")
        with_kind.append([Judgement(run.score, run.label, run.video, run.frame, names)])
        without.append([run.of_kind("jam")])
    jams = [[run.of_kind("jam") for run in runs] for runs in with_kind]
    alone = auc_micro(with_kind[1][0].score, with_kind[1][0].label)
    assert mean_interval(jams, num_resamples=20).estimate == pytest.approx(alone, abs=1e-12)
    assert np.isnan(mean_interval(without, num_resamples=20).estimate)  # kinds are not known


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_monotone_transforms_change_nothing_and_flipped_labels_mirror(number):
    rng = np.random.default_rng(number)
    scenes = [simulate(rng, num_videos=4, frames=8, num_seeds=2) for _ in range(2)]
    scenes = [[changed(run, score=run.score.round(1)) for run in runs] for runs in scenes]  # ties
    other = weaker(scenes, 0.5)
    stretched = [[changed(run, score=np.exp(run.score) * 3 - 7) for run in runs] for runs in scenes]
    flipped = [[changed(run, label=1 - run.label) for run in runs] for runs in scenes]
    few = {"num_resamples": 30}
    mean, mirrored = mean_interval(scenes, **few), mean_interval(flipped, **few)
    assert ends(mean_interval(stretched, **few)) == pytest.approx(ends(mean), abs=1e-9)
    assert ends(mirrored) == pytest.approx(
        [1 - mean.high, 1 - mean.low, 1 - mean.estimate], abs=1e-9
    )
    found = difference_interval(scenes, other, **few)
    assert ends(difference_interval(stretched, other, **few)) == pytest.approx(
        ends(found), abs=1e-9
    )
    back = difference_interval(other, scenes, **few)
    assert ends(back) == pytest.approx([-found.high, -found.low, -found.estimate], abs=1e-9)


def changed(run, **columns):
    return dataclasses.replace(run, **columns)


def ends(interval):
    return [interval.low, interval.high, interval.estimate]


def test_one_scene_with_too_few_videos_leaves_the_mean_without_an_interval():
    rng = np.random.default_rng(7)
    many, one = simulate(rng), simulate(rng, num_videos=1)
    assert np.isfinite(mean_interval([many]).low)
    for interval in (mean_interval([many, one]), difference_interval([one], weaker([one], 0.5))):
        assert np.isfinite(interval.estimate)
        assert np.isnan([interval.low, interval.high]).all()


def test_what_cannot_be_compared_is_refused():
    (run,) = simulate(np.random.default_rng(9), num_seeds=1)
    other = Judgement(run.score, 1 - run.label, run.video, run.frame)
    with pytest.raises(ValueError, match="not made on the same dataset"):
        on_common_frames([run, other])
    twice = run.select(np.r_[0, np.arange(len(run.label))])
    with pytest.raises(ValueError, match="1 frames stand twice"):
        on_common_frames([twice])
    with pytest.raises(ValueError, match=r"\[1\] and \[2\]; pair equal ones"):
        difference_interval([[run]], [[run, run]])
