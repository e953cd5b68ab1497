import dataclasses
import itertools
from types import SimpleNamespace

import pytest
from ml_collections import ConfigDict

from ipad_jax.input.frames import Video
from ipad_jax.input.scenes import scene_names
from ipad_jax.input.split import (
    Segment,
    describe_share,
    hold_out,
    take_share,
    training_parts,
    whole_videos,
)


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


def recorded(length, cycle=None):
    return [Video("a", 0, length, 25.0, cycle)]


LONG = [(350, None), (700, None), (5000, None), (15000, 90.5), (9000, 250.0), (2000, 180.0)]


@pytest.mark.parametrize(("length", "cycle"), [(96, None), (150, 40.0), (500, 500.0), *LONG])
@pytest.mark.parametrize("share", [0.02, 0.2, 0.33, 0.9])
@pytest.mark.parametrize("blocks", [1, 4, 7])
def test_blocks_and_their_gaps_are_a_third_at_most(length, cycle, share, blocks):
    fitted, held = hold_out(recorded(length, cycle), share, clip_len=16, blocks=blocks)
    assert 1 <= len(held) <= blocks
    assert sum(s.length for s in held) <= max(share * length, 16) + 1
    assert length - sum(s.length for s in fitted) <= length / 3
    assert min(s.length for s in fitted + held) >= 16
    near = {(v, f + d) for v, f in frames(held) for d in range(-16, 17)}  # a clip on either side
    assert not near & frames(fitted)
    assert frames(held) | frames(fitted) <= frames(whole_videos(recorded(length)))
    assert sorted(fitted, key=lambda s: s.start) == fitted


@pytest.mark.parametrize(("length", "cycle"), LONG)
def test_blocks_are_spread_over_the_video(length, cycle):
    fitted, held = hold_out(recorded(length, cycle), 0.2, clip_len=16, blocks=4)
    assert len(fitted) == len(held) + 1  # none at an end: training lies on both sides of each
    middles = [(s.start + s.stop) / 2 / length for s in held]
    expected = [(i + 0.5) / len(held) for i in range(len(held))]
    assert middles == pytest.approx(expected, abs=1.5 / length)  # rounding of frames
    assert max(s.length for s in held) == min(s.length for s in held) >= 4 * 16


@pytest.mark.parametrize(("cycle", "gap"), [(None, 16), (7.0, 16), (90.5, 91), (4000.0, 16)])
def test_the_gap_is_a_cycle_where_some_fit(cycle, gap):
    fitted, held = hold_out(recorded(9000, cycle), 0.2, clip_len=16, blocks=4)
    assert len(held) == 4
    for before, block, after in zip(fitted, held, fitted[1:]):
        assert (block.start - before.stop, after.start - block.stop) == (gap, gap)


def test_shorter_videos_have_fewer_blocks():
    counts = [len(hold_out(recorded(n), 0.2, blocks=4)[1]) for n in range(96, 3000, 50)]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (1, 4)
    fitted, held = hold_out(videos(95, 96), 0.2, clip_len=16, blocks=4)
    assert {s.video for s in held} == {1}
    assert Segment(0, 0, 95) in fitted


def test_whole_videos_are_held_out_before_blocks():
    many = videos(*[1000] * 10)
    assert hold_out(many, blocks=4) == hold_out(many)


def test_a_config_from_before_the_leaf_keeps_the_tail():
    data = {"holdout_share": 0.2, "holdout_min": 5, "clip_len": 16}
    source = SimpleNamespace(videos=videos(5000, 900), path="press7")
    old, tail, spread = (
        training_parts(ConfigDict({"data": data | leaf}), source)
        for leaf in ({}, {"holdout_blocks": 0}, {"holdout_blocks": 4})
    )
    assert old == tail == hold_out(source.videos)
    assert spread == hold_out(source.videos, blocks=4) != old


def test_share_of_zero_holds_out_nothing():
    assert hold_out(videos(30, 40), share=0) == (whole_videos(videos(30, 40)), [])
    assert hold_out([], share=0.2) == ([], [])


