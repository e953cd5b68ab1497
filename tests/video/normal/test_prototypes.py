"""Distance to prototypes: against loops, by phase and place, and what an extractor gives."""

import itertools

import numpy as np
import pytest
from efficientnet_weights import drawn_state

from ipad_jax.nn.efficientnet_weights import fold
from ipad_jax.video.normal.features import Extractor, Prototypes

ROWS, COLUMNS, CHANNELS = 5, 6, 3


class Pixels:
    """Stands for an extractor: a picture's pixels are its cells."""

    def picture(self, frame):
        return frame

    def cells(self, picture):
        return picture.astype(np.float16) / np.float16(16)


def drawn(count: int, seed: int = 0) -> np.ndarray:
    shape = (count, ROWS, COLUMNS, CHANNELS)
    return np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8)


def prototypes(frames: np.ndarray, phase, share: float) -> Prototypes:
    features = np.stack([Pixels().cells(frame) for frame in frames])
    return Prototypes(Pixels(), features, np.float32(phase), share)  # type: ignore[arg-type]


def slow_distance(frame: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """The module's text as loops."""
    found = np.zeros((ROWS, COLUMNS))
    for y, x in itertools.product(range(1, ROWS - 1), range(1, COLUMNS - 1)):
        near = candidates[:, y - 1 : y + 2, x - 1 : x + 2].astype(float).reshape(-1, CHANNELS)
        found[y, x] = np.linalg.norm(near - frame[y, x].astype(float), axis=1).min() / 16
    return found


def test_equals_the_loops_and_takes_the_nearest_in_phase():
    frames, query = drawn(6), drawn(1, seed=1)[0]
    made = prototypes(frames, [0.95, 0.3, 0.5, 0.02, 0.7, 0.1], 2 / 6)
    expected = slow_distance(query, frames[[0, 3]])  # 0.95 and, over the cycle's end, 0.02
    # float16 features of size 10: steps of 0.008
    np.testing.assert_allclose(made.distance(query, 0.98), expected, atol=0.05)
    without = prototypes(frames, np.full(6, np.nan), 1.0)
    np.testing.assert_allclose(
        without.distance(query, np.nan), slow_distance(query, frames), atol=0.05
    )


def test_a_cell_meets_those_beside_it_also_where_the_picture_ends():
    frames = drawn(1)
    made = prototypes(frames, [np.nan], 1.0)
    for axis, step in itertools.product((0, 1), (-1, 1)):
        moved = np.roll(frames[0], step, axis)
        assert made.distance(moved, np.nan)[2, 2:4].max() < 0.05
    far = np.roll(frames[0], 2, axis=1)
    assert made.distance(far, np.nan)[1:-1, 2:-2].min() > 0.5


def test_a_state_of_another_phase_stands_out_where_it_is():
    empty = np.full((ROWS, COLUMNS, CHANNELS), 100, np.uint8)
    there = empty.copy()
    there[1:3, 1:3] = 200
    made = prototypes(np.stack([empty] * 5 + [there] * 5), np.linspace(0, 0.9, 10), 0.3)
    assert made.distance(there, 0.75).max() < 0.05
    y, x = np.unravel_index(made.distance(there, 0.2).argmax(), (ROWS, COLUMNS))
    assert (y, x) == (1, 1)
    assert np.isnan(made.distance(there, np.nan)).all()


@pytest.mark.slow
def test_an_extractor_stacks_its_blocks_at_the_first_ones_size():
    extractor = Extractor(fold(drawn_state(6), 6), (2, 5), 64)
    frame = np.random.default_rng(0).integers(0, 255, (24, 48, 3), dtype=np.uint8)
    picture = extractor.picture(frame)
    assert picture.shape == (32, 64, 3)
    assert extractor.picture(picture) is picture
    cells = extractor.cells(picture)
    assert cells.shape == (8, 16, 24 + 80)
    assert cells.dtype == np.float16
    np.testing.assert_array_equal(extractor.cells(picture), cells)
    # a block alone is the first part of the stack; the root of its channels is taken out of each
    alone = Extractor(extractor.net, (2,), 64).cells(picture)
    np.testing.assert_allclose(
        cells[..., :24], alone, rtol=2e-3, atol=1e-3
    )  # float16, other fusion


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": np.zeros((2, 3, 3, 4))}, "features are float64"),
        ({"phase": np.zeros(3, np.float32)}, "2 normal frames have"),
        ({"share": 0.0}, "share=0.0"),
        ({"phase": np.float32([0, np.nan])}, "1 of 2 normal frames have no phase"),
    ],
)
def test_what_cannot_be_compared_with_says_why(change, message):
    arguments = {
        "features": np.zeros((2, 3, 3, 4), np.float16),
        "phase": np.zeros(2, np.float32),
        "share": 0.1,
    }
    with pytest.raises(ValueError, match=message):
        Prototypes(extractor=Pixels(), **(arguments | change))  # type: ignore[arg-type]


def test_frames_of_another_shape_and_pictures_under_a_cell_are_refused():
    made = prototypes(drawn(2), [0.1, 0.2], 1.0)
    with pytest.raises(ValueError, match=r"features are \(5, 4, 3\)"):
        made.distance(drawn(1)[0][:, :4], 0.1)
    with pytest.raises(ValueError, match="side=7"):
        Extractor(fold(drawn_state(5), 5), (4,), 7)
