"""Evaluation of a trained run: files, names, protocols, and scoring again without the model."""

import importlib.util
import json
import shutil
from functools import partial

import cv2
import numpy as np
import pytest
from flax import nnx

from ipad_jax.commands import bench
from ipad_jax.commands import evaluate as evaluate_command
from ipad_jax.evaluation.summary import to_json
from ipad_jax.main import main
from ipad_jax.performance import evaluation as evaluation_bench
from ipad_jax.performance import learning, reconstruction
from ipad_jax.run.config import load_config, read_config, save_config
from ipad_jax.training.checkpoint_files import complete_steps
from ipad_jax.training.checkpoints import restore_for_inference
from ipad_jax.training.loop import train
from ipad_jax.training.state import named_leaves
from ipad_jax.video.detector import load
from ipad_jax.video.detector.calibration_files import calibration_made_with, is_current
from ipad_jax.video.evaluation import judge_run, measure, report, videos
from ipad_jax.video.scores.aggregate import psnr
from ipad_jax.video.scores.frame_scores import FrameScores

PROMISED = {
    "protocol", "auc_micro", "auc_macro", "auc_interval", "eer",
    "fpr_at_95_recall", "false_positive_bound", "average_precision", "num_videos", "num_frames",
    "num_anomalous", "by_kind", "false_alarms_per_hour", "event_recall", "detection_delay_s",
    "threshold", "config_hash", "checkpoint_step", "seed",
}  # fmt: skip

pytestmark = pytest.mark.slow
needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="torch is not installed"
)


@pytest.fixture(scope="module")
def evaluated(run):
    """(workdir, evaluation) by the run's own config, with report."""
    workdir, _ = run
    return workdir, judge_run.evaluate(workdir, name="full")


def test_files_and_names(evaluated):
    workdir, evaluation = evaluated
    folder = workdir / "eval" / "full"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics.keys() >= PROMISED
    assert (metrics["num_videos"], metrics["num_anomalous"]) == (2, 20)
    assert metrics["num_frames"] == 2 * 61
    page = (folder / "report.html").read_text()
    assert 'src="http' not in page
    assert 'href="http' not in page
    for name in ("normal-a", "square-b"):
        video = cv2.VideoCapture(str(folder / f"{name}.webm"))
        assert video.read()[0]
    text = measure.summary_text(evaluation)
    assert "frame difference, locally pooled" in text
    assert "no training" in text


def test_scoring_again_needs_no_model_and_says_the_same(evaluated, monkeypatch):
    workdir, evaluation = evaluated
    monkeypatch.setattr(judge_run, "restore_for_inference", None)
    again = judge_run.rescore(workdir, workdir / "eval" / "full" / "scores.npz", name="again")
    assert to_json(again.metrics) == to_json(evaluation.metrics)
    other = {"components": {"psnr_mean": 1.0}}
    psnr = judge_run.rescore(
        workdir, workdir / "eval" / "full" / "scores.npz", name="psnr", overrides=other
    )
    np.testing.assert_allclose(
        psnr.metrics["auc_micro"], evaluation.metrics["rows"][ROW_OF_PSNR]["auc_micro"]
    )


def test_the_detection_bench_judges_as_evaluate_does(evaluated, capsys):
    workdir, _ = evaluated
    more = ["--frames", "40", "--stride", "2", "4", "--batch", "2", "--repeats", "1"]
    assert bench.main(["detection", "--workdir", str(workdir), *more]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if " of " in line]
    rows = {int(words[-9]): words for words in lines if words[-2] == "of"}
    assert rows.keys() == {1, 2, 4}
    for stride, words in rows.items():
        metrics = json.loads((workdir / f"eval/bench_stride{stride}/metrics.json").read_text())
        assert metrics["protocol"] == "strict"
        assert words[-5] == f"{metrics['auc_micro']:.3f}"
    assert rows[2][-5] == f"{evaluated[1].metrics['auc_micro']:.3f}"  # the config's own stride


