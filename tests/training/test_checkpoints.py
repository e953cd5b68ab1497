"""Checkpoints: whole or not there, damaged or not loaded, and never skipped."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath
from jax.experimental import multihost_utils
from toy import ToyTask, toy_config

from ipad_jax.run.config import save_config
from ipad_jax.training import checkpoints as module
from ipad_jax.training.checkpoint_files import files_of
from ipad_jax.training.checkpoints import (
    DIGESTS,
    Checkpoints,
    DamagedCheckpointError,
    complete_steps,
    drop_newer,
    latest_step,
    load_model_arrays,
    remove_leftovers,
    restore_for_inference,
)
from ipad_jax.training.setup import TrainSetup
from ipad_jax.training.sharding import make_mesh
from ipad_jax.training.state import model_arrays, named_leaves


@pytest.fixture
def parts():
    """(fresh state with a step, shapes, shardings) of the toy."""
    config = toy_config()
    setup = TrainSetup.make(config, ToyTask(config), make_mesh(1, 1), 4)
    return setup.create_state(jax.random.key(0)), setup.shapes, setup.shardings


def write(workdir, state, steps, keep=2):
    with Checkpoints(workdir, keep) as checkpoints:
        for step in steps:
            checkpoints.save(step, state.__class__(**{**vars(state), "step": jnp.int32(step)}))
    return epath.Path(workdir) / "checkpoints"


def largest_file(folder):
    files = [folder / name for name in files_of(folder)]
    return max(files, key=lambda file: file.stat().length)


def test_what_was_saved_comes_back(tmp_path, parts):
    state, shapes, shardings = parts
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(3, state, train_seconds=1.5)
    with Checkpoints(tmp_path) as checkpoints:
        restored, seconds = checkpoints.restore(shapes, shardings)
    assert seconds == 1.5
    before, after = named_leaves(state), named_leaves(restored)
    assert before.keys() == after.keys()
    for name in before:
        np.testing.assert_array_equal(before[name], after[name], err_msg=name)


def test_quick_saves_are_all_made_and_the_oldest_go(tmp_path, parts):
    folder = write(tmp_path, parts[0], range(1, 6), keep=3)
    assert complete_steps(folder) == [3, 4, 5]
    assert latest_step(tmp_path) == 5
    assert sorted(path.name for path in folder.iterdir()) == ["3", "4", "5"]


def test_nothing_there_is_none_and_a_missing_step_is_an_error(tmp_path, parts):
    state, shapes, shardings = parts
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.restore(shapes, shardings) is None
    with pytest.raises(FileNotFoundError, match="train first"):
        load_model_arrays(tmp_path)
    write(tmp_path, state, [1])
    with (
        Checkpoints(tmp_path) as checkpoints,
        pytest.raises(FileNotFoundError, match=r"no complete checkpoint 7 .* there are \[1\]"),
    ):
        checkpoints.restore(shapes, shardings, 7)


def test_unfinished_save_is_passed_over_by_name_and_written_again(tmp_path, parts, caplog):
    state, shapes, shardings = parts
    folder = write(tmp_path, state, [1, 2])
    (folder / "2" / DIGESTS).unlink()
    with Checkpoints(tmp_path) as checkpoints:
        restored, _ = checkpoints.restore(shapes, shardings)
        assert int(restored.step) == 1
        assert f"passing over {folder / '2'}" in caplog.text
        checkpoints.save(2, state)
    assert complete_steps(folder) == [1, 2]


@pytest.mark.parametrize("damage", ["flip", "zero", "truncate", "remove", "add", "digests"])
def test_damage_is_named_and_the_one_before_offered(tmp_path, parts, damage):
    state, shapes, shardings = parts
    folder = write(tmp_path, state, [1, 2])
    victim = largest_file(folder / "2")
    content = bytearray(victim.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    elif damage == "zero":
        content[-40:] = bytes(40)
    elif damage == "truncate":
        content = content[:-7]
    victim.write_bytes(bytes(content))
    if damage == "remove":
        victim.unlink()
    if damage == "add":
        (folder / "2" / "stranger").write_text("x")
    if damage == "digests":
        (folder / "2" / DIGESTS).write_text("{")
    with (
        Checkpoints(tmp_path) as checkpoints,
        pytest.raises(DamagedCheckpointError, match=r"is damaged .* --step 1, or delete"),
    ):
        checkpoints.restore(shapes, shardings)
    with pytest.raises(DamagedCheckpointError, match="damaged"):
        load_model_arrays(tmp_path)
    with Checkpoints(tmp_path) as checkpoints:
        restored, _ = checkpoints.restore(shapes, shardings, 1)
    assert int(restored.step) == 1


def test_damage_is_told_to_every_process(tmp_path, parts, monkeypatch):
    state, shapes, shardings = parts
    folder = write(tmp_path, state, [1])
    largest_file(folder / "1").unlink()
    told = []
    checkpoints = Checkpoints(tmp_path)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(multihost_utils, "broadcast_one_to_all", lambda x: told.append(int(x)) or x)
    with pytest.raises(DamagedCheckpointError):
        checkpoints.restore(shapes, shardings)
    assert told == [1]


def test_a_save_that_fails_is_reported_at_the_next_wait(tmp_path, parts, monkeypatch):
    def full(path):
        raise OSError(28, "No space left on device")

    state = parts[0]
    folder = write(tmp_path, state, [1])
    monkeypatch.setattr(module, "write_digests", full)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(2, state)
    with pytest.raises(OSError, match=r"No space left.*Complete ones stay: \[1\]"):
        checkpoints.wait()
    assert complete_steps(folder) == [1]


def test_an_older_one_goes_only_after_a_newer_is_complete(tmp_path, parts, monkeypatch):
    state = parts[0]
    seen = []
    real = module.write_digests

    def spy(path):
        seen.append(complete_steps(path.parent))
        real(path)

    monkeypatch.setattr(module, "write_digests", spy)
    write(tmp_path, state, [1, 2, 3], keep=1)
    assert seen == [[], [1], [2]]


def test_a_folder_that_is_a_file_is_an_error(tmp_path):
    (tmp_path / "checkpoints").write_text("in the way")
    with pytest.raises(OSError, match="checkpoints cannot be made a folder"):
        Checkpoints(tmp_path)


def test_leftovers_of_killed_saves_are_removed(tmp_path):
    folder = epath.Path(tmp_path)
    (folder / "7.orbax-checkpoint-tmp" / "model").mkdir(parents=True)
    (folder / "5").mkdir()
    assert remove_leftovers(folder) == ["7.orbax-checkpoint-tmp"]
    assert [path.name for path in folder.iterdir()] == ["5"]


def test_an_old_step_half_removed_goes_and_an_unfinished_new_one_stays(tmp_path, parts):
    folder = write(tmp_path, parts[0], [1, 2, 3], keep=3)
    for step in (1, 3):
        (folder / str(step) / DIGESTS).unlink()  # killed in a removal; killed before the digests
    assert remove_leftovers(folder) == ["1"]
    assert sorted(path.name for path in folder.iterdir()) == ["2", "3"]


def test_a_save_that_orbax_skips_is_an_error(tmp_path, parts, monkeypatch):
    """Its `Checkpointer` gives None where another save runs; nothing here may take that for a save."""
    folder = write(tmp_path, parts[0], [1])
    checkpoints = Checkpoints(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(module.ocp, "save_checkpointables_async", lambda *args, **options: None)
        with pytest.raises(OSError, match=r"Orbax skipped step 2\. Complete ones stay: \[1\]"):
            checkpoints.save(2, parts[0])

    class Done:
        """A response that claims success, though nothing was written."""

        def result(self):
            return None

    monkeypatch.setattr(module.ocp, "save_checkpointables_async", lambda *args, **options: Done())
    checkpoints.save(2, parts[0])
    with pytest.raises(OSError, match=r"No such file.*checkpoints/2.*Complete ones stay: \[1\]"):
        checkpoints.wait()
    assert complete_steps(folder) == [1]


def test_going_back_sets_newer_ones_aside(tmp_path, parts):
    folder = write(tmp_path, parts[0], [1, 2, 3], keep=3)
    assert drop_newer(folder, 1) == [2, 3]
    assert complete_steps(folder) == [1]
    assert (folder / "3.set_aside" / DIGESTS).exists()


def test_another_model_is_refused_with_names_and_shapes(tmp_path, parts, monkeypatch):
    state = parts[0]
    save_config(tmp_path, toy_config())
    arrays = model_arrays(state)
    arrays["decoder.kernel"] = jnp.zeros((2, 2))
    arrays["extra"] = arrays.pop("decoder.bias")
    monkeypatch.setattr(module, "model_arrays", lambda _: arrays)
    write(tmp_path, state, [1])
    with pytest.raises(ValueError, match=r"decoder\.bias is missing.*extra is not.*\(2, 2\)"):
        restore_for_inference(tmp_path)


def test_digests_name_every_file(tmp_path, parts):
    folder = write(tmp_path, parts[0], [1]) / "1"
    named = json.loads((folder / DIGESTS).read_text())["files"]
    assert sorted(named) == files_of(folder)
    assert any(name.startswith("model/") for name in named)


def test_keep_must_be_positive(tmp_path):
    with pytest.raises(ValueError, match=r"checkpoint\.keep=0"):
        Checkpoints(tmp_path, 0)
