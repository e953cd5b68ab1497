import itertools
from types import SimpleNamespace

import pytest
from ml_collections import ConfigDict

from ipad_jax.input.source import Video
from ipad_jax.input.split import Segment, hold_out, training_parts, whole_videos


def videos(*lengths):
    return [Video(str(i), 0, n, 25.0, None) for i, n in enumerate(lengths)]


def frames(segments):
    return {(s.video, f) for s in segments for f in range(s.start, s.stop)}


@pytest.mark.parametrize(("count", "held"), [(10, 5), (25, 5), (80, 16), (55, 11), (13, 5)])
def test_whole_videos_are_held_out_evenly(count, held):
    train, calibration = hold_out(videos(*[100] * count))
    assert len(calibration) == held
    assert sorted(s.video for s in train + calibration) == list(range(count))
    assert all((s.start, s.stop) == (0, 100) for s in train + calibration)
    gaps = [b.video - a.video for a, b in itertools.pairwise(calibration)]
    assert max(gaps) - min(gaps) <= 1
    assert calibration[0].video <= gaps[0]
    assert count - calibration[-1].video <= gaps[0] + 1


def test_few_videos_give_their_tails():
    train, calibration = hold_out(videos(1000, 500), clip_len=16)
    assert calibration == [Segment(0, 800, 1000), Segment(1, 400, 500)]
    assert train == [Segment(0, 0, 784), Segment(1, 0, 384)]


def test_tail_holds_a_clip_and_short_videos_are_only_trained_on():
    train, calibration = hold_out(videos(50, 47), clip_len=16)
    assert calibration == [Segment(0, 34, 50)]
    assert train == [Segment(0, 0, 18), Segment(1, 0, 47)]


@pytest.mark.parametrize("lengths", [(200,), (90, 300, 48), (100,) * 9, (100,) * 10])
@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
def test_no_clip_touches_both_parts(lengths, share):
    train, calibration = hold_out(videos(*lengths), share, clip_len=16)
    near = {(v, f + d) for v, f in frames(calibration) for d in range(-15, 16)}
    assert calibration
    assert not near & frames(train) or len(lengths) >= 10
    assert not frames(calibration) & frames(train)


def test_share_of_zero_holds_out_nothing():
    assert hold_out(videos(30, 40), share=0) == (whole_videos(videos(30, 40)), [])
    assert hold_out([], share=0.2) == ([], [])


def test_bad_requests():
    with pytest.raises(ValueError, match=r"holdout_share=1.0 must be at least 0 and below 1"):
        hold_out(videos(100), share=1.0)
    with pytest.raises(ValueError, match=r"needs 48 frames \(clip_len=16\), the longest has 47"):
        hold_out(videos(47, 20))


def parts(*lengths, share=0.2, minimum=5):
    data = {"holdout_share": share, "holdout_min": minimum, "clip_len": 16}
    source = SimpleNamespace(videos=videos(*lengths), path="press7")
    return training_parts(ConfigDict({"data": data}), source)


def test_parts_of_a_config_are_those_held_out():
    assert parts(1000, 500) == hold_out(videos(1000, 500))
    assert parts(20, share=0) == ([Segment(0, 0, 20)], [])


def test_footage_without_a_clip_is_refused_before_training():
    with pytest.raises(ValueError, match=r"to train on: 2 videos, the longest of 15 frames"):
        parts(15, 9, share=0)
    with pytest.raises(ValueError, match=r"to train on: 0 videos"):
        parts()
    # of ten videos the second, fourth ... are held out: here all of those are short
    with pytest.raises(ValueError, match=r"to calibrate on: 5 videos.*data.holdout_share=0"):
        parts(*[100, 10] * 5)