def test_the_evaluate_bench_splits_it_by_its_parts(evaluated, monkeypatch, capsys):
    """By a clock that moves while a part runs alone: each is charged with its own."""
    workdir, _ = evaluated  # it has its calibration
    now = [3.0]
    monkeypatch.setattr(evaluation_bench, "cpu_seconds", lambda: now[0])

    def spending(module, name, seconds):
        function = getattr(module, name)

        def slow(*args, **kwargs):
            now[0] += seconds
            return function(*args, **kwargs)

        monkeypatch.setattr(module, name, slow)

    for module, name, seconds in (
        (judge_run, "restore_for_inference", 5.0),
        (judge_run, "measure", 7.0),
        (report, "write_page", 11.0),  # before the videos, and with them
        (videos.SideBySideWriter, "__init__", 20.0),  # of two videos
    ):
        spending(module, name, seconds)
    score = judge_run.SharedWork.score_fn

    def score_fn(*args):
        found = score(*args)

        def slow(*args):
            now[0] += 50.0
            return found(*args)

        return slow

    monkeypatch.setattr(judge_run.SharedWork, "score_fn", score_fn)
    assert bench.main(["evaluate", "--workdir", str(workdir)]) == 0
    cells = [line.split() for line in capsys.readouterr().out.splitlines()]
    found = {" ".join(words[:-3]): words[-3:] for words in cells if len(words) > 3}
    expected = {
        "imports": 3, "loading": 5, "scoring": 50, "numbers": 7, "page": 11, "making videos": 51,
    }  # fmt: skip
    assert {name: float(found[name][0]) for name in expected} == expected
    assert [float(found["all"][i]) for i in (0, 1)] == [127, 2.54]


def test_the_reconstruction_bench_scores_as_evaluate_does(evaluated, tmp_path, capsys):
    workdir, _ = evaluated
    _, task, model, _ = restore_for_inference(workdir)
    leaves = {"stride": task.clip_len}
    found = judge_run.evaluate(workdir, name="apart", overrides=leaves, report=False)
    scores = found.judged.scores  # type: ignore[union-attr]
    rebuilt, errors_fn = reconstruction.Rebuilt(task), reconstruction.errors_fn_of(task)
    test, errors_fn = rebuilt.source, partial(errors_fn, model)
    mine = list(reconstruction.per_frame(errors_fn, task, test, rebuilt.segments))
    assert len(mine) == len(rebuilt.places) == 2 * 60  # of 61 frames, in clips of 4
    theirs = {
        (scores.video_names[video], int(frame)): row
        for row, (video, frame) in enumerate(zip(scores.video, scores.frame))
    }
    for (video, frame), (error, pooled) in zip(rebuilt.places, mine):
        if frame < 57:  # the clip that ends with the video sees the others once more
            row = theirs[test.videos[video].name, frame]
            mse = np.mean(error**2) / 4  # values in [-1, 1] there, in [0, 1] here
            components = scores.components
            # each summed in another order; decibels in float32
            np.testing.assert_allclose(psnr(mse), components["psnr_mean"][row], rtol=1e-5)
            np.testing.assert_allclose(pooled, components["pooled_mean"][row], rtol=1e-5)

    trained = [task.source.frames(s.video, np.arange(s.start, s.stop)) for s in task.segments[0]]
    mean = np.concatenate(trained).mean(axis=0) / 127.5 - 1
    clip = test.frames(0, np.arange(task.clip_len))[None]
    error, pooled = reconstruction.mean_picture(task)(clip)
    np.testing.assert_allclose(
        error + clip / 127.5 - 1, np.broadcast_to(mean, clip.shape), atol=1e-5
    )
    # pooled alike by both ways
    np.testing.assert_allclose(
        reconstruction.pooled_fn_of(task)(errors_fn(clip)[0]), errors_fn(clip)[1], rtol=1e-5
    )

    plot = tmp_path / "curve.webp"
    argv = ["reconstruction", "--workdir", str(workdir), "--plot", str(plot)]
    assert bench.main(argv) == 0
    text = capsys.readouterr().out
    auc = rebuilt.aucs(np.array([np.mean(error**2) for error, _ in mine])).all
    (line,) = [line for line in text.splitlines() if line.startswith("2 ")]  # the run's only step
    assert f"  {100 * auc:.1f}: " in line
    assert "mean picture, no network" in text
    assert "nearest picture, no network" in text
    assert cv2.imread(str(plot)).shape[2] == 3


def test_the_reconstruction_bench_refuses_before_it_scores(run, monkeypatch):
    workdir, _ = run
    monkeypatch.setattr(reconstruction, "restore_for_inference", None)
    compare = partial(reconstruction.compare_checkpoints, workdir=str(workdir))
    with pytest.raises(FileNotFoundError, match=r"no complete checkpoint 7 in .*there are \[2\]"):
        compare(steps=[2, 7], plot=None)
    with pytest.raises(ValueError, match=r"plot='curve.gif' must end in .png, .svg, .webp"):
        compare(steps=None, plot="curve.gif")


def test_the_learning_bench_trains_as_the_trainer_does(run, tmp_path):
    workdir, _ = run
    config = read_config(workdir)
    config.model.encoder.drop_path = 0.0  # as the bench has it
    train(config, tmp_path / "run")
    task = learning.repeatable_task(config)
    ours, batches = learning.Ours(task), task.train_data(1, 0, 1)
    start = {name: np.array(x) for name, x in named_leaves(nnx.state(ours.model())).items()}
    for _ in range(config.total_steps):
        ours.step(next(batches))
    trained = named_leaves(nnx.state(restore_for_inference(tmp_path / "run")[2]))
    for name, value in named_leaves(nnx.state(ours.model())).items():
        np.testing.assert_allclose(value, trained[name], rtol=0, atol=1e-6)
    assert any(np.abs(value - trained[name]).max() > 1e-5 for name, value in start.items())


