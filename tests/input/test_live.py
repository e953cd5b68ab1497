import dataclasses

import cv2
import drawn_video
import numpy as np
import pytest
from prepared import write_dataset

from ipad_jax.data_builders.timing import resample, same_rate
from ipad_jax.data_builders.video_files import FileVideo
from ipad_jax.input.frames import open_source
from ipad_jax.input.live import as_stored, open_video, videos_in


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


def is_rgb(frame):
    """Whether the half that `numbered` painted blue is blue in RGB."""
    return frame[20:, :, 2].mean() > 150 > frame[20:, :, 0].mean()


@pytest.mark.parametrize(
    ("name", "fourcc"), [("a.avi", "MJPG"), ("a.mp4", "mp4v"), ("a.mov", "mp4v"), ("a.mkv", "MJPG")]
)
def test_reads_a_file_in_rgb_with_times(tmp_path, name, fourcc):
    video = open_video(write_video(tmp_path / name, 30, 25.0, fourcc))
    assert video.name == "a"
    assert video.fps == pytest.approx(25)
    assert video.num_frames == 30
    times, frames = zip(*video)
    np.testing.assert_allclose(times, np.arange(30) / 25, atol=1e-3)  # containers count in ms
    assert frames[0].dtype == np.uint8
    assert frames[0].shape == (32, 64, 3)
    assert numbers(frames) == list(range(30))
    assert is_rgb(frames[0])
    assert (video.problem, video.note) == ("", "")


def test_a_given_rate_overrules_the_files_own(tmp_path):
    """A file that states 10 and was recorded at 20."""
    path = write_video(tmp_path / "a.avi", 30, 10.0)
    times = [t for t, _ in open_video(path, fps=20.0)]
    np.testing.assert_allclose(times, np.arange(30) / 20)
    assert numbers(resample(open_video(path, fps=20.0), 10.0)) == list(range(0, 30, 2))


def test_uneven_times_are_read_alike_by_builder_and_detector(tmp_path):
    """A phone in the dark: 15 frames at 30 a second, then 15 at 10; 15 a second by the mean."""
    times = np.cumsum([0.0] + [1 / 30] * 15 + [1 / 10] * 14)
    pictures = [numbered(i) for i in range(30)]
    path = drawn_video.write(tmp_path / "a.mkv", pictures, times=3.0 + times)
    video = open_video(path)
    detected = numbers(resample(video, 15.0))
    built = FileVideo("a", path, 15.0, video.info, 0)
    assert numbers(f.load()[..., ::-1] for f in built.frames()) == detected
    ticks = np.arange(len(detected)) / 15
    np.testing.assert_allclose(
        times[detected], ticks, atol=0.5 / 10 + 2e-3
    )  # a container counts in ms
    assert len(detected) == pytest.approx(2.0 * 15, abs=1)
    assert "do not come at an even" in video.note
    assert video.problem == ""


def test_labels_follow_their_frames_through_resampling(tmp_path):
    path = write_video(tmp_path / "a.avi", 30, 30.0)
    labels = (np.arange(30) >= 15).astype(np.int8)
    video = FileVideo("a", path, 10.0, open_video(path).info, 1, labels=labels, counted=30)
    assert [f.label for f in video.frames()] == labels[::3].tolist()


def test_reads_a_folder_in_numeric_order(tmp_path):
    for i in range(12):
        cv2.imwrite(str(tmp_path / f"frame_{i}.png"), numbered(i))
    (tmp_path / "Thumbs.db").touch()
    video = open_video(tmp_path)
    assert video.fps is None
    assert video.num_frames == 12
    frames = [f for _, f in video]
    assert numbers(frames) == list(range(12))
    assert is_rgb(frames[0])
    times = [t for t, _ in open_video(tmp_path, fps=4.0)]
    np.testing.assert_allclose(times, np.arange(12) / 4)


def test_a_file_that_stops_early_is_reported(tmp_path):
    path = write_video(tmp_path / "a.avi", 60)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    video = open_video(path)
    video.info = dataclasses.replace(video.info, frames=60)  # what the lost index would say
    frames = [f for _, f in video]
    assert 0 < len(frames) < 60
    assert f"stops early, {len(frames)} of 60 frames" in video.problem


@pytest.mark.parametrize(("stated", "reported"), [(31, False), (32, False), (33, True), (40, True)])
def test_a_count_off_by_little_is_no_problem(tmp_path, stated, reported):
    video = open_video(write_video(tmp_path / "a.avi", 30))
    video.info = dataclasses.replace(video.info, frames=stated)
    list(video)
    assert bool(video.problem) == reported


def test_bad_inputs_say_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none.mp4 does not exist"):
        open_video(tmp_path / "none.mp4")
    with pytest.raises(ValueError, match=r"holds no frames; expected 0\.jpg"):
        open_video(tmp_path)
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(ValueError, match=r"empty.mp4 is empty"):
        open_video(tmp_path / "empty.mp4")
    (tmp_path / "text.mp4").write_bytes(b"not a video" * 100)
    with pytest.raises(ValueError, match=r"text.mp4 cannot be decoded"):
        open_video(tmp_path / "text.mp4")


def test_bad_frame_folders(tmp_path):
    for name in ("0.png", "1.png", "3.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match=r"gap in frame numbers: 0..3 but 3 files, missing 2;"):
        open_video(tmp_path)
    (tmp_path / "3.png").rename(tmp_path / "cover.png")
    with pytest.raises(ValueError, match=r"cover.png: is no numbered image"):
        open_video(tmp_path)
    (tmp_path / "cover.png").rename(tmp_path / "01.png")
    with pytest.raises(ValueError, match=r"1.png: has the same frame number as 01.png"):
        open_video(tmp_path)
    (tmp_path / "01.png").unlink()
    (tmp_path / "2.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"2.jpg: is empty"):
        open_video(tmp_path)


def test_a_folder_of_videos_is_each_of_them(tmp_path):
    write_video(tmp_path / "b.avi", 3)
    write_video(tmp_path / "a.avi", 3)
    assert [p.name for p in videos_in(tmp_path)] == ["a.avi", "b.avi"]
    assert videos_in(tmp_path / "a.avi") == [tmp_path / "a.avi"]
    (tmp_path / "._a.avi").touch()  # what macOS leaves on foreign disks
    assert [p.name for p in videos_in(tmp_path)] == ["a.avi", "b.avi"]
    (tmp_path / "x.jpg").touch()
    with pytest.raises(ValueError, match="both video files and images"):
        videos_in(tmp_path)


def test_a_folder_of_folders_says_which_to_give(tmp_path):
    for name in ("jam", "normal"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.mp4").touch()
    (tmp_path / "notes").mkdir()
    with pytest.raises(ValueError, match="its subfolders jam, normal do: give one of them"):
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


def test_frames_near_their_ticks_all_come_through_once():
    off = np.random.default_rng(0).uniform(-0.49, 0.49, 200)
    off[0] = 0
    frames = [((i + off[i]) / 25, i) for i in range(200)]
    assert list(resample(frames, 25.0)) == list(range(200))


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
