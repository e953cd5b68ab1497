"""The detector as a stream: causal, final rows, constant memory, whatever comes."""

import itertools
import math
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from fake_detector import CYCLE, SIZE, frames, make_detector

from ipad_jax.video.detector import record as detect_record
from ipad_jax.video.scores.aggregate import RECONSTRUCTED


def comparable(row):
    """A row as a tuple in which NaN equals NaN."""
    return (row.frame, repr(row.score), row.alarm, repr(row.components), repr(row.shares))


def assert_same_rows(left, right):
    assert [comparable(row) for row in left] == [comparable(row) for row in right]


@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("cut", [8, 20, 33, 50])
def test_the_future_changes_no_earlier_row(stride, batch_size, cut):
    past = list(frames(cut))
    other_future = [*past, *frames(40, seed=1)]
    own_future = [*past, *frames(25, seed=2)]
    marked = make_detector(stride)
    one, other = (
        list(marked.stream(iter(stream), batch_size=batch_size))
        for stream in (own_future, other_future)
    )
    final = cut - marked.delay_frames
    assert_same_rows(one[: max(0, final)], other[: max(0, final)])
    assert comparable(one[-1]) != comparable(other[len(one) - 1])


@pytest.mark.parametrize("stride", [1, 3, 8])
@pytest.mark.parametrize("cycle_frames", [CYCLE, None])
def test_a_row_comes_within_the_stated_delay(stride, cycle_frames):
    seen = 0

    def camera():
        nonlocal seen
        for seen, frame in enumerate(frames(80)):  # noqa: B007
            yield frame

    marked = make_detector(stride, cycle_frames)
    waits = [seen - row.frame for row in marked.stream(camera())]
    steady = waits[: 80 - marked.delay_frames]
    assert max(steady) == marked.delay_frames


def test_what_has_no_weight_is_left_out_only_when_asked_and_changes_nothing_else():
    marked, rebuilt = make_detector(), set(RECONSTRUCTED)
    marked.config.eval.components = {"period_error": 1.0, "pooled_mean": 0.0}
    full = marked.rows(frames(50)).components
    quick = marked.rows(frames(50), weighted_only=True).components
    for name, values in quick.items():
        expected = np.full_like(values, np.nan) if name in rebuilt else full[name]
        np.testing.assert_array_equal(values, expected, name)
    assert np.isfinite(full["pooled_mean"]).all()
    assert np.isfinite(quick["period_error"]).any()
    marked.config.eval.components = {"period_error": 1.0, "pooled_mean": 0.5}
    kept = marked.rows(frames(50), weighted_only=True).components
    np.testing.assert_array_equal(kept["pooled_mean"], full["pooled_mean"])


def test_a_live_camera_gets_its_rows_one_by_one():
    camera = frames(1000)
    rows = make_detector(cycle_frames=None).stream(camera)
    first = next(rows)
    assert first.frame == 0
    assert len(list(camera)) == 1000 - 8  # no frame was taken beyond the first clip


@pytest.mark.slow
@pytest.mark.parametrize(("batch_size", "pictures"), [(1, False), (8, True)])
def test_memory_does_not_grow_with_the_stream(tmp_path, pictures, batch_size, monkeypatch):
    marked = make_detector(stride=8, threshold=2.0)
    few = list(itertools.islice(frames(50), 50))
    # writing pictures costs seconds and holds one at a time; its own test is in tests/report
    monkeypatch.setattr(detect_record.Record, "_write_picture", lambda self, row: None)

    def run(count):
        stream = itertools.islice(itertools.cycle(few), count)
        with detect_record.Record(tmp_path, "x", marked) as record:
            for row in marked.stream(stream, batch_size=batch_size, pictures=pictures):
                record.add(row)
                if row.frame == count // 2:
                    tracemalloc.reset_peak()
            return tracemalloc.get_traced_memory()[1]  # before the timeline is drawn

    tracemalloc.start()
    try:
        run(200)  # caches of imports and codecs fill once
        short, long = run(1000), run(10_000)
    finally:
        tracemalloc.stop()
    # 9,000 more frames at 200 bytes: a frame that is kept is a kilobyte at least. Allocators wobble by less,
    # and so do the batches of two threads, which are in memory together or not (0.7 MB seen under load)
    assert long < short + 9_000 * 200 * batch_size


def test_the_model_sees_batches_of_one_size():
    marked = make_detector(stride=3)
    list(marked.stream(frames(40), batch_size=4))
    assert set(marked.predictor.calls) == {(4, 8, 16, 24, 3)}


@pytest.mark.parametrize("stride", [1, 3, 8])
def test_pictures_belong_to_their_frames(stride):
    marked = make_detector(stride)
    stored = [marked.prepare(frame) for frame in frames(43)]
    rows = list(marked.stream(frames(43), batch_size=4, pictures=True))
    for row in rows:
        assert row.pictures is not None
        np.testing.assert_array_equal(row.pictures.frame, stored[row.frame])
        np.testing.assert_array_equal(row.pictures.reconstruction, 255 - stored[row.frame])
        np.testing.assert_allclose(row.pictures.error, stored[row.frame].mean(axis=-1) / 255, 1e-5)
    assert_same_rows(rows, list(marked.stream(frames(43), batch_size=4)))


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9])
def test_short_streams_give_a_row_a_frame(count):
    rows = list(make_detector(stride=8).stream(frames(count)))
    assert [row.frame for row in rows] == list(range(count))
    assert all(math.isnan(row.score) == (count < 8) for row in rows)


def test_what_is_no_frame_is_refused():
    with pytest.raises(ValueError, match=r"Got a frame float64 \(4, 4\), expected uint8"):
        list(make_detector().stream([np.zeros((4, 4))]))
    for empty in ((0, 0, 3), (0, 4, 3), (4, 0, 3)):
        with pytest.raises(ValueError, match=r"Got a frame uint8 \(., ., 3\), expected uint8"):
            list(make_detector().stream([np.zeros(empty, np.uint8)]))
    with pytest.raises(ValueError, match=r"Got a frame of type list, expected uint8"):
        list(make_detector().stream([[[[0, 0, 0]]]]))  # type: ignore[list-item]


@pytest.mark.parametrize("size", [0, -1, 1.5])
def test_a_batch_size_that_is_none_is_refused(size):
    with pytest.raises(ValueError, match=f"batch_size={size} must be a whole number"):
        list(make_detector().stream([], batch_size=size))


def test_frames_of_other_proportions_are_never_squeezed():
    marked = make_detector()
    marked.footage = replace(marked.footage, source_size=(48, 32))
    for size in (SIZE, (32, 48), (64, 96), (65, 96)):  # 1.5 % off is a codec's whole blocks
        assert len(list(marked.stream(frames(9, size=size)))) == 9
    for size in ((48, 32), (32, 32), (32, 60)):
        said = rf"frames of {size[1]}x{size[0]} pixels.*trained on has 48x32.*squeezed"
        with pytest.raises(ValueError, match=said):
            list(marked.stream(frames(9, size=size)))
