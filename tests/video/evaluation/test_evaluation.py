"""Evaluation without a model: what is refused before predicting, and what is said of odd test sets."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
from etils import epath

from ipad_jax.commands import evaluate as command
from ipad_jax.commands.evaluate import chosen, make_parser
from ipad_jax.evaluation import ranking
from ipad_jax.evaluation.intervals import auc_interval
from ipad_jax.input.frames import Video
from ipad_jax.run.config import load_config, save_config
from ipad_jax.run.provenance import made_with
from ipad_jax.video.evaluation import judge_run as module
from ipad_jax.video.evaluation.judge_run import (
    check_test_split,
    evaluate,
    override_eval,
    rescore,
)
from ipad_jax.video.evaluation.measure import deviations, measure, rows_of, summary_text
from ipad_jax.video.evaluation.report import roc_curves, warnings_of
from ipad_jax.video.normal.stored import Normal
from ipad_jax.video.scores.calibration import Calibration
from ipad_jax.video.scores.frame_scores import PREDICTION_LEAVES, FrameScores
from ipad_jax.video.scores.protocols import judge


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
        components={"pooled_mean": values, "nearest": np.zeros(n)},
        video_names=tuple(f"v{i}" for i in range(n // 50)),
        kinds=("normal", "jam"),
        fps=(25.0,) * (n // 50),
        made_with={"eval.stride": 2},
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
    assert "of normal time in alarm" in text
    # none in 4 s: the Poisson mean is at most 3.69 with 97.5 % confidence
    assert "no false alarm in 0.1 minutes of it, which means at most 3320" in text
    assert "an alarm that is always on has 100.0 % of normal time" in text
    assert "faults found" not in text
    assert "nan" not in text


def test_faults_alone_have_recall_and_no_false_alarms(tmp_path):
    text = text_of(tmp_path, np.ones(100), np.full(100, 9.0))
    assert "no frame AUC: all frames are anomalous" in text
    assert "at the threshold: 100.0 % of faults found (" in text
    assert " to 100.0 %), half of them within 0.00 s" in text
    assert "nan" not in text


@pytest.mark.parametrize(("label", "only"), [(0, "normal"), (1, "anomalous")])
def test_the_report_of_one_class_has_no_curve_and_says_so(tmp_path, label, only):
    found = evaluation_of(tmp_path, np.full(100, label))
    assert roc_curves(found.judged) == {}
    warnings = warnings_of(found.calibration, found.metrics)
    assert f"All test frames are {only}: an AUC needs both." in warnings
    assert any("thresholds are a guess from" in warning for warning in warnings)


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


def run_of(folder, spec="video_folder:tiny", **overrides):
    """A run folder's config.json; no checkpoint."""
    save_config(folder, load_config(spec, overrides))
    return folder


@pytest.fixture
def model_free(monkeypatch):
    """`evaluate` without a model: predictions are a table at the stride asked for."""

    def score(config, *_):
        label = np.arange(200) % 50 >= 40
        scored = np.where(label, 9.0, 0.2)
        return dataclasses.replace(
            table(label, scored),
            components={"psnr_centre": -scored, "pooled_mean": scored},
            made_with=made_with(config, PREDICTION_LEAVES, 20),
        )

    def restore(workdir, step):
        return module.read_config(workdir), None, None, 20

    monkeypatch.setattr(module, "restore_for_inference", restore)
    monkeypatch.setattr(module, "footage_of", lambda *_: None)
    monkeypatch.setattr(module, "open_split", lambda *_: source((50, 0)))
    monkeypatch.setattr(module, "load_predictor", lambda *_: SimpleNamespace(normal=Normal()))
    monkeypatch.setattr(module.SharedWork, "score_fn", lambda *_: score)
    monkeypatch.setattr(module, "calibration_of", lambda *_: None)  # nothing held out


def test_results_go_to_the_protocols_folder_from_python_as_from_the_command(tmp_path, model_free):
    workdir = run_of(tmp_path, "ipad:paper,tiny")
    assert evaluate(workdir, report=False).folder == tmp_path / "eval" / "paper"
    assert command.main(["--workdir", str(workdir), "--no-report"]) == 0
    assert [folder.name for folder in (tmp_path / "eval").iterdir()] == ["paper"]
    saved = tmp_path / "eval" / "paper" / "scores.npz"
    assert rescore(workdir, saved).folder == tmp_path / "eval" / "paper_rescored"


