"""An object's training through the shared trainer: resuming, devices, signals, and a class of MAD."""

import json
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from drawn_images import trained
from footage import write_class

from ipad_jax.commands import evaluate, prepare
from ipad_jax.data_builders.toys import write
from ipad_jax.run.config import load_config
from ipad_jax.training.checkpoints import latest_step, load_model_arrays
from ipad_jax.training.logs import read_metrics
from ipad_jax.training.loop import train
from ipad_jax.training.task import make_task

SMALL = {  # compiles in a fraction of tiny's time
    "model.levels": 2,
    "model.samples": (6, 4, 2),
    "batch_size": 64,
    "total_steps": 4,
    "log_every": 1,
    "eval_every": 4,
    "checkpoint_every": 2,
}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """A toy in MAD's layout, prepared by the command as a class of MAD and as an own object."""
    root = tmp_path_factory.mktemp("mad_like")
    folder = root / "MAD-Sim/07Owl"
    write.write_toy(folder, "duck", 0, (24, 1, 1), 48)
    to = ["--data-dir", str(root / "data"), "--size", "48"]
    mad = ["mad", "--manual-dir", str(root), "--class", "07Owl"]
    assert prepare.main([*mad, *to, "--workers", "1"]) == 0
    own = ["object_folder", "--source", str(folder), "--name", "duck"]
    assert prepare.main([*own, *to, "--workers", "1"]) == 0
    return root / "data"


def config_of(data_dir, **leaves):
    named = {"data.data_dir": str(data_dir), "data.name": "07Owl", "num_devices": 1}
    return load_config("omnipose:mad,tiny", SMALL | named | leaves)


@pytest.fixture(scope="module")
def whole(data_dir, tmp_path_factory):
    """A run of four steps on one device."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(config_of(data_dir), str(folder), progress=lambda *_: None)
    return folder


def losses(workdir):
    return {row["step"]: row["loss"] for row in read_metrics(workdir) if "loss" in row}


@pytest.mark.slow
def test_two_and_two_steps_equal_four_bit_for_bit(whole, data_dir, tmp_path):
    parts = tmp_path / "run"
    shutil.copytree(whole, parts)
    train(config_of(data_dir), str(parts), step=2, progress=lambda *_: None)  # without 3 and 4
    assert (parts / "checkpoints/4.set_aside").exists()
    (expected, step), (found, _) = load_model_arrays(whole), load_model_arrays(parts)
    assert step == 4
    assert len({losses(whole)[n] for n in (1, 2, 3, 4)}) == 4  # something moves
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
    assert [losses(parts)[n] for n in (3, 4)] == [losses(whole)[n] for n in (3, 4)]


@pytest.mark.slow
@pytest.mark.parametrize("fsdp", [1, 2])
def test_rays_over_four_devices_train_what_one_does(whole, data_dir, tmp_path, fsdp):
    config = config_of(data_dir, num_devices=4, fsdp=fsdp, fsdp_min_bytes=0)
    train(config, str(tmp_path), progress=lambda *_: None)
    # sums over devices are in another order: float32 rounding, grown over 4 steps of Adam
    np.testing.assert_allclose(
        [losses(tmp_path)[n] for n in (1, 2, 3, 4)],
        [losses(whole)[n] for n in (1, 2, 3, 4)],
        rtol=1e-5,
    )


@pytest.mark.slow
def test_sigterm_saves_the_step_and_the_next_start_goes_on(data_dir, tmp_path):
    leaves = SMALL | {"total_steps": 10**6, "checkpoint_every": 0, "eval_every": 0}
    leaves |= {"data.data_dir": str(data_dir), "data.name": "07Owl", "num_devices": 1}
    leaves["optim.schedule"] = "constant"  # so that the next start may end after a step
    words = [f"--config.{name}={value}" for name, value in leaves.items()]
    command = ["train", "--config", "omnipose:mad,tiny", "--workdir", str(tmp_path), *words]
    process = subprocess.Popen(
        [sys.executable, "-m", "ipad_jax.main", *command], stdout=subprocess.PIPE, text=True
    )
    for line in process.stdout:
        if line.startswith("step "):
            process.send_signal(signal.SIGTERM)
            break
    out, _ = process.communicate(timeout=600)
    assert process.returncode == 143
    step = latest_step(tmp_path)
    assert f"SIGTERM at step {step} of 1000000" in out
    config = config_of(data_dir, **leaves | {"total_steps": step + 1})
    train(config, str(tmp_path), progress=lambda *_: None)
    assert list(losses(tmp_path)) == list(range(1, step + 2))  # none twice, none left out


@pytest.mark.slow
def test_its_views_serve_a_method_of_images(data_dir, tmp_path):
    """A class of MAD by `data.builder` alone: fitted, judged, each defect with its mask."""
    leaves = {"data.builder": "mad", "data.name": "07Owl", "data.data_dir": str(data_dir)}
    folder = trained("pca:tiny", data_dir, tmp_path / "run", **leaves)
    assert evaluate.main(["--workdir", str(folder), "--no-report"]) == 0
    found = json.loads((folder / "eval/test/metrics.json").read_text())
    assert (found["data"], found["num_images"], found["num_anomalous"]) == ("mad/07Owl", 4, 3)
    assert found["num_without_pixels"] == 0 < found["num_anomalous_pixels"]


def test_a_class_of_mad_gives_the_rays_of_the_object_that_it_is(data_dir):
    """MAD's records have no ball and no lens of their own: they come from its poses and silhouettes."""
    own = load_config("omnipose:own,tiny", {"data.data_dir": str(data_dir), "data.name": "duck"})
    mad, other = make_task(config_of(data_dir)), make_task(own)
    views, expected = mad.all_views, other.all_views
    assert len(views) == 24
    np.testing.assert_array_equal(views.images, expected.images)
    np.testing.assert_allclose(views.lens.array(), expected.lens.array(), rtol=1e-6)
    # the ball of the same silhouettes, from poses that were rounded to float32 before
    np.testing.assert_allclose(views.poses, expected.poses, atol=1e-5)
    batch = next(mad.train_data(1, 0, 1))
    shapes = mad.batch_shapes(64)
    assert {n: (x.shape, x.dtype) for n, x in batch.items()} == {
        n: (x.shape, x.dtype) for n, x in shapes.items()
    }
    assert 0.2 < batch["inside"].mean() < 1
    assert (batch["near"] < batch["far"]).all()


def test_a_class_without_poses_is_refused_as_what_it_is(tmp_path):
    for number in range(10):
        write_class(tmp_path / "MAD-Real" / f"toy{number}", train=10, real=True)
    words = ["mad", "--manual-dir", str(tmp_path), "--class", "real03", "--size", "20"]
    assert prepare.main([*words, "--data-dir", str(tmp_path / "data"), "--workers", "1"]) == 0
    task = make_task(config_of(tmp_path / "data", **{"data.name": "real03"}))
    with pytest.raises(ValueError, match=r"no camera pose.* MAD-Real is published without"):
        next(task.train_data(1, 0, 1))
