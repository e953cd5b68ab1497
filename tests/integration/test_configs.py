"""Every config of videos, shrunk by `tiny`, has a step and a prediction that fit; one trains and resumes.

That one is factory. In test_baselines.py it is a method that predicts, in test_adapting.py one with adapters;
that a step of every method learns is in video/test_reference_numbers.py.
"""

import jax
import numpy as np
import pytest
from flax import nnx
from moving import write_moving

from ipad_jax.run.config import CONFIGS, load_config
from ipad_jax.training.checkpoints import load_model_arrays, restore_for_inference
from ipad_jax.training.logs import read_metrics
from ipad_jax.training.loop import train
from ipad_jax.training.setup import TrainSetup, train_step
from ipad_jax.training.sharding import make_mesh
from ipad_jax.training.state import inference_graphdef, named_leaves
from ipad_jax.training.task import make_task

SPECS = {
    "ipad": "paper,tiny",
    "ipad_adapter": "factory,tiny",
    "factory": "tiny",
    "video_folder": "tiny",
    "conae": "factory,tiny",
    "memae": "tiny",
    "astnet": "factory,tiny",
    "dmad": "video_folder,tiny",
    "convlstm": "factory,tiny",
    "vswint": "tiny",
}
QUICK = {"total_steps": 4, "log_every": 1, "checkpoint_every": 2, "eval_every": 0, "num_devices": 1}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    write_moving(root, "factory", "arm_synthetic")
    return str(root)


def tiny(data_dir, **overrides):
    return load_config("factory:tiny", {"data.data_dir": data_dir, **QUICK, **overrides})


@pytest.fixture(scope="module")
def trained(data_dir, tmp_path_factory):
    """A run of four steps."""
    workdir = tmp_path_factory.mktemp("factory")
    summary = train(tiny(data_dir, eval_every=2), workdir)
    assert (summary.reason, summary.step) == ("finished", 4)
    return workdir


def test_every_config_is_here():
    found = {path.stem for path in CONFIGS.glob("[!_]*.py")}
    found = {name for name in found if load_config(name).task.startswith("video.")}
    assert found == SPECS.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SPECS))
def test_every_config_has_a_step_and_a_prediction_that_fit(name):
    """By shapes: the state comes out of a step as it went in, and merges into the inference view."""
    config = load_config(f"{name}:{SPECS[name]}")
    task, key = make_task(config), jax.random.key(0)
    setup = TrainSetup.make(config, task, make_mesh(1, 1), 4)
    state, batch = setup.shapes, task.batch_shapes(config.batch_size)

    def step(state, batch):
        return train_step(state, batch, key, task=task, graphdef=setup.graphdef, tx=setup.tx)

    after, metrics = jax.eval_shape(step, state, batch)
    shapes = [{n: (x.shape, x.dtype) for n, x in named_leaves(s).items()} for s in (state, after)]
    assert shapes[0] == shapes[1]
    assert len(shapes[0]) == len(jax.tree.leaves(state))  # a name each, by which it is saved
    assert {x.shape for n, x in metrics.items() if n != "first_bad"} == {()}

    def predict(state, batch):
        parts = (state.trainable, state.frozen, state.variables)
        return task.predict_fn(nnx.merge(inference_graphdef(task), *parts), batch)

    found = jax.eval_shape(predict, state, batch)  # takes no key: nothing random is left
    for column in ("mse", "pooled"):
        assert found[column].shape == (config.batch_size, config.data.clip_len)
    assert found["phase"].shape == (config.batch_size,)


@pytest.mark.slow
def test_tiny_trains_and_is_restored(trained):
    rows = read_metrics(trained)
    assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3, 4]
    assert [row["step"] for row in rows if "val/loss" in row] == [2, 4]
    config, task, model, step = restore_for_inference(trained)
    assert (step, config.data.name) == (4, "arm_synthetic")
    clip = np.full((2, config.data.clip_len, 32, 32, 3), 100, np.uint8)
    found = jax.jit(lambda clip: task.predict_fn(model, {"clip": clip}))(clip)
    assert np.isfinite(found["phase"]).all()
    np.testing.assert_array_equal(found["mse"][0], found["mse"][1])  # nothing random is left


@pytest.mark.slow
def test_two_and_two_equals_four_with_other_workers(data_dir, trained, tmp_path):
    train(tiny(data_dir, total_steps=2), tmp_path)
    train(tiny(data_dir, num_workers=1, **{"data.cache_mb": 0.0}), tmp_path)
    whole, _ = load_model_arrays(trained)
    parts, _ = load_model_arrays(tmp_path)
    for name in whole:
        np.testing.assert_array_equal(whole[name], parts[name], err_msg=name)
    assert losses(trained) == losses(tmp_path)


@pytest.mark.slow
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
    train(tiny(data_dir, **length, **published, **{"optim.lr": 3e-3}), tmp_path)
    found = losses(tmp_path)
    assert found[60] < 0.5 * found[20]


@pytest.mark.slow
def test_a_frozen_part_stays_bit_equal_with_its_statistics(data_dir, tmp_path):
    for steps in (1, 3):  # a checkpoint at the end of each
        length = {"total_steps": steps, "checkpoint_every": 0}
        train(tiny(data_dir, **length, freeze=("decoder",)), tmp_path)
    before, after = (load_model_arrays(tmp_path, step)[0] for step in (1, 3))
    same = {name for name in before if np.array_equal(before[name], after[name])}
    frozen = {name for name in before if name.startswith("decoder.")}
    assert any(name.endswith(".mean") for name in frozen)  # BatchNorm's
    assert frozen <= same
    assert not any(name.startswith("encoder.") and name.endswith("kernel") for name in same)


def losses(workdir):
    return {row["step"]: row["loss"] for row in read_metrics(workdir) if "loss" in row}
