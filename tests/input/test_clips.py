import itertools

import numpy as np
import pytest

from ipad_jax.input.clips import (
    clip_index,
    clip_starts,
    describe_skipped,
    train_batches,
)
from ipad_jax.input.frames import open_source
from ipad_jax.input.split import Segment, whole_videos


@pytest.fixture(scope="module", params=[0, 1], ids=["decoded", "cached"])
def source(dataset, request):
    return open_source(dataset, "train", cache_mb=request.param)


def take(source, num, **kwargs):
    arguments = {
        "clip_len": 16,
        "batch_size": 4,
        "seed": 0,
        "segments": whole_videos(source.videos),
    }
    iterator = train_batches(source, **(arguments | kwargs))
    try:
        return list(itertools.islice(iterator, num))
    finally:
        iterator.close()


def assert_same(left, right):
    assert len(left) == len(right)
    for a, b in zip(left, right):
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])


@pytest.mark.parametrize("clip_len", [1, 4, 16])
def test_starts_cover_every_frame_once_a_stride(clip_len):
    for length, stride in itertools.product(range(clip_len, 40), range(1, clip_len + 1)):
        starts = clip_starts(length, clip_len, stride)
        assert starts[0] == 0
        assert starts[-1] == length - clip_len
        assert (np.diff(starts[:-1]) == stride).all()
        assert len(starts) < 2 or 0 < starts[-1] - starts[-2] <= stride
    assert len(clip_starts(clip_len - 1, clip_len)) == 0


def test_index_never_crosses_a_segments_end_and_names_the_short_ones(source):
    segments = [*whole_videos(source.videos), Segment(0, 30, 40)]
    index, skipped = clip_index(segments, 16)
    slow = [
        (s.video, f)
        for s in segments
        for f in range(s.start, s.stop)
        if all(s.start <= f + k < s.stop for k in range(16))
    ]
    assert index.tolist() == [list(pair) for pair in slow]
    assert index.dtype == np.int32
    assert skipped == [segments[2], segments[4]]
    said = describe_skipped(source, skipped, 16)
    assert said == "2 shorter than a clip of 16 frames, not used: 03 (10), 01 (10)"
    assert describe_skipped(source, [], 16) == ""


def test_batches_hold_the_frames_they_name(source):
    for batch in take(source, 5):
        assert batch["clip"].shape == (4, 16, 16, 24, 3)
        assert batch["clip"].dtype == np.uint8
        for clip, video, first, phase in zip(
            *(batch[k] for k in ("clip", "video", "first_frame", "phase"))
        ):
            np.testing.assert_array_equal(clip, source.frames(video, range(first, first + 16)))
            assert phase == np.float32(first / source.videos[video].length)


def test_an_epoch_sees_every_clip_once_and_epochs_differ(source):
    index, _ = clip_index(whole_videos(source.videos), 16)
    assert len(index) == 48  # 25 + 5 + 0 + 18
    seen = [
        (int(v), int(f)) for b in take(source, 24) for v, f in zip(b["video"], b["first_frame"])
    ]
    first, second = seen[:48], seen[48:]
    everything = [tuple(row) for row in index.tolist()]
    assert sorted(first) == everything
    assert sorted(second) == everything
    assert first != second
    assert first != everything


def test_seed_fixes_the_order(source):
    assert_same(take(source, 3, seed=7), take(source, 3, seed=7))
    one = np.concatenate([b["first_frame"] for b in take(source, 24, seed=0)])
    other = np.concatenate([b["first_frame"] for b in take(source, 24, seed=1)])
    assert (one[48:] != other[:48]).any()  # grain's own seeds would repeat an epoch later


def test_resumes_from_the_step_alone(source):
    whole = take(source, 30)
    assert_same(take(source, 13, first_step=18), whole[17:])


def test_processes_read_contiguous_rows_of_the_same_global_batch(source):
    whole = take(source, 3, batch_size=6)
    parts = [take(source, 3, batch_size=6, process_index=p, process_count=3) for p in range(3)]
    joined = [
        {k: np.concatenate([part[step][k] for part in parts]) for k in whole[0]}
        for step in range(3)
    ]
    assert_same(joined, whole)


@pytest.mark.slow
def test_workers_change_nothing(dataset):
    source = open_source(dataset, "train")
    assert_same(take(source, 5, num_workers=2, first_step=3), take(source, 7)[2:])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clip_len": 64}, r"no clip of 64 frames.*01 \(40\)"),
        ({"segments": []}, r"no clip of 16 frames.*holds no videos"),
        ({"batch_size": 0}, r"batch_size=0"),
        ({"batch_size": 5, "process_count": 2}, r"batch_size=5 must be .* multiple of the 2"),
        ({"process_index": 2, "process_count": 2}, r"process_index=2 must be in 0..1"),
        ({"first_step": 0}, r"first_step=0 must be at least 1"),
    ],
)
def test_bad_training_requests(source, change, message):
    with pytest.raises(ValueError, match=message):
        take(source, 1, **change)
