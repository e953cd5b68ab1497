"""Calibration: robust location and scale, the thresholds for a wish, and what they rest on."""

import dataclasses
import math

import numpy as np
import pytest

from ipad_jax.video.scores.aggregate import FrameRows
from ipad_jax.video.scores.calibration import (
    FORMAT,
    Calibration,
    Wish,
    fuse,
    standardise,
)
from ipad_jax.video.scores.components import ABSOLUTE_FLOOR, USUAL
from ipad_jax.video.scores.frame_scores import FrameScores
from ipad_jax.video.scores.normal_units import unit_maxima

WEIGHTS = {"pooled_mean": 1.0, "period_error": 0.5}


def table(num_videos=6, frames=100, cycle_frames=50, stride=1, seed=0, **components):
    rng = np.random.default_rng(seed)
    n = num_videos * frames
    frame = np.tile(np.arange(frames), num_videos)
    values = {
        "psnr_mean": rng.normal(30, 2, n),
        "pooled_mean": rng.normal(0.2, 0.02, n),
        "period_error": rng.normal(3, 1, n),
        "phase": rng.uniform(size=n),
    } | components
    return FrameScores(
        video=np.repeat(np.arange(num_videos), frames),
        frame=frame,
        time_s=frame / 25,
        label=np.zeros(n),
        kind=np.zeros(n),
        cycle=frame // cycle_frames if cycle_frames else np.full(n, -1),
        position=frame % stride,
        components=values,
        video_names=tuple(f"v{i}" for i in range(num_videos)),
        fps=(25.0,) * num_videos,
        made_with={"eval.stride": stride},
    )


def test_standardised_normal_footage_has_centre_0_and_spread_1():
    normal = table()
    calibration = Calibration.fit(normal, WEIGHTS)
    for name in ("psnr_mean", "pooled_mean", "period_error"):
        z = standardise(name, normal, calibration)
        assert np.median(z) == pytest.approx(0, abs=1e-6)
        assert 1.4826 * np.median(np.abs(z)) == pytest.approx(1, abs=1e-6)
        assert z.std() == pytest.approx(1, abs=0.1)  # 600 normal draws


def test_a_few_outliers_hardly_move_it():
    normal = table()
    values = normal.components["pooled_mean"].copy()
    values[:30] = 1.0  # 5 % of the frames
    a = Calibration.fit(normal, WEIGHTS).components["pooled_mean"]
    b = Calibration.fit(table(pooled_mean=values), WEIGHTS).components["pooled_mean"]
    assert b.location == pytest.approx(a.location, abs=0.003)  # a sixth of the spread
    assert b.scale == pytest.approx(a.scale, rel=0.15)


def test_a_bad_reconstruction_scores_high():
    calibration = Calibration.fit(table(), {"psnr_mean": 1.0})
    low = table(psnr_mean=np.full(600, 20.0))
    assert (standardise("psnr_mean", low, calibration) > 3).all()


def test_a_component_that_never_varies_gets_the_floor():
    calibration = Calibration.fit(table(pooled_mean=np.full(600, 0.01)), WEIGHTS)
    assert calibration.components["pooled_mean"].scale == ABSOLUTE_FLOOR["pooled_mean"]
    large = Calibration.fit(table(psnr_mean=np.full(600, 40.0)), WEIGHTS)
    assert large.components["psnr_mean"].scale == pytest.approx(0.4)  # 1 % of its size


def test_what_counts_beyond_the_usual_is_0_up_to_it_and_keeps_its_order_above():
    fast = np.random.default_rng(1).gamma(2, 0.05, 600)
    normal = table(stride=2, fastest=fast)
    calibration = Calibration.fit(normal, {"pooled_mean": 1.0, "fastest": 3.0})
    usual = np.quantile(fast, USUAL)
    found = standardise("fastest", normal, calibration)
    assert (found == 0).mean() == pytest.approx(USUAL, abs=1 / 600)
    assert not calibration.components["fastest"].by_position  # it knows no clips
    more = np.linspace(usual, 10 * usual, 600)
    rising = standardise("fastest", table(stride=2, fastest=more), calibration)
    np.testing.assert_allclose(
        rising, (more - usual) / calibration.components["fastest"].scale, rtol=1e-5, atol=1e-5
    )


def test_footage_as_fast_as_usual_scores_as_without_the_fastest_place():
    weights = {"pooled_mean": 1.0, "fastest": 3.0}
    normal = table(fastest=np.random.default_rng(1).uniform(0.1, 0.2, 600))
    calibration = Calibration.fit(normal, weights)
    slow, first = np.full(600, 0.15), np.full(600, np.nan)  # a video's first frame has none
    expected = fuse(table(fastest=slow), calibration, {"pooled_mean": 1.0})
    for values in (slow, first):
        np.testing.assert_array_equal(fuse(table(fastest=values), calibration), expected)


