import itertools

import pytest

from ipad_jax.input.source import Video
from ipad_jax.input.split import Segment, hold_out, whole_videos


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
