"""Video files of every kind come out right, or are named with what is wrong and what to do."""

import dataclasses

import cv2
import drawn_video
import numpy as np
import pytest
from drawn_video import scene, write, write_interlaced

from ipad_jax.data_builders.damage import Reading
from ipad_jax.data_builders.decoding import VIDEO_SUFFIXES, probe, sample, timed_frames


def read(path, **options):
    """Times, pictures, what was met, and the complaint ("" none)."""
    reading, frames, complaint = Reading(), [], ""
    try:
        for frame in timed_frames(path, probe(path), reading=reading, **options):
            frames.append(frame)
    except ValueError as error:
        complaint = str(error)
    return [t for t, _ in frames], [image for _, image in frames], reading, complaint


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "libx264"),
        ("a.avi", "mjpeg"),
        ("a.mkv", "libx264"),
        ("a.ts", "libx264"),
        ("a.wmv", "wmv2"),
        ("a.mpg", "mpeg2video"),
        ("a.webm", "libvpx-vp9"),
    ],
)
def test_the_same_bits_as_opencv(tmp_path, name, codec):
    """So a dataset prepared with OpenCV's decoder is the one that is prepared now."""
    path = write(
        tmp_path / name, 20, codec=codec, pixels="yuvj420p" if codec == "mjpeg" else "yuv420p"
    )
    times, pictures, _, complaint = read(path)
    assert complaint == ""
    capture = cv2.VideoCapture(str(path))
    for picture in pictures:
        np.testing.assert_array_equal(capture.read()[1], picture)
    assert not capture.read()[0]
    np.testing.assert_allclose(times, np.arange(20) / 25, atol=2e-3)  # some containers count in ms


def test_one_list_of_endings():
    assert {".ts", ".m4v", ".wmv", ".webm", ".mp4", ".avi", ".mov", ".mkv"} <= set(VIDEO_SUFFIXES)


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.avi", "mpeg2video"),
        ("a.mp4", "libx264"),
        ("a.mkv", "libx264"),
        ("a.avi", "mpeg4"),
    ],
)
def test_interlaced_frames_are_deinterlaced(tmp_path, name, codec):
    """As many frames and the same times; no rows of two moments in one picture."""
    path = write_interlaced(tmp_path / name, 30, codec)
    times, pictures, reading, complaint = read(path)
    assert complaint == ""
    assert len(pictures) == reading.interlaced == 30
    assert len({picture.tobytes() for picture in pictures}) == 30
    assert np.diff(times).min() > 0

    def comb(image):  # rows differ from the next one more than from the one after
        rows = image.mean(axis=2)
        return np.abs(np.diff(rows, axis=0)).max() - np.abs(rows[2:] - rows[:-2]).max()

    woven = scene(20)
    woven[1::2] = scene(21)[1::2]
    assert comb(woven) > comb(pictures[10])
    # the block is where one of the two fields has it
    near = min(np.abs(pictures[10].astype(int) - scene(n).astype(int)).mean() for n in (20, 21))
    assert near < np.abs(scene(20).astype(int) - scene(24).astype(int)).mean()


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_pictures_are_turned_as_a_phone_says(tmp_path, rotation):
    path = write(tmp_path / "a.mp4", 4, rotation=rotation)
    _, pictures, *_ = read(path)
    assert probe(path).size == pictures[0].shape[1::-1]
    np.testing.assert_array_equal(cv2.VideoCapture(str(path)).read()[1], pictures[0])


@pytest.mark.parametrize("codec", ["libx265", "ffv1"])
def test_ten_bits_are_no_darker_and_no_brighter_than_eight(tmp_path, codec):
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    path = write(tmp_path / "a.mkv", 3, codec=codec, pixels="yuv420p10le", options=options)
    for number, picture in enumerate(read(path)[1]):
        np.testing.assert_allclose(picture.mean(), scene(number).mean(), atol=2)  # rounding, codec


