"""metrics.json: the promised names, strict JSON, and numbers that agree with their parts."""

import dataclasses
import json
import math

import numpy as np
import pytest

from ipad_jax.evaluation import ranking
from ipad_jax.evaluation.alarm_rule import AlarmRule
from ipad_jax.evaluation.events import events_of
from ipad_jax.evaluation.summary import ScoredFrames, summarise, to_json

# config_hash and checkpoint_step come from the run
NAMES = {
    "protocol", "auc_micro", "auc_macro", "auc_interval", "eer",
    "fpr_at_95_recall", "false_positive_bound", "average_precision", "num_videos", "num_frames",
    "num_anomalous", "by_kind", "normal_time_in_alarm", "false_alarms_per_hour", "event_recall",
    "detection_delay_s",
    "threshold", "seed",
}  # fmt: skip


def data(num_videos=6, frames=50, seed=0):
    rng = np.random.default_rng(seed)
    video = np.repeat(np.arange(num_videos), frames)
    frame = np.tile(np.arange(frames), num_videos)
    label = ((frame >= 20) & (frame < 30) & (video % 2 == 1)).astype(int)
    score = rng.normal(size=len(video)) + 2 * label
    return ScoredFrames(score, label, video, frame, [10.0] * num_videos, label, ("normal", "jam"))


def test_has_every_promised_name():
    metrics = summarise(
        data(),
        protocol="strict",
        threshold=1.5,
        events=events_of(data().score, data().video, data().frame, data().fps, AlarmRule(1.5)),
        false_positive_bound=0.26,
        left_out={"unscored": 3},
        extra={"config_hash": "abc", "checkpoint_step": 7},
    )
    assert set(metrics) >= NAMES | {"config_hash", "checkpoint_step", "left_out"}
    assert metrics["auc_micro"] == ranking.auc_micro(data().score, data().label)
    assert (metrics["num_videos"], metrics["num_frames"], metrics["num_anomalous"]) == (6, 300, 30)
    assert (metrics["auc_macro_videos"], metrics["auc_macro_skipped"]) == (3, 3)
    assert metrics["by_kind"]["jam"]["num_videos"] == 3
    assert metrics["left_out"] == {"unscored": 3}
    assert "videos of one class are skipped" in metrics["auc_macro_rule"]
    low, high = metrics["false_alarms_interval"]
    assert low < metrics["false_alarms_per_hour"] < high
    low, high = metrics["event_recall_interval"]
    assert low < metrics["event_recall"] <= high


def test_without_a_threshold_there_are_no_alarms_to_count():
    metrics = summarise(data(), protocol="paper")
    for name in ("threshold", "false_alarms_per_hour", "event_recall", "detection_delay_s"):
        assert math.isnan(metrics[name])


def test_json_is_strict_and_nan_becomes_null():
    normal = dataclasses.replace(data(), label=0 * data().label)
    text = to_json(summarise(normal, protocol="strict"))

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    content = json.loads(text, parse_constant=refuse)
    assert content["auc_micro"] is None
    assert content["auc_interval"] == [None, None]
    assert json.loads(to_json({"a": np.float32(1.5), "b": np.int64(2), "c": np.arange(2)})) == {
        "a": 1.5,
        "b": 2,
        "c": [0, 1],
    }


def test_extra_entries_may_not_hide_a_metric():
    with pytest.raises(ValueError, match=r"\['auc_micro'\] would hide"):
        summarise(data(), protocol="strict", extra={"auc_micro": 1.0})