def test_positions_are_calibrated_apart_where_they_have_30_frames():
    position = np.tile(np.arange(100), 6) % 4
    drift = 0.2 + 0.1 * position + np.random.default_rng(0).normal(0, 0.01, 600)
    normal = table(stride=4, pooled_mean=drift)
    normal.position[:10] = 15  # 10 frames at a video's end: too few for a class of their own
    calibration = Calibration.fit(normal, {"pooled_mean": 1.0})
    statistics = calibration.components["pooled_mean"]
    assert sorted(statistics.by_position) == [0, 1, 2, 3]
    z = standardise("pooled_mean", normal, calibration)
    for place in range(4):
        assert np.median(z[normal.position == place]) == pytest.approx(0, abs=1e-6)
    few = normal.components["pooled_mean"][:10].astype(float)
    pooled = (few - statistics.location) / statistics.scale
    np.testing.assert_allclose(z[:10], pooled, rtol=1e-12)
    assert not Calibration.fit(table(), WEIGHTS).components["pooled_mean"].by_position  # stride 1


def test_fused_is_the_weighted_sum():
    normal = table()
    calibration = Calibration.fit(normal, WEIGHTS)
    expected = standardise("pooled_mean", normal, calibration)
    expected = expected + 0.5 * standardise("period_error", normal, calibration)
    np.testing.assert_allclose(fuse(normal, calibration), expected, rtol=1e-12)


def test_rows_of_a_stream_fuse_like_the_table():
    normal = table()
    calibration = Calibration.fit(normal, WEIGHTS)
    rows = FrameRows(normal.frame, normal.position, normal.components)
    np.testing.assert_array_equal(fuse(rows, calibration), fuse(normal, calibration))


def test_a_missing_period_error_adds_nothing_a_missing_reconstruction_is_unscored():
    calibration = Calibration.fit(table(), WEIGHTS)
    period, pooled = np.full(600, 3.0), np.full(600, 0.2)
    period[0], pooled[1] = np.nan, np.nan
    scores = table(period_error=period, pooled_mean=pooled)
    fused = fuse(scores, calibration)
    assert fused[0] == pytest.approx(standardise("pooled_mean", scores, calibration)[0])
    assert math.isnan(fused[1])
    assert np.isfinite(fused[2:]).all()
    alone = fuse(scores, calibration, {"period_error": 1.0})
    assert math.isnan(alone[0])


def test_a_component_without_values_drops_out_and_is_said():
    normal = table(period_error=np.full(600, np.nan))
    calibration = Calibration.fit(normal, WEIGHTS)
    assert calibration.dropped == ("period_error",)
    assert "Without period_error" in calibration.statement()
    np.testing.assert_array_equal(
        fuse(normal, calibration), standardise("pooled_mean", normal, calibration)
    )


def test_units_are_seconds_or_frames_where_there_are_too_few():
    basis = Calibration.fit(table(), WEIGHTS).basis  # 6 videos of 4 s
    assert (basis.num_units, basis.unit_s, basis.num_short_units) == (24, 1.0, 0)
    assert basis.minutes == pytest.approx(0.4)
    assert basis.files == ("v0", "v1", "v2", "v3", "v4", "v5")
    few = Calibration.fit(table(num_videos=1, frames=60), WEIGHTS).basis
    assert (few.num_units, few.unit_s) == (60, 0.04)


def test_seconds_begin_where_a_held_out_part_does_and_stumps_are_no_units():
    normal = table(num_videos=6, frames=60)  # 25, 25 and 10 frames
    late = dataclasses.replace(normal, frame=normal.frame + 1130)
    maxima, group, basis = unit_maxima(np.arange(360.0), late)
    assert (basis.num_units, basis.num_short_units) == (12, 6)
    assert maxima[:4].tolist() == [24, 49, 84, 109]
    assert group[:4].tolist() == [0, 0, 1, 1]


def test_a_wish_for_fewer_alarms_raises_both_thresholds_and_is_extrapolated():
    normal = table()
    often, rare = (Calibration.fit(normal, WEIGHTS, Wish(rate)) for rate in (1200.0, 120.0))
    assert often.threshold < rare.threshold
    assert often.rule.sustained < rare.rule.sustained
    assert not often.extrapolated
    assert rare.extrapolated
    assert rare.promises
    assert "at most 120 false alarms an hour" in rare.statement()
    assert "Extrapolated" in rare.statement()
    assert "extrapolated from 0.4 minutes" in rare.provisional()
    assert rare.minutes_needed > often.minutes_needed
    assert (often.bound, rare.bound) == (1200 / 3600, 120 / 3600)


