"""Conformal thresholds: the order statistic, the bound, that both hold on new units, the sentence."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipad_jax.evaluation import false_alarms
from ipad_jax.evaluation.false_alarms import units_for


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 80), st.floats(0.01, 0.5))
def test_threshold_is_the_conformal_order_statistic(n, alpha):
    maxima = np.random.default_rng(n).permutation(n).astype(float)  # the k-th smallest is k - 1
    threshold, bound, _ = false_alarms.threshold(maxima, alpha, "image")
    k = math.ceil(round((n + 1) * (1 - alpha), 9))
    assert threshold == min(k, n) - 1
    if k >= n:
        assert bound == pytest.approx(1 - 0.05 ** (1 / n), rel=1e-9)
    else:
        assert bound > 1 - 0.05 ** (1 / n)  # a lower threshold promises less


def test_the_bound_is_three_over_n():
    for n, bound in ((29, 0.10), (59, 0.05), (299, 0.01)):
        assert false_alarms.threshold(np.arange(n), 1e-6, "cycle").bound == pytest.approx(
            bound, rel=0.03
        )


def test_threshold_and_bound_hold_on_new_units():
    # 2,000 calibrations of 19 units: the share of new units above is alpha on average, and exceeds
    # the bound in about 5 % of the calibrations
    rng = np.random.default_rng(0)
    above = []
    bounds = []
    for _ in range(2000):
        threshold, bound, _ = false_alarms.threshold(rng.uniform(size=19), 0.1, "view")
        above.append(1 - threshold)  # uniform scores: the true share above the threshold
        bounds.append(bound)
    assert np.mean(above) == pytest.approx(0.1, abs=0.006)  # 4 standard errors
    assert np.mean(np.array(above) > bounds) == pytest.approx(0.05, abs=0.02)  # 4 standard errors


def test_units_that_support_a_bound():
    assert units_for(0.10, 0.05) == 29  # the rule of three
    assert units_for(0.05, 0.01) == 59
    assert units_for(0.10, 0.2) is None


def test_the_statement_says_what_the_threshold_rests_on():
    few = false_alarms.threshold(np.arange(12), 0.05, "cycle").statement
    assert few == (
        "Threshold 11.00, the largest of the highest scores of 12 normal cycles held out of training; "
        "with 95 % confidence, at most 22 % of normal cycles raise an alarm. The threshold is "
        "provisional: 17 more cycles held out would support 10 %."
    )
    one = false_alarms.threshold(np.array([0.0123]), 0.2, "image").statement
    assert "Threshold 0.0123, the largest of the highest scores of 1 normal image held" in one
    assert one.endswith("of normal images raise an alarm. The threshold is provisional.")
    pieces = false_alarms.threshold(np.arange(40), 0.05, "10 s stretch", unit_seconds=10).statement
    assert "the 95 % conformal quantile of the highest scores of 40 normal 10 s stretches" in pieces
    assert pieces.endswith("as far as those of one video are independent.")


@pytest.mark.parametrize(
    ("maxima", "alpha", "message"),
    [
        ([], 0.05, "at least one normal image"),
        ([[1.0]], 0.05, r"shape \(1, 1\)"),
        ([1.0, np.nan], 0.05, "1 of 2 normal images have a score that is NaN"),
        ([1.0], 0.0, "alpha=0.0 must lie between"),
        ([1.0], 5, "alpha=5 must lie between"),
    ],
)
def test_bad_input_is_refused(maxima, alpha, message):
    with pytest.raises(ValueError, match=message):
        false_alarms.threshold(np.array(maxima), alpha, "image")
