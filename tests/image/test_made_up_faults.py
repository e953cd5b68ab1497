"""Faults and cuttings laid over a picture, squares cut out, CutPaste's density, OCR-GAN's two frequencies."""

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn_images import image_config, write

from ipad_jax.image.made_up_faults import blobs, cut_out, pasted, with_faults
from ipad_jax.image.methods.cutpaste import gaussian, patch_under
from ipad_jax.image.methods.ocrgan import low_frequencies
from ipad_jax.training.task import make_task

H, W = 60, 90
RNG = np.random.default_rng(0)
PICTURE = jnp.asarray(RNG.uniform(0.3, 0.6, (H, W, 3)), jnp.float32)
KEYS = jax.random.split(jax.random.key(0), 200)


def changed(made):
    """Where pictures [n, h, w, 3] differ from the first one."""
    return np.asarray(jnp.any(made != PICTURE[None], axis=-1))


COUNT = 8  # pictures of a batch
GOOD = jnp.asarray(np.random.default_rng(1).uniform(0.3, 0.6, (COUNT, H, W, 3)), jnp.float32)


@pytest.fixture(scope="module")
def faulty():
    """Twenty-five batches: pictures [200, h, w, 3] and masks [200, h, w]."""
    made, masks = jax.jit(jax.vmap(lambda key: with_faults(key, GOOD)))(KEYS[:25])
    return np.asarray(made).reshape(-1, H, W, 3), np.asarray(masks).reshape(-1, H, W)


@pytest.mark.slow
def test_a_fault_changes_its_picture_inside_its_mask_alone(faulty):
    made, masks = faulty
    good = np.tile(np.asarray(GOOD), (25, 1, 1, 1))
    np.testing.assert_array_equal(made[~masks], good[~masks])
    # a value that is laid over may be the picture's own by chance, all three of a pixel hardly
    assert np.any(made[masks] != good[masks], axis=-1).mean() > 0.999
    assert 0 <= made.min() <= made.max() <= 1


@pytest.mark.slow
def test_about_half_of_the_pictures_stay_good_and_no_fault_is_all_of_its_picture(faulty):
    shares = faulty[1].mean((1, 2))
    regions = np.asarray(jax.jit(jax.vmap(lambda key: blobs(key, (H, W))))(KEYS)).mean((1, 2))
    # half of 0.9, and 0.1; of 200 draws with deviations of 0.035 and 0.021
    assert 0.34 < (shares > 0).mean() < 0.56
    assert (regions == 0).mean() < 0.17
    assert max(shares.max(), regions.max()) < 0.6


@pytest.mark.slow
def test_faults_are_those_of_their_key(faulty):
    made, masks = jax.jit(with_faults)(KEYS[0], GOOD)
    np.testing.assert_array_equal(masks, faulty[1][:COUNT])
    # another program, and stripes' phases of up to 400 radians in float32
    np.testing.assert_allclose(made, faulty[0][:COUNT], rtol=0, atol=1e-4)
    drawn = {mask.tobytes() for mask in faulty[1] if mask.any()}
    assert len(drawn) == sum(mask.any() for mask in faulty[1])  # no region twice


@pytest.mark.slow
def test_given_textures_are_all_that_is_laid_over():
    """Of one colour over pictures of one colour, each fault has one; drawn textures have many."""
    plain = jnp.full((COUNT, H, W, 3), 0.5)
    textures = jnp.full((COUNT, H, W, 3), jnp.array([0.9, 0.2, 0.1]))
    laid = jax.jit(jax.vmap(lambda key: with_faults(key, plain, textures)))(KEYS[:5])
    made, masks = (np.asarray(x).reshape(-1, *x.shape[2:]) for x in laid)
    assert masks.any((1, 2)).sum() > 10
    for picture, mask in zip(made, masks, strict=True):
        colours = np.unique(picture[mask], axis=0)
        assert len(colours) <= 1
        np.testing.assert_array_equal(picture[~mask], 0.5)


def test_a_folder_of_textures_goes_with_the_batches(tmp_path, drawn):
    """Its pictures, at their size, others with each batch and the same ones in a run resumed."""
    shades = (10, 90, 170, 250)
    for shade in shades:
        write(tmp_path / "textures" / f"{shade}/a.png", np.full((9, 7, 3), shade, np.uint8))
    task = make_task(
        image_config("draem:tiny", drawn, **{"model.textures": f"{tmp_path}/textures"})
    )
    batches = [batch for _, batch in zip(range(6), task.train_data(1, 0, 1), strict=False)]
    textures = np.stack([batch["texture"] for batch in batches])
    assert textures.shape == (6, 4, 64, 64, 3)
    assert {array.dtype for array in batches[0].values()} > {np.dtype(np.uint8)}
    assert (textures == textures[:, :, :1, :1, :1]).all()
    assert set(textures[..., 0, 0, 0].ravel().tolist()) == set(shades)
    assert len(np.unique(textures[..., 0, 0, 0], axis=0)) > 1
    np.testing.assert_array_equal(next(task.train_data(3, 0, 1))["texture"], textures[2])
    assert next(task.val_data(0, 1))["texture"].shape == (4, 64, 64, 3)
    shapes = task.batch_shapes(4)
    assert {name: x.shape for name, x in shapes.items()} == {
        n: x.shape for n, x in batches[0].items()
    }
    model = task.init_model(jax.random.key(0))
    assert jax.eval_shape(task.loss_fn, model, shapes, KEYS[0])[0].shape == ()


@pytest.mark.parametrize("folder", ["missing", "empty"])
def test_a_folder_without_textures_is_refused_before_the_first_step(folder, tmp_path, drawn):
    (tmp_path / "empty").mkdir()
    task = make_task(
        image_config("draem:tiny", drawn, **{"model.textures": f"{tmp_path}/{folder}"})
    )
    with pytest.raises(
        FileNotFoundError, match=rf"model\.textures={tmp_path}/{folder}: no folder with"
    ):
        task.train_data(1, 0, 1)


def test_textures_are_drawn_where_no_folder_is_named(drawn):
    config = image_config("draem:tiny", drawn)
    assert "texture" not in next(make_task(config).train_data(1, 0, 1))
    with config.unlocked():
        del config.model.textures  # a run from before this leaf
    assert "texture" not in next(make_task(config).train_data(1, 0, 1))


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
@pytest.mark.parametrize("scar", [False, True])
def test_cuttings_are_those_of_their_key(scar):
    many = jax.jit(jax.vmap(lambda key: pasted(key, PICTURE, scar)))
    made = np.asarray(many(KEYS[:50]))
    np.testing.assert_array_equal(many(KEYS[:50]), made)
    assert len({picture.tobytes() for picture in made}) == 50


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
