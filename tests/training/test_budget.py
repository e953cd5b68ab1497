"""A run's seconds: what counts, and what is held back."""

import math
import time

import pytest

from ipad_jax.training.budget import Budget


def now(monkeypatch, value):
    monkeypatch.setattr(time, "perf_counter", lambda: value)


def test_the_commands_time_counts_all_before_the_loop_and_what_comes_after(monkeypatch):
    budget = Budget(100, lambda: 1.0, started=0.0)
    now(monkeypatch, 30.0)
    assert budget.left() == 70
    budget.hold_back(compiling_s=40.0)
    assert budget.held_back == 20  # compiling a forward pass alone: half of it
    assert budget.left() == 50
    text = budget.describe(compiling_s=12.0)
    assert "compiling took 12 s, all before it 18 s" in text
    assert "50 s are left for training and 20 s for calibration" in text
    now(monkeypatch, 200.0)
    assert budget.left() == 0
    assert budget.used() > budget.seconds


@pytest.mark.parametrize(("compiling_s", "held_back"), [(0.0, 10), (20.0, 10), (1000.0, 50)])
def test_a_tenth_at_least_and_half_at_most_is_for_the_calibration(compiling_s, held_back):
    budget = Budget(100, lambda: 0.0, started=0.0)
    budget.hold_back(compiling_s)
    assert budget.held_back == held_back


def test_without_a_start_time_in_the_loop_counts_and_nothing_is_held_back():
    budget = Budget(100, lambda: 60.0, started=None)
    budget.hold_back(1000.0)
    assert (budget.used(), budget.left(), budget.describe(1000.0)) == (60, 40, "")
    assert Budget(0.0, lambda: 60.0, started=0.0).left() == math.inf
