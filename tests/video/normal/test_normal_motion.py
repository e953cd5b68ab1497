"""The normal motion of a run: what it is, kept once, what is said when it cannot be had; the same live."""

import numpy as np
import pytest
from fake_detector import CYCLE, FakePredictor, frames, make_config, make_detector

from ipad_jax.input.split import Segment, whole_videos
from ipad_jax.run.config import load_config
from ipad_jax.video.detector.predictor import predict_here
from ipad_jax.video.normal import stored as kept
from ipad_jax.video.normal.motion import LAGS, MotionStream, NormalMotion
from ipad_jax.video.normal.normal_motion import normal_motion_of
from ipad_jax.video.normal.small_picture import SmallPictures

LENGTH = 60


class Source:
    """Two videos of noise whose level wanders."""

    kinds, mislabelled, metadata = ("normal",), (), {}
    path = "drawn"

    def __init__(self, phase=()):
        self.phase = np.float32(phase)
        self.drawn = [np.stack(list(frames(LENGTH, seed=seed))) for seed in (0, 1)]
        self.metadata = {"videos": {"train": [{"cycle_frames": CYCLE}] * 2}}

    class Video:
        name, length, fps, cycle_frames = "v", LENGTH, 10.0, CYCLE

    videos = (Video(),)

    def column(self, name):
        if name == "phase":
            return [self.phase, self.phase]
        return [np.zeros(LENGTH, int)] * 2

    def frames(self, video, indices):
        return self.drawn[video][np.asarray(indices, int)]

    def clip(self, video, first_frame, clip_len):
        return self.frames(video, np.arange(first_frame, first_frame + clip_len)), np.nan


@pytest.fixture
def config():
    return load_config("video_folder:cycle,tiny")


@pytest.fixture
def fitted(monkeypatch):
    def give(phase):
        monkeypatch.setattr(kept, "open_split", lambda *_: Source(phase))

    segments = [Segment(0, 0, 40), Segment(1, 5, 35)]
    monkeypatch.setattr(kept, "training_parts", lambda *_: (segments, [Segment(0, 45, 60)]))
    return give


def test_it_is_that_of_the_fitted_frames_with_all_lags_and_reads_back_the_same(
    tmp_path, config, fitted, monkeypatch
):
    phase = np.arange(LENGTH) / LENGTH
    fitted(phase)
    made = normal_motion_of(tmp_path, config)
    longest, view = max(LAGS), made.view
    expected, phases = [], []
    for video, start, stop in ((0, 0, 40), (1, 5, 35)):
        stream = MotionStream()
        for frame in range(start, stop):
            changes = stream.add(view(Source().drawn[video][frame]))
            if frame >= start + longest:
                expected.append(changes)
                phases.append(phase[frame])
    np.testing.assert_array_equal(made.changes, expected)
    np.testing.assert_allclose(made.phase, phases)
    monkeypatch.setattr(kept, "open_split", None)
    again = normal_motion_of(tmp_path, config)
    np.testing.assert_array_equal(again.changes, made.changes)
    np.testing.assert_array_equal(again.phase, made.phase)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "normal_motion_64px_registered.npz",
        "reference_64px.npz",
    ]


def test_without_phase_all_are_compared_and_too_short_videos_give_none(
    tmp_path, fitted, monkeypatch
):
    fitted(np.arange(LENGTH) / LENGTH)
    assert not normal_motion_of(tmp_path, load_config("video_folder:tiny")).has_phase
    monkeypatch.setattr(kept, "training_parts", lambda *_: ([Segment(0, 0, max(LAGS))], []))
    (tmp_path / "other").mkdir()
    assert normal_motion_of(tmp_path / "other", load_config("video_folder:tiny")) is None


def test_off_where_the_side_is_0_and_in_runs_from_before(tmp_path, config):
    config.eval.motion_px = 0
    assert normal_motion_of(tmp_path, config) is None
    with config.unlocked():
        del config.eval["motion_px"]
    assert normal_motion_of(tmp_path, config) is None


@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_evaluation_and_detection_agree_bit_for_bit(stride, batch_size):
    source = Source(np.arange(LENGTH) / CYCLE % 1)
    stream = MotionStream()
    view = SmallPictures(64)
    known = [stream.add(view(f)) for f in source.drawn[1]][max(LAGS) :]
    phase = (np.arange(max(LAGS), LENGTH) / CYCLE % 1).astype(np.float32)
    predictor = FakePredictor()
    predictor.motion = NormalMotion(np.stack(known), phase, view)
    detector = make_detector(stride)
    detector.predictor = predictor
    as_it_is = {"prepare": lambda frame: frame, "batch_size": batch_size}
    rows = list(detector.stream(iter(source.drawn[0]), **as_it_is))
    table = predict_here(predictor, make_config(stride), source, whole_videos(source.videos))
    live = np.array([row.components["motion"] for row in rows], np.float32)
    np.testing.assert_array_equal(live, table.components["motion"])
    assert np.isnan(live[0])
    assert np.isfinite(live[1:]).all()
