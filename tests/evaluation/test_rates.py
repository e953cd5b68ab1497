"""Exact intervals against sums of probabilities, and on simulated counts."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipad_jax.evaluation.rates import rate_interval, share_interval


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 30), st.floats(0.01, 20))
def test_the_ends_of_a_rate_leave_a_fortieth_on_each_side(count, hours):
    low, high = rate_interval(count, hours)

    def at_most(k, rate):
        return sum(
            math.exp(-rate * hours) * (rate * hours) ** i / math.factorial(i) for i in range(k + 1)
        )

    assert at_most(count, high) == pytest.approx(0.025, abs=1e-6)
    if count:
        assert 1 - at_most(count - 1, low) == pytest.approx(0.025, abs=1e-6)
    else:
        assert low == 0.0


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 30).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_ends_of_a_share_leave_a_fortieth_on_each_side(counts):
    count, total = counts
    low, high = share_interval(count, total)

    def at_most(k, p):
        return sum(math.comb(total, i) * p**i * (1 - p) ** (total - i) for i in range(k + 1))

    assert low <= count / total <= high
    if count < total:
        assert at_most(count, high) == pytest.approx(0.025, abs=1e-6)
    if count:
        assert 1 - at_most(count - 1, low) == pytest.approx(0.025, abs=1e-6)


def test_they_cover_at_least_as_often_as_they_say():
    rng = np.random.default_rng(0)
    inside = [
        low <= 40 <= high for low, high in (rate_interval(c, 0.1) for c in rng.poisson(4, 500))
    ]
    assert np.mean(inside) >= 0.93  # at least 0.95; 500 trials vary by a hundredth
    inside = [a <= 0.7 <= b for a, b in (share_interval(c, 9) for c in rng.binomial(9, 0.7, 500))]
    assert np.mean(inside) >= 0.93


def test_no_time_and_no_trials_say_nothing():
    assert all(map(math.isnan, rate_interval(0, 0.0)))
    assert all(map(math.isnan, share_interval(0, 0)))
    with pytest.raises(ValueError, match=r"count=3 must lie in 0\.\.total=2"):
        share_interval(3, 2)
