"""A disk that fills and folders that cannot be written: one error, and nothing saved is lost."""

import resource
import time

import numpy as np
import pytest
from big_toy import big_toy_config
from etils import epath

from ipad_jax.training.checkpoints import complete_steps, load_model_arrays
from ipad_jax.training.logs import read_metrics
from ipad_jax.training.loop import train

STATE_MB = 4.0


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The arrays of a run without a fault."""
    workdir = tmp_path_factory.mktemp("whole")
    train(config(), workdir)
    return load_model_arrays(workdir)[0]


@pytest.fixture
def limit_files():
    """Sets the largest size of a file, which stands in for a full disk (root has no quota)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size or soft, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def config(**overrides):
    return big_toy_config(STATE_MB, total_steps=6, checkpoint_every=2, **overrides)


def after_first_save(workdir, act):
    """A `progress` that acts once, when the checkpoint of step 2 is complete."""
    done = []

    def progress(figures):
        if done or figures["step"] < 3 or figures["phase"] != "training":
            return
        while complete_steps(epath.Path(workdir) / "checkpoints") != [2]:
            time.sleep(0.01)
        done.append(act())

    return progress


def assert_ends_as_if_undisturbed(workdir, whole, capfd):
    """The same command goes on from step 2 and reaches the bits of a run without a fault."""
    said = capfd.readouterr()
    assert "Traceback" not in said.out + said.err
    train(config(), workdir)
    assert "resuming from step 2" in capfd.readouterr().out
    found, step = load_model_arrays(workdir)
    assert step == 6
    for name in whole:
        np.testing.assert_array_equal(found[name], whole[name], err_msg=name)
    assert [row["step"] for row in read_metrics(workdir)] == list(range(1, 7))


@pytest.mark.slow
def test_a_disk_that_fills_during_a_save_costs_that_save_alone(tmp_path, whole, limit_files, capfd):
    fill = after_first_save(tmp_path / "run", lambda: limit_files(500_000))
    with pytest.raises(OSError, match=r"File too large.*Complete ones stay: \[2\]"):
        train(config(), tmp_path / "run", progress=fill)
    limit_files(None)
    assert_ends_as_if_undisturbed(tmp_path / "run", whole, capfd)


@pytest.mark.slow
def test_a_disk_that_has_no_room_for_a_line_stops_the_run_and_no_thread_hangs(
    tmp_path, whole, limit_files, capfd
):
    path = tmp_path / "run" / "metrics.jsonl"
    fill = after_first_save(tmp_path / "run", lambda: limit_files(path.stat().st_size + 10))
    with pytest.raises(OSError, match=r"step \d could not be written to .*run.*the same command"):
        train(config(), tmp_path / "run", progress=fill)
    limit_files(None)
    assert_ends_as_if_undisturbed(tmp_path / "run", whole, capfd)


def test_a_folder_that_becomes_unwritable_is_an_error_at_once(tmp_path, whole, capfd):
    """As root no mode forbids writing; a file stands where the folder was."""
    folder, aside = tmp_path / "run" / "checkpoints", tmp_path / "aside"

    def replace():
        folder.rename(aside)
        folder.touch()

    with pytest.raises(OSError, match=r"Not a directory.*With the cause mended, the same command"):
        train(config(), tmp_path / "run", progress=after_first_save(tmp_path / "run", replace))
    folder.unlink()
    aside.rename(folder)
    assert_ends_as_if_undisturbed(tmp_path / "run", whole, capfd)


def test_a_run_folder_that_is_a_file_is_refused_before_training(tmp_path):
    (tmp_path / "run").write_text("in the way")
    with pytest.raises(OSError, match=r"run cannot be made a run folder"):
        train(config(), tmp_path / "run")
    assert (tmp_path / "run").read_text() == "in the way"