@pytest.mark.parametrize("rate", [1e-3, 1e-6])
def test_a_threshold_far_above_all_that_was_seen_is_held_back_and_promises_nothing(rate):
    normal = table()
    rare = Calibration.fit(normal, WEIGHTS, Wish(rate))
    assert rare.single.threshold > rare.threshold
    reach = (rare.threshold - rare.rule.level) / (rare.single.largest - rare.rule.level)
    assert reach == pytest.approx(3)
    assert (rare.promises, rare.bound) == (False, 1.0)
    assert f"and no promise: so little cannot show {rate:g} false alarms" in rare.statement()
    assert "confidence" not in rare.statement()
    assert "a guess from 0.4 minutes" in rare.provisional()


def test_the_statement_says_whose_footage_it_rests_on():
    normal = table()
    same = Calibration.fit(normal, WEIGHTS)
    assert "promises nothing about tomorrow" in same.statement()
    fresh = Calibration.fit(normal, WEIGHTS, days=("2026-11-02",), another_recording=True)
    assert "tomorrow" not in fresh.statement()
    assert "in 6 videos, of 2026-11-02" in fresh.statement()


def test_the_two_rules_share_the_false_alarms():
    normal = table()
    alone = Calibration.fit(normal, WEIGHTS, Wish(2.0, sustained_s=0.0))
    both = Calibration.fit(normal, WEIGHTS, Wish(4.0, sustained_s=1.0))
    assert (alone.sustained, alone.rule.sustained) == (None, math.inf)
    assert both.threshold == alone.threshold
    # a median over a second varies less than a frame: what is unusual for it begins lower
    assert both.rule.sustained < both.threshold


def test_saved_and_loaded_is_the_same(tmp_path):
    calibration = Calibration.fit(table(stride=3, frames=120), WEIGHTS, Wish(1.0, sustained_s=0.0))
    path = tmp_path / "calibration.json"
    calibration.save(path)
    assert Calibration.load(path) == calibration
    assert [p.name for p in tmp_path.iterdir()] == ["calibration.json"]


def test_what_cannot_be_loaded_says_why(tmp_path):
    path = tmp_path / "calibration.json"
    with pytest.raises(FileNotFoundError, match="held out no normal footage"):
        Calibration.load(path)
    Calibration.fit(table(), WEIGHTS).save(path)
    text = path.read_text()
    for broken, message in (
        (text[:-40], "not a calibration"),
        ("[]", "not a calibration"),
        ('{"format": 99}', f"format 99, expected {FORMAT}"),
        (text.replace('"threshold"', '"treshold"'), "treshold"),
    ):
        path.write_text(broken)
        with pytest.raises(ValueError, match=message):
            Calibration.load(path)


def test_bad_input_is_refused():
    normal = table()
    with pytest.raises(ValueError, match=r"No component \['pooled'\].*'pooled_mean'"):
        Calibration.fit(normal, {"pooled": 1.0})
    with pytest.raises(ValueError, match=r"No component \['phase'\]"):
        Calibration.fit(normal, {"phase": 1.0})
    with pytest.raises(ValueError, match="at least one number other than 0"):
        Calibration.fit(normal, {"pooled_mean": 0.0})
    with pytest.raises(ValueError, match="false_alarms_per_hour=0 must be above 0"):
        Calibration.fit(normal, WEIGHTS, Wish(0))
    with pytest.raises(ValueError, match="calibration footage is empty"):
        Calibration.fit(table(pooled_mean=np.full(600, np.nan)), {"pooled_mean": 1.0})
    normal.label[3] = 1
    with pytest.raises(ValueError, match="1 of 600 calibration frames are labelled anomalous"):
        Calibration.fit(normal, WEIGHTS)


def test_footage_whose_score_never_changes_was_not_read():
    def drawn(**columns):
        return dataclasses.replace(table(), components=columns)

    n = len(table())
    still = {"pooled_mean": np.full(n, 0.25), "diff_mean": np.zeros(n)}
    with pytest.raises(ValueError, match=r"the same diff_mean, pooled_mean: it was not read"):
        Calibration.fit(drawn(**still), {"pooled_mean": 1.0})
    moving = np.random.default_rng(0).random(n)
    Calibration.fit(drawn(**still, psnr_mean=moving), {"pooled_mean": 1.0})
