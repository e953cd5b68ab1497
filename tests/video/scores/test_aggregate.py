"""FrameAggregator against a slow, obvious version that sees the whole video at once."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipad_jax.video.scores.aggregate import (
    COMPONENTS,
    FrameAggregator,
    FrameRows,
    clip_spacing,
    psnr,
)
from ipad_jax.video.scores.period_error import fitted_period_error, period_error


def clip_starts(num_frames, clip_len, stride):
    """Regular starts, then the tail clip if the last regular one does not end with the video."""
    starts = list(range(0, num_frames - clip_len + 1, stride))
    if starts and starts[-1] + clip_len < num_frames:
        starts.append(num_frames - clip_len)
    return starts


def predictions(num_frames, clip_len, stride, seed=0):
    """Random predictions of every clip: [(start, mse, pooled, phase)]."""
    rng = np.random.default_rng(seed)
    return [
        (start, rng.uniform(0.01, 0.1, clip_len), rng.uniform(0, 1, clip_len), rng.uniform())
        for start in clip_starts(num_frames, clip_len, stride)
    ]


def stream(clips, num_frames, **kwargs):
    aggregator = FrameAggregator(**kwargs)
    parts = [aggregator.add(*clip) for clip in clips]
    return FrameRows.concat([*parts, aggregator.close(num_frames)])


def both_errors(members, cycle_frames):
    phase, start = (np.array([clip[column] for clip in members]) for column in (3, 0))
    return tuple(error(phase, start, cycle_frames) for error in (period_error, fitted_period_error))


def brute_force(clips, num_frames, clip_len, stride, cycle_frames, window, spacing):
    """The definition, a loop a frame: when a row is final, who may add, what columns mean."""
    half, reach = window // 2, window // 2 * spacing
    last_clip_of_frame = [frame // stride for frame in range(num_frames)]
    regular = [c for c in clips if c[0] % stride == 0 and c[0] // stride == clips.index(c)]
    tail = clips[len(regular) :]
    errors = []
    for index, (start, *_) in enumerate(regular):
        window_starts = [start + k * spacing for k in range(-half, half + 1)]
        members = [c for c in regular if c[0] in window_starts]
        errors.append(both_errors(members, cycle_frames))
        assert index == start // stride
    if tail:
        behind = [len(regular) * stride - k * spacing for k in range(1, half + 1)]
        members = [c for c in regular if c[0] in behind] + tail
        errors.append(both_errors(members, cycle_frames))
    out = {name: np.full(num_frames, np.nan) for name in COMPONENTS}
    positions = np.full(num_frames, -1)
    for frame in range(num_frames):
        # handed out before the end: the clip that completes its last window exists
        early = last_clip_of_frame[frame] * stride + reach <= (len(regular) - 1) * stride
        seen = [
            (clip, error)
            for clip, error in zip(clips, errors)
            if clip[0] <= frame < clip[0] + clip_len and not (early and clip in tail)
        ]
        if not seen:
            continue
        place = [frame - clip[0] for clip, _ in seen]
        positions[frame] = min(place)
        out["psnr_mean"][frame] = np.mean([psnr(c[1][p]) for (c, _), p in zip(seen, place)])
        out["pooled_mean"][frame] = np.mean([c[2][p] for (c, _), p in zip(seen, place)])
        for (clip, _), p in zip(seen, place):
            if p == clip_len // 2:
                out["psnr_centre"][frame] = psnr(clip[1][p])
                out["pooled_centre"][frame] = clip[2][p]
        known = [errors for _, errors in seen if math.isfinite(errors[0])]
        if known:
            out["period_error"][frame], out["fitted_period_error"][frame] = np.mean(known, axis=0)
        turns = [clip[3] + p / cycle_frames for (clip, _), p in zip(seen, place)]
        out["phase"][frame] = (
            np.angle(np.mean(np.exp(2j * np.pi * np.array(turns)))) / 2 / np.pi % 1
        )
    return out, positions


@settings(max_examples=40, deadline=None)
@given(
    num_frames=st.integers(8, 60),
    stride=st.integers(1, 6),
    window=st.sampled_from([3, 5, 7]),
    step=st.integers(1, 3),
    cycle=st.floats(10, 80),
)
def test_equals_the_slow_version(num_frames, stride, window, step, cycle):
    clip_len, spacing = 6, step * stride
    clips = predictions(num_frames, clip_len, stride)
    rows = stream(
        clips,
        num_frames,
        clip_len=clip_len,
        stride=stride,
        cycle_frames=cycle,
        window=window,
        spacing=spacing,
    )
    expected, position = brute_force(clips, num_frames, clip_len, stride, cycle, window, spacing)
    np.testing.assert_array_equal(rows.frame, np.arange(num_frames))
    np.testing.assert_array_equal(rows.position, position)
    for name in COMPONENTS:
        if name == "phase":
            gap = np.abs(rows.components[name] - expected[name])
            assert np.nanmax(np.minimum(gap, 1 - gap)) < 1e-4  # float32, and 0 meets 1
        else:
            np.testing.assert_allclose(
                rows.components[name], expected[name], rtol=1e-5, atol=1e-5, err_msg=name
            )


@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("cycle", [None, 40.0])
def test_rows_come_after_the_stated_delay_and_not_later(stride, cycle):
    aggregator = FrameAggregator(8, stride, cycle, spacing=2 * stride)
    delays = []
    for start, *rest in predictions(100, 8, stride):
        rows = aggregator.add(start, *rest)
        delays += list(start + 8 - 1 - rows.frame)
    # the first frames of each stride wait longest: their bound is met, not only kept
    assert max(delays) == aggregator.delay_frames
    assert min(delays) == aggregator.delay_frames - (stride - 1)


def test_the_future_changes_no_earlier_row():
    clips = predictions(90, 8, 2)
    other = predictions(90, 8, 2, seed=1)
    kwargs = {"clip_len": 8, "stride": 2, "cycle_frames": 40.0, "spacing": 4}
    changed_from = 50
    mixed = [a if a[0] + 8 <= changed_from else b for a, b in zip(clips, other)]
    first, second = stream(clips, 90, **kwargs), stream(mixed, 90, **kwargs)
    delay = FrameAggregator(**kwargs).delay_frames
    same = slice(0, changed_from - delay)
    for name in COMPONENTS:
        np.testing.assert_array_equal(first.components[name][same], second.components[name][same])
    assert not np.array_equal(first.components["psnr_mean"], second.components["psnr_mean"])


def test_memory_is_the_same_after_many_frames():
    def size_after(num_frames):
        aggregator = FrameAggregator(8, 2, 40.0)
        for start in range(0, num_frames, 2):
            aggregator.add(start, np.ones(8), np.ones(8), 0.5)
        arrays = [*aggregator._sums.values(), *aggregator._centre.values()]
        return sum(a.nbytes for a in arrays), len(aggregator._phases)

    assert size_after(200) == size_after(2000)


def test_a_segment_counts_frames_from_its_start():
    clips = predictions(40, 8, 3)
    moved = [(start + 100, *rest) for start, *rest in clips]
    kwargs = {"clip_len": 8, "stride": 3, "cycle_frames": 30.0}
    a, b = stream(clips, 40, **kwargs), stream(moved, 140, start=100, **kwargs)
    np.testing.assert_array_equal(a.frame + 100, b.frame)
    np.testing.assert_array_equal(a.components["period_error"], b.components["period_error"])


def test_centre_columns_leave_the_ends_unscored():
    rows = stream(predictions(40, 16, 1), 40, clip_len=16)
    scored = np.flatnonzero(np.isfinite(rows.components["psnr_centre"]))
    assert (scored[0], scored[-1], len(scored)) == (8, 40 - 8, 40 - 15)  # first 8, last 7 without


def test_a_video_shorter_than_a_clip_comes_out_unscored():
    rows = FrameAggregator(16).close(10)
    assert list(rows.frame) == list(range(10))
    assert all(np.isnan(rows.components[name]).all() for name in COMPONENTS)
    assert (rows.position == -1).all()


@pytest.mark.parametrize(("clip_len", "stride"), [(5, 1), (8, 1), (8, 3)])
def test_frames_that_a_clip_only_predicts_from_count_as_unseen(clip_len, stride):
    """With the last k frames of each clip scored, as if clips were k long and began later."""
    # 38: no tail clip, which adds to frames that are still open, more of them where clips are long
    unscored = 4
    clips = predictions(38, clip_len, stride)
    blank = np.arange(clip_len) < unscored
    masked = [(s, np.where(blank, np.nan, m), np.where(blank, np.nan, p)) for s, m, p, *_ in clips]
    short = [(s + unscored, m[unscored:], p[unscored:]) for s, m, p, *_ in clips]
    rows = stream(masked, 38, clip_len=clip_len, stride=stride)
    expected = stream(short, 38, start=unscored, clip_len=clip_len - unscored, stride=stride)
    assert (rows.position[:unscored] == -1).all()
    np.testing.assert_array_equal(rows.position[unscored:], expected.position + unscored)
    for name, values in rows.components.items():
        assert np.isnan(values[:unscored]).all()
        np.testing.assert_array_equal(values[unscored:], expected.components[name], err_msg=name)
    assert np.isfinite(rows.components["psnr_mean"][unscored:]).all()


def test_missing_values_in_other_places_are_a_broken_model():
    aggregator = FrameAggregator(4)
    aggregator.add(0, np.array([np.nan, 1, 1, 1]), np.array([np.nan, 1, 1, 1]))
    with pytest.raises(ValueError, match="not finite"):
        aggregator.add(1, np.array([np.nan, np.nan, 1, 1]), np.array([np.nan, 1, 1, 1]))
    for bad in ([1, np.nan, 1, 1], [np.nan] * 4, [np.inf, 1, 1, 1]):
        with pytest.raises(ValueError, match="not finite"):
            FrameAggregator(4).add(0, np.array(bad), np.ones(4))


def test_deformation_is_the_mean_over_clips():
    first, second = np.array([1.0, 2.0]), np.array([4.0, 8.0])
    clips = [(0, np.ones(2), np.ones(2), math.nan, first), (1, np.ones(2), np.ones(2), 0.0, second)]
    assert stream(clips, 3, clip_len=2).components["deformation"].tolist() == [1.0, 3.0, 8.0]


@settings(max_examples=60, deadline=None)
@given(
    cycle=st.floats(20, 2000),
    offset=st.floats(0, 0.999),
    spacing=st.integers(1, 40),
)
def test_a_perfect_phase_has_no_error_at_any_cycle_length(cycle, offset, spacing):
    start = np.arange(-2, 3) * spacing + 500
    phase = (offset + start / cycle) % 1
    assert period_error(phase, start, cycle) < 1e-6


def test_frozen_and_double_speed_have_the_error_of_the_ramp():
    start = np.arange(5) * 10
    # residuals -2..2 times the slope of 200 * 10 / 200 = 10 classes: (2 + 1 + 0 + 1 + 2) / 5 * 10
    assert period_error(np.full(5, 0.3), start, 200.0) == pytest.approx(12.0)
    assert period_error(start * 2 / 200 % 1, start, 200.0) == pytest.approx(12.0)
    # the paper's window: 5 clips at stride 1 cannot tell a frozen machine (measured: 0.38 at L = 626)
    assert period_error(np.full(5, 0.3), np.arange(5), 626.0) == pytest.approx(0.383, abs=1e-3)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 0.999), min_size=3, max_size=7), st.floats(-3, 3))
def test_period_error_ignores_a_turn_of_the_circle(phases, shift):
    start = np.arange(len(phases)) * 5
    turned = (np.array(phases) + shift) % 1
    assert period_error(turned, start, 90.0) == pytest.approx(
        period_error(np.array(phases), start, 90.0), abs=1e-6
    )


def test_fewer_than_three_known_phases_have_no_error():
    start = np.arange(5) * 4
    assert math.isnan(period_error(np.array([0.1, np.nan, np.nan, np.nan, 0.2]), start, 90.0))
    assert math.isfinite(period_error(np.array([0.1, np.nan, 0.3, np.nan, 0.2]), start, 90.0))


def test_without_a_cycle_there_is_no_phase_and_no_wait_for_it():
    aggregator = FrameAggregator(8, 1, None)
    assert aggregator.delay_frames == 7
    rows = stream(predictions(30, 8, 1), 30, clip_len=8, cycle_frames=math.nan)
    assert np.isnan(rows.components["period_error"]).all()
    assert np.isnan(rows.components["phase"]).all()


def test_spacing():
    assert clip_spacing(200.0, 1) == 10
    assert clip_spacing(200.0, 4) == 8  # a twentieth is 10 frames; whole strides
    assert clip_spacing(30.0, 8) == 8  # never under one stride
    assert clip_spacing(None, 4) == 4
    assert clip_spacing(200.0, 4, spacing=12) == 12
    with pytest.raises(ValueError, match=r"multiple of eval\.stride=4; the nearest are 8 and 12"):
        clip_spacing(200.0, 4, spacing=10)
    with pytest.raises(ValueError, match="spacing=-1"):
        clip_spacing(200.0, 4, spacing=-1)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"clip_len": 8, "stride": 9}, "stride=9 must lie in 1..data.clip_len=8"),
        ({"clip_len": 8, "window": 4}, "window=4 must be odd"),
        ({"clip_len": 8, "window": 1}, "at least 3"),
        ({"clip_len": 8, "cycle_frames": 0}, "cycle_frames=0 must be positive"),
    ],
)
def test_bad_settings_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        FrameAggregator(**kwargs)


def test_bad_clips_are_refused():
    aggregator = FrameAggregator(4, 2)
    ones = np.ones(4)
    with pytest.raises(ValueError, match="clip at frame 2, expected 0"):
        aggregator.add(2, ones, ones)
    aggregator.add(0, ones, ones)
    with pytest.raises(ValueError, match="clip at frame 4, expected 2"):
        aggregator.add(4, ones, ones)
    with pytest.raises(ValueError, match=r"mse .* shape \(3,\), expected \(4,\)"):
        aggregator.add(2, np.ones(3), ones)
    with pytest.raises(ValueError, match="pooled of the clip at frame 2 is not finite"):
        aggregator.add(2, ones, ones * np.nan)
    with pytest.raises(ValueError, match="ends at frame 3, but clips were given up to 4"):
        aggregator.close(3)
    aggregator.add(1, ones, ones)  # the tail clip of a video of 5 frames
    with pytest.raises(ValueError, match="after the end of the video"):
        aggregator.add(2, ones, ones)
    aggregator.close(5)
    with pytest.raises(ValueError, match="twice"):
        aggregator.close(5)
