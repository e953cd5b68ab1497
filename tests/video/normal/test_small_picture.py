"""Small pictures: light and shake are taken out, and nothing else."""

import cv2
import numpy as np
import pytest

from ipad_jax.video.normal.small_picture import (
    MAX_SHIFT,
    MEDIAN,
    SmallPictures,
    reference_of,
    registered,
    small_picture,
)

SIDE = 48


def hall(seed: int = 0) -> np.ndarray:
    """A picture with structure at several scales, larger than what is seen of it."""
    rng = np.random.default_rng(seed)
    out = np.zeros((80, 80, 3), np.float32)
    for cells in (5, 10, 20):
        noise = rng.uniform(0, 255, (cells, cells, 3)).astype(np.float32)
        out += cv2.resize(noise, (80, 80), interpolation=cv2.INTER_CUBIC) / 3
    return out


def seen(scene: np.ndarray, dy: float, dx: float) -> np.ndarray:
    """What a camera that looks (dy, dx) pixels beside the middle sees."""
    move = np.float32([[1, 0, 16 + dx], [0, 1, 16 + dy]])
    picture = cv2.warpAffine(
        scene, move, (SIDE, SIDE), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    )
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def test_light_over_the_whole_picture_is_taken_out_and_size_reduced():
    frame = np.random.default_rng(0).integers(20, 100, (60, 40, 3), dtype=np.uint8)
    bright = (frame * np.array([2.0, 1.5, 1.0])).astype(np.uint8)
    one, two = SmallPictures(30)(frame), SmallPictures(30)(bright)
    assert one.shape == (30, 20, 3)
    assert np.abs(one.astype(int) - two).max() <= 4  # each is rounded twice, and scaled up by 2
    assert np.abs(np.median(one, axis=(0, 1)) - MEDIAN).max() <= 1
    black = np.zeros((8, 8, 3), np.uint8)
    np.testing.assert_array_equal(small_picture(black, 30), black)


@pytest.mark.parametrize(("dy", "dx"), [(0.0, 0.0), (1.4, -0.7), (-2.3, 1.9), (3.0, 3.0)])
def test_a_shake_is_taken_out_to_a_fraction_of_a_pixel(dy, dx):
    still = seen(hall(), 0, 0)
    shaken = seen(hall(), dy, dx)
    back = registered(shaken, reference_of(still[None]))
    inner = (slice(5, -5), slice(5, -5))

    def apart(picture):
        return np.abs(picture[inner].astype(int) - still[inner]).mean()

    # two interpolations blur a little: what a tenth of a pixel would change
    tenth = np.abs(seen(hall(), 0.1, 0.1)[inner].astype(int) - still[inner]).mean()
    assert apart(back) <= 1 + 2 * tenth
    assert apart(back) <= max(1.0, 0.3 * apart(shaken))


def test_a_part_that_moves_does_not_take_the_hall_with_it():
    rng = np.random.default_rng(1)
    pictures = np.stack([seen(hall(), *rng.normal(0, 0.3, 2)) for _ in range(20)])
    reference = reference_of(pictures)
    still = seen(hall(), 0, 0)
    there = still.copy()
    there[10:22, 14:26] = np.clip(there[10:22, 14:26].astype(int) + 60, 0, 255)  # a sixteenth of it
    back = registered(there, reference)
    away = np.ones((SIDE, SIDE), bool)
    away[5:27, 9:31] = False
    away[:5], away[-5:], away[:, :5], away[:, -5:] = False, False, False, False
    step = np.abs(seen(hall(), 0.5, 0.5)[away].astype(int) - still[away]).mean()
    assert np.abs(back[away].astype(int) - still[away]).mean() < step


def test_what_cannot_be_registered_stays_as_it_is():
    reference = reference_of(seen(hall(), 0, 0)[None])
    flat = np.full((SIDE, SIDE, 3), 90, np.uint8)
    np.testing.assert_array_equal(registered(flat, reference), flat)
    far = seen(hall(), 0, 2 * MAX_SHIFT * SIDE)
    found = registered(far, reference)
    # either no shift was found within the bound, or a wrong small one: never one beyond it
    for shift in range(round(MAX_SHIFT * SIDE) + 2, SIDE // 2):
        assert not np.array_equal(found[:, shift:], far[:, :-shift])
    with pytest.raises(ValueError, match="the reference"):
        registered(flat[:20], reference)


def test_a_view_registers_only_with_a_reference():
    shaken = seen(hall(), 2, 0)
    plain = small_picture(shaken, SIDE)
    np.testing.assert_array_equal(SmallPictures(SIDE)(shaken), plain)
    reference = reference_of(small_picture(seen(hall(), 0, 0), SIDE)[None])
    assert not np.array_equal(SmallPictures(SIDE, reference)(shaken), plain)
