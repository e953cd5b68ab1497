"""A picture is made smaller as OpenCV's averaging of areas makes it, whatever its sides."""

import cv2
import numpy as np
import pytest

from ipad_jax.data_builders.shrink import shrink


def drawn(height, width):
    """A smooth picture with edges, and the noise of a camera."""
    rng = np.random.default_rng(0)
    coarse = rng.uniform(0, 255, (height // 16 + 2, width // 16 + 2, 3)).astype(np.float32)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    cv2.circle(image, (width // 2, height // 2), height // 4, (20, 240, 128), -1)
    return np.clip(image + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("sides", "size"),
    [
        ((1080, 1920), (64, 64)),  # halved twice
        ((1080, 1920), (256, 144)),  # once, then whole areas
        ((720, 1280), (128, 128)),  # not at all: less than six pixels for one
        ((541, 961), (64, 64)),  # odd sides
        ((270, 480), (36, 36)),  # 135 is odd
    ],
)
def test_it_is_the_mean_of_areas(sides, size):
    image = drawn(*sides)
    exact = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    small = shrink(image, size)
    assert small.shape == exact.shape
    off = np.abs(small.astype(int) - exact)
    assert off.mean() < 0.75  # each halving rounds up from a half: 1/8 on average, and what follows
    # Two pixels across the border of two areas are shared evenly. At a hard edge of 240 levels, with six
    # pixels or more to an area, that is 20 at each of its two borders.
    assert off.max() <= 40


def centre(image):
    """Row and column of a bright spot, as shares of the sides."""
    weight = image[..., 0].astype(float)
    middles = [
        (indices + 0.5) / side for indices, side in zip(np.indices(weight.shape), weight.shape)
    ]
    return np.array([(weight * middle).sum() / weight.sum() for middle in middles])


def test_nothing_moves():
    image = np.zeros((1080, 1920, 3), np.uint8)
    cv2.circle(image, (1400, 333), 60, (255, 255, 255), -1)
    # a hundredth of a small pixel
    np.testing.assert_allclose(centre(shrink(image, (64, 64))), centre(image), atol=0.01 / 64)


@pytest.mark.parametrize("level", [0, 127, 255])
def test_one_colour_stays(level):
    image = np.full((1080, 1920, 3), level, np.uint8)
    assert (shrink(image, (64, 64)) == level).all()


def test_a_smaller_picture_is_enlarged_as_opencv_does():
    image = drawn(60, 80)
    exact = cv2.resize(image, (128, 128), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(shrink(image, (128, 128)), exact)
