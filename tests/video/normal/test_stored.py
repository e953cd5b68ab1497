"""What a run remembers of normal footage: of which frames, and the same when read back."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from efficientnet_weights import drawn_state

from ipad_jax.input.split import Segment
from ipad_jax.nn.efficientnet import LITE0, MOBILENET_V2
from ipad_jax.run.config import load_config
from ipad_jax.video.normal import features, frames, places
from ipad_jax.video.normal.motion import LAGS, MotionStream
from ipad_jax.video.normal.stored import FEATURES_FILE, FIT_LEAVES, Normal, fit_normal, normal_of

LENGTH = 50
FITTED = (Segment(0, 0, 40), Segment(1, 5, 35))


class Source:
    """Two videos of noise; the first row of a picture says which video and frame it is."""

    def __init__(self, phase=None):
        self.phase = np.float32(np.arange(LENGTH) / LENGTH if phase is None else phase)
        self.drawn = np.random.default_rng(0).integers(0, 90, (2, LENGTH, 16, 16, 3), np.uint8)
        for video in (0, 1):
            self.drawn[video, :, 0] = (100 * video + np.arange(LENGTH))[:, None, None]

    def column(self, name):
        assert name == "phase"
        return [self.phase, self.phase]

    def frames(self, video, indices):
        return self.drawn[video][np.asarray(indices, int)]


@pytest.fixture(autouse=True)
def fitted(monkeypatch):
    """Gives what is fitted on; the last frames of video 0 are held out."""

    def give(segments):
        held = [Segment(0, 45, LENGTH)]
        monkeypatch.setattr(places, "training_parts", lambda *_: (list(segments), held))

    give(FITTED)
    return give


@pytest.fixture
def config():
    return load_config("video_folder:cycle,tiny", {"eval.register": False})


def make(config, source=None) -> Normal:
    return normal_of(config, fit_normal(config, source or Source()))


def test_pictures_are_those_of_the_fitted_frames_with_their_phases(config):
    source = Source()
    near = make(config, source).frames
    chosen = [(s.video, f) for s in FITTED for f in range(s.start, s.stop)]
    np.testing.assert_array_equal(near.pictures, [near.view(source.drawn[p]) for p in chosen])
    np.testing.assert_array_equal(near.phase, [source.phase[f] for _, f in chosen])
    np.testing.assert_array_equal(near.group, [v for v, _ in chosen])


def test_a_single_video_is_taken_in_parts(config, fitted):
    fitted(FITTED[:1])
    np.testing.assert_array_equal(make(config).frames.group, np.repeat(range(4), 10))


def test_frames_without_a_phase_are_left_out_where_others_have_one(config):
    normal = make(config, Source([np.nan] * 30 + [0.5] * 20))
    assert len(normal.frames.phase) == 10 + 5
    assert normal.phases is not None


@pytest.mark.parametrize("spec", ["video_folder:tiny", "video_folder:cycle,tiny"])
def test_without_phase_or_period_head_few_are_taken_and_all_compared(monkeypatch, spec):
    monkeypatch.setattr(frames, "MAX_WITHOUT_PHASE", 7)
    config = load_config(spec)
    has_head = config.model.period_head != "none"
    normal = make(config, Source(np.full(LENGTH, np.nan)) if has_head else None)
    assert len(normal.frames.phase) == 7
    assert not normal.frames.has_phase
    assert not normal.motion.has_phase
    assert normal.phases is None


def test_motion_is_that_of_the_fitted_frames_with_all_lags(config):
    source = Source()
    moving = make(config, source).motion
    expected, phases = [], []
    for segment in FITTED:
        stream = MotionStream()
        for frame in range(segment.start, segment.stop):
            changes = stream.add(moving.view(source.drawn[segment.video, frame]))
            if frame >= segment.start + max(LAGS):
                expected.append(changes)
                phases.append(source.phase[frame])
    np.testing.assert_array_equal(moving.changes, expected)
    np.testing.assert_array_equal(moving.phase, phases)


def test_videos_as_short_as_the_longest_lag_have_no_motion(config, fitted):
    fitted([Segment(0, 0, max(LAGS)), Segment(1, 0, max(LAGS))])
    normal = make(config)
    assert normal.motion is None
    assert normal.frames is not None


NETWORKS = {"efficientnet_lite0": (11, LITE0), "mobilenet_v2": (13, MOBILENET_V2)}


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """Gives a file of drawn weights of one of `NETWORKS`; five frames are compared with."""
    monkeypatch.setattr(features, "MAX_FRAMES", 5)

    def give(network):
        np.savez(tmp_path / f"{network}.npz", **drawn_state(*NETWORKS[network]))
        return str(tmp_path / f"{network}.npz")

    return give


@pytest.mark.parametrize(
    ("network", "channels"), [("efficientnet_lite0", 40 + 112), ("mobilenet_v2", 32 + 96)]
)
def test_features_are_those_of_fitted_frames(config, weights, network, channels):
    """By the package's network as by one whose file the user names."""
    config.eval.nearest_px = config.eval.motion_px = 0
    config.eval.features, config.eval.features_weights = network, weights(network)
    source = Source()
    alike = make(config, source).features
    assert alike.features.shape == (5, 16, 16, channels)
    third = (0, 28)  # of 70 frames, evenly spread
    np.testing.assert_array_equal(
        alike.features[2], alike.extractor.cells(alike.picture(source.drawn[third]))
    )
    assert alike.phase[2] == source.phase[28]


