"""Heat maps and side-by-side videos: the file is VP9 and reads back; one colour scale for all."""

import cv2
import numpy as np
import pytest

from ipad_jax.evaluation.report.heatmap import colourise, heat, heat_range, overlay
from ipad_jax.evaluation.report.side_by_side import (
    ALARM,
    FAULT,
    Composer,
    SideBySideWriter,
    strip_picture,
)

HEAT = (0.1, 0.5)


def picture(seed=0, size=32):
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


def flat(value, size=32):
    return np.full((size, size), value, np.float32)


def write(path, num_frames=12, broken=False, **kwargs):
    with SideBySideWriter(
        path, (32, 32), 10.0, HEAT, panel_px=64, threshold=1.0, **kwargs
    ) as writer:
        for i in range(num_frames):
            writer.write(
                picture(i), picture(i), flat(0.3), time_s=i / 10, score=float(i % 3), label=i % 2
            )
        if broken:
            raise ValueError("the reconstruction is missing")
    return writer


def read(path):
    video = cv2.VideoCapture(str(path))
    codec = int(video.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little")
    frames = []
    while True:
        more, frame = video.read()
        if not more:
            break
        frames.append(frame[..., ::-1])
    return codec, video.get(cv2.CAP_PROP_FPS), np.array(frames)


def test_the_file_is_vp9_and_reads_back(tmp_path):
    path = tmp_path / "a.webm"
    writer = write(path)
    codec, fps, frames = read(path)
    assert codec == b"VP90"
    assert fps == pytest.approx(10)
    assert frames.shape == (12, writer.size[1], writer.size[0], 3)
    # the camera panel shows the frame: coding loses detail, the mean stays
    left, top = writer._corner(0)
    panel = frames[5, top : top + 64, left : left + 64]
    np.testing.assert_allclose(panel.mean((0, 1)), picture(5).mean((0, 1)), atol=6)
    assert path.read_bytes()[:4] == b"\x1a\x45\xdf\xa3"  # EBML, what WebM begins with
    assert [p.name for p in tmp_path.iterdir()] == ["a.webm"]


def test_every_second_frame_plays_as_long(tmp_path):
    write(tmp_path / "a.webm", every=2)
    _, fps, frames = read(tmp_path / "a.webm")
    assert (fps, len(frames)) == (pytest.approx(5), 6)
    assert SideBySideWriter(tmp_path / "b.webm", (32, 32), 25.0, HEAT).every == 2
    assert SideBySideWriter(tmp_path / "b.webm", (32, 32), 10.0, HEAT).every == 1


def test_an_error_leaves_nothing_and_an_older_file_stays(tmp_path):
    path = tmp_path / "a.webm"
    path.write_bytes(b"older")
    with pytest.raises(ValueError, match="reconstruction"):
        write(path, broken=True)
    assert path.read_bytes() == b"older"
    assert [p.name for p in tmp_path.iterdir()] == ["a.webm"]


def test_bad_paths_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must end in \.webm"):
        SideBySideWriter(tmp_path / "a.mp4", (32, 32), 10.0, HEAT)
    with pytest.raises(FileNotFoundError, match="No folder"):
        SideBySideWriter(tmp_path / "none" / "a.webm", (32, 32), 10.0, HEAT)
    with pytest.raises(ValueError, match="every=0"):
        SideBySideWriter(tmp_path / "a.webm", (32, 32), 10.0, HEAT, every=0)
    with pytest.raises(RuntimeError, match="`with` block"):
        SideBySideWriter(tmp_path / "a.webm", (32, 32), 10.0, HEAT).write(
            picture(), None, None, time_s=0.0, score=1.0
        )


def compose(score, label=-1, **kwargs):
    composer = Composer((32, 32), 10.0, HEAT, threshold=1.0, panel_px=64, **kwargs)
    return composer, composer.compose(
        picture(), picture(), flat(0.0), time_s=0.0, score=score, label=label
    )


def has_colour(canvas, colour):
    return (canvas == np.array(colour, np.uint8)).all(axis=-1)


def test_alarm_and_truth_can_be_seen():
    composer, canvas = compose(2.0, label=1)
    left, top = composer._corner(2)
    assert has_colour(canvas, ALARM)[top, left : left + 64].all()  # frame round the heat map
    assert has_colour(canvas, FAULT).any()
    composer, canvas = compose(0.5, label=0)
    assert not has_colour(canvas, ALARM)[top, left : left + 64].any()
    assert not has_colour(canvas, FAULT).any()


def test_an_event_decides_over_the_single_frame():
    composer = Composer((32, 32), 10.0, HEAT, threshold=1.0, panel_px=64)
    left, top = composer._corner(2)
    args = (picture(), picture(), flat(0.0))
    inside = composer.compose(*args, time_s=0.0, score=0.5, alarm=True)  # in a closed gap
    assert has_colour(inside, ALARM)[top, left]


def test_pictures_may_be_missing_and_scores_unknown():
    composer = Composer((24, 33), 10.0, HEAT, panel_px=63)
    for _ in range(2):
        canvas = composer.compose(picture()[:24, :32], None, None, time_s=0.0, score=np.nan)
    assert canvas.shape == (composer.size[1], composer.size[0], 3)
    assert composer.size[0] % 2 == composer.size[1] % 2 == 0  # VP9 takes even sides only


def test_a_frame_without_a_picture_is_in_the_timeline():
    def shown(see):
        composer = Composer((32, 32), 10.0, HEAT, threshold=1.0, panel_px=64)
        for score in (0.2, 3.0):
            see(composer, score)
        return composer.compose(picture(), None, None, time_s=0.2, score=0.1)

    drawn = shown(
        lambda c, score: c.compose(picture(), None, None, time_s=0.0, score=score, label=1)
    )
    noted = shown(lambda c, score: c.see(score, label=1))
    np.testing.assert_array_equal(noted, drawn)
    assert has_colour(noted, ALARM).any()


def test_memory_does_not_grow_with_the_video():
    composer = Composer((32, 32), 10.0, HEAT, panel_px=64, seconds=2.0)
    for i in range(200):
        composer.compose(picture(), None, None, time_s=i / 10, score=1.0)
    assert len(composer._past) == 20


def test_the_colour_scale_is_fixed():
    a, b = flat(0.2), flat(0.2)
    b[0, 0] = 0.5  # a hot spot elsewhere must not pale the rest
    np.testing.assert_array_equal(overlay(picture(), a, *HEAT)[5], overlay(picture(), b, *HEAT)[5])


def test_heat_runs_from_0_at_low_to_1_at_high():
    values = np.array([-1, 0.1, 0.3, 0.5, 9, np.nan])
    np.testing.assert_allclose(heat(values, *HEAT), [0, 0, 0.5, 1, 1, 0], atol=1e-6)
    with pytest.raises(ValueError, match="low < high"):
        heat(values, 0.5, 0.5)
    assert colourise(flat(0.0), *HEAT).shape == (32, 32, 3)


def test_normal_parts_stay_a_plain_grey_picture():
    frame = picture()
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    np.testing.assert_array_equal(overlay(frame, flat(0.05), *HEAT), np.stack([grey] * 3, axis=-1))
    hot = overlay(frame, flat(0.5), *HEAT).astype(int)
    assert (hot[..., 0] > hot[..., 2]).all()  # red over blue everywhere


def test_small_error_maps_are_enlarged():
    assert overlay(picture(size=32), flat(0.3, size=8), *HEAT).shape == (32, 32, 3)


def test_heat_range_keeps_normal_faint_and_is_never_empty():
    for scale in (0.001, 0.01, 0.05):
        low, high = heat_range(0.1, scale)
        assert low < 0.1 < high
        assert heat(np.array([0.1]), low, high)[0] < 0.3  # however steady normal footage is
    low, high = heat_range(0.0, 0.0)
    assert low < high


def test_strip_has_a_column_a_frame_and_three_rows():
    frames = np.stack([picture(i) for i in range(4)])
    strip = strip_picture(frames, frames, np.zeros((4, 32, 32), np.float32), HEAT, panel_px=32)
    assert strip.shape == (3 * 32 + 2 * 4, 4 * 32 + 3 * 4, 3)
    np.testing.assert_array_equal(strip[:32, 36:68], frames[1])
    np.testing.assert_array_equal(strip[36:68, :32], frames[0])
    with pytest.raises(ValueError, match="4 frames, 3 reconstructions"):
        strip_picture(frames, frames[:3], np.zeros((4, 32, 32)), HEAT)
