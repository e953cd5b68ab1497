"""A method that predicts frames from those before: the same commands, the same scores in all of them."""

import jax
import numpy as np
import pytest
from moving import write_moving

from ipad_jax.input.split import open_split
from ipad_jax.run.config import load_config
from ipad_jax.training.checkpoints import restore_for_inference
from ipad_jax.training.logs import read_metrics
from ipad_jax.training.loop import train
from ipad_jax.video.detector import load
from ipad_jax.video.evaluation.judge_run import evaluate
from ipad_jax.video.scores.frame_scores import FrameScores

pytestmark = pytest.mark.slow  # trains

LENGTH = 36  # frames, three cycles


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("dmad")
    write_moving(root / "data", "factory", "arm_synthetic", length=LENGTH, num_train=6)
    overrides = {"total_steps": 2, "log_every": 1, "eval_every": 2, "num_devices": 1}
    overrides |= {"data.data_dir": str(root / "data"), "eval.batch_size": 4}
    summary = train(load_config("dmad:factory,tiny", overrides), root / "run")
    assert (summary.reason, summary.step) == ("finished", 2)
    return root / "run"


@pytest.fixture(scope="module")
def evaluation(run):
    return evaluate(run)


def test_it_trains_and_is_restored_without_a_phase(run):
    rows = read_metrics(run)
    assert [row["step"] for row in rows if "loss" in row] == [1, 2]
    assert [row["step"] for row in rows if "val/loss" in row] == [2]
    config, task, model, step = restore_for_inference(run)
    assert (step, config.task) == (2, "video.dmad")
    clip = np.full((2, config.data.clip_len, 32, 32, 3), 100, np.uint8)
    found = jax.jit(lambda clip: task.predict_fn(model, {"clip": clip}))(clip)
    assert np.isnan(found["phase"]).all()
    np.testing.assert_array_equal(found["mse"][0], found["mse"][1])  # nothing random is left


def test_evaluation_judges_all_but_the_first_frames(run, evaluation):
    scores = FrameScores.load(evaluation.folder / "scores.npz")
    for name in ("psnr_mean", "psnr_centre", "pooled_mean", "deformation"):
        column = scores.components[name]
        np.testing.assert_array_equal(np.isfinite(column), scores.frame >= 4, err_msg=name)
    assert np.isnan(scores.components["nearest"]).all()
    assert evaluation.metrics["left_out"]["unscored"] == 2 * 4
    assert evaluation.metrics["num_frames"] == 2 * (LENGTH - 4)
    assert {"the score: components fused", "deformation, locally pooled"} <= {
        row.name for row in evaluation.rows
    }
    assert evaluation.calibration.weights == {
        "deformation": 0.2, "psnr_mean": 0.4, "pooled_mean": 0.6
    }  # fmt: skip
    assert (evaluation.folder / "report.html").exists()


def test_protocol_paper_takes_the_predicted_frame_as_the_centre(run):
    metrics = evaluate(run, overrides={"protocol": "paper"}, report=False).metrics
    assert metrics["num_frames"] == 2 * (LENGTH - 4)
    assert metrics["deviations"] == []


def test_the_live_detector_gives_the_same_rows(run, evaluation):
    scores = FrameScores.load(evaluation.folder / "scores.npz")
    detector = load(run)
    source = open_split(detector.config, "test")
    rows = list(
        detector.stream(source.frames(0, range(LENGTH)), pictures=True, prepare=lambda frame: frame)
    )
    assert [row.frame for row in rows] == list(range(LENGTH))
    for name in ("psnr_mean", "pooled_mean", "deformation"):
        found = np.array([row.components[name] for row in rows])
        # another batch size: float32 sums in another order
        np.testing.assert_allclose(found, scores.components[name][:LENGTH], rtol=1e-3, err_msg=name)
    assert [row.pictures is None for row in rows] == [True] * 4 + [False] * (LENGTH - 4)
    assert not any(row.alarm for row in rows[:4])
