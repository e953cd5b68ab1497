"""`init_from`: what a weights file and another run give to a new model."""

import jax
import numpy as np
import pytest
from flax import nnx
from swin_reference import make_weights

from ipad_jax.convert import load_swin
from ipad_jax.run.config import load_config
from ipad_jax.training.checkpoints import Checkpoints
from ipad_jax.training.optim import make_optimizer
from ipad_jax.training.pretrained import load_pretrained
from ipad_jax.training.state import create_state, model_arrays, named_leaves
from ipad_jax.video.ipad.task import VideoTask


@pytest.fixture(scope="module")
def made():
    """(task of debug size, its fresh state)."""
    config = load_config("factory:tiny")
    task = VideoTask(config)
    return task, create_state(task, make_optimizer(config.optim, 4), jax.random.key(0))[1]


def weights_file(path, task, **changes):
    cfg = task.model_config.encoder
    sizes = ("patch_size", "embed_dim", "depths", "num_heads", "window_size", "patch_norm")
    weights = make_weights(**{name: getattr(cfg, name) for name in sizes})
    np.savez(path, **(weights | changes))
    return str(path)


@pytest.mark.slow
def test_a_weights_file_gives_the_encoder_and_nothing_else(tmp_path, made):
    task, state = made
    file = weights_file(tmp_path / "w.npz", task)
    model = model_arrays(state)
    arrays, note, *_ = load_pretrained(file, task, model)
    assert arrays.keys() == {name for name in model if name.startswith("encoder.")}
    expected = named_leaves(nnx.state(load_swin(file, task.model_config.encoder)))
    assert {f"encoder.{name}" for name in expected} == arrays.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(arrays[f"encoder.{name}"], array)
    kernels = [name for name in arrays if name.endswith("qkv.kernel")]
    assert len(kernels) == 3  # blocks of depths (1, 2): the names are those of a real encoder
    assert not any(np.array_equal(arrays[name], model[name]) for name in kernels)
    assert f"loaded encoder from {file}: {len(arrays)} arrays" in note


def test_a_misshaped_file_names_the_arrays(tmp_path, made):
    task, state = made
    file = weights_file(
        tmp_path / "w.npz",
        task,
        **{"norm.weight": np.zeros(3, np.float32), "norm.bias": np.zeros(5, np.float32)},
    )
    with pytest.raises(ValueError, match=r"norm\.weight: got \(3,\)") as error:
        load_pretrained(file, task, model_arrays(state))
    assert "norm.bias: got (5,), expected (16,)" in str(error.value)


@pytest.mark.slow
def test_a_part_of_a_run_is_that_part_of_its_checkpoint(tmp_path, made):
    task, state = made
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(3, state)
    saved = model_arrays(state)
    fresh = {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in saved.items()}
    arrays, note, *_ = load_pretrained(f"{tmp_path}:encoder", task, fresh)
    assert arrays.keys() == {name for name in saved if name.startswith("encoder.")}
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, saved[name])
    assert f"loaded encoder from {tmp_path}, step 3" in note
    whole, *_ = load_pretrained(str(tmp_path), task, fresh)
    assert whole.keys() == saved.keys()
    name = next(name for name in arrays if name.endswith("qkv.kernel"))
    other = fresh | {name: jax.ShapeDtypeStruct((1, 2), np.float32)}
    with pytest.raises(ValueError, match=name.replace(".", r"\.") + r".*the model \(1, 2\)"):
        load_pretrained(f"{tmp_path}:encoder", task, other)
    with pytest.raises(ValueError, match="no part 'backbone'"):
        load_pretrained(f"{tmp_path}:backbone", task, fresh)