@needs_torch
def test_the_learning_bench_finds_both_alike(run, capsys):
    workdir, _ = run
    assert bench.main(["learning", "--workdir", str(workdir), "--steps", "3", "1"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    ours = [words for words in lines if words[:1] == ["ours"]]
    theirs = [words for words in lines if words[:2] in (["PyTorch", "1"], ["PyTorch", "3"])]
    assert [words[1] for words in ours] == ["1", "3"]
    for mine, other in zip(ours, theirs, strict=True):
        loss, held_out, *aucs = map(float, mine[2:-1])
        # biases before BatchNorm have no gradient but noise, which Adam makes steps of
        np.testing.assert_allclose([loss, held_out], list(map(float, other[2:4])), rtol=2e-3)
        np.testing.assert_allclose(aucs, list(map(float, other[4:-1])), atol=1.0)
    assert float(ours[0][2]) > float(ours[1][2])
    assert complete_steps(workdir / "checkpoints") == [2]  # the run is left as it is


def test_the_learning_bench_refuses_what_the_twin_cannot_repeat(run, monkeypatch, capsys):
    workdir, _ = run
    argv = ["bench", "learning", "--workdir", str(workdir)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(argv) == 1
    assert "needs PyTorch, which is not installed" in capsys.readouterr().err
    config = read_config(workdir)
    config.optim.clip_norm, config.freeze = 1.0, ("decoder",)
    with pytest.raises(ValueError, match=r"has optim.clip_norm=1.0, freeze=\['decoder'\]"):
        learning.repeatable_task(config)
    with pytest.raises(ValueError, match=r"'video.conae' is not IPAD's model"):
        learning.repeatable_task(load_config("conae:tiny"))


def test_an_interruption_while_videos_are_made_costs_neither_numbers_nor_report(
    run, tmp_path, monkeypatch, capsys
):
    workdir, _ = run
    lost = tmp_path / "run"
    shutil.copytree(workdir, lost, ignore=shutil.ignore_patterns("eval"))
    folder, written = lost / "eval" / "strict", []
    write = videos.SideBySideWriter.write

    def interrupted(writer, *args, **kwargs):
        if not written:
            text = capsys.readouterr().out
            assert "frame AUC" in text, "numbers are printed before the first video"
            assert f"written to {folder}" in text
            written.extend(path.name for path in folder.iterdir() if path.suffix != ".webm")
        if writer.path.name != "normal-a.webm":
            return write(writer, *args, **kwargs)
        raise KeyboardInterrupt

    monkeypatch.setattr(videos.SideBySideWriter, "write", interrupted)
    monkeypatch.setattr(videos, "choose", lambda judged, _: {1: "worst", 0: "best"})
    monkeypatch.setattr(report, "choose", videos.choose)
    assert main(["evaluate", "--workdir", str(lost)]) == 130
    assert {"metrics.json", "scores.npz", "report.html"} <= set(written)
    assert sorted(path.name for path in folder.iterdir()) == [
        "metrics.json", "report.html", "scores.npz", "square-b.webm",
    ]  # fmt: skip
    page = (folder / "report.html").read_text()
    assert page.endswith("</html>")
    assert page.count("<video") == 1


def test_videos_are_chosen_and_can_be_left_out(evaluated, monkeypatch):
    workdir, evaluation = evaluated
    assert videos.choose(evaluation.judged, "none") == {}
    assert videos.choose(evaluation.judged, "all").keys() == {0, 1}
    assert set(videos.choose(evaluation.judged, "few").values()) == {"worst"}  # there are but two
    monkeypatch.setattr(report, "side_by_side_clips", None)
    folder = judge_run.evaluate(workdir, name="page", videos="none").folder
    assert "<video" not in (folder / "report.html").read_text()
    with pytest.raises(ValueError, match=r"videos='some'; take one of few, all, none"):
        judge_run.evaluate(workdir, videos="some")


def test_a_long_video_is_shown_about_its_first_fault(evaluated, monkeypatch):
    judged = evaluated[1].judged
    monkeypatch.setattr(videos, "MAX_FRAMES", 12)
    at = judged.scores.video == 1
    fault = judged.scores.frame[at & (judged.scores.label == 1)].min()
    assert videos.stretch_of(judged, 1, 61, 4) == (fault - 4, fault + 8)
    start, stop = videos.stretch_of(judged, 0, 61, 4)  # no fault: about the highest score
    at = judged.scores.video == 0
    assert start <= judged.scores.frame[at][judged.score[at].argmax()] < stop
    assert videos.stretch_of(judged, 1, 10, 4) == (0, 10)


def test_a_dataset_that_was_moved_is_named_by_the_leaf_as_typed(run, tmp_path, capsys):
    workdir, _ = run
    moved, data = tmp_path / "run", tmp_path / "data"
    shutil.copytree(workdir, moved, ignore=shutil.ignore_patterns("eval"))
    config = read_config(workdir)
    shutil.copytree(config.data.data_dir, data)
    config.data.data_dir = str(tmp_path / "gone")
    save_config(moved, config)
    command = ["evaluate", "--workdir", str(moved), "--no-report"]
    assert main(command) == 1
    assert "--config.data.data_dir (of `train` and `evaluate`)" in capsys.readouterr().err
    assert main([*command, f"--config.data.data_dir={data}"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[-1] == f"next: ipad-jax detect --workdir {moved} --video FILE"


ROW_OF_PSNR = measure.COMPONENT_ROWS["psnr_mean"]


def test_the_papers_protocol(evaluated):
    workdir, _ = evaluated
    status = evaluate_command.main(
        ["--workdir", str(workdir), "--protocol", "paper", "--no-report"]
    )
    assert status == 0
    scores = FrameScores.load(workdir / "eval" / "paper" / "scores.npz")
    assert scores.stride == 1
    first = scores.components["psnr_centre"][scores.video == 0]
    # clips of 4: the middle frame is the third, so two frames before and one behind have none
    assert np.isnan(first).nonzero()[0].tolist() == [0, 1, 60]
    metrics = json.loads((workdir / "eval" / "paper" / "metrics.json").read_text())
    assert metrics["threshold"] is None
    assert metrics["left_out"]["unscored"] == 6


def test_a_calibration_of_another_stride_is_not_taken(evaluated):
    workdir, evaluation = evaluated
    config = read_config(workdir)
    step = evaluation.metrics["checkpoint_step"]
    assert is_current(workdir, calibration_made_with(config, step))
    assert not is_current(workdir, calibration_made_with(config, step + 1))
    changed = judge_run.override_eval(config, {"stride": 1})
    assert not is_current(workdir, calibration_made_with(changed, step))


def test_a_leaf_that_is_not_there_is_named_with_the_choices(evaluated):
    workdir, _ = evaluated
    with pytest.raises(ValueError, match=r"no leaf 'strid'.*stride"):
        judge_run.override_eval(read_config(workdir), {"strid": 1})
    with pytest.raises(ValueError, match="only leaves of eval can be changed"):
        evaluate_command.main(["--workdir", str(workdir), "--config.optim.lr=1"])


def test_a_run_of_version_0_1_is_read_with_the_new_names_and_used(run, tmp_path):
    workdir, _ = run
    shutil.copytree(workdir / "checkpoints", tmp_path / "checkpoints")
    old = json.loads((workdir / "config.json").read_text())
    old["task"] = "video"
    old["data"]["scene"] = old["data"].pop("name")
    del old["data"]["fingerprint"]
    old["optim"] |= {"b1": 0.9, "b2": 0.999, "eps": 1e-8, "end_lr": 0.0}
    old["eval"] |= {"nearest_share": 0.04, "features_px": 128, "features_blocks": "4+10"}
    old["eval"] |= {"features_frames": 300, "features_share": 0.1}
    (tmp_path / "config.json").write_text(json.dumps(old))
    (tmp_path / "calibration_key.json").write_text("{}")  # files of then, which nothing reads now
    (tmp_path / "normal_frames_64px_registered.npz").write_bytes(b"old")
    found = judge_run.evaluate(tmp_path, report=False)
    assert found.threshold == judge_run.evaluate(workdir, name="now", report=False).threshold
    assert load(tmp_path).threshold == found.threshold
    now = {name: read_config(workdir)[name] for name in ("eval_every", "num_devices")}
    now |= {f"data.{name}": old["data"][name] for name in ("data_dir",)}
    now |= {"data.name": old["data"]["scene"], "total_steps": 3}
    assert train(load_config("video_folder:tiny", now), tmp_path).step == 3


def test_a_run_that_lacks_a_leaf_says_which_and_what_to_do(run, tmp_path):
    workdir, _ = run
    shutil.copytree(workdir / "checkpoints", tmp_path / "checkpoints")
    config = read_config(workdir)
    del config.eval["motion_px"]
    save_config(tmp_path, config)
    with pytest.raises(ValueError, match=r"lacks eval\.motion_px.*older version"):
        judge_run.evaluate(tmp_path, report=False)
