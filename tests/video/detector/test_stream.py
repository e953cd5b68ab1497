"""The one way that frames are scored: which clips are cut, which rows come, what stands beside the model."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from fake_detector import CYCLE, SIZE, FakePredictor, faulty, frames, make_config

from ipad_jax.input.clips import clip_index
from ipad_jax.input.frames import Video
from ipad_jax.input.split import Segment
from ipad_jax.video.detector.detector import Detector, Footage
from ipad_jax.video.detector.predictor import score_segments
from ipad_jax.video.detector.stream import FrameScorer, predict_ahead, slow_change_of
from ipad_jax.video.normal.frames import TRAIL_FRAMES, NormalFrames
from ipad_jax.video.normal.motion import LAGS, FastestPlace, MotionStream, NormalMotion
from ipad_jax.video.normal.phase_tracking import PhaseMap, PhaseTracker
from ipad_jax.video.normal.slow_change import SlowChange
from ipad_jax.video.normal.small_picture import SmallPictures
from ipad_jax.video.normal.stored import Normal
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


@pytest.mark.parametrize("per_hour", [0.0, 36_000.0])
def test_a_row_does_not_depend_on_batches_nor_on_what_is_scored_beside_it(normal, per_hour):
    source, own = Source(40, 25), make_config(3)
    own.eval.drift_per_hour = per_hour
    alone = score_segments(FakePredictor(normal), 7, own, source, [Segment(1, 0, 25)])
    config = make_config(3)
    config.eval.batch_size = 7
    config.eval.drift_per_hour = per_hour
    both = [Segment(0, 0, 40), Segment(1, 0, 25)]
    among = score_segments(FakePredictor(normal), 7, config, source, both)
    rows = among.select(among.video == 1)
    for name, column in alone.components.items():
        np.testing.assert_array_equal(rows.components[name], column, err_msg=name)


@pytest.mark.parametrize("per_hour", [0.0, 36_000.0])  # a spread a second
def test_what_stands_beside_the_model_is_what_its_parts_say_frame_by_frame(normal, per_hour):
    source, config = Source(60), make_config(3)
    config.eval.drift_per_hour = per_hour
    table = score_segments(FakePredictor(normal), 7, config, source, [Segment(0, 0, 60)])
    slow_change = SlowChange(per_hour, 10.0) if per_hour else None
    found, view = table.components, normal.frames.view
    difference, movement = FrameDifference(3), MotionStream()
    tracker, trail = PhaseTracker(normal.phases, CYCLE), []
    for at, frame in enumerate(source.drawn[0]):
        small = view(frame)
        phase = tracker.add(small, float(found["phase"][at]))
        away = normal.frames.distance(small, phase)
        trail.append(float((away if slow_change is None else slow_change.add(away, phase)).max()))
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
        scorer = FrameScorer(
            make_config(4), normal, CYCLE, 10.0, pool, pictures=True, mapped=mapped
        )
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


def test_slow_change_goes_on_where_an_earlier_stretch_hands_it_over(normal):
    config = make_config(4)
    config.eval.drift_per_hour = 36_000.0  # a spread a second
    detector = Detector(FakePredictor(normal), config, Footage(10.0, CYCLE))

    def nearest(slow_change=None):
        stained = faulty(40, start=0, stop=40)
        return [r.components["nearest"] for r in detector.stream(stained, slow_change=slow_change)]

    over = slow_change_of(config, detector.fps)
    first, second = nearest(over), nearest(over)
    np.testing.assert_array_equal(first, nearest())  # otherwise it begins anew
    assert second[0] < first[0]


def test_memory_is_constant(normal):
    with ThreadPoolExecutor(1) as pool:
        scorer = FrameScorer(make_config(4), normal, CYCLE, 10.0, pool)
        most = 0
        for first, predicted in predict_ahead(scorer.clips(frames(200)), FakePredictor().scores, 1):
            scorer.add(first, predicted)
            most = max(most, len(scorer._open))
        scorer.close()
    assert most < 60
    assert not scorer._open
