"""Protocols, the table of scores on disk, and the untrained baseline."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest

from ipad_jax.video.scores.aggregate import FrameAggregator, FrameRows
from ipad_jax.video.scores.calibration import Calibration, fuse
from ipad_jax.video.scores.frame_difference import FrameDifference
from ipad_jax.video.scores.frame_scores import FORMAT, FrameScores
from ipad_jax.video.scores.protocols import judge, min_max, paper_score


def video(name="01", n=40, seed=0, clip_len=8, stride=1, label=None, extra=None, **kwargs):
    rng = np.random.default_rng(seed)
    aggregator = FrameAggregator(clip_len, stride, 20.0)
    parts = [
        aggregator.add(s, rng.uniform(0.01, 0.1, clip_len), rng.uniform(size=clip_len), 0.5)
        for s in range(0, n - clip_len + 1, stride)
    ]
    rows = FrameRows.concat([*parts, aggregator.close(n)])
    rows.components.update(extra or {})
    label = np.zeros(n) if label is None else label
    return FrameScores.from_rows(
        rows, name=name, fps=25, label=label, made_with={"eval.stride": stride}, **kwargs
    )


def test_min_max():
    values = np.array([2.0, np.nan, 4.0, 3.0])
    np.testing.assert_array_equal(min_max(values), [0, np.nan, 1, 0.5])
    assert (min_max(np.full(3, 7.0)) == 0).all()
    assert np.isnan(min_max(np.full(2, np.nan))).all()


def test_paper_score_is_over_the_scene_not_over_each_video():
    scores = FrameScores.concat([video("01", seed=1), video("02", seed=2)])
    score = paper_score(scores)
    psnr = scores.components["psnr_centre"].astype(np.float64)
    expected = 1 - (psnr - np.nanmin(psnr)) / (np.nanmax(psnr) - np.nanmin(psnr))
    np.testing.assert_allclose(score, expected)
    # a video of its own would reach 0 and 1 by itself: then every normal video holds an "anomaly"
    first = score[scores.video == 0]
    second = score[scores.video == 1]
    assert sum(np.nanmax(part) == 1 for part in (first, second)) == 1


def test_paper_score_leaves_the_ends_unscored_also_with_the_period_error():
    score = paper_score(video(clip_len=16, n=60), period_weight=0.5)
    assert np.isnan(score[:8]).all()
    assert np.isnan(score[-7:]).all()
    assert np.isfinite(score[8:-7]).all()
    assert not np.allclose(score[8:-7], paper_score(video(clip_len=16, n=60))[8:-7])


def test_strict_leaves_out_mislabelled_folders_and_says_what_else():
    label = np.zeros(40)
    label[:3] = -1
    scores = FrameScores.concat([video("01", label=label), video("02", seed=1)])
    scores.components["pooled_mean"][-2:] = np.nan
    calibration = Calibration.fit(video(seed=3), {"pooled_mean": 1.0})
    judged = judge(scores, "strict", calibration=calibration)
    assert judged.left_out == {
        "unlabelled": 3,
        "unscored": 2,
        "mislabelled_frames": 0,
        "mislabelled_videos": [],
    }
    assert len(judged.scores) == len(judged.score) == 75
    np.testing.assert_array_equal(judged.score, fuse(judged.scores, calibration))
    judged = judge(scores, "strict", calibration=calibration, mislabelled=["01", "99"])
    assert judged.left_out["mislabelled_videos"] == ["01"]
    assert judged.left_out["mislabelled_frames"] == 40
    assert set(judged.scores.video) == {1}


def test_paper_keeps_mislabelled_folders():
    scores = FrameScores.concat([video("01"), video("02", seed=1)])
    judged = judge(scores, "paper", mislabelled=["01"])
    assert set(judged.scores.video) == {0, 1}
    assert judged.left_out["unscored"] == 2 * 7  # 4 first and 3 last frames of clips of 8


def test_protocols_refuse_what_they_cannot_do():
    with pytest.raises(ValueError, match='"strict" needs a calibration'):
        judge(video(), "strict")
    with pytest.raises(ValueError, match=r"protocol='best' is unknown.*paper.*strict"):
        judge(video(), "best")
    calibration = Calibration.fit(video(), {"pooled_mean": 1.0})
    with pytest.raises(ValueError, match="stride 1, the scores are at stride 4"):
        judge(video(stride=4), "strict", calibration=calibration)


def test_saved_and_loaded_is_the_same(tmp_path):
    scores = FrameScores.concat([video("01"), video("02", n=30)])
    path = tmp_path / "scores.npz"
    scores.save(path)
    back = FrameScores.load(path)
    for name in ("video", "frame", "time_s", "label", "kind", "cycle", "position"):
        np.testing.assert_array_equal(getattr(back, name), getattr(scores, name))
        assert getattr(back, name).dtype == getattr(scores, name).dtype
    assert back.components.keys() == scores.components.keys()
    for name, column in scores.components.items():
        np.testing.assert_array_equal(back.components[name], column)
    assert (back.video_names, back.kinds, back.fps, back.stride) == (
        ("01", "02"),
        ("normal",),
        (25.0, 25.0),
        1,
    )
    assert [p.name for p in tmp_path.iterdir()] == ["scores.npz"]


def test_a_table_keeps_what_it_was_made_with(tmp_path):
    path = tmp_path / "scores.npz"
    made = {"dataset": "0f", "checkpoint_step": 7, "eval.stride": 4, "eval.features": ""}
    kept = dataclasses.replace(video(), made_with=made)
    kept.save(path)
    back = FrameScores.load(path)
    assert back.made_with == made
    assert (back.stride, back.checkpoint_step) == (4, 7)
    with pytest.raises(
        ValueError, match=r"checkpoint_step is None, not 7; dataset is None, not '0f'"
    ):
        FrameScores.concat([kept, video("02")])


def test_what_cannot_be_loaded_says_why(tmp_path):
    path = tmp_path / "scores.npz"
    with pytest.raises(FileNotFoundError, match="No scores at"):
        FrameScores.load(path)
    video().save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"not a whole scores\.npz"):
        FrameScores.load(path)
    np.savez(path, header=np.array([object()], dtype=object))  # would be unpickled
    with pytest.raises(ValueError, match=r"not a whole scores\.npz"):
        FrameScores.load(path)
    np.savez(path, header=np.array(f'{{"format": {FORMAT}, "kinds": []}}'))
    with pytest.raises(ValueError, match=r"lacks video, .*, mislabelled, .*; evaluate again"):
        FrameScores.load(path)
    np.savez(path, header=np.array('{"format": 0}'))
    with pytest.raises(ValueError, match=f"format 0, expected {FORMAT}; evaluate again"):
        FrameScores.load(path)


def test_segments_of_one_video_stay_one_video():
    joined = FrameScores.concat([video("01", n=20), video("02"), video("01", n=20)])
    assert joined.video_names == ("01", "02")
    np.testing.assert_array_equal(joined.video, [0] * 20 + [1] * 40 + [0] * 20)


def test_tables_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="no video as long as a clip"):
        FrameScores.concat([])
    with pytest.raises(ValueError, match=r"in one table eval\.stride is 4, not 1"):
        FrameScores.concat([video(), video(stride=4)])
    other = video(extra={"diff_mean": np.zeros(40)})
    with pytest.raises(ValueError, match="Cannot join scores with components"):
        FrameScores.concat([video(), other])
    good = video()
    with pytest.raises(ValueError, match=r"Component psnr has shape \(3,\)"):
        FrameScores(
            **{**vars(good), "components": {"psnr": np.zeros(3)}},
        )
    with pytest.raises(ValueError, match="2 frame rates for 1 videos"):
        FrameScores(**{**vars(good), "fps": (25.0, 25.0)})
    with pytest.raises(ValueError, match="Column label has shape"):
        FrameScores(**{**vars(good), "label": np.zeros(3)})


def test_labels_are_picked_by_frame():
    label = np.arange(40) % 2
    scores = video(label=label, extra={"diff_mean": np.arange(40.0)})
    part = scores.select(scores.frame >= 30)
    np.testing.assert_array_equal(part.components["diff_mean"], np.arange(30, 40))
    np.testing.assert_array_equal(part.label, label[30:])
    np.testing.assert_allclose(part.time_s, np.arange(30, 40) / 25)


def test_the_phase_is_the_tracked_one_where_it_is_known():
    plain = video()
    head = plain.components["phase"]
    np.testing.assert_array_equal(plain.best_phase, head)
    tracked = np.where(plain.frame < 20, np.nan, 0.25).astype(np.float32)
    found = video(extra={"tracked_phase": tracked}).best_phase
    np.testing.assert_array_equal(found, np.where(plain.frame < 20, head, 0.25))


def slow_difference(frames, pool_px):
    """Loops: mean over the picture, and the largest mean of a box inside the picture."""
    means, largest = [np.nan], [np.nan]
    for before, now in pairwise(frames):
        difference = np.abs(now.astype(float) - before.astype(float)).mean(axis=2) / 255
        means.append(difference.mean())
        reach = pool_px // 2
        padded = np.pad(difference, reach, mode="reflect")  # OpenCV's border
        boxes = [
            padded[y : y + pool_px, x : x + pool_px].mean()
            for y in range(difference.shape[0])
            for x in range(difference.shape[1])
        ]
        largest.append(max(boxes))
    return np.array(means), np.array(largest)


@pytest.mark.parametrize("pool_px", [1, 3, 9])
def test_frame_difference_equals_the_loops(pool_px):
    frames = np.random.default_rng(0).integers(0, 256, (5, 14, 12, 3), dtype=np.uint8)
    stream = FrameDifference(pool_px)
    found = np.array([stream.add(frame) for frame in frames])
    means, largest = slow_difference(frames, pool_px)
    np.testing.assert_allclose(found[:, 0], means, rtol=1e-5)
    np.testing.assert_allclose(found[:, 1], largest, rtol=1e-5)


def test_a_still_picture_does_not_differ_and_a_buffer_may_be_reused():
    stream = FrameDifference()
    frame = np.full((16, 16, 3), 90, np.uint8)
    assert np.isnan(stream.add(frame)).all()
    assert stream.add(frame) == (0.0, 0.0)
    frame[:] = 141  # the camera writes into the same memory
    assert stream.add(frame) == pytest.approx((0.2, 0.2), abs=1e-6)
    with pytest.raises(ValueError, match=r"after one of \(16, 16, 3\)"):
        stream.add(np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match="expected uint8"):
        stream.add(np.zeros((16, 16, 3), np.float32))
    with pytest.raises(ValueError, match="pool_px=0"):
        FrameDifference(0)
