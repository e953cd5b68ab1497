"""metrics.json: the promised names, strict JSON, and numbers that agree with their parts."""

import json
import math

import numpy as np
import pytest

from ipad_jax.evaluation import ranking
from ipad_jax.evaluation.summary import scene_mean, summarise, to_json

# config_hash and checkpoint_step come from the run
NAMES = {
    "protocol", "auc_micro", "auc_macro", "auc_scene_mean", "auc_interval", "eer",
    "fpr_at_95_recall", "false_positive_bound", "average_precision", "num_videos", "num_frames",
    "num_anomalous", "by_kind", "false_alarms_per_hour", "event_recall", "detection_delay_s",
    "threshold", "seed",
}  # fmt: skip


def data(num_videos=6, frames=50, seed=0):
    rng = np.random.default_rng(seed)
    video = np.repeat(np.arange(num_videos), frames)
    frame = np.tile(np.arange(frames), num_videos)
    label = ((frame >= 20) & (frame < 30) & (video % 2 == 1)).astype(int)
    return rng.normal(size=len(video)) + 2 * label, label, video, frame, [10.0] * num_videos


def test_has_every_promised_name():
    score, label, video, frame, fps = data()
    metrics = summarise(
        score, label, video, frame, fps, protocol="strict", kind=label, kinds=("normal", "jam"),
        threshold=1.5, false_positive_bound=0.26, left_out={"unscored": 3},
        extra={"config_hash": "abc", "checkpoint_step": 7},
    )  # fmt: skip
    assert set(metrics) >= NAMES | {"config_hash", "checkpoint_step", "left_out"}
    assert metrics["auc_micro"] == ranking.auc_micro(score, label)
    assert math.isnan(metrics["auc_scene_mean"])  # one scene is no mean of scenes
    assert (metrics["num_videos"], metrics["num_frames"], metrics["num_anomalous"]) == (6, 300, 30)
    assert (metrics["auc_macro_videos"], metrics["auc_macro_skipped"]) == (3, 3)
    assert metrics["by_kind"]["jam"]["num_videos"] == 3
    assert metrics["left_out"] == {"unscored": 3}
    assert "videos of one class are skipped" in metrics["auc_macro_rule"]
    low, high = metrics["false_alarms_interval"]
    assert low < metrics["false_alarms_per_hour"] < high
    low, high = metrics["event_recall_interval"]
    assert low < metrics["event_recall"] <= high


def test_scene_mean_is_the_mean_of_the_scenes_not_of_the_frames():
    score, label, video, frame, fps = data()
    score = np.where(video < 4, score, -score)  # the second scene is ranked upside down
    parts = {
        name: summarise(score[at], label[at], video[at], frame[at], fps, protocol="paper")
        for name, at in (("S01", video < 4), ("S02", video >= 4))
    }
    expected = (parts["S01"]["auc_micro"] + parts["S02"]["auc_micro"]) / 2
    assert scene_mean(parts) == pytest.approx(expected)
    stored = {name: json.loads(to_json(part)) for name, part in parts.items()}
    assert scene_mean(stored) == pytest.approx(expected)
    assert expected != pytest.approx(ranking.auc_micro(score, label), abs=1e-3)


def test_scene_mean_never_averages_over_a_gap():
    metrics = summarise(*data(), protocol="paper")
    with pytest.raises(ValueError, match="No scenes"):
        scene_mean({})
    with pytest.raises(ValueError, match="No frame AUC of S02"):
        scene_mean({"S01": metrics, "S02": metrics | {"auc_micro": None}})
    with pytest.raises(ValueError, match=r"protocols \['paper', 'strict'\]"):
        scene_mean({"S01": metrics, "S02": metrics | {"protocol": "strict"}})


def test_without_a_threshold_there_are_no_alarms_to_count():
    metrics = summarise(*data(), protocol="paper")
    for name in ("threshold", "false_alarms_per_hour", "event_recall", "detection_delay_s"):
        assert math.isnan(metrics[name])


def test_json_is_strict_and_nan_becomes_null():
    score, label, video, frame, fps = data()
    text = to_json(summarise(score, 0 * label, video, frame, fps, protocol="strict"))

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
        summarise(*data(), protocol="strict", extra={"auc_micro": 1.0})