def test_bad_requests():
    with pytest.raises(ValueError, match=r"holdout_share=1.0 must be at least 0 and below 1"):
        hold_out(videos(100), share=1.0)
    with pytest.raises(
        ValueError, match=r"needs 48 frames \(data.clip_len=16\), the longest has 47"
    ):
        hold_out(videos(47, 20))
    with pytest.raises(
        ValueError, match=r"holdout_min=0 must be at least 1; holdout_share=0 holds"
    ):
        hold_out(videos(100), minimum=0)
    with pytest.raises(ValueError, match=r"holdout_blocks=-1 must be 0 \(the tail\) or more"):
        hold_out(videos(100), blocks=-1)
    with pytest.raises(
        ValueError, match=r"needs 96 frames \(data.clip_len=16\), the longest has 95"
    ):
        hold_out(videos(95, 20), blocks=4)


@pytest.mark.parametrize("count", [2, 3, 10, 40])
def test_a_share_that_rounds_to_no_video_holds_out_one(count):
    train, calibration = hold_out(videos(*[100] * count), share=0.01, minimum=1)
    assert len(calibration) == 1
    assert len(train) == count - 1


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


def test_each_scene_is_divided_as_it_would_be_alone():
    lengths = {"S01": [100] * 10, "S02": [1000, 500]}
    several = [
        dataclasses.replace(video, scene=scene)
        for scene, found in lengths.items()
        for video in videos(*found)
    ]
    data = {"holdout_share": 0.2, "holdout_min": 5, "clip_len": 16}
    source = SimpleNamespace(videos=several, path="both")
    together = training_parts(ConfigDict({"data": data}), source)
    for part, first, second in zip(together, hold_out(videos(*lengths["S01"])), parts(1000, 500)):
        assert part == first + [dataclasses.replace(s, video=s.video + 10) for s in second]
    several[-1] = dataclasses.replace(several[-1], length=20)
    several[-2] = dataclasses.replace(several[-2], length=10)
    with pytest.raises(ValueError, match=r"None of the 2 training videos is long enough"):
        training_parts(ConfigDict({"data": data}), source)
    longer = ConfigDict({"data": data | {"clip_len": 30, "holdout_share": 0.0}})
    with pytest.raises(ValueError, match=r"both, scene S02: no clip .* longest of 20 frames"):
        training_parts(longer, source)


@pytest.mark.parametrize(("count", "share", "taken"), [(40, 0.2, 8), (22, 0.2, 4), (3, 0.2, 1)])
def test_a_share_takes_whole_segments_evenly(count, share, taken):
    whole = whole_videos(videos(*[100] * count))
    found = take_share(whole, share)
    assert len(found) == taken
    assert set(found) <= set(whole)
    chosen = [-1, *(s.video for s in found), count]
    gaps = [b - a for a, b in itertools.pairwise(chosen)]
    assert max(gaps) <= count / taken + 1  # none is far from a taken one
    assert take_share(whole, 1.0) == whole
    assert take_share([], 0.2) == []


def test_a_share_leaves_the_held_out_footage_and_is_named():
    data = {"holdout_share": 0.2, "holdout_min": 5, "clip_len": 16, "train_share": 0.2}
    config = ConfigDict({"data": data})
    source = SimpleNamespace(videos=videos(*range(100, 125)), path="press7")
    whole, held = parts(*range(100, 125))
    fitted, still_held = training_parts(config, source)
    assert still_held == held
    assert len(fitted) == 4
    assert set(fitted) < set(whole)
    line = describe_share(config, source)
    names = ", ".join(str(s.video) for s in fitted)
    frames = sum(s.length for s in fitted)
    assert "data.train_share=0.2: 4 of 20 training videos" in line
    assert line.endswith(f"frames: {names}")
    assert f"{frames:,} of" in line
    few = ConfigDict({"data": data | {"holdout_blocks": 4, "train_share": 0.5}})
    source = SimpleNamespace(videos=videos(5000, 5000), path="press7")
    assert {s.video for s in training_parts(few, source)[0]} == {1}  # not a block of each
    assert "1 of 2 training videos" in describe_share(few, source)
    with pytest.raises(ValueError, match=r"train_share=0 must be above 0"):
        take_share(whole, 0)


@pytest.mark.parametrize("scene", ["S01+", "S01+S02+S01"])
def test_scenes_are_named_once_each(scene):
    with pytest.raises(ValueError, match="name each scene once"):
        scene_names(scene)
