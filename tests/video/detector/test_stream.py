"""The one way that frames are scored: which clips are cut, which rows come, what stands beside the model."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from fake_detector import CYCLE, SIZE, FakePredictor, faulty, frames, make_config

from ipad_jax.evaluation.alarm_rule import AlarmRule
from ipad_jax.input.clips import clip_index
from ipad_jax.input.frames import Video
from ipad_jax.input.split import Segment
from ipad_jax.video.detector.detector import Detector, Footage
from ipad_jax.video.detector.predictor import score_segments
from ipad_jax.video.detector.stream import FrameScorer, predict_ahead
from ipad_jax.video.normal.frames import TRAIL_FRAMES, NormalFrames
from ipad_jax.video.normal.motion import LAGS, FastestPlace, MotionStream, NormalMotion
from ipad_jax.video.normal.phase_tracking import PhaseMap, PhaseTracker
from ipad_jax.video.normal.small_picture import SmallPictures
from ipad_jax.video.normal.stored import Normal
from ipad_jax.video.scores.components import Statistics
from ipad_jax.video.scores.frame_difference import FrameDifference

CLIP = 8  # frames, of make_config


class Source:
    """Videos of noise whose level wanders; counts what is decoded."""

    kinds, mislabelled = ("normal",), ()
    metadata = {"videos": {"train": [{"cycle_frames": CYCLE}]}}  # noqa: RUF012

    def __init__(self, *lengths):
        self.videos = tuple(Video(f"v{i}", 0, n, 10.0, CYCLE) for i, n in enumerate(lengths))
        self.drawn = [np.stack(list(frames(n, seed=i))) for i, n in enumerate(lengths)]
        self.decoded = []

    def column(self, name):
        return [np.zeros(video.length, int) for video in self.videos]

    def frames(self, video, indices):
        self.decoded += [(video, index) for index in indices]
        return self.drawn[video][np.asarray(indices, int)]


def normal_footage(seed=9):
    """Something of every kind to compare with."""
    turns = np.arange(3 * int(CYCLE)) / CYCLE
    phase = (turns % 1).astype(np.float32)
    view = SmallPictures(16)
    small = np.stack([view(frame) for frame in frames(len(turns), seed=seed)])
    group = np.arange(len(turns)) // int(CYCLE)
    stream = MotionStream()
    changes = np.stack([stream.add(picture) for picture in small])[max(LAGS) :]
    return Normal(
        NormalFrames(small, phase, view, group, share=0.1),
        NormalMotion(changes, phase[max(LAGS) :], view),
        phases=PhaseMap(small, phase, group),
    )


@pytest.fixture(scope="module")
def normal():
    return normal_footage()


@pytest.mark.parametrize(("stride", "batch_size"), [(1, 4), (3, 2), (3, 5), (8, 1)])
def test_every_clip_is_predicted_once_and_every_frame_decoded_once(stride, batch_size):
    source, predictor = Source(30, 5, 17, 9), FakePredictor()
    segments = [Segment(0, 3, 30), Segment(1, 0, 5), Segment(2, 0, 17), Segment(3, 2, 9)]
    config = make_config(stride)
    config.eval.batch_size = batch_size
    table = score_segments(predictor, 7, config, source, segments)
    index, skipped = clip_index(segments, CLIP, stride)
    assert [segment.video for segment in skipped] == [1, 3]
    assert sum(shape[0] for shape in predictor.calls) == -(-len(index) // batch_size) * batch_size
    wanted = [(s.video, f) for s in segments for f in range(s.start, s.stop)]
    assert sorted(source.decoded) == wanted
    assert [(int(table.video_names[v][1:]), f) for v, f in zip(table.video, table.frame)] == wanted
    unscored = np.isnan(table.components["psnr_mean"])
    assert set(table.video[unscored]) == {1, 3}


def test_a_row_does_not_depend_on_batches_nor_on_what_is_scored_beside_it(normal):
    source = Source(40, 25)
    alone = score_segments(FakePredictor(normal), 7, make_config(3), source, [Segment(1, 0, 25)])
    config = make_config(3)
    config.eval.batch_size = 7
    both = [Segment(0, 0, 40), Segment(1, 0, 25)]
    among = score_segments(FakePredictor(normal), 7, config, source, both)
    rows = among.select(among.video == 1)
    for name, column in alone.components.items():
        np.testing.assert_array_equal(rows.components[name], column, err_msg=name)


def test_what_stands_beside_the_model_is_what_its_parts_say_frame_by_frame(normal):
    source = Source(60)
    table = score_segments(FakePredictor(normal), 7, make_config(3), source, [Segment(0, 0, 60)])
    found, view = table.components, normal.frames.view
    difference, movement = FrameDifference(3), MotionStream()
    tracker, trail = PhaseTracker(normal.phases, CYCLE), []
    for at, frame in enumerate(source.drawn[0]):
        small = view(frame)
        phase = tracker.add(small, float(found["phase"][at]))
        away = normal.frames.distance(small, phase)
        trail.append(float(away.max()))
        expected = {
            "tracked_phase": phase,
            "nearest": np.mean(trail[-TRAIL_FRAMES:]),
            "motion": normal.motion.score(movement.add(small), phase),
        }
        expected["diff_mean"], expected["diff_pooled"] = difference.add(frame)
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name][at], np.float32(value), f"{name} of {at}")
    assert np.isfinite(found["motion"][1:]).all()


def test_the_fastest_place_counts_only_without_a_cycle(normal):
    moving = normal.motion
    phaseless = dataclasses.replace(moving, phase=np.full_like(moving.phase, np.nan))
    source, columns = Source(60), []
    for beside in (Normal(motion=moving), Normal(motion=phaseless)):
        table = score_segments(
            FakePredictor(beside), 7, make_config(3), source, [Segment(0, 0, 60)]
        )
        columns.append(table.components["fastest"])
    with_cycle, without = columns
    assert np.isnan(with_cycle).all()
    stream = FastestPlace()
    expected = [stream.add(moving.view(frame)) for frame in source.drawn[0]]
    np.testing.assert_array_equal(without, np.float32(expected))


@pytest.mark.parametrize("mapped", ["", "nearest"])
def test_pictures_come_with_the_map_that_counts(normal, mapped):
    drawn = list(frames(20))
    predictor = FakePredictor(normal)
    with ThreadPoolExecutor(2) as pool:
        scorer = FrameScorer(make_config(4), normal, CYCLE, pool, pictures=True, mapped=mapped)
        shown = []
        for first, predicted in predict_ahead(scorer.clips(iter(drawn)), predictor.both, 2):
            shown += scorer.add(first, predicted).pictures
        last = scorer.close()
    shown += last.pictures
    assert len(shown) == 20
    for frame, picture in zip(drawn, shown):
        np.testing.assert_array_equal(picture.frame, frame)
        np.testing.assert_array_equal(picture.reconstruction, 255 - frame)
        assert picture.error.shape == (normal.frames.pictures.shape[1:3] if mapped else SIZE)


def detector_of(normal, minutes, threshold=1e9):
    config = make_config(4)
    config.eval.renew_minutes = minutes
    return Detector(FakePredictor(normal), config, Footage(10.0, CYCLE), threshold=threshold)


def nearest(detector, footage, batch_size=1, **arguments):
    rows = detector.stream(footage, batch_size=batch_size, **arguments)
    return [row.components["nearest"] for row in rows]


WAIT = 0.05  # minutes; 30 frames


@pytest.mark.parametrize("batch_size", [1, 3])
def test_normal_frames_are_renewed_after_their_wait_and_go_on_in_another_stretch(
    normal, batch_size
):
    """A corner that is lit throughout, and no alarm by its threshold, is soon as usual as any other."""
    stained = list(faulty(160, start=0, stop=160))
    detector = detector_of(normal, WAIT)
    as_it_was = nearest(detector_of(normal, 0.0), stained)
    renewed = detector.renewed_frames()
    found = nearest(detector, stained, batch_size, renewed=renewed)
    assert found[:30] == as_it_was[:30]
    assert max(found[-int(CYCLE) :]) < min(as_it_was[-int(CYCLE) :]) / 2
    np.testing.assert_array_equal(found, nearest(detector, stained))  # a stretch begins anew
    second = nearest(detector, stained, renewed=renewed)
    assert second[0] < as_it_was[0] / 2


def test_an_alarm_renews_nothing(normal):
    stained = list(faulty(160, start=0, stop=160))
    as_it_was = nearest(detector_of(normal, 0.0), stained)
    assert nearest(detector_of(normal, WAIT, threshold=-1.0), stained) == as_it_was
    assert detector_of(normal, WAIT, threshold=None).renewed_frames() is None


def test_a_place_is_as_strong_as_its_part_of_the_score_to_the_lower_threshold(normal):
    detector = detector_of(normal, WAIT)
    distance = np.array([[1.0, 2.0], [3.0, 0.0]], np.float32)
    assert detector._strength(distance) is None  # nothing says what is usual
    usual = Statistics(location=1.0, scale=0.5, num_frames=9, by_position={})
    detector.calibration = SimpleNamespace(components={"nearest": usual}, weights={"nearest": 2.0})
    detector.rule = AlarmRule(10.0, sustained=4.0)
    np.testing.assert_allclose(detector._strength(distance), [[0.0, 1.0], [2.0, -1.0]])
    detector.calibration.weights = {"motion": 1.0}
    assert detector._strength(distance) is None


def test_memory_is_constant(normal):
    with ThreadPoolExecutor(1) as pool:
        scorer = FrameScorer(make_config(4), normal, CYCLE, pool)
        most = 0
        for first, predicted in predict_ahead(scorer.clips(frames(200)), FakePredictor().scores, 1):
            scorer.add(first, predicted)
            most = max(most, len(scorer._open))
        scorer.close()
    assert most < 60
    assert not scorer._open
