"""Pictures of an image and the map made of theirs: nothing is cropped, every pixel keeps its place."""

import numpy as np
import pytest

from ipad_jax.image.views import Views

SHAPES = [(64, 64), (60, 90), (200, 50), (33, 47), (64, 67)]


def canvas_of(pictures: np.ndarray, views: Views) -> np.ndarray:
    """The canvas that the pictures were cut from."""
    canvas = np.zeros((*views.canvas, 3), np.float32)
    for number, picture in enumerate(pictures):
        y, x = divmod(number, views.tiles)
        top, left = y * views.height // 2, x * views.width // 2
        canvas[top : top + views.height, left : left + views.width] = picture
    return canvas


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("tiles", [1, 3])
def test_a_map_of_the_brightness_is_the_image_again(shape, tiles):
    """A method whose map is the picture's own grey level gives back the image, at its own size."""
    views = Views(64, 64, tiles)
    y, x = np.mgrid[: shape[0], : shape[1]]
    ramp = (20 + 100 * y / shape[0] + 80 * x / shape[1]).astype(np.uint8)
    pictures = views.cut(np.repeat(ramp[..., None], 3, axis=2))
    assert pictures.shape == (tiles**2, 64, 64, 3)
    joined = views.join(pictures[..., 0].astype(np.float32), shape)
    assert joined.shape == shape
    assert joined.dtype == np.float32
    # two resamplings of a ramp that climbs up to 4 levels a pixel of the canvas, with 8-bit rounding
    assert np.abs(joined - ramp).max() < 6
    assert np.abs(joined - ramp).mean() < 1


@pytest.mark.parametrize("shape", SHAPES)
def test_proportions_are_kept_but_for_a_twentieth(shape):
    views = Views(64, 64)
    place = views.place(shape)
    assert abs(place.height * shape[1] / (place.width * shape[0]) - 1) < 0.06
    assert max(place.height, place.width) == 64


def test_what_is_filled_repeats_the_border_and_is_not_inside():
    views = Views(64, 64)
    image = np.zeros((32, 64, 3), np.uint8)
    image[:, :, 1] = np.arange(64)
    picture = views.cut(image)[0]
    np.testing.assert_array_equal(picture[0], image[0])
    inside = views.inside((32, 64), (8, 8))[0]
    np.testing.assert_array_equal(inside.sum(1), [0, 0, 8, 8, 8, 8, 0, 0])


def test_overlapping_tiles_cut_up_one_canvas():
    views = Views(32, 48, 3)
    image = np.random.default_rng(0).integers(0, 255, (*views.canvas, 3)).astype(np.uint8)
    np.testing.assert_array_equal(canvas_of(views.cut(image), views), image)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_map_is_the_same_wherever_a_border_between_tiles_falls(shape):
    """Of a method that sees each pixel by itself, on a canvas that is cut up ever finer."""
    image = np.random.default_rng(0).integers(0, 255, (*shape, 3)).astype(np.uint8)
    maps = []
    for views in (Views(64, 64), Views(32, 32, 3), Views(16, 16, 7)):
        assert views.canvas == (64, 64)
        maps.append(views.join(views.cut(image).mean(-1, dtype=np.float32), shape, blur_px=1.5))
    for other in maps[1:]:
        # weighted means of one and the same number, up to 255, in float32
        np.testing.assert_allclose(other, maps[0], rtol=0, atol=1e-3)


@pytest.mark.parametrize("size", [(60, 64), (8, 64), (64, 0)])
def test_sides_that_no_grid_fits_are_refused(size):
    with pytest.raises(ValueError, match="multiple of 16"):
        Views(*size)


def test_an_image_of_another_kind_is_refused():
    with pytest.raises(ValueError, match=r"float64 \(8, 8\), expected uint8"):
        Views(64, 64).cut(np.zeros((8, 8)))
