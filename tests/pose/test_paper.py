"""OmniposeAD as published, in the small: its field learns, its search and map judge, its map is a sum."""

import json

import numpy as np
import pytest

from ipad_jax.commands import evaluate
from ipad_jax.data_builders.toys.toys_dataset_builder import Builder, ToysConfig
from ipad_jax.performance.pose import compare_searches
from ipad_jax.pose import scorer
from ipad_jax.pose.paper import published_map
from ipad_jax.pose.pose_search import search
from ipad_jax.prepare.build import prepare
from ipad_jax.run.config import load_config
from ipad_jax.training.loop import train


def test_the_published_map_is_a_sum_of_squares_over_colours_and_features():
    rng = np.random.default_rng(0)
    query, other = rng.integers(0, 256, (2, 40, 40, 3)).astype(np.uint8)
    assert published_map(query, query, None).max() == 0
    std = np.array([0.229, 0.224, 0.225])
    even = np.full((40, 40, 3), 100, np.uint8)
    expected = (
        np.square((110 - 100) / 255 / std)
    ).sum()  # the same everywhere, so blurred to itself
    np.testing.assert_allclose(published_map(even + np.uint8(10), even, None), expected, rtol=1e-4)

    def features(image):  # a map of half the size, of one channel
        return {"stage": image[None, ::2, ::2, :1].astype(np.float32)}

    more = published_map(query, other, features) - published_map(query, other, None)
    assert (more > 0).all()
    assert more.mean() == pytest.approx(2 * 255**2 / 12, rel=0.2)  # of two uniform variables


@pytest.mark.slow
def test_it_trains_and_is_evaluated(tmp_path, monkeypatch):
    prepare(Builder, ToysConfig(scene="duck", size=48, counts=(16, 1, 1)), str(tmp_path))
    data = {"data.name": "duck_48px_n16-1-1", "data.data_dir": str(tmp_path), "num_devices": 1}
    run = tmp_path / "run"
    train(
        load_config("omnipose:paper,tiny", data | {"optim.lr": 5e-3}),
        str(run),
        progress=lambda *_: None,
    )
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert losses[-1] < losses[0] / 2
    assert evaluate.main(["--workdir", str(run), "--no-report"]) == 0
    metrics = json.loads((run / "eval/test/metrics.json").read_text())
    assert 0 <= metrics["image_auroc"] <= 1
    assert "pose_median_degrees" in metrics
    ours = []
    monkeypatch.setattr(scorer, "search", lambda *a, **k: ours.append(search(*a, **k)) or ours[-1])
    rows = compare_searches(workdir=str(run), queries=1, steps=2).rows
    assert [row[0].partition(":")[0] for row in rows] == ["published", "ours"]
    assert len(ours) == 2  # one that is not counted; the published search is not called ours
