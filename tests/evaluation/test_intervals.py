"""Bootstrap over videos: exact against slow resampling, and it covers what it says."""

import numpy as np
import pytest

from ipad_jax.evaluation.intervals import (
    auc_interval,
    pair_table,
    resample_counts,
    weighted_auc,
)
from ipad_jax.evaluation.ranking import auc_micro


def simulate(rng, num_videos, frames=30, spread=0.7):
    """Scores with a shift of each video's own, so that frames of one video hang together."""
    video = np.repeat(np.arange(num_videos), frames)
    label = (rng.uniform(size=len(video)) < 0.3).astype(int)
    shift = rng.normal(0, spread, num_videos)[video]
    strength = rng.normal(1.2, spread, num_videos)[video]
    return rng.normal(size=len(video)) + shift + strength * label, label, video


def test_reweighting_the_table_equals_copying_the_videos():
    rng = np.random.default_rng(0)
    score, label, video = simulate(rng, 5, frames=12)
    score = score.round()  # ties
    table = pair_table(score, label, video)
    for counts in resample_counts(5, 20, seed=1):
        rows = np.concatenate(
            [np.flatnonzero(video == v) for v in range(5) for _ in range(int(counts[v]))]
        )
        fast = weighted_auc(counts[None], *table)[0]
        assert fast == pytest.approx(auc_micro(score[rows], label[rows]), abs=1e-12)


def test_estimate_is_the_micro_auc_and_lies_inside():
    score, label, video = simulate(np.random.default_rng(1), 20)
    interval = auc_interval(score, label, video)
    assert interval.estimate == pytest.approx(auc_micro(score, label), abs=1e-12)
    assert interval.low < interval.estimate < interval.high
    assert interval.num_videos == 20


def test_same_seed_same_interval():
    data = simulate(np.random.default_rng(2), 8)
    assert auc_interval(*data, seed=3) == auc_interval(*data, seed=3)
    assert auc_interval(*data, seed=3) != auc_interval(*data, seed=4)


def test_covers_at_about_the_stated_rate():
    # the truth is the AUC over very many videos; 200 data sets of 30 videos each
    truth = auc_micro(*simulate(np.random.default_rng(9), 4000)[:2])
    hits = 0
    for seed in range(200):
        data = simulate(np.random.default_rng(100 + seed), 30)
        interval = auc_interval(*data, seed=seed, num_resamples=400)
        hits += interval.low <= truth <= interval.high
    # 95 % wanted; percentile intervals of 30 units run a little low, and 200 trials vary by +-3 %
    assert 0.88 <= hits / 200 <= 0.99


def test_frames_resampled_alone_would_be_too_sure():
    # why videos: with a shift per video the interval is several times the one of single frames
    score, label, video = simulate(np.random.default_rng(5), 12, spread=1.5)
    by_video = auc_interval(score, label, video)
    by_frame = auc_interval(score, label, np.arange(len(score)))
    assert by_video.high - by_video.low > 2 * (by_frame.high - by_frame.low)


def test_one_class_has_no_interval():
    interval = auc_interval(np.arange(4.0), np.zeros(4, int), np.array([0, 0, 1, 1]))
    assert np.isnan([interval.low, interval.high, interval.estimate]).all()
    assert interval.num_resamples == 0


@pytest.mark.parametrize("videos", [(0, 0, 0, 0), (0, 0, 1, 1)])
def test_too_few_videos_have_an_estimate_and_no_interval(videos):
    # one video, or one of each class: every draw that holds both classes is the data itself
    score, label = np.array([0.1, 0.4, 0.3, 0.9]), np.array([0, 0, 1, 1])
    interval = auc_interval(score, label, np.array(videos))
    assert interval.estimate == 0.75
    assert np.isnan([interval.low, interval.high]).all()
    mixed = auc_interval(score, label, np.array([0, 1, 0, 1]))
    assert mixed.low < mixed.high


def test_resamples_without_a_class_are_not_counted():
    # one video holds all anomalous frames: a resample misses it with probability (1 - 1/4)^4 = 0.32
    score, video = np.arange(8.0), np.repeat(np.arange(4), 2)
    label = (video == 3).astype(int)
    interval = auc_interval(score, label, video, num_resamples=2000)
    assert 0.6 < interval.num_resamples / 2000 < 0.76


def test_bad_level_is_refused():
    with pytest.raises(ValueError, match="level=95"):
        auc_interval(np.arange(2.0), np.array([0, 1]), np.array([0, 1]), level=95)