def test_sixteen_bits_of_which_twelve_are_used_are_refused(tmp_path):
    pictures = [(scene(i).mean(axis=2) * 16).astype(np.uint16) for i in range(4)]
    path = write(tmp_path / "a.mkv", pictures, codec="ffv1", pixels="gray16le")
    with pytest.raises(ValueError, match="stores 16 bits a sample and does not say how many"):
        probe(path)


def test_damage_is_named_by_its_time_and_the_rest_decoded(tmp_path):
    path = drawn_video.damage(write(tmp_path / "a.mp4", 250))
    times, pictures, reading, complaint = read(path)
    ((start_s, end_s, lost),) = reading.lost
    assert lost + len(pictures) == 250
    assert (start_s, end_s) == (
        pytest.approx(250 / 25 / 3, abs=1),
        pytest.approx(250 / 25 / 2, abs=1),
    )
    assert sum(start_s <= t < end_s - 0.1 for t in times) <= 1  # one may come out between
    assert times[-1] == pytest.approx(249 / 25)
    assert f"{lost} frames" in complaint
    assert f"lost at {start_s:.2f} to {end_s:.2f} s" in complaint


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi"])
def test_a_few_flipped_bytes_do_not_pass(tmp_path, name):
    codec = "mpeg4" if name == "a.avi" else "libx264"
    path = write(tmp_path / name, 100, codec=codec)
    data = bytearray(path.read_bytes())
    # packets of 188 bytes are filled up where frames are so small: the first may hold nothing else
    count = 4 * 188 if name == "a.ts" else 200
    for place in range(len(data) // 2, len(data) // 2 + count):
        data[place] ^= 0x5A
    path.write_bytes(data)
    assert "is damaged" in read(path)[3]


@pytest.mark.parametrize("name", ["a.avi", "a.mkv"])
def test_a_file_that_stops_early_is_named_with_the_time_that_is_missing(tmp_path, name):
    path = write(tmp_path / name, 100, codec="mjpeg", pixels="yuvj420p")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    _, pictures, _, complaint = read(path)
    assert 40 <= len(pictures) <= 52
    assert f"stops early, {len(pictures)} of 100 frames could be decoded, " in complaint
    assert f"{(100 - len(pictures)) / 25:.1f} s are missing at its end" in complaint or (
        f"{(99 - len(pictures)) / 25:.1f} s are missing" in complaint  # one more was cut through
    )


def test_a_recorder_that_drops_frames_ends_where_it_says(tmp_path):
    """Its container counts what was due; the times of what came reach the end."""
    times = [i / 25 for i in range(100) if i % 4]
    path = write(tmp_path / "a.mp4", len(times), times=times)
    stated = dataclasses.replace(probe(path), fps=25.0, frames=100)
    reading = Reading()
    assert len(list(timed_frames(path, stated, reading=reading))) == 75
    assert reading.complete


@pytest.mark.parametrize("hole_s", [3.0, 60.0, 3600.0])
def test_a_hole_in_the_times_is_named_and_does_not_change_the_rate(tmp_path, hole_s):
    times = [i / 25 + hole_s * (i >= 50) for i in range(100)]
    path = write(tmp_path / "a.mp4", 100, times=times)
    assert probe(path).fps == pytest.approx(25)
    _, pictures, _, complaint = read(path)
    assert len(pictures) == 50
    assert f"its times jump from 1.96 to {2 + hole_s:.2f} s" in complaint
    assert "cut the file there" in complaint
    assert len(read(path, by_rate=25.0)[1]) == 100  # a person vouches for the rate


def test_a_slow_camera_has_no_holes(tmp_path):
    path = write(tmp_path / "a.mkv", 12, fps=1, times=[5.0 * i for i in range(12)])
    info = dataclasses.replace(probe(path), fps=0.2, frames=12)
    assert len(list(timed_frames(path, info))) == 12


def test_pictures_that_change_size_are_refused(tmp_path):
    path = tmp_path / "a.ts"
    small = write(tmp_path / "small.ts", 25).read_bytes()
    large = write(tmp_path / "large.ts", [scene(i, (96, 128)) for i in range(25)]).read_bytes()
    path.write_bytes(small + large)
    complaint = read(path)[3]
    assert "its pictures change from 96x64 to 128x96" in complaint


FROZEN = [
    ("a.mp4", "libx264", {}),
    ("a.mp4", "libx264", {"g": "12", "crf": "32"}),
    ("a.mp4", "libx264", {"x264-params": "tff=1"}),
    ("a.avi", "mjpeg", {"b": "2M"}),  # FFmpeg's own coders give 200 kb/s if not asked
    ("a.avi", "mpeg4", {"b": "2M"}),
    ("a.mkv", "ffv1", {}),
]


@pytest.mark.parametrize(("name", "codec", "options"), FROZEN)
def test_a_frozen_picture_is_no_footage_whoever_encodes_it(tmp_path, name, codec, options):
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = write(tmp_path / name, [scene(0)] * 80, codec=codec, options=options, pixels=pixels)
    assert "its 80 frames are all one picture" in read(path)[3]
    assert read(path, may_stand=True)[3] == ""


@pytest.mark.parametrize(("name", "codec", "options"), FROZEN)
def test_a_camera_that_hangs_for_a_while_is_met(tmp_path, name, codec, options):
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    pictures = [scene(min(i, 40)) for i in range(120)]
    path = write(tmp_path / name, pictures, codec=codec, options=options, pixels=pixels)
    _, _, reading, complaint = read(path)
    assert complaint == ""
    ((start_s, end_s),) = reading.hung
    assert start_s == pytest.approx(40 / 25, abs=0.5)
    assert end_s == pytest.approx(119 / 25, abs=0.05)


@pytest.mark.parametrize("crf", ["18", "28"])
def test_a_machine_that_pauses_before_a_camera_that_works_is_not_hung(tmp_path, crf):
    """The camera's noise goes on."""
    rng = np.random.default_rng(0)
    still = scene(0, (128, 192)).astype(int)
    pictures = [
        np.clip(still + rng.integers(-4, 5, still.shape), 0, 255).astype(np.uint8)
        for _ in range(80)
    ]
    _, _, reading, complaint = read(write(tmp_path / "a.mp4", pictures, options={"crf": crf}))
    assert (reading.hung, complaint) == ([], "")


def test_something_small_that_moves_without_noise_is_not_hung(tmp_path):
    plate = scene(0, (256, 384))
    pictures = []
    for i in range(80):
        picture = plate.copy()
        picture[100:108, i : i + 8] = (40, 200, 230)
        pictures.append(picture)
    _, _, reading, complaint = read(write(tmp_path / "a.mp4", pictures, options={"crf": "18"}))
    assert (reading.hung, complaint) == ([], "")


def test_a_sample_of_a_long_file_finds_its_damage_and_its_end(tmp_path):
    options = {"g": "25"}
    path = write(tmp_path / "a.mp4", 500, options=options)
    count, good = sample(path, probe(path), 4, 50)
    assert good
    assert (
        150 <= count <= 300
    )  # of four stretches of 50, each from a key frame on, the last to the end
    hurt = drawn_video.damage(write(tmp_path / "b.mp4", 500, options=options), 0.2, 0.9)
    assert not sample(hurt, probe(hurt), 4, 50)[1]
    cut = write(tmp_path / "c.avi", 500, codec="mjpeg", pixels="yuvj420p")
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    assert not sample(cut, probe(cut), 4, 50)[1]


def test_a_stopped_reader_closes_its_file(tmp_path):
    path = write(tmp_path / "a.mp4", 20)
    for _ in range(200):  # more than the files a process may hold, were they left open
        next(timed_frames(path, probe(path)))
    path.unlink()
