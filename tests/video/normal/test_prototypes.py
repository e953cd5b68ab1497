"""Distance to prototypes: against loops, by phase and place, and what an extractor gives."""

import itertools

import numpy as np
import pytest
from efficientnet_weights import drawn_state
from flax import nnx

from ipad_jax.nn.backbones import KINDS, Backbone, Stage, make_backbone, stages_of
from ipad_jax.nn.vit import ViT, ViTConfig
from ipad_jax.video.normal.features import Extractor, Prototypes, stages_taken

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


def lite0(folder, *names):
    """The network with drawn weights."""
    np.savez(folder / "w.npz", **drawn_state(6))
    return make_backbone("efficientnet_lite0", folder / "w.npz", names)


@pytest.mark.parametrize(
    ("network", "names"),
    [
        ("efficientnet_lite0", ("blocks.4", "blocks.10")),
        ("resnet18", ("layer2", "layer3")),
        ("vgg16", ("features.22", "features.29")),
        ("dinov2_vits14", ("blocks.11",)),
    ],
)
def test_the_last_maps_of_two_strides_are_taken(network, names):
    assert stages_taken(network) == names
    strides = {stage.name: stage.stride for stage in stages_of(network)}
    assert [strides[name] for name in names] in ([8, 16], [14])


def test_a_transformer_sees_whole_patches():
    config = ViTConfig(patch_size=14, embed_dim=16, depth=1, num_heads=2)
    network = ViT(config, rngs=nnx.Rngs(0))
    kind = KINDS["dinov2_vits14"]
    stages = (Stage("blocks.0", 14, 16),)
    backbone = Backbone(network, kind.run, stages, (0,), kind.mean, kind.std, "", kind.multiple)
    extractor = Extractor(backbone, 64)
    picture = extractor.picture(drawn(1)[0])  # five by six pixels
    assert picture.shape == (56, 70, 3)
    assert extractor.cells(picture).shape == (4, 5, 16)


@pytest.mark.slow
def test_an_extractor_stacks_its_blocks_at_the_first_ones_size(tmp_path):
    extractor = Extractor(lite0(tmp_path, "blocks.2", "blocks.5"), 64)
    frame = np.random.default_rng(0).integers(0, 255, (24, 48, 3), dtype=np.uint8)
    picture = extractor.picture(frame)
    assert picture.shape == (32, 64, 3)
    assert extractor.picture(picture) is picture
    cells = extractor.cells(picture)
    assert cells.shape == (8, 16, 24 + 80)
    assert cells.dtype == np.float16
    np.testing.assert_array_equal(extractor.cells(picture), cells)
    # a block alone is the first part of the stack; the root of its channels is taken out of each
    alone = Extractor(lite0(tmp_path, "blocks.2"), 64).cells(picture)
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


def test_frames_of_another_shape_and_pictures_under_a_cell_are_refused(tmp_path):
    made = prototypes(drawn(2), [0.1, 0.2], 1.0)
    with pytest.raises(ValueError, match=r"features are \(5, 4, 3\)"):
        made.distance(drawn(1)[0][:, :4], 0.1)
    with pytest.raises(ValueError, match="side=7"):
        Extractor(lite0(tmp_path, "blocks.4"), 7)
