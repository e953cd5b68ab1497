"""Period error: no error for a ramp of any cycle and origin, what a fitted slope forgives and what not."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipad_jax.video.scores.period_error import (
    PHASE_CLASSES,
    SPEED_TOLERANCE,
    circular_distance,
    fitted_period_error,
    period_error,
)

START = 3.0 * np.arange(5)


@settings(max_examples=60, deadline=None)
@given(
    st.floats(5, 5000),
    st.floats(0, 1, exclude_max=True),
    st.integers(1, 50),
    st.floats(1 - SPEED_TOLERANCE, 1 + SPEED_TOLERANCE),
)
def test_any_cycle_length_origin_spacing_and_tolerated_speed_is_no_error(
    cycle, origin, spacing, speed
):
    start = spacing * np.arange(5.0)
    normal = (origin + start / cycle) % 1
    assert period_error(normal, start, cycle) == pytest.approx(0, abs=1e-6)
    other = (origin + speed * start / cycle) % 1
    # beyond half a cycle from clip to clip nobody can tell the speed
    if spacing < 0.25 * cycle:
        assert fitted_period_error(other, start, cycle) == pytest.approx(0, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 0.99))
def test_equals_a_search_over_all_offsets_and_speeds(seed, shift):
    rng = np.random.default_rng(seed)
    cycle = 60.0
    phase = (START / cycle + rng.normal(0, 0.05, 5)) % 1
    ramp = PHASE_CLASSES * START / cycle
    offsets = np.linspace(0, PHASE_CLASSES, 801)[:, None]

    def searched(tolerance):
        speeds = np.linspace(1 - tolerance, 1 + tolerance, 41)
        return min(
            circular_distance(PHASE_CLASSES * phase, offsets + s * ramp).mean(axis=1).min()
            for s in speeds
        )

    # the grids are 0.25 classes and, at the last clip, 0.5 classes fine
    assert period_error(phase, START, cycle) == pytest.approx(searched(0.0), abs=0.25)
    assert fitted_period_error(phase, START, cycle) <= searched(SPEED_TOLERANCE) + 1e-9
    assert fitted_period_error(phase, START, cycle) == pytest.approx(
        searched(SPEED_TOLERANCE), abs=0.6
    )
    fitted = fitted_period_error(phase, START, cycle)
    assert fitted <= period_error(phase, START, cycle) + 1e-9
    assert fitted_period_error((phase + shift) % 1, START, cycle) == pytest.approx(fitted, abs=1e-6)
    same = fitted_period_error(phase, START, cycle, tolerance=0.0)
    assert same == pytest.approx(period_error(phase, START, cycle), abs=1e-9)


def test_a_varying_speed_costs_the_ramp_and_not_the_fit_but_faults_cost_both():
    cycle = 60.0
    ramp = START / cycle
    for speed in (0.8, 1.2):
        assert period_error(speed * ramp, START, cycle) > 1.0
        assert fitted_period_error(speed * ramp, START, cycle) < 1e-9
    jump = (ramp + np.array([0, 0, 0.15, 0.15, 0.15])) % 1
    for fault in (0 * ramp, 0.35 * ramp, 1.8 * ramp, jump):
        assert fitted_period_error(fault, START, cycle) > 2.0


def test_a_freeze_of_any_length_is_never_taken_for_a_slow_machine():
    for cycle, spacing in itertools.product((20.0, 60.0, 900.0), (0.02, 0.05, 0.1)):
        start = cycle * spacing * np.arange(5)
        frozen = fitted_period_error(np.full(5, 0.37), start, cycle)
        assert frozen == pytest.approx(
            (1 - SPEED_TOLERANCE) * period_error(np.full(5, 0.37), start, cycle)
        )


@pytest.mark.parametrize("error", [period_error, fitted_period_error])
def test_fewer_than_three_phases_say_nothing(error):
    assert math.isnan(error(np.array([0.1, math.nan, 0.2]), np.arange(3.0), 50.0))
    assert math.isnan(error(np.zeros(0), np.zeros(0), 50.0))
    assert error(np.array([0.1, math.nan, 0.2, 0.3]), np.arange(4.0) * 5, 50.0) >= 0
