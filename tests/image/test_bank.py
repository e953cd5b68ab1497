"""The bank: what its rows are, what a distance is, and that a map depends on its image alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn_images import image_config, spot, stripes

from ipad_jax.image.detector import load
from ipad_jax.image.feature_task import lit
from ipad_jax.image.features import evened
from ipad_jax.image.methods.bank import cover, nearest
from ipad_jax.image.scorer import Scorer
from ipad_jax.training.fitted import load_fitted
from ipad_jax.training.state import inference_view
from ipad_jax.training.task import make_task


def radius(points, chosen):
    """Distance of the worst covered point."""
    gaps = np.linalg.norm(points[:, None] - points[chosen][None], axis=-1)
    return gaps.min(1).max()


def test_rows_are_candidates_that_cover_the_others_ever_better():
    points = np.random.default_rng(0).normal(size=(300, 6)).astype(np.float32)
    chosen = cover(points, 40, 0, seed=1)
    assert len(set(chosen.tolist())) == 40
    radii = [radius(points, chosen[:n]) for n in (1, 5, 20, 40)]
    assert radii == sorted(radii, reverse=True)
    # greedy is at most twice the best cover; random rows are no better than that
    random = np.random.default_rng(1).choice(300, 40, replace=False)
    assert radii[-1] < radius(points, random)
    np.testing.assert_array_equal(chosen, cover(points, 40, 0, seed=1))


def test_each_next_row_is_the_farthest_from_those_before():
    points = np.random.default_rng(2).normal(size=(50, 3)).astype(np.float32)
    chosen = cover(points, 10, 0, seed=0)
    for n in range(1, 10):
        gaps = np.linalg.norm(points[:, None] - points[chosen[:n]][None], axis=-1).min(1)
        assert gaps[chosen[n]] == pytest.approx(gaps.max(), rel=1e-4)


def test_few_candidates_are_all_taken():
    np.testing.assert_array_equal(cover(np.ones((3, 2), np.float32), 5, 0, 0), [0, 1, 2])


def test_distance_is_that_to_the_nearest_row():
    rng = np.random.default_rng(0)
    cells, rows = rng.normal(size=(2, 3, 4, 8)), rng.normal(size=(20, 8))
    slow = np.array(
        [[[min(np.linalg.norm(c - r) for r in rows) for c in b] for b in a] for a in cells]
    )
    found = nearest(jnp.asarray(cells, jnp.float32), jnp.asarray(rows, jnp.float32))
    np.testing.assert_allclose(found, slow, rtol=1e-5)  # float32 of distances around 2


def test_evened_features_keep_their_direction_and_know_less_of_contrast():
    cells = jnp.asarray(np.random.default_rng(1).normal(size=(4, 8)), jnp.float32)
    plain = cells / jnp.linalg.norm(cells, axis=-1, keepdims=True)

    def length(scale, evenness):
        found = evened(scale * plain, evenness)
        along = jnp.sum(found * plain, axis=-1)
        np.testing.assert_allclose(along, jnp.linalg.norm(found, axis=-1), rtol=1e-5)
        return float(along[0])

    assert length(0.5, 0) == pytest.approx(0.5)
    assert length(1, 3) == pytest.approx(1)  # the mean stays
    assert 1 < length(2, 30) < length(2, 3) < 2
    assert 0.5 < length(0.5, 3) < length(0.5, 30) < 1
    np.testing.assert_array_equal(evened(jnp.zeros((2, 8)), 3), np.zeros((2, 8)))


@pytest.mark.slow
def test_a_map_is_that_of_its_image_alone(bank_run):
    """Bit for bit, whatever comes with it: programs take one picture at a time on this backend."""
    images = [spot(9)[0], stripes(9, (80, 50)), spot(4)[0], stripes(2), stripes(7)]
    one, many = load(bank_run, batch_size=1), load(bank_run, batch_size=3)
    together = list(many.inspect_all(images))
    for image, found in zip(images, together, strict=True):
        alone = one.inspect(image)
        assert alone.map.shape == image.shape[:2]
        np.testing.assert_array_equal(alone.map, found.map)
        assert alone.score == found.score == found.map.max()


@pytest.mark.slow
def test_the_spot_is_where_the_map_is_highest(bank_run):
    image, mask = spot(12)
    found = load(bank_run).inspect(image)
    assert found.map[mask > 0].mean() > 2 * np.median(found.map)
    y, x = np.unravel_index(found.map.argmax(), found.map.shape)
    assert mask[y, x]


@pytest.mark.slow
def test_the_bank_has_its_rows_and_no_more(bank_run):
    arrays, _ = load_fitted(bank_run / "fitted.npz")
    assert arrays["rows"].shape == (200, 176)
    assert arrays["rows"].dtype == np.float16


def scorer_of(data_dir, **leaves):
    """A bank that is fitted with other leaves than those of `bank_run`."""
    task = make_task(image_config("bank:tiny", data_dir, **leaves))
    model = inference_view(task.init_model(jax.random.key(0)))
    return Scorer(task, model, task.fit(model, task.normal_data()))


@pytest.mark.slow
def test_copies_of_other_light_in_the_bank_bring_such_light_nearer(drawn):
    """A brighter picture of training, and no less far is the fault."""
    plain = scorer_of(drawn)
    copies = scorer_of(drawn, **{"model.brightness": (0.7, 1.4)})
    image = plain.task.source.image(plain.task.indices[0][0])
    for factor in (0.7, 1.4):
        before, after = (next(s.scored([lit(image, factor)])) for s in (plain, copies))
        assert after.map.mean() < before.map.mean()
        assert after.score < before.score
    faulty, mask = spot(5)
    found = next(copies.scored([faulty]))
    assert found.map[mask > 0].mean() > 1.5 * np.median(found.map)


@pytest.mark.slow
def test_with_tiles_a_map_is_that_of_its_image_alone(drawn):
    """Images of any size, each as nine pictures; the spot is seen across the borders between them."""
    scorer = scorer_of(drawn, **{"data.tiles": 3, "eval.batch_size": 3})
    images = [spot(9)[0], stripes(9, (80, 50)), spot(4, (96, 120))[0], stripes(2)]
    together = list(scorer.scored(images))
    scorer.task.config.eval.batch_size = 1
    for image, found in zip(images, together, strict=True):
        alone = next(scorer.scored([image]))
        assert found.map.shape == image.shape[:2]
        assert np.isfinite(found.map).all()
        # a program of another shape, of float32 sums in another order
        np.testing.assert_allclose(alone.map, found.map, rtol=0, atol=1e-5 * found.score)
    assert min(together[0].score, together[2].score) > max(together[1].score, together[3].score)
