"""Cells of frozen features: means of neighbours, other light, and how many pictures go together."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipad_jax.image.feature_task import lit
from ipad_jax.image.features import TOGETHER, box_average, each_picture, on_grid

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("side", [1, 2, 3, 5, 9])
def test_a_cells_mean_is_over_those_of_its_box_that_lie_inside(side):
    x = RNG.normal(size=(2, 5, 7, 3)).astype(np.float32)
    before = (side - 1) // 2
    slow = np.empty_like(x)
    for row in range(5):
        for column in range(7):
            top, left = max(row - before, 0), max(column - before, 0)
            box = x[:, top : row + side - before, left : column + side - before]
            slow[:, row, column] = box.mean((1, 2), dtype=np.float64)
    # float32 sums of up to 35 numbers of size 1
    np.testing.assert_allclose(box_average(jnp.asarray(x), side), slow, rtol=0, atol=1e-6)


def test_levels_come_to_one_grid_after_the_mean_of_their_own_neighbours():
    own, coarse = (RNG.normal(size=(1, n, n, 2)).astype(np.float32) for n in (8, 4))
    fine = np.full((1, 16, 16, 3), 7, np.float32)
    maps = {"fine": jnp.asarray(fine), "own": jnp.asarray(own), "coarse": jnp.asarray(coarse)}
    found = on_grid(maps, (8, 8), 3)
    assert [x.shape for x in found] == [(1, 8, 8, 3), (1, 8, 8, 2), (1, 8, 8, 2)]
    np.testing.assert_allclose(found[0], 7, rtol=1e-6)  # float32
    np.testing.assert_array_equal(found[1], box_average(maps["own"], 3))
    plain = on_grid({"coarse": box_average(maps["coarse"], 3)}, (8, 8))[0]
    np.testing.assert_array_equal(found[2], plain)
    assert np.ptp(found[2]) < np.ptp(coarse)


def test_other_light_multiplies_and_stays_within_8_bits():
    picture = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    for factor in (0.5, 1.0, 1.25):
        found = lit(picture, factor)
        assert found.dtype == np.uint8
        slow = [[min(255, int(value * factor))] * 3 for value in range(256)]
        np.testing.assert_array_equal(found.reshape(256, 3), slow)


@pytest.mark.parametrize("count", [1, 3, TOGETHER, 16, 17])
def test_on_an_accelerator_as_many_pictures_go_together_in_any_batch(count, monkeypatch):
    """Products of one shape are rounded in one way; a batch that is not full is filled up."""
    sizes = []

    @jax.custom_batching.custom_vmap
    def seen(x):
        return x

    @seen.def_vmap
    def note(axis_size, _, x):
        sizes.append(axis_size)
        return x, True

    monkeypatch.setattr("jax.default_backend", lambda: "gpu")
    pictures = RNG.normal(size=(count, 2, 3, 3)).astype(np.float32)
    twice, sums = each_picture(lambda x: (2 * seen(x), x.sum((1, 2, 3))), jnp.asarray(pictures))
    np.testing.assert_array_equal(twice, 2 * pictures)
    np.testing.assert_allclose(sums, pictures.sum((1, 2, 3)), rtol=0, atol=1e-5)  # float32
    assert set(sizes) == {TOGETHER}