def test_the_weights_of_compared_features_are_said(tmp_path, model_free, monkeypatch):
    backbone = SimpleNamespace(note="w.pth, SHA-256 0f: torchvision resnet18.")
    alike = SimpleNamespace(extractor=SimpleNamespace(backbone=backbone))
    predictor = SimpleNamespace(normal=Normal(features=alike))
    monkeypatch.setattr(module, "load_predictor", lambda *_: predictor)
    found = evaluate(run_of(tmp_path, "ipad:paper,tiny"), report=False)
    assert found.notes == ("eval.features: w.pth, SHA-256 0f: torchvision resnet18.",)


def test_scores_of_a_run_from_before_a_leaf_are_judged_again(tmp_path, model_free):
    workdir = run_of(tmp_path, "ipad:paper,tiny")
    config = module.read_config(workdir)
    del config.eval["features_weights"]
    save_config(workdir, config)
    saved = evaluate(workdir, report=False).folder / "scores.npz"
    assert "eval.features_weights" not in FrameScores.load(saved).made_with
    assert rescore(workdir, saved).metrics["auc_micro"] == 1


def test_no_page_or_video_of_an_earlier_evaluation_stays_beside_new_numbers(tmp_path, model_free):
    workdir = run_of(tmp_path, "ipad:paper,tiny")
    folder = evaluate(workdir, report=False).folder
    for name in ("report.html", "01.webm"):
        (folder / name).touch()
    again = rescore(workdir, folder / "scores.npz")
    assert (folder / "report.html").exists()  # numbers made anew go elsewhere
    assert sorted(p.name for p in again.folder.iterdir()) == ["metrics.json"]
    evaluate(workdir, report=False)
    assert sorted(p.name for p in folder.iterdir()) == ["metrics.json", "scores.npz"]


def test_a_run_that_held_nothing_out_is_told_to_take_the_papers_protocol(tmp_path, model_free):
    workdir = run_of(tmp_path, **{"data.holdout_share": 0.0})
    with pytest.raises(ValueError, match=r"held out no normal footage.*--protocol paper.*hold-out"):
        evaluate(workdir, report=False)
    assert not (tmp_path / "eval").exists()
    found = evaluate(workdir, report=False, overrides={"protocol": "paper"})
    assert found.judged.scores.stride == 1
    assert found.metrics["protocol"] == "paper"
    assert found.metrics["deviations"] == []


def test_a_stride_that_is_said_beats_the_protocols_own(tmp_path, model_free, capsys):
    workdir = run_of(tmp_path)
    assert module.read_config(workdir).eval.stride == 2
    told = ["--workdir", str(workdir), "--protocol", "paper", "--no-report"]
    assert command.main(told) == 0
    assert "deviation" not in capsys.readouterr().out
    # The run's own stride, said aloud, is a wish like any other.
    assert command.main([*told, "--config.eval.stride=2"]) == 0
    assert "deviation: protocol paper at stride 2, not the paper's 1" in capsys.readouterr().out
    metrics = json.loads((tmp_path / "eval" / "paper" / "metrics.json").read_text())
    assert len(metrics["deviations"]) == 1


def test_overrides_are_what_was_said_and_nothing_else(tmp_path):
    workdir = str(run_of(tmp_path))
    assert chosen(make_parser().parse_args(["--workdir", workdir]))[1] == {}
    said = ["--config.eval.components.nearest=2.0", "--config.eval.false_alarms_per_hour", "1.0"]
    overrides = chosen(make_parser().parse_args(["--workdir", workdir, *said]))[1]
    assert overrides == {
        "false_alarms_per_hour": 1.0,
        "components": {"nearest": 2.0, "motion": 1.0, "fastest": 3.0},
    }  # the rest stays
    with pytest.raises(ValueError, match=r"eval\.protocol='best'; take paper or strict"):
        override_eval(module.read_config(workdir), {"protocol": "best"})


