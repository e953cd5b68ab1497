"""Footage replaced under one name is noticed by whatever reads it for a run."""

import shutil

import pytest
from footage import write_square

import ipad_jax
from ipad_jax.commands import prepare
from ipad_jax.run.config import load_config, read_config, save_config
from ipad_jax.training.loop import train
from ipad_jax.video.evaluation import evaluate

pytestmark = pytest.mark.slow


@pytest.fixture
def replaced(run, tmp_path):
    """A copy of a run whose dataset was prepared anew from other footage of the same lengths."""
    workdir, _ = run
    shutil.copytree(workdir.parent, tmp_path / "all")
    for name in ("train/normal/long.avi", "test/normal/a.avi"):
        path = tmp_path / "all" / "in" / name
        write_square(path, 200 if "train" in name else 61, range(20, 30))
    data_dir, copy = str(tmp_path / "all" / "data"), tmp_path / "all" / "run"
    arguments = ["--name", "square", "--source", str(tmp_path / "all" / "in"), "--size", "32"]
    command = ["video_folder", *arguments, "--data-dir", data_dir, "--overwrite"]
    assert prepare.main(command) == 0
    config = read_config(copy)
    config.data.data_dir = data_dir
    save_config(copy, config)
    return copy, data_dir


def test_a_resumed_training_refuses(replaced):
    workdir, data_dir = replaced
    overrides = {"total_steps": 3, "eval_every": 0, "num_devices": 1}
    data = {"data.name": "square", "data.data_dir": data_dir}
    before = (workdir / "metrics.jsonl").read_bytes()
    with pytest.raises(ValueError, match=r"data\.fingerprint: '[0-9a-f]{16}' there"):
        train(load_config("video_folder:tiny", overrides | data), workdir)
    assert (workdir / "metrics.jsonl").read_bytes() == before


def test_evaluation_and_detection_refuse(replaced):
    workdir, _ = replaced
    with pytest.raises(ValueError, match="not the dataset that this run was trained on"):
        evaluate(workdir, report=False)
    for derived in ("fitted.npz", "calibration.json", "calibration_scores.npz"):
        (workdir / derived).unlink(missing_ok=True)
    with pytest.raises(ValueError, match="not the dataset that this run was trained on"):
        ipad_jax.load_detector(workdir)


def test_the_run_can_be_judged_on_other_footage_under_a_name_of_its_own(replaced):
    workdir, _ = replaced
    root = workdir.parent / "data" / "video_folder"
    shutil.copytree(root / "square_32x32_q95", root / "tomorrow_32x32_q95")
    found = evaluate(workdir, report=False, data_name="tomorrow")
    assert found.folder == workdir / "scenes" / "tomorrow" / "eval" / "strict"
    assert found.made_with["dataset"] != read_config(workdir).data.fingerprint
