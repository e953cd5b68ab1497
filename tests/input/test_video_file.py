import cv2
import numpy as np
import pytest
from prepared import write_dataset

from data_builders.video_files import FileVideo
from ipad_jax.input.source import open_source
from ipad_jax.input.video_file import (
    as_stored,
    open_camera,
    open_video,
    resample,
    same_rate,
    videos_in,
)


def numbered(number):
    """A BGR picture that carries its number as black and white bars, over a blue half."""
    picture = np.zeros((32, 64, 3), np.uint8)
    picture[:16] = np.repeat([255 * (number >> bit & 1) for bit in range(8)], 8)[None, :, None]
    picture[16:] = (255, 0, 0)
    return picture


def write_video(path, num_frames, fps=25.0, fourcc="MJPG"):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*fourcc), fps, (64, 32))
    assert writer.isOpened()
    for i in range(num_frames):
        writer.write(numbered(i))
    writer.release()
    return path


def numbers(frames):
    """What `numbered` painted into each frame; bars survive any codec."""
    bars = [f[:16].reshape(16, 8, 8, 3).mean(axis=(0, 2, 3)) > 127 for f in frames]
    return [int((bar << np.arange(8)).sum()) for bar in bars]


@pytest.mark.parametrize(
    ("name", "fourcc"), [("a.avi", "MJPG"), ("a.mp4", "mp4v"), ("a.mov", "mp4v"), ("a.mkv", "MJPG")]
)
def test_reads_a_file_in_rgb_with_times(tmp_path, name, fourcc):
    video = open_video(write_video(tmp_path / name, 30, 25.0, fourcc))
    assert video.name == "a"
    assert video.fps == pytest.approx(25)
    assert video.num_frames == 30
    assert not video.live
    times, frames = zip(*video)
    np.testing.assert_allclose(times, np.arange(30) / 25, atol=1e-3)  # containers count in ms
    assert frames[0].dtype == np.uint8
    assert frames[0].shape == (32, 64, 3)
    assert numbers(frames) == list(range(30))
    assert frames[0][20:, :, 2].mean() > 150 > frames[0][20:, :, 0].mean()  # blue stays blue
    assert video.problem == ""


def test_reads_a_folder_in_numeric_order(tmp_path):
    for i in range(12):
        cv2.imwrite(str(tmp_path / f"frame_{i}.png"), numbered(i))
    (tmp_path / "Thumbs.db").touch()
    video = open_video(tmp_path)
    assert video.fps is None
    assert video.num_frames == 12
    assert numbers(f for _, f in video) == list(range(12))
    times = [t for t, _ in open_video(tmp_path, fps=4.0)]
    np.testing.assert_allclose(times, np.arange(12) / 4)


def test_a_file_that_stops_early_is_reported(tmp_path):
    path = write_video(tmp_path / "a.avi", 60)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    video = open_video(path)
    video.num_frames = 60  # what the lost index would say
    frames = [f for _, f in video]
    assert 0 < len(frames) < 60
    assert f"stops early: {len(frames)} of 60 frames" in video.problem


@pytest.mark.parametrize(("stated", "reported"), [(31, False), (32, False), (33, True), (40, True)])
def test_a_count_off_by_little_is_no_problem(tmp_path, stated, reported):
    video = open_video(write_video(tmp_path / "a.avi", 30))
    video.num_frames = stated
    list(video)
    assert bool(video.problem) == reported


def test_bad_inputs_say_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none.mp4 does not exist"):
        open_video(tmp_path / "none.mp4")
    with pytest.raises(ValueError, match=r"holds no frames \(.jpg"):
        open_video(tmp_path)
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(ValueError, match=r"empty.mp4 is empty"):
        open_video(tmp_path / "empty.mp4")
    (tmp_path / "text.mp4").write_bytes(b"not a video" * 100)
    with pytest.raises(ValueError, match=r"text.mp4 cannot be decoded"):
        open_video(tmp_path / "text.mp4")
    with pytest.raises(ValueError, match=r"camera 'rtsp://127.0.0.1:1/none' cannot be opened"):
        open_camera("rtsp://user:password@127.0.0.1:1/none")