def test_features_are_compared_by_the_weights_that_made_them(config, weights, tmp_path):
    config.eval.nearest_px = config.eval.motion_px = 0
    config.eval.features, file = "mobilenet_v2", weights("mobilenet_v2")
    config.eval.features_weights = file
    arrays = fit_normal(config, Source())
    digest = hashlib.sha256(Path(file).read_bytes()).hexdigest()
    assert arrays[FEATURES_FILE].tobytes().hex() == digest
    state = drawn_state(*NETWORKS["mobilenet_v2"])
    np.savez(file, **{name: 2 * x for name, x in state.items()})
    with pytest.raises(ValueError, match=rf"made with the weights of a file of SHA-256 {digest}"):
        normal_of(config, arrays)
    del arrays[FEATURES_FILE]  # a run from before it was said
    assert normal_of(config, arrays).features is not None


def test_the_camera_is_held_to_one_reference_a_size(config):
    config.eval.register = True
    arrays = fit_normal(config, Source())
    assert [name for name in arrays if name.startswith("reference")] == ["reference_64px"]
    normal = normal_of(config, arrays)
    np.testing.assert_array_equal(normal.frames.view.reference, arrays["reference_64px"])
    np.testing.assert_array_equal(normal.motion.view.reference, arrays["reference_64px"])


def test_what_is_off_is_not_made(config):
    config.eval.nearest_px = config.eval.motion_px = 0
    assert fit_normal(config, Source()) == {}
    assert normal_of(config, {}) == Normal()


def test_every_leaf_that_changes_the_arrays_is_among_the_fit_leaves(config, weights):
    """Else a file made with another value would be used."""
    config.eval.features, config.eval.features_weights = "mobilenet_v2", weights("mobilenet_v2")
    other = f"{weights('mobilenet_v2')}.npz"
    np.savez(other, **{name: 2 * x for name, x in drawn_state(*NETWORKS["mobilenet_v2"]).items()})

    def arrays(changes):
        changed = config.copy_and_resolve_references()
        changed.eval.update(changes)
        made = fit_normal(changed, Source())
        return {name: array.tobytes() for name, array in made.items()}

    others = {"nearest_px": 12, "motion_px": 12, "register": True, "features": ""}
    others |= {
        "features_weights": other,
        "track_phase": False,
        "pool_px": 3,
        "false_alarms_per_hour": 5.0,
        "stride": 1,
        "window": 3,
    }
    usual = arrays({})
    changing = {f"eval.{leaf}" for leaf, value in others.items() if arrays({leaf: value}) != usual}
    assert changing == set(FIT_LEAVES)