def test_scoring_again_keeps_the_leaves_that_made_the_table(tmp_path):
    config = override_eval(load_config("video_folder:tiny"), {"protocol": "paper", "stride": 1})
    workdir = run_of(tmp_path)
    label = np.arange(100) % 50 >= 40
    scores = table(label.astype(int))
    components = {**scores.components, "psnr_centre": scores.components["pooled_mean"]}
    made = made_with(config, PREDICTION_LEAVES, 20)
    scores = dataclasses.replace(scores, components=components, made_with=made)
    scores.save(tmp_path / "scores.npz")
    first = measure(epath.Path(tmp_path), config, scores, None)
    again = rescore(workdir, tmp_path / "scores.npz", overrides={"protocol": "paper"})
    assert again.metrics["config_hash"] == first.metrics["config_hash"]
    with pytest.raises(ValueError, match=r"eval\.stride changes the predictions"):
        rescore(workdir, tmp_path / "scores.npz", overrides={"stride": 1})


def test_untrained_rows_are_as_raw_in_the_table_as_in_the_roc():
    rng = np.random.default_rng(0)
    label = (np.arange(500) % 50 >= 40).astype(int)
    drawn = dataclasses.replace(
        table(label),
        position=np.arange(500) % 2,
        components={"pooled_mean": rng.random(500), "diff_pooled": rng.random(500)},
    )
    # Normal footage whose two positions differ: standardising by them changes every order.
    normal = dataclasses.replace(drawn, label=np.zeros(500))
    normal.components["diff_pooled"][1::2] *= 20
    calibration = Calibration.fit(normal, {"pooled_mean": 1.0})
    judged = judge(drawn, "strict", calibration=calibration)
    rows = {row.name: row for row in rows_of(judged, calibration, {"pooled_mean": 1.0}, seed=3)}
    fpr, tpr = roc_curves(judged)["frame difference, no training"]
    row = rows["frame difference, locally pooled"]
    assert row.is_untrained
    assert row.metrics["auc_micro"] == pytest.approx(np.trapezoid(tpr, fpr))
    raw = drawn.components["diff_pooled"]
    assert row.metrics["auc_micro"] == pytest.approx(ranking.auc_micro(raw, label))
    # One bootstrap for the headline and the rows: the config's seed.
    expected = auc_interval(raw, label, drawn.video, seed=3)
    assert row.metrics["auc_interval"] == [expected.low, expected.high]


def test_the_rows_use_the_bootstrap_of_the_headline(tmp_path):
    label = (np.arange(500) % 50 >= 40).astype(int)
    config = load_config("video_folder:tiny", {"seed": 7})
    calibration = Calibration.fit(table(np.zeros(500)), {"pooled_mean": 1.0})
    metrics = measure(epath.Path(tmp_path), config, table(label), calibration).metrics
    assert metrics["rows"]["the score: components fused"]["auc_interval"] == metrics["auc_interval"]


def test_a_score_of_nothing_but_the_period_error_is_measured():
    """The other weighted component has no values, such as `nearest` where `eval.nearest_px` is 0."""
    rng = np.random.default_rng(1)
    label = (np.arange(500) % 50 >= 40).astype(int)
    weights = {"nearest": 1.0, "period_error": 0.3}

    def drawn(label):
        columns = {"nearest": np.full(500, np.nan), "period_error": rng.random(500) + label}
        return dataclasses.replace(table(label), components=columns)

    calibration = Calibration.fit(drawn(np.zeros(500)), weights)
    assert calibration.dropped == ("nearest",)
    judged = judge(drawn(label), "strict", calibration=calibration)
    names = [row.name for row in rows_of(judged, calibration, weights, seed=0)]
    assert names == ["the score: components fused", "period error"]


def test_an_added_period_error_is_said(tmp_path):
    scores = dataclasses.replace(table(np.zeros(50)), made_with={})
    scores.components["psnr_centre"] = scores.components["pooled_mean"]
    judged = judge(scores, "paper")
    assert deviations(judged, 0.0) == []
    assert "period error added at weight 0.5" in deviations(judged, 0.5)[0]
