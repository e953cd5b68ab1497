"""`ipad-jax bench cycle`: how its errors are counted, and a rendered machine whose cycle is found."""

import jax
import numpy as np
import pytest

from ipad_jax.performance import cycle
from ipad_jax.prepare.period import Cycles, find_cycles


def estimate(turns, cycle_frames) -> Cycles:
    whole = np.floor(turns)
    lengths = np.diff(cycle.boundaries(turns))
    phase = (turns - whole).astype(np.float32)
    return Cycles(cycle_frames, [phase], [whole.astype(np.int32)], lengths, 0.9)


def test_a_perfect_estimate_with_another_origin_has_no_error():
    turns = np.arange(300) / 50
    errors = cycle.errors_of(estimate(turns + 0.37, 50.0), turns)
    assert errors.length == pytest.approx(0, abs=1e-6)
    assert errors.boundary_worst == pytest.approx(0, abs=1e-3)
    assert errors.phase == pytest.approx(0, abs=1e-6)
    assert errors.cycles == 0


def test_errors_are_those_that_were_made():
    turns = np.arange(500) / 50
    late = turns - 0.04 * (np.floor(turns) % 2)  # every second cycle is 2 frames late
    errors = cycle.errors_of(estimate(np.maximum.accumulate(late), 55.0), turns)
    assert errors.length == pytest.approx(0.1)
    assert errors.phase == pytest.approx(0.02, abs=0.003)
    assert errors.boundary_median == pytest.approx(1, abs=0.2)
    half = cycle.errors_of(estimate(2 * turns, 25.0), turns)
    assert half.cycles in (9, 10)
    assert half.length == pytest.approx(0.5)


def test_machine_time_never_falls_and_stands_in_pauses():
    rng = np.random.default_rng(0)
    steady = cycle.machine_time(rng, 6, 0.2, pauses=False)
    assert (np.diff(steady) > 0).all()
    paused = cycle.machine_time(rng, 6, 0.2, pauses=True)
    assert 2 * cycle.PAUSE_FRAMES[0] <= (np.diff(paused) == 0).sum() <= 2 * cycle.PAUSE_FRAMES[1]


def test_rows_say_what_was_refused():
    cells, note = cycle.row([np.zeros((100, 32, 32), np.uint8)])
    assert cells == ("refused",)
    assert note.startswith("refused: nothing repeats")


@pytest.fixture
def optimised():
    """Programs as users have them: rendering is twelve times as slow in those of other tests."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.mark.slow
@pytest.mark.usefixtures("optimised")
def test_a_rendered_machine_of_varying_speed_in_drifting_light():
    pictures, turns = cycle.rendered("conveyor", "synthetic", 201, "varying", 4)
    errors = cycle.errors_of(find_cycles([pictures]), turns)
    assert errors.length < 0.1
    assert errors.phase < 0.04
    assert errors.boundary_median < 6  # frames of about 60
    assert abs(errors.cycles) <= 1
