"""Evaluation without a model: what is refused before predicting, and what is said of odd test sets."""

from types import SimpleNamespace

import numpy as np
import pytest
from etils import epath

from ipad_jax.config import load_config
from ipad_jax.evaluate import check_test_split, measure, rescore, summary_text
from ipad_jax.evaluation_report import roc_curves, warnings_of
from ipad_jax.input.source import Video
from ipad_jax.video.calibration import Calibration
from ipad_jax.video.frame_scores import FrameScores


def source(*videos):
    """Test videos from (length, label of all frames)."""
    return SimpleNamespace(
        path="press7",
        videos=tuple(Video(f"v{i}", 0, n, 25.0, None) for i, (n, _) in enumerate(videos)),
        column=lambda name: [np.full(n, label) for n, label in videos],
    )


def table(label, score=None):
    label = np.asarray(label)
    n = len(label)
    values = np.random.default_rng(0).normal(0.2, 0.02, n) if score is None else score
    return FrameScores(
        video=np.arange(n) // 50,
        frame=np.arange(n) % 50,
        time_s=np.arange(n) % 50 / 25,
        label=label,
        kind=np.maximum(label, 0),
        cycle=np.full(n, -1),
        position=np.zeros(n),
        components={"pooled_mean": values},
        video_names=tuple(f"v{i}" for i in range(n // 50)),
        kinds=("normal", "jam"),
        fps=(25.0,) * (n // 50),
        stride=2,
    )


def evaluation_of(folder, label, score=None):
    calibration = Calibration.fit(table(np.zeros(500)), {"pooled_mean": 1.0})
    config = load_config("video_folder:tiny")
    return measure(epath.Path(folder), config, table(label, score), calibration)


def text_of(folder, label, score=None):
    return summary_text(evaluation_of(folder, label, score))


def test_nothing_to_judge_is_refused_before_predicting():
    with pytest.raises(ValueError, match=r"it has no test videos"):
        check_test_split(source(), 16)
    with pytest.raises(ValueError, match=r"2 shorter than a clip of 16 .*v0 \(15\), v1 \(3\)"):
        check_test_split(source((15, 0), (3, 1)), 16)
    with pytest.raises(ValueError, match="no test frame that can be scored has a label"):
        check_test_split(source((15, 1), (40, -1)), 16)


def test_short_test_videos_are_counted_and_named():
    assert check_test_split(source((16, 0), (40, 1)), 16) == ""
    note = check_test_split(source((15, 0), (40, 1)), 16)
    assert "1 shorter than a clip of 16 frames" in note
    assert "v0 (15)" in note


def test_a_table_without_a_judged_frame_says_what_was_left_out(tmp_path):
    with pytest.raises(ValueError, match=r"No frame can be judged; left out: 100 unscored"):
        text_of(tmp_path, np.zeros(100), np.full(100, np.nan))


def test_normal_footage_alone_has_false_alarms_and_no_auc(tmp_path):
    text = text_of(tmp_path, np.zeros(100))
    assert "no frame AUC: all frames are normal" in text
    assert "false alarms per hour of normal time" in text
    assert "faults found" not in text
    assert "nan" not in text


def test_faults_alone_have_recall_and_no_false_alarms(tmp_path):
    text = text_of(tmp_path, np.ones(100), np.full(100, 9.0))
    assert "no frame AUC: all frames are anomalous" in text
    assert "at the threshold: 100.0 % of faults found, half of them within 0.00 s" in text
    assert "nan" not in text


@pytest.mark.parametrize(("label", "only"), [(0, "normal"), (1, "anomalous")])
def test_the_report_of_one_class_has_no_curve_and_says_so(tmp_path, label, only):
    found = evaluation_of(tmp_path, np.full(100, label))
    assert roc_curves(found.judged) == {}
    warnings = warnings_of(found.calibration, found.metrics)
    assert f"All test frames are {only}: an AUC needs both." in warnings
    assert any("rests on only 10 normal videos" in warning for warning in warnings)


def test_numbers_have_their_unit(tmp_path):
    label = np.arange(100) >= 50
    text = text_of(tmp_path, label.astype(int), np.where(label, 9.0, 0.2))
    assert "frame AUC 100.0 % micro" in text
    assert "average precision 100.0 %" in text
    assert "macro" not in text  # no video holds both classes
    assert "–" not in text


def test_leaves_that_change_predictions_are_refused_for_a_saved_table(tmp_path):
    with pytest.raises(ValueError, match=r"eval.pool_px changes the predictions"):
        rescore(tmp_path, tmp_path / "scores.npz", name="x", overrides={"pool_px": 5})
