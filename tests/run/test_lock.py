"""One training process a run folder: two never write, and what a killed one left stops nobody for long."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace

import pytest
from toy import toy_config

from ipad_jax.run import lock
from ipad_jax.run.lock import LOCK, Holder, locked, release_all
from ipad_jax.training.logs import read_metrics
from ipad_jax.training.loop import train

HOLD = """
import sys, time
from ipad_jax.run.lock import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder_elsewhere(tmp_path):
    """A process that holds `tmp_path`/run."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def no_flock(monkeypatch):
    """A file system without flock."""

    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)


def sign(folder, **changes):
    """A lock file as a process that was killed leaves it."""
    folder.mkdir(exist_ok=True)
    (folder / LOCK).write_text(json.dumps(asdict(replace(Holder.this(), **changes))))


def dead_pid():
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_folder_is_held_once_and_left_clean(tmp_path):
    folder = tmp_path / "runs" / "new"
    with locked(folder):
        assert Holder(**json.loads((folder / LOCK).read_text())).pid == os.getpid()
        with pytest.raises(ValueError, match="being trained by process"), locked(folder):
            pass
    assert not folder.exists()  # it was made for the lock, and nothing was written
    folder.mkdir()
    with locked(folder):
        pass
    assert list(folder.iterdir()) == []


def test_a_second_train_is_refused_and_the_first_keeps_its_metrics(tmp_path):
    """A scheduler that starts the command again while the old process still saves."""
    seen = []

    def start_again(figures):
        if figures["step"] == 3 and not seen:
            with pytest.raises(
                ValueError, match=rf"run is being trained by process {os.getpid()} "
            ):
                train(toy_config(total_steps=8), tmp_path / "run")
            seen.append(figures["step"])

    train(toy_config(total_steps=6), tmp_path / "run", progress=start_again)
    assert seen == [3]
    assert [row["step"] for row in read_metrics(tmp_path / "run")] == [1, 2, 3, 4, 5, 6]
    assert not (tmp_path / "run" / LOCK).exists()


def test_another_process_is_named_with_what_to_do(tmp_path, holder_elsewhere):
    with (
        pytest.raises(ValueError, match=rf"`kill {holder_elsewhere.pid}` .* another --workdir"),
        locked(tmp_path / "run"),
    ):
        pass
    assert (tmp_path / "run" / LOCK).exists()


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path, holder_elsewhere):
    holder_elsewhere.send_signal(signal.SIGKILL)
    holder_elsewhere.wait()
    assert (tmp_path / "run" / LOCK).exists()
    with locked(tmp_path / "run"):
        pass


def test_without_flock_the_process_number_decides(tmp_path, no_flock, holder_elsewhere):
    with pytest.raises(ValueError, match="being trained"), locked(tmp_path / "run"):
        pass
    sign(tmp_path / "run", pid=dead_pid())
    with locked(tmp_path / "run"):
        pass
    sign(tmp_path / "run", boot="before it was started anew")  # the number is another process now
    with locked(tmp_path / "run"):
        pass


@pytest.mark.parametrize("flock", [True, False])
def test_another_machines_lock_is_never_taken(tmp_path, flock, request):
    if not flock:
        request.getfixturevalue("no_flock")
    sign(tmp_path / "run", host="node7", boot="another", pid=dead_pid())
    before = (tmp_path / "run" / LOCK).read_text()
    with pytest.raises(ValueError, match=r"locked by .* on node7.*delete .*/run/\.lock and start"):
        train(toy_config(), tmp_path / "run")
    assert (tmp_path / "run" / LOCK).read_text() == before
    assert [path.name for path in (tmp_path / "run").iterdir()] == [LOCK]


def test_a_requeued_job_and_another_container_of_one_machine_go_on(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "42")
    sign(tmp_path / "run", host="node7", boot="another", job="42")
    with locked(tmp_path / "run"):
        pass
    sign(tmp_path / "run", host="container7", job="")
    if Holder.this().boot:
        with locked(tmp_path / "run"):
            pass


def test_a_lock_file_cut_short_is_no_ones(tmp_path):
    (tmp_path / LOCK).write_text('{"host": "no')
    with locked(tmp_path):
        pass


def test_a_lock_that_was_deleted_while_it_was_opened_is_opened_anew(tmp_path, monkeypatch):
    """Its holder ends between a second process's open and flock: that one must not hold a deleted file."""
    first = locked(tmp_path)
    first.__enter__()
    flock = lock._flock

    def after_the_first_left(descriptor, path):
        monkeypatch.setattr(lock, "_flock", flock)
        first.__exit__(None, None, None)
        return flock(descriptor, path)

    monkeypatch.setattr(lock, "_flock", after_the_first_left)
    with locked(tmp_path):
        assert (tmp_path / LOCK).exists()
        with pytest.raises(ValueError, match="being trained"), locked(tmp_path):
            pass


def test_a_process_that_ends_at_once_gives_up_its_locks(tmp_path):
    with locked(tmp_path):
        release_all()
        assert not (tmp_path / LOCK).exists()


def test_a_bucket_is_not_locked():
    with locked("gs://bucket/run"):  # would fail on any access
        pass
