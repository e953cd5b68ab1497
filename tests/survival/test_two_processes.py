"""A machine of several is taken away: all processes save one step and leave; the next start goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from etils import epath

from ipad_jax.training.checkpoints import complete_steps
from ipad_jax.training.logs import read_metrics

COMMAND = Path(__file__).parents[1] / "toy_command.py"
LAUNCHER = Path(__file__).parents[2] / "launch" / "local_processes.py"
PATIENCE_S = 900.0  # on however loaded a machine
ENDLESS = {"total_steps": 10**6, "checkpoint_every": 10**6, "num_devices": 0, "fsdp": 2}


def start(workdir, logs):
    """The two processes, by the launcher; gives it and their process numbers."""
    train = ["train", "--config", "toy", "--workdir", str(workdir)]
    command = [sys.executable, str(COMMAND), json.dumps(ENDLESS), *train]
    launcher = subprocess.Popen(
        [sys.executable, str(LAUNCHER), "--processes", "2", "--logs", str(logs), "--", *command],
        stdout=subprocess.PIPE,
        text=True,
    )
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children")
    wait_for(lambda: len(children.read_text().split()) == 2)
    return launcher, [int(number) for number in children.read_text().split()]


def wait_for(condition):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def steps(workdir):
    return [row["step"] for row in read_metrics(workdir)]


def stop_one(workdir, logs, victim, first_step):
    """Starts both, ends one by SIGTERM once it trains; gives what process 0 printed."""
    launcher, numbers = start(workdir, logs)
    try:
        wait_for(lambda: len(steps(workdir)) > first_step + 5)
        os.kill(numbers[victim], signal.SIGTERM)
        out, _ = launcher.communicate(timeout=PATIENCE_S)
    finally:
        launcher.terminate()  # passed on; nothing where it has ended
        launcher.wait()
    assert "exit statuses 0: 143, 1: 143" in out, out
    assert launcher.returncode == 143
    return out


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc")
def test_sigterm_to_one_of_two_saves_the_same_step_on_both_and_the_next_start_goes_on(tmp_path):
    workdir, before = tmp_path / "run", 0
    for victim in (1, 0):  # the coordinator is process 0
        out = stop_one(workdir, tmp_path / f"logs{victim}", victim, before)
        saved = complete_steps(epath.Path(workdir) / "checkpoints")[-1]
        assert f"SIGTERM at step {saved} of 1000000" in out
        assert saved > before
        assert (f"resuming from step {before}" in out) == bool(before)
        assert steps(workdir) == list(range(1, saved + 1))  # none twice, none left out
        # under fsdp each process holds, and writes, its half of every array
        parts = (workdir / "checkpoints" / str(saved) / "model").glob("ocdbt.process_*")
        assert sorted(part.name for part in parts) == ["ocdbt.process_0", "ocdbt.process_1"]
        before = saved
