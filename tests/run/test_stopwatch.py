"""Where wall time goes: all of it is claimed, once, and rightly, on toys with known sleeps."""

import threading
import time

import pytest
from toy import ToyTask, toy_config

from ipad_jax.run import stopwatch as goodput
from ipad_jax.run.stopwatch import RunSummary, Stopwatch
from ipad_jax.training.checkpoints import Checkpoints
from ipad_jax.training.loop import train

SLEEP_S = 0.05


class Step:
    """A result of the device that is there when the test says so."""

    def __init__(self):
        self._there = threading.Event()

    def block_until_ready(self):
        self._there.wait()

    def finish(self, clock):
        self._there.set()
        clock._done.result()  # the watcher has looked at the time


@pytest.fixture
def at(monkeypatch):
    """Sets the time; it stands still in between."""
    now = [0.0]
    monkeypatch.setattr(goodput.time, "perf_counter", lambda: now[0])
    return lambda seconds: now.__setitem__(0, seconds)


def test_a_phase_costs_only_what_no_running_step_hides(at):
    clock = Stopwatch()
    with clock("input"):  # nothing runs yet: 0-2
        at(2.0)
    step = Step()
    clock.stepping(step)
    with clock("input"):  # 2-5, all of it while the step runs
        at(5.0)
    with clock("saving"):  # 5-9; the step is done at 6
        at(6.0)
        step.finish(clock)
        at(9.0)
    with clock("steps"):  # 9-10, when nothing runs: a step is being started
        at(10.0)
    with clock("evaluation"):
        at(11.0)
    at(11.5)
    found = {name: seconds for name, seconds in clock.read().items() if seconds}
    assert found == {"steps": 5.0, "input": 2.0, "saving": 3.0, "evaluation": 1.0, "other": 0.5}


def test_the_time_of_a_phase_that_fails_counts_too(at):
    def fail():
        at(1.0)
        raise OSError("disk full")

    clock = Stopwatch()
    with pytest.raises(OSError, match="full"), clock("saving"):
        fail()
    assert clock.read()["saving"] == 1.0


def test_the_shares_are_printed_and_add_up(at):
    clock = Stopwatch()
    for end, phase in ((6.0, "steps"), (8.0, "input"), (9.0, "compiling")):
        with clock(phase):
            at(end)
    at(10.0)
    text = str(RunSummary(5, 9, "SIGTERM", clock.read(), 8.0))
    assert text.startswith(
        "SIGTERM at step 5 of 9; wall time 10.0 s: steps 6.0 s (60%), input 2.0 s"
    )
    assert text.endswith("compiling 1.0 s (10%), other 1.0 s (10%)")


def test_a_run_claims_each_second_once_where_it_was_spent(tmp_path, monkeypatch):
    """Sleeps are lower bounds that no load of the machine moves; the sum is an upper one."""

    class Slow(ToyTask):
        def train_data(self, *args):
            for batch in super().train_data(*args):
                time.sleep(SLEEP_S)
                yield batch

        def loss_fn(self, *args):
            time.sleep(SLEEP_S)  # while it is traced
            return super().loss_fn(*args)

    save = Checkpoints.save

    def slow_save(*args):
        time.sleep(SLEEP_S)
        save(*args)

    monkeypatch.setattr(Checkpoints, "save", slow_save)
    monkeypatch.setattr("toy.ToyTask", Slow)
    began = time.perf_counter()
    summary = train(toy_config(total_steps=4, eval_every=4), tmp_path)
    wall = time.perf_counter() - began
    seconds = summary.seconds
    assert seconds["steps"] + seconds["input"] >= 4 * SLEEP_S  # some of it hides behind a step
    assert seconds["input"] >= SLEEP_S  # the first batch: no step runs yet
    assert seconds["steps"] + seconds["saving"] >= 2 * SLEEP_S
    assert seconds["compiling"] >= 2 * SLEEP_S  # of the step and of the evaluation
    assert all(value >= 0 for value in seconds.values())
    assert sum(seconds.values()) <= wall
