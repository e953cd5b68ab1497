"""Every config, shrunk by `:tiny`, trains, resumes bit for bit and is restored for inference."""

import jax
import numpy as np
import pytest
from moving import write_moving

from ipad_jax.checkpoints import load_model_arrays, restore_for_inference
from ipad_jax.config import CONFIGS, load_config
from ipad_jax.train import train
from ipad_jax.writer import read_metrics

SCENES = {"ipad": "S01", "factory": "press_synthetic", "video_folder": "footage"}
QUICK = {"total_steps": 4, "log_every": 1, "checkpoint_every": 2, "eval_every": 2, "num_devices": 1}


@pytest.fixture(scope="module", autouse=True)
def compile_cache(tmp_path_factory):
    """One compilation of each program serves all tests of this file."""
    before = jax.config.values["jax_compilation_cache_dir"]
    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("cache")))
    yield
    jax.config.update("jax_compilation_cache_dir", before)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    for builder, scene in SCENES.items():
        write_moving(root, builder, scene)
    return str(root)


def tiny(name, data_dir, **overrides):
    return load_config(f"{name}:tiny", {"data.data_dir": data_dir, **QUICK, **overrides})


def test_every_config_has_a_scene_here():
    found = {path.stem for path in CONFIGS.glob("*.py") if not path.stem.startswith("_")}
    assert found == SCENES.keys()


@pytest.mark.parametrize("name", sorted(SCENES))
def test_tiny_trains_and_is_restored(name, data_dir, tmp_path):
    summary = train(tiny(name, data_dir), tmp_path)
    assert (summary.reason, summary.step) == ("finished", 4)
    rows = read_metrics(tmp_path)
    assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3, 4]
    assert [row["step"] for row in rows if "val/loss" in row] == [2, 4]
    config, task, model, step = restore_for_inference(tmp_path)
    assert (step, config.data.scene) == (4, SCENES[name])
    clip = np.full((2, 4, 32, 32, 3), 100, np.uint8)
    found = task.predict_fn(model, {"clip": clip})
    assert found["mse"].shape == found["pooled"].shape == (2, 4)
    assert np.isnan(found["phase"]).all() == (name == "video_folder")
    np.testing.assert_array_equal(found["mse"][0], found["mse"][1])  # nothing random is left


def test_two_and_two_equals_four_with_other_workers(data_dir, tmp_path):
    train(tiny("factory", data_dir), tmp_path / "whole")
    train(tiny("factory", data_dir, total_steps=2), tmp_path / "parts")
    train(tiny("factory", data_dir, num_workers=1, **{"data.cache_mb": 0.0}), tmp_path / "parts")
    whole, _ = load_model_arrays(tmp_path / "whole")
    parts, _ = load_model_arrays(tmp_path / "parts")
    for name in whole:
        np.testing.assert_array_equal(whole[name], parts[name], err_msg=name)
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")


def test_loss_falls_on_one_memorised_batch(data_dir, tmp_path, monkeypatch):
    from ipad_jax.video.task import VideoTask

    first = VideoTask.train_data

    def memorised(self, first_step, process_index, process_count):
        batch = next(first(self, 1, process_index, process_count))
        while True:
            yield batch

    monkeypatch.setattr(VideoTask, "train_data", memorised)
    train(
        tiny("factory", data_dir, total_steps=60, log_every=20, **{"optim.lr": 3e-3}),
        tmp_path,
    )
    found = losses(tmp_path)
    assert found[60] < 0.5 * found[20]


def test_frozen_parts_stay_bit_equal(data_dir, tmp_path):
    train(tiny("factory", data_dir, total_steps=1, freeze=("encoder",)), tmp_path)
    before, _ = load_model_arrays(tmp_path)
    train(tiny("factory", data_dir, total_steps=4, freeze=("encoder",)), tmp_path)
    after, _ = load_model_arrays(tmp_path)
    same = {name for name in before if np.array_equal(before[name], after[name])}
    assert {name for name in before if name.startswith("encoder.")} <= same
    assert not any(name.startswith("decoder.") and name.endswith("kernel") for name in same)


@pytest.mark.slow
def test_meshes_agree_in_loss(data_dir, tmp_path):
    found = []
    for name, shape in {"one": (1, 1), "both": (4, 2)}.items():
        devices, fsdp = shape
        config = tiny(
            "factory", data_dir, num_devices=devices, fsdp=fsdp, fsdp_min_bytes=0, eval_every=0
        )
        train(config, tmp_path / name)
        found.append(list(losses(tmp_path / name).values()))
    # sums over devices in another order: float32 rounding, grown by Adam (6e-6 seen in 10 steps)
    np.testing.assert_allclose(found[1], found[0], rtol=2e-5)


def losses(workdir):
    return {row["step"]: row["loss"] for row in read_metrics(workdir) if "loss" in row}
