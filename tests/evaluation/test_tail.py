"""The promise of a threshold on simulated scores: light and heavy tails, dependence, too few units."""

import numpy as np
import pytest
from scipy.stats import genpareto, norm, t

from ipad_jax.evaluation.tail import (
    CONFIDENCE,
    SHAPES,
    log_density,
    tail_threshold,
    units_needed,
)

ONE = np.zeros(1, int)
TRIALS = 60
# of TRIALS calibrations that may break a promise of CONFIDENCE: the binomial's 99.9 % quantile
MAY_FAIL = 14


def gaussian(rng, n):
    return rng.standard_normal(n)


def heavy(rng, n):
    return rng.standard_t(3, n)


def slow(rng, n, kept=0.9):
    """Neighbours alike, as where light moves slowly."""
    steps = rng.standard_normal(n) * np.sqrt(1 - kept**2)
    values = np.empty(n)
    values[0] = rng.standard_normal()
    for i in range(1, n):
        values[i] = kept * values[i - 1] + steps[i]
    return values


@pytest.mark.parametrize(
    ("draw", "above"),
    [(gaussian, norm.sf), (heavy, t(3).sf), (slow, norm.sf)],
    ids=["gaussian", "heavy tail", "neighbours alike"],
)
@pytest.mark.parametrize("units", [30, 150, 2000])
def test_the_wished_share_holds_at_the_stated_confidence(draw, above, units):
    share, rng = 1 / 500, np.random.default_rng(units)
    found = [tail_threshold(draw(rng, units), np.zeros(units), share) for _ in range(TRIALS)]
    broken = sum(above(f.threshold) > share for f in found)
    assert broken <= MAY_FAIL
    # and a bound that is never near what it promises would be of no use where there is enough
    if units == 2000 and draw is not slow:
        assert np.median([above(f.threshold) for f in found]) > share / 5


def test_enough_units_are_counted_and_fewer_are_extrapolated_beyond_their_largest():
    rng, share = np.random.default_rng(0), 0.02
    enough = units_needed(share)
    assert (1 - share) ** enough <= 1 - CONFIDENCE < (1 - share) ** (enough - 1)
    units = rng.permutation(np.linspace(0, 1, enough))
    found = tail_threshold(units, np.arange(enough), share)  # all of recordings of their own
    assert (found.extrapolated, found.threshold, found.alike) == (False, 1.0, 1.0)
    few = tail_threshold(units[:60], np.arange(60), share / 10)
    assert few.extrapolated
    assert few.threshold > units[:60].max()
    assert few.low <= few.threshold <= few.high


def test_a_rarer_alarm_has_a_higher_threshold():
    units = np.random.default_rng(3).gumbel(size=200)
    thresholds = [
        tail_threshold(units, 0 * ONE.repeat(200), s).threshold for s in (0.1, 0.02, 1e-3, 1e-5)
    ]
    assert (np.diff(thresholds) > 0).all()


def test_a_score_in_other_units_gives_the_same_threshold_in_those():
    units = np.random.default_rng(4).gumbel(size=60)
    for share in (1e-3, 0.2):
        one = tail_threshold(units, np.zeros(60), share)
        other = tail_threshold(100 * units + 7, np.zeros(60), share)
        assert other.threshold == pytest.approx(100 * one.threshold + 7)


def test_units_that_come_in_clusters_count_as_fewer():
    single = np.random.default_rng(5).gumbel(size=120)
    fourfold = np.repeat(single[:30], 4)
    assert tail_threshold(single, np.zeros(120), 0.01).alike < 1.5
    assert tail_threshold(fourfold, np.zeros(120), 0.01).alike > 2.5
    # the same side by side, but of a recording each
    assert tail_threshold(fourfold, np.arange(120), 0.01).alike == 1


@pytest.mark.parametrize(
    ("maxima", "share", "message"),
    [
        ([], 0.1, "at least one normal unit"),
        ([1.0, np.nan], 0.1, "finite"),
        ([1.0, 2.0], 0.0, "share=0"),
    ],
)
def test_bad_input_is_refused(maxima, share, message):
    with pytest.raises(ValueError, match=message):
        tail_threshold(np.array(maxima), np.zeros(len(maxima)), share)


def test_the_density_is_the_generalised_paretos():
    excess = np.r_[0.0, np.geomspace(1e-3, 1e3, 30)][:, None, None]  # the last beyond some ends
    shape, scale = np.meshgrid(SHAPES, np.geomspace(0.1, 10, 9), indexing="ij")
    expected = genpareto.logpdf(excess, shape, scale=scale)
    assert np.isneginf(expected).any()
    np.testing.assert_allclose(log_density(excess, shape, scale), expected, rtol=1e-12)
