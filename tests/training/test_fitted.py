"""Fitted arrays: made once, read back the same, never used where they do not fit."""

import numpy as np
import pytest
from flax import nnx
from toy import ToyModel, ToyTask, toy_config

from ipad_jax.training.checkpoints import complete_steps, restore_for_inference
from ipad_jax.training.fitted import FILE, fitted_arrays, load_fitted
from ipad_jax.training.loop import train


class Bank(ToyTask):
    """Fits the rows it is given, times a leaf."""

    fit_leaves = ("data.memorise",)
    fit_uses_model = True

    def __init__(self, config):
        super().__init__(config)
        self.fits = 0

    def normal_data(self):
        if not self.config.data.data_dir:
            raise FileNotFoundError("No prepared dataset")
        return np.arange(6.0).reshape(2, 3)

    def fit(self, model, data):
        self.fits += 1
        return {"bank/rows": data * (2 if self.config.data.memorise else 1), "size": np.int64(2)}


class OnlyFits:
    """A method without steps: a frozen model, and arrays fitted with it."""

    unit, num_examples = "rows", 2
    fit_leaves, fit_uses_model = (), True

    def __init__(self, config):
        self.config = config

    @staticmethod
    def trainable(path, value):
        return False

    def init_model(self, key):
        return ToyModel(rngs=nnx.Rngs(key))

    def val_data(self, process_index, process_count):
        return None

    def normal_data(self):
        return np.arange(16, dtype=np.float32).reshape(2, 8)

    def fit(self, model, data):
        return {"rows": np.asarray(model(data))}


def test_a_method_without_steps_is_an_ordinary_run(tmp_path, monkeypatch):
    monkeypatch.setattr("toy.ToyTask", OnlyFits)
    said = []
    summary = train(toy_config(total_steps=0), tmp_path, progress=said.append)
    assert (summary.step, summary.reason) == (1, "finished")
    assert complete_steps(tmp_path / "checkpoints") == [1]
    config, task, model, step = restore_for_inference(tmp_path)
    arrays = fitted_arrays(tmp_path, config, task, model, step)
    np.testing.assert_array_equal(arrays["rows"], model(task.normal_data()))
    assert load_fitted(tmp_path / FILE)[1]["checkpoint_step"] == 1
    assert train(toy_config(total_steps=0), tmp_path, progress=said.append).step == 1  # resumes


def make(**leaves):
    config = toy_config(**({"data.data_dir": "here", "data.memorise": False} | leaves))
    return config, Bank(config)


def get(workdir, step=4, **leaves):
    config, task = make(**leaves)
    return fitted_arrays(workdir, config, task, None, step), task.fits


def test_a_task_without_fit_has_none(tmp_path):
    config = toy_config()
    assert fitted_arrays(tmp_path, config, ToyTask(config), None, 4) == {}


def test_made_once_then_read_without_the_data(tmp_path):
    made, fits = get(tmp_path)
    assert fits == 1
    again, fits = get(tmp_path, **{"data.data_dir": ""})
    assert fits == 0
    assert made.keys() == again.keys()
    for name, array in made.items():
        np.testing.assert_array_equal(again[name], array)
        assert again[name].dtype == array.dtype
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_other_leaves_have_a_file_of_their_own(tmp_path):
    own, _ = get(tmp_path)
    content = (tmp_path / FILE).read_bytes()
    changed, fits = get(tmp_path, **{"data.memorise": True})
    assert fits == 1
    np.testing.assert_array_equal(changed["bank/rows"], 2 * own["bank/rows"])
    assert (tmp_path / FILE).read_bytes() == content
    assert get(tmp_path, **{"data.memorise": True})[1] == 0
    assert get(tmp_path)[1] == 0


def test_a_later_checkpoint_replaces_the_runs_own(tmp_path):
    get(tmp_path, step=4)
    assert get(tmp_path, step=6)[1] == 1
    assert load_fitted(tmp_path / FILE)[1]["checkpoint_step"] == 6
    assert get(tmp_path, step=4)[1] == 1  # an earlier one does not
    assert load_fitted(tmp_path / FILE)[1]["checkpoint_step"] == 6


def test_another_dataset_is_another_fit(tmp_path):
    for number, fingerprint in enumerate(("a", "b"), 1):
        config, task = make()
        with config.unlocked():
            config.data.fingerprint = fingerprint
        fitted_arrays(tmp_path, config, task, None, 4)
        assert task.fits == 1, number


def test_without_file_and_data_the_error_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no fitted\.npz.*where the dataset is"):
        get(tmp_path, **{"data.data_dir": ""})


@pytest.mark.parametrize("damage", ["cut", "changed", "half"])
def test_a_damaged_file_is_named_and_not_used(tmp_path, damage):
    get(tmp_path)
    path = tmp_path / FILE
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "half":
        path.write_bytes(b"half")
    else:  # whole, but another array than the digest's
        with np.load(path) as stored:
            arrays = {name: stored[name] for name in stored.files}
        np.savez(path, **(arrays | {"size": np.int64(3)}))
    with pytest.raises(ValueError, match=r"fitted\.npz is damaged.*delete it"):
        get(tmp_path)
