"""The normal frames of a run: which they are, kept once, and what is said when they cannot be had."""

import numpy as np
import pytest

from ipad_jax.input.split import Segment
from ipad_jax.run.config import load_config
from ipad_jax.video.normal import normal_frames as module
from ipad_jax.video.normal import stored as kept
from ipad_jax.video.normal.normal_frames import normal_frames_of


class Source:
    """Two videos; a frame's grey level says which it is."""

    def __init__(self, phase):
        self.phase = phase

    def column(self, name):
        assert name == "phase"
        return [self.phase, self.phase]

    def frames(self, video, indices):
        def frame(index):
            picture = np.zeros((8, 8, 3), np.uint8)  # half black, so its median stays 0
            picture[0] = 1 + 100 * video + index
            return picture

        return np.stack([frame(index) for index in indices])


@pytest.fixture
def config():
    return load_config("video_folder:cycle,tiny")


@pytest.fixture
def fitted(monkeypatch):
    """The first 20 frames of video 0 and 10 of video 1 are fitted on; returns a setter of the phases."""

    def give(phase):
        monkeypatch.setattr(kept, "open_split", lambda *_: Source(np.float32(phase)))

    segments = [Segment(0, 0, 20), Segment(1, 5, 15)]
    monkeypatch.setattr(kept, "training_parts", lambda *_: (segments, [Segment(0, 25, 50)]))
    return give


def test_they_are_the_fitted_frames_with_their_phases_and_read_back_the_same(
    tmp_path, config, fitted, monkeypatch
):
    fitted(np.arange(50) / 50)
    made = normal_frames_of(tmp_path, config)
    np.testing.assert_array_equal(made.pictures[:, 0, 0, 0], [*range(1, 21), *range(106, 116)])
    np.testing.assert_allclose(made.phase, [*np.arange(20) / 50, *np.arange(5, 15) / 50])
    monkeypatch.setattr(kept, "open_split", None)
    again = normal_frames_of(tmp_path, config)
    np.testing.assert_array_equal(again.pictures, made.pictures)
    np.testing.assert_array_equal(again.phase, made.phase)
    np.testing.assert_array_equal(made.group, [0] * 20 + [1] * 10)
    np.testing.assert_array_equal(again.group, made.group)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "normal_frames_64px_registered.npz",
        "reference_64px.npz",
    ]


def test_a_single_video_is_taken_in_parts(tmp_path, config, fitted, monkeypatch):
    fitted(np.arange(50) / 50)
    monkeypatch.setattr(kept, "training_parts", lambda *_: ([Segment(0, 0, 20)], []))
    made = normal_frames_of(tmp_path, config)
    np.testing.assert_array_equal(made.group, np.repeat(range(4), 5))


def test_frames_without_a_phase_are_left_out_where_others_have_one(tmp_path, config, fitted):
    fitted([np.nan] * 10 + [0.5] * 40)
    assert len(normal_frames_of(tmp_path, config).phase) == 10 + 5


@pytest.mark.parametrize("spec", ["video_folder:tiny", "video_folder:cycle,tiny"])
def test_without_phase_or_period_head_few_are_kept_and_all_compared(
    tmp_path, fitted, monkeypatch, spec
):
    monkeypatch.setattr(module, "MAX_WITHOUT_PHASE", 7)
    has_head = load_config(spec).model.period_head != "none"
    fitted(np.full(50, np.nan) if has_head else np.arange(50) / 50)
    made = normal_frames_of(tmp_path, load_config(spec))
    assert len(made.phase) == 7
    assert not made.has_phase


def test_off_where_the_side_is_0(tmp_path, config):
    config.eval.nearest_px = 0
    assert normal_frames_of(tmp_path, config) is None
