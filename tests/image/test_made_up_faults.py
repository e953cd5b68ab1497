"""Cuttings laid over a picture, squares cut out, CutPaste's density, OCR-GAN's two frequencies."""

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipad_jax.image.made_up_faults import cut_out, pasted
from ipad_jax.image.methods.cutpaste import gaussian, patch_under
from ipad_jax.image.methods.ocrgan import low_frequencies

H, W = 60, 90
RNG = np.random.default_rng(0)
PICTURE = jnp.asarray(RNG.uniform(0.3, 0.6, (H, W, 3)), jnp.float32)
KEYS = jax.random.split(jax.random.key(0), 200)


def changed(made):
    """Where pictures [n, h, w, 3] differ from the first one."""
    return np.asarray(jnp.any(made != PICTURE[None], axis=-1))


@pytest.mark.slow
def test_a_cutting_covers_what_the_paper_says():
    made = jax.jit(jax.vmap(lambda key: pasted(key, PICTURE, False)))(KEYS)
    shares = changed(made).mean((1, 2))
    # up to a row and a column of rounding, and where a brightness of 1 leaves nothing to see
    assert shares.max() < 0.15 * (1 + 1 / 8)
    assert np.median(shares) > 0.04
    for where in changed(made)[:20]:
        rows, columns = np.flatnonzero(where.any(1)), np.flatnonzero(where.any(0))
        box = where[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert box.mean() > 0.9  # a rectangle, none of whose sides leaves the picture


@pytest.mark.slow
def test_a_scar_is_thin_and_turned():
    made = jax.jit(jax.vmap(lambda key: pasted(key, PICTURE, True)))(KEYS)
    where = changed(made)
    longest = 25 * H / 256 * 1.5  # pixels, of 25 by 16 of 256 turned by 45 degrees
    for found in where:
        rows, columns = np.flatnonzero(found.any(1)), np.flatnonzero(found.any(0))
        assert np.ptp(rows) <= longest
        assert np.ptp(columns) <= longest


@pytest.mark.slow
def test_a_cutting_shows_the_picture_itself():
    """On a ramp whose values say where they were, a cutting is one piece of it, moved."""
    y, x = jnp.meshgrid(jnp.arange(H), jnp.arange(W), indexing="ij")
    ramp = jnp.stack([0.2 + y / 256, 0.2 + x / 256, jnp.full((H, W), 0.3)], -1).astype(jnp.float32)
    for made in np.asarray(jax.jit(jax.vmap(lambda key: pasted(key, ramp, False)))(KEYS[:10])):
        where = np.any(made != np.asarray(ramp), axis=-1)
        rows, columns = np.flatnonzero(where.any(1)), np.flatnonzero(where.any(0))
        inside = made[rows[2] : rows[-2], columns[2] : columns[-2]]
        # recolouring is linear: steps along an axis are all alike
        assert np.ptp(np.diff(inside[..., 0], axis=0)) < 1e-5
        assert np.ptp(np.diff(inside[..., 1], axis=1)) < 1e-5


def test_a_square_is_cut_out():
    made = jax.jit(jax.vmap(lambda key: cut_out(key, PICTURE)))(KEYS[:50])
    where = changed(made)
    assert where.any((1, 2)).all()
    assert where.mean((1, 2)).max() < 0.08  # a quarter of both sides
    np.testing.assert_array_equal(np.asarray(made)[where], 0.5)


def test_distances_are_those_of_mahalanobis_where_rows_abound():
    mixed = RNG.normal(size=(5, 5))
    rows = RNG.normal(size=(20_000, 5)) @ mixed + 3
    mean, whiten = gaussian(rows)
    x = RNG.normal(size=(10, 5)) @ mixed
    inverse = np.linalg.inv(np.cov(rows.T))
    slow = [np.sqrt((v - rows.mean(0)) @ inverse @ (v - rows.mean(0))) for v in x]
    # what is shrunk is about 1 / n
    np.testing.assert_allclose(np.linalg.norm((x - mean) @ whiten, axis=-1), slow, rtol=0.01)


def test_few_rows_are_shrunk_not_inverted():
    rows = RNG.normal(size=(4, 30))
    mean, whiten = gaussian(rows)
    assert np.isfinite(whiten).all()
    away = RNG.normal(size=(100, 30))
    ratios = np.linalg.norm(away @ whiten, axis=-1) / np.linalg.norm(away, axis=-1)
    assert ratios.max() / ratios.min() < 5  # nearly a multiple of the plain distance
    np.testing.assert_allclose(mean, rows.mean(0), rtol=1e-5)


@pytest.mark.parametrize(("side", "patch", "stride"), [(64, 32, 8), (128, 128, 4), (60, 16, 7)])
def test_a_cell_stands_over_the_middle_of_its_patch(side, patch, stride):
    weights = patch_under(side, patch, stride)
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-5)
    for cell in range(weights.shape[1]):
        centre = cell * stride + patch / 2 - 0.5
        assert weights[int(centre), cell] + weights[int(np.ceil(centre)), cell] > 1


def test_low_frequencies_are_opencvs_pyramid():
    image = RNG.normal(size=(16, 24, 3)).astype(np.float32)
    found = low_frequencies(jnp.asarray(image)[None])[0]
    small = cv2.pyrDown(image, borderType=cv2.BORDER_REFLECT_101)
    wanted = cv2.pyrUp(small, dstsize=image.shape[1::-1])
    np.testing.assert_allclose(found, wanted, atol=1e-5)
