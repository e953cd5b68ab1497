"""The prototypes of a run: of which frames, kept once, and what is said when they cannot be had."""

import numpy as np
import pytest
from efficientnet_weights import drawn_state

from ipad_jax.input.split import Segment
from ipad_jax.nn.efficientnet_weights import fold
from ipad_jax.run.config import load_config
from ipad_jax.video.normal import normal_features as module
from ipad_jax.video.normal import stored as kept
from ipad_jax.video.normal.normal_features import parse_blocks, prototypes_of


class Source:
    """One video; a frame's grey level is its number."""

    def column(self, name):
        assert name == "phase"
        return [np.arange(50, dtype=np.float32) / 50]

    def frames(self, video, indices):
        return np.stack([np.full((16, 16, 3), index, np.uint8) for index in indices])


@pytest.fixture
def config(monkeypatch):
    """Of 20 fitted frames, 10 are kept; weights are drawn."""
    config = load_config("video_folder:cycle,tiny")
    with config.unlocked():
        config.eval.update(features="efficientnet_lite0", features_px=32, features_blocks="1+3")
        config.eval.update(features_frames=10, features_share=0.3)
    monkeypatch.setattr(kept, "open_split", lambda *_: Source())
    monkeypatch.setattr(module, "load_efficientnet_lite0", lambda n: fold(drawn_state(n), n))
    parts = [Segment(0, 0, 20)], [Segment(0, 30, 50)]
    monkeypatch.setattr(kept, "training_parts", lambda *_: parts)
    return config


def test_they_are_the_features_of_fitted_frames_and_read_back_the_same(
    tmp_path, config, monkeypatch
):
    made = prototypes_of(tmp_path, config)
    np.testing.assert_allclose(made.phase, np.arange(0, 20, 2) / 50)
    assert made.features.shape == (10, 8, 8, 24 + 40)
    picture = made.picture(np.full((16, 16, 3), 4, np.uint8))
    np.testing.assert_array_equal(made.features[2], made.extractor.cells(picture))
    monkeypatch.setattr(kept, "open_split", None)
    again = prototypes_of(tmp_path, config)
    np.testing.assert_array_equal(again.features, made.features)
    np.testing.assert_array_equal(again.distance(picture, 0.3), made.distance(picture, 0.3))
    assert [p.name for p in tmp_path.iterdir()] == ["normal_features_32px_1+3_10.npz"]


def test_off_by_default_and_in_runs_from_before(tmp_path):
    config = load_config("video_folder:tiny")
    assert prototypes_of(tmp_path, config) is None
    with config.unlocked():
        del config.eval["features"]
    assert prototypes_of(tmp_path, config) is None


def test_another_network_is_refused(tmp_path, config):
    config.eval.features = "resnet"
    with pytest.raises(ValueError, match="take efficientnet_lite0"):
        prototypes_of(tmp_path, config)


@pytest.mark.parametrize("text", ["", "4,10", "10+4", "4+4", "-1", "16", "four"])
def test_blocks_are_ascending_numbers(text):
    assert parse_blocks("4+10") == (4, 10)
    with pytest.raises(ValueError, match="such as 4"):
        parse_blocks(text)
