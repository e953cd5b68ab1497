"""Frames that are added later are like those of the training footage, and change nothing else."""

import numpy as np

from ipad_jax.video.normal.frames import LEARNT, NormalFrames
from ipad_jax.video.normal.learnt import Sample, extended
from ipad_jax.video.normal.small_picture import SmallPictures, small_picture
from ipad_jax.video.normal.stored import Normal

VIEW = SmallPictures(16)


def drawn(count, seed):
    return np.random.default_rng(seed).integers(40, 200, (count, 16, 16, 3), np.uint8)


def near_of(arrays):
    return NormalFrames(
        arrays["frames_pictures"], arrays["frames_phase"], VIEW, arrays["frames_group"]
    )


def stored(phase):
    pictures = np.stack([small_picture(frame, 16) for frame in drawn(40, 0)])
    group = np.arange(40, dtype=np.int32) // 20
    return {"frames_pictures": pictures, "frames_phase": np.float32(phase), "frames_group": group}


def test_a_learnt_frame_is_no_further_than_usual_and_what_is_usual_stays():
    arrays = stored(np.full(40, np.nan))
    before, strange = near_of(arrays), drawn(1, 1)[0] // 2
    strange[4:10, 4:10] = 255
    after = near_of(extended(arrays, Normal(before), [Sample((strange,), np.nan)]))
    for old, new in zip(before.usual, after.usual):
        np.testing.assert_array_equal(old, new)
    assert before.largest(strange, np.nan) > 0
    assert after.largest(strange, np.nan) <= 0
    others = drawn(5, 2)
    closer = [after.largest(f, np.nan) <= before.largest(f, np.nan) for f in others]
    assert all(closer)


def test_where_phases_count_a_frame_without_one_is_left_out():
    arrays = stored(np.arange(40) / 40)
    samples = [Sample((frame,), phase) for frame, phase in zip(drawn(2, 1), (0.25, np.nan))]
    found = extended(arrays, Normal(near_of(arrays)), samples)
    assert len(found["frames_pictures"]) == 41
    assert found["frames_phase"][-1] == 0.25
    assert (found["frames_group"] == LEARNT).sum() == 1
