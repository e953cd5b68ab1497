"""The table that a person chooses an image run's threshold from."""

import json

import numpy as np

from ipad_jax.image.calibration import Calibration
from ipad_jax.image.fresh_calibration import SHARES, wish_table


def test_each_share_has_the_threshold_and_promise_of_a_calibration_with_that_wish():
    scores = np.random.default_rng(0).permutation(200) / 10
    table = json.loads(json.dumps(wish_table(Calibration(scores, 0.05, {})), allow_nan=False))
    assert table["normal"] == sorted(scores.tolist())
    assert [wish["share"] for wish in table["wishes"]] == list(SHARES)
    for wish in table["wishes"]:
        one = Calibration(scores, wish["share"], {})
        assert (wish["threshold"], wish["bound"]) == (one.threshold, one.bound)
        assert wish["above"] == sum(scores > one.threshold) <= wish["share"] * len(scores)
    assert (table["share"], table["threshold"]) == (0.05, Calibration(scores, 0.05, {}).threshold)
    thresholds = [wish["threshold"] for wish in table["wishes"]]
    assert thresholds == sorted(thresholds, reverse=True)  # the rarer, the higher
