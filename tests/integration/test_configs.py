"""One variant of every config, shrunk by `tiny`, trains, resumes bit for bit and is restored."""

from functools import cache

import jax
import numpy as np
import pytest
from moving import write_moving

from ipad_jax.run.config import CONFIGS, load_config
from ipad_jax.training.checkpoints import load_model_arrays, restore_for_inference
from ipad_jax.training.logs import read_metrics
from ipad_jax.training.loop import train

SPECS = {
    "ipad": "paper,tiny",
    "factory": "tiny",
    "video_folder": "tiny",
    "conae": "factory,tiny",
    "memae": "tiny",
    "astnet": "factory,tiny",
    "dmad": "video_folder,tiny",
    "convlstm": "factory,tiny",
    "vswint": "tiny",
}
OURS = ("ipad", "factory")  # configs whose model has a phase
SCENES = {"ipad": "S01", "factory": "arm_synthetic", "video_folder": "footage"}
QUICK = {"total_steps": 4, "log_every": 1, "checkpoint_every": 2, "eval_every": 0, "num_devices": 1}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    for builder, scene in SCENES.items():
        write_moving(root, builder, scene)
    return str(root)


def tiny(name, data_dir, **overrides):
    spec = f"{name}:{SPECS[name]}"
    scene = SCENES[load_config(spec).data.builder]
    places = {"data.data_dir": data_dir, "data.name": scene}
    return load_config(spec, {**places, **QUICK, **overrides})


@pytest.fixture(scope="module")
def trained(data_dir, tmp_path_factory):
    """Function from a config's name to the folder of its run of 4 steps, which is made once."""

    @cache
    def run(name):
        workdir = tmp_path_factory.mktemp(name)
        summary = train(tiny(name, data_dir, eval_every=2), workdir)
        assert (summary.reason, summary.step) == ("finished", 4)
        return workdir

    return run


def test_every_config_is_here():
    found = {path.stem for path in CONFIGS.glob("*.py") if not path.stem.startswith("_")}
    assert found - {"ipad_adapter"} == SPECS.keys()  # trained in test_adapting.py


@pytest.mark.parametrize("name", sorted(SPECS))
def test_tiny_trains_and_is_restored(name, trained):
    rows = read_metrics(trained(name))
    assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3, 4]
    # the paper holds nothing out
    held_out = [] if name == "ipad" else [2, 4]
    assert [row["step"] for row in rows if "val/loss" in row] == held_out
    config, task, model, step = restore_for_inference(trained(name))
    assert (step, config.data.name) == (4, SCENES[config.data.builder])
    clip = np.full((2, config.data.clip_len, 32, 32, 3), 100, np.uint8)
    found = jax.jit(lambda clip: task.predict_fn(model, {"clip": clip}))(clip)
    assert found["mse"].shape == found["pooled"].shape == (2, config.data.clip_len)
    assert np.isfinite(found["phase"]).all() == (name in OURS)
    np.testing.assert_array_equal(found["mse"][0], found["mse"][1])  # nothing random is left


def test_two_and_two_equals_four_with_other_workers(data_dir, trained, tmp_path):
    train(tiny("factory", data_dir, total_steps=2), tmp_path)
    train(tiny("factory", data_dir, num_workers=1, **{"data.cache_mb": 0.0}), tmp_path)
    whole, _ = load_model_arrays(trained("factory"))
    parts, _ = load_model_arrays(tmp_path)
    for name in whole:
        np.testing.assert_array_equal(whole[name], parts[name], err_msg=name)
    assert losses(trained("factory")) == losses(tmp_path)


def test_loss_falls_on_one_memorised_batch(data_dir, tmp_path, monkeypatch):
    from ipad_jax.video.ipad.task import VideoTask

    first = VideoTask.train_data

    def memorised(self, first_step, process_index, process_count):
        batch = next(first(self, 1, process_index, process_count))
        while True:
            yield batch

    monkeypatch.setattr(VideoTask, "train_data", memorised)
    length = {"total_steps": 60, "log_every": 20, "checkpoint_every": 0}
    # the published target: a wide one has an entropy that no loss falls below
    published = {"loss.period_weight": 0.02, "loss.period_width": 0.0}
    train(tiny("factory", data_dir, **length, **published, **{"optim.lr": 3e-3}), tmp_path)
    found = losses(tmp_path)
    assert found[60] < 0.5 * found[20]


def test_a_frozen_part_stays_bit_equal_with_its_statistics(data_dir, tmp_path):
    for steps in (1, 3):  # a checkpoint at the end of each
        length = {"total_steps": steps, "checkpoint_every": 0}
        train(tiny("factory", data_dir, **length, freeze=("decoder",)), tmp_path)
    before, after = (load_model_arrays(tmp_path, step)[0] for step in (1, 3))
    same = {name for name in before if np.array_equal(before[name], after[name])}
    frozen = {name for name in before if name.startswith("decoder.")}
    assert any(name.endswith(".mean") for name in frozen)  # BatchNorm's
    assert frozen <= same
    assert not any(name.startswith("encoder.") and name.endswith("kernel") for name in same)


def losses(workdir):
    return {row["step"]: row["loss"] for row in read_metrics(workdir) if "loss" in row}