def test_bad_frame_folders(tmp_path):
    for name in ("0.png", "1.png", "3.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match=r"3.png follows 1.png"):
        open_video(tmp_path)
    (tmp_path / "3.png").rename(tmp_path / "cover.png")
    with pytest.raises(ValueError, match=r"must end with their number.*cover.png"):
        open_video(tmp_path)
    (tmp_path / "cover.png").unlink()
    (tmp_path / "2.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"2.jpg: is empty"):
        list(open_video(tmp_path))


def test_a_folder_of_videos_is_each_of_them(tmp_path):
    write_video(tmp_path / "b.avi", 3)
    write_video(tmp_path / "a.avi", 3)
    assert [p.name for p in videos_in(tmp_path)] == ["a.avi", "b.avi"]
    assert videos_in(tmp_path / "a.avi") == [tmp_path / "a.avi"]
    (tmp_path / "x.jpg").touch()
    with pytest.raises(ValueError, match="both video files and images"):
        videos_in(tmp_path)


def ticks(source_fps, count, fps):
    """Frame numbers that `resample` picks from a source of constant rate."""
    frames = ((i / source_fps, np.int64(i)) for i in range(count))
    return [int(f) for f in resample(frames, fps)]


@pytest.mark.parametrize("source_fps", [10, 24, 25, 29.97, 30, 50, 60])
@pytest.mark.parametrize("fps", [10, 25, 30])
def test_resampling_takes_the_nearest_frame_of_each_tick(source_fps, fps):
    picked = ticks(source_fps, 97, fps)
    slow = [
        int(np.argmin(np.abs(np.arange(97) / source_fps - k / fps))) for k in range(len(picked))
    ]
    different = [k for k, (a, b) in enumerate(zip(picked, slow)) if a != b]
    for k in different:  # only where two frames are equally near
        assert abs(abs(picked[k] - k / fps * source_fps) - 0.5) < 1e-6
    assert len(picked) == pytest.approx(97 * fps / source_fps, abs=1)
    assert picked == ticks(source_fps, 97, fps)


@pytest.mark.parametrize("source_fps", [24, 29.97, 50, 60])
def test_resampling_agrees_with_the_builder(tmp_path, source_fps):
    path = write_video(tmp_path / "a.avi", 50, source_fps)
    built = FileVideo("a", path, 25.0, source_fps, 50, 0)
    from_builder = numbers(f.load()[..., ::-1] for f in built.frames())
    ours = numbers(resample(iter(open_video(path, source_fps)), 25.0))
    assert ours == from_builder


def test_resampling_follows_varying_times():
    frames = [(0.0, "a"), (0.1, "b"), (1.0, "c"), (1.1, "d")]
    assert list(resample(frames, 5.0)) == ["a", "b", "b", "c", "c", "c"]
    assert list(resample([], 5.0)) == []
    assert list(resample([(0.0, "a")], 5.0)) == ["a"]


def test_resampling_looks_one_frame_ahead_and_no_further():
    seen = []

    def source():
        for i in range(100):
            seen.append(i)
            yield i / 30, i

    for picked in resample(source(), 25.0):
        assert seen[-1] <= picked + 1


def test_same_rate():
    assert same_rate(29.97, 30)
    assert not same_rate(25, 30)


def test_as_stored_gives_the_bytes_of_a_prepared_dataset(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    original = cv2.resize(rng.integers(0, 256, (9, 13, 3), np.uint8), (96, 64))  # BGR
    monkeypatch.setattr("prepared.picture", lambda video, frame: original)
    source = open_source(write_dataset(tmp_path, train=(1,), test=()), "train")
    np.testing.assert_array_equal(
        as_stored(original[..., ::-1], (16, 24), 95), source.frames(0, [0])[0]
    )
    with pytest.raises(ValueError, match=r"Got a frame float64 \(4, 4\)"):
        as_stored(np.zeros((4, 4)), (16, 24), 95)
