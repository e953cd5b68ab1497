"""Several real processes give what one gives: losses of a training, scores of an evaluation."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from footage import write_square
from toy import toy_config

from ipad_jax.commands import prepare
from ipad_jax.training.checkpoints import complete_steps
from ipad_jax.training.logs import read_metrics
from ipad_jax.training.loop import train
from ipad_jax.video.detector.calibration_files import SCORES
from ipad_jax.video.evaluation import judge_run as evaluate
from ipad_jax.video.scores.frame_scores import COLUMNS, FrameScores

ROOT = Path(__file__).parents[2]
LAUNCHER = ROOT / "launch" / "local_processes.py"

pytestmark = pytest.mark.slow


def launch(processes, devices, logs, *command):
    """Runs a command in several processes; its output where it fails."""
    numbers = ["--processes", str(processes), "--devices", str(devices), "--logs", str(logs)]
    run = subprocess.run(
        [sys.executable, str(LAUNCHER), *numbers, "--", sys.executable, *command],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT / "tests")},
        timeout=600,
    )
    said = "\n".join(path.read_text() for path in sorted(logs.glob("*.log")))
    assert run.returncode == 0, run.stdout + said
    return run.stdout


@pytest.fixture(scope="module")
def uneven(run, tmp_path_factory):
    """A trained run whose test videos have 61, 20 and 33 frames, and one of 3, too short for a clip."""
    root = tmp_path_factory.mktemp("uneven")
    write_square(root / "in" / "train" / "normal" / "long.avi", 200)
    for name, length in {"a": 61, "b": 20, "c": 3, "d": 33}.items():
        write_square(root / "in" / "test" / "square" / f"{name}.avi", length, range(10, 30))
        label = np.isin(np.arange(length), range(10, 30)).astype(np.int8)
        np.save(root / "in" / "test" / "square" / f"{name}.npy", label)
    arguments = ["--name", "uneven", "--source", str(root / "in"), "--size", "32"]
    assert prepare.main(["video_folder", *arguments, "--data-dir", str(root / "data")]) == 0
    workdir = root / "run"
    shutil.copytree(run[0], workdir, ignore=shutil.ignore_patterns("calibration*", "eval"))
    config = json.loads((workdir / "config.json").read_text())
    config["data"] |= {"name": "uneven", "data_dir": str(root / "data"), "fingerprint": ""}
    (workdir / "config.json").write_text(json.dumps(config))
    return workdir


def test_scores_of_two_processes_equal_those_of_one(uneven, tmp_path):
    evaluate.evaluate(uneven, name="alone", report=False)
    alone = FrameScores.load(uneven / "eval" / "alone" / "scores.npz")
    alone_calibration = FrameScores.load(uneven / SCORES)
    for path in uneven.glob("calibration*"):
        path.unlink()
    command = ("-m", "ipad_jax.main", "evaluate", "--workdir", str(uneven), "--name", "together")
    out = launch(2, 1, tmp_path, *command, "--no-report")
    assert "frame AUC" in out
    assert "frame AUC" not in (tmp_path / "1.log").read_text()  # one voice
    assert not list((uneven / "eval" / ".parts").iterdir())
    together = FrameScores.load(uneven / "eval" / "together" / "scores.npz")
    pairs = [(alone, together), (alone_calibration, FrameScores.load(uneven / SCORES))]
    for one, two in pairs:
        assert (one.video_names, one.fps, one.made_with) == (
            two.video_names,
            two.fps,
            two.made_with,
        )
        for name in COLUMNS:
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=name)
        for name in one.components:
            np.testing.assert_array_equal(one.components[name], two.components[name], err_msg=name)
    assert len(together) == 61 + 20 + 3 + 33
    one, two = (
        json.loads((uneven / "eval" / name / "metrics.json").read_text())
        for name in ("alone", "together")
    )
    assert one == two


def test_two_processes_train_as_one_and_go_on_where_one_stopped(tmp_path, monkeypatch):
    several = {"batch_size": 8, "fsdp": 2, "num_devices": 0, "checkpoint_every": 0, "eval_every": 5}
    train(toy_config(**several, total_steps=10), tmp_path / "one")  # 1 process x 4 devices
    parts = tmp_path / "parts"
    train(toy_config(**several, total_steps=3), parts)
    command = (str(ROOT / "tests" / "toy_command.py"), json.dumps(several | {"total_steps": 7}))
    out = launch(2, 2, tmp_path, *command, "train", "--config", "toy", "--workdir", str(parts))
    assert "resuming from step 3" in out
    assert "step 7/7" in out
    assert "step 7/7" not in (tmp_path / "1.log").read_text()
    written = {path.name for path in (parts / "checkpoints" / "7" / "model").iterdir()}
    assert {"ocdbt.process_0", "ocdbt.process_1"} <= written
    assert complete_steps(parts / "checkpoints") == [3, 7]
    train(toy_config(**several, total_steps=10), parts)
    assert len(list(parts.glob("events.out.tfevents.*"))) == 3  # one a run
    for name in ("loss", "gradient_norm", "val/loss"):
        expected, found = (by_step(tmp_path / folder, name) for folder in ("one", "parts"))
        assert list(expected) == ([5, 10] if name == "val/loss" else list(range(1, 11)))
        # sums over processes are in another order: float32 rounding, grown by Adam
        np.testing.assert_allclose(
            [found[step] for step in expected], list(expected.values()), rtol=1e-5
        )


def by_step(workdir, name):
    """One figure of a run; a step that stands twice fails."""
    rows = [(row["step"], row[name]) for row in read_metrics(workdir) if name in row]
    assert len(rows) == len(dict(rows))
    return dict(rows)
