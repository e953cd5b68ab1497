"""Footage that was once read wrongly in silence: each kind drawn here, and the stored cases themselves.

`validate` names what is wrong, `prepare` and `detect` never pass over it.
"""

import itertools
import re

import cv2
import drawn_video
import numpy as np
import pytest
from drawn_video import scene, write, write_interlaced

from ipad_jax.commands import validate
from ipad_jax.data_builders.files import DataError
from ipad_jax.data_builders.video_folder.video_folder_dataset_builder import read_source
from ipad_jax.input.live import open_video


@pytest.fixture
def check(capsys):
    """Validates a folder: exit status and all that was printed."""

    def call(source, *options):
        status = validate.main(["video_folder", "--source", str(source), *options])
        captured = capsys.readouterr()
        return status, captured.out + captured.err

    return call


@pytest.fixture
def cases(real_data):
    folder = real_data / "cases"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    return folder


def good(source, count=2):
    for i in range(count):
        write(source / "train" / "normal" / f"n{i}.mp4")
    return source


def draw_case(source, name):
    """A twin of a stored case."""
    if name == "interlaced":
        for i, suffix in enumerate((".avi", ".mkv", ".mp4")):
            codec = "libx264" if suffix == ".mp4" else "mpeg2video"
            path = write_interlaced(source / "train" / "normal" / f"i{i}{suffix}", 40, codec)
        return path
    if name == "corrupt_middle":
        return drawn_video.damage(write(good(source) / "train" / "normal" / "dmg.mp4", 250))
    if name == "timelapse":
        times = [i / 25 + 60 * (i >= 50) for i in range(100)]
        return write(good(source) / "train" / "normal" / "hole.mp4", 100, times=times)
    for ending, codec in ((".ts", "libx264"), (".m4v", "libx264"), (".wmv", "wmv2")):
        path = write(good(source) / "train" / "normal" / f"cam{ending[1:]}{ending}", codec=codec)
    write(source / "test" / "jam" / "cam4.webm", codec="libvpx-vp9")
    return path


def both(test):
    """Runs a test on the drawn twin of a case and on the case itself."""
    return pytest.mark.parametrize(
        "stored", [False, pytest.param(True, marks=pytest.mark.real_data)]
    )(test)


@pytest.fixture
def case(request, stored, tmp_path):
    """Gives a function from a case's name to its folder and one of its files."""

    def find(name, file):
        if stored:
            folder = request.getfixturevalue("cases") / name
            return folder, folder / file
        return tmp_path, draw_case(tmp_path, name)

    return find


def frames(path):
    """Every frame that `detect` sees, and what it then says."""
    video = open_video(path)
    return [image for _, image in video], video.problem, video.note


@both
def test_interlaced(check, case):
    folder, path = case("interlaced", "detect.avi")
    status, text = check(folder)
    assert status == 0
    assert text.count("frames are interlaced; they are deinterlaced") == 3
    images, problem, note = frames(path)
    assert len({image.tobytes() for image in images}) == len(images)
    assert problem == ""
    assert "interlaced" in note
    first = next(iter(read_source(folder, None, None)[0])).frames()
    assert len({frame.load().tobytes() for frame in first}) in (40, 75)


@pytest.mark.slow
@both
def test_damaged_in_the_middle(check, case):
    folder, path = case("corrupt_middle", "train/normal/dmg.mp4")
    status, text = check(folder)
    assert status == 1
    said = re.search(r"dmg.mp4: is damaged: (\d+) frames .* are lost at (\S+) to (\S+) s", text)
    assert said
    lost, start_s, end_s = int(said[1]), float(said[2]), float(said[3])
    # Of 10 s, the bytes from a third to a half. The stored file is always the same; another x264 may
    # write the drawn one otherwise, and a frame more or less can then be decoded.
    assert 2 < start_s < 10 / 3
    assert 4.5 < end_s < 5.5
    assert abs(lost - (end_s - start_s) * 25) < 3
    if folder.name == "corrupt_middle":
        assert (lost, start_s) == (45, 2.96)
    images, problem, _ = frames(path)
    assert len(images) == 250 - lost
    assert f" {150 + len(images)} " in text  # frames that were decoded, not those that are stated
    assert f"{lost} frames" in problem
    assert "the rest is unseen" not in problem  # it was seen
    (damaged,) = (v for v in read_source(folder, None, None)[0] if "dmg" in v.name)
    with pytest.raises(ValueError, match=f"is damaged: {lost} frames"):  # so `prepare` ends with it
        list(damaged.frames())


@both
def test_a_hole_in_the_times(check, case):
    folder, path = case("timelapse", "train/normal/hole.mp4")
    status, text = check(folder)
    assert status == 1
    assert "hole.mp4: its times jump from 1.96 to 62.00 s" in text
    assert text.count("problem: ") == 1
    _, problem, _ = frames(path)
    assert "the rest is unseen" in problem


@both
def test_every_ending(check, case):
    folder, path = case("ts_files", "detect.ts")
    status, text = check(folder)
    assert status == 0
    assert "usable; 450 of 450 frames were decoded" in text
    assert "left out" not in text
    train, test, metadata = read_source(folder, None, None)
    assert len(train), len(test) == (5, 1)
    assert metadata["source_size"] == [96, 64]
    assert len(frames(path)[0]) == 75


def twelve_bits(folder, count, digits=3, top=255):
    folder.mkdir(parents=True)
    for i in range(count):
        value = np.minimum(scene(i).mean(axis=2), top) * 16
        cv2.imwrite(str(folder / f"{i:0{digits}d}.png"), value.astype(np.uint16))
    return folder


@both
def test_twelve_bits_in_sixteen(check, stored, request, tmp_path):
    if stored:
        folder = request.getfixturevalue("cases") / "gray16_png"
        frame_folder = folder / "testing" / "frames" / "01"
    else:
        folder = tmp_path
        for name in ("01", "02"):
            twelve_bits(folder / "training" / "frames" / name, 20)
        frame_folder = twelve_bits(folder / "testing" / "frames" / "01", 20)
    status, text = check(folder, "--fps", "25")
    assert status == 0
    assert text.count("its 16-bit pictures use 12 bits") == 1
    _, test, metadata = read_source(folder, 25.0, None)
    assert metadata["bit_depth"] == 12
    assert metadata["source_size"] == [96, 64]
    prepared = [frame.load() for frame in itertools.islice(test[0].frames(), 5)]
    # Drawn from grey levels times 16: these come back.
    assert np.percentile(prepared[0], 99) > 100
    seen, _, note = frames(frame_folder)
    assert "use 12 bits" in note
    for one, other in zip(prepared, seen):
        np.testing.assert_array_equal(one[..., ::-1], other)
    if not stored:
        np.testing.assert_array_equal(prepared[3][..., 0], scene(3).mean(axis=2).astype(int))


def test_a_darker_source_is_read_by_the_depth_of_the_training(tmp_path):
    """Its own largest value would make ten bits of it, and all four times as bright."""
    dark = open_video(twelve_bits(tmp_path / "dark", 4, top=60))
    dark.bit_depth = 12
    for number, (_, image) in enumerate(dark):
        expected = np.minimum(scene(number).mean(axis=2), 60).astype(int)
        np.testing.assert_array_equal(image[..., 0], expected)


def test_depths_that_are_mixed_are_refused(tmp_path, check):
    twelve_bits(tmp_path / "training" / "frames" / "01", 20)
    drawn_folder(tmp_path / "training" / "frames" / "02", 20)
    with pytest.raises(DataError, match="02: holds 8-bit pictures, other folders 16-bit ones"):
        read_source(tmp_path, 25.0, None)
    assert check(tmp_path, "--fps", "25")[0] == 1


def drawn_folder(folder, count, ending="png", size=(64, 96)):
    folder.mkdir(parents=True)
    for i in range(count):
        cv2.imwrite(str(folder / f"{i:03d}.{ending}"), scene(i, size))
    return folder


@both
def test_tiff(check, stored, request, tmp_path):
    if stored:
        folder = request.getfixturevalue("cases") / "tiff_frames"
    else:
        folder = tmp_path
        drawn_folder(folder / "training" / "frames" / "01", 40, "tif")
        drawn_folder(folder / "training" / "frames" / "02", 40, "tiff")
    status, text = check(folder, "--fps", "25")
    assert status == 0
    assert "usable; 80 of 80 frames" in text
    images, problem, _ = frames(folder / "training" / "frames" / "01")
    assert len({image.tobytes() for image in images}) == 40
    assert problem == ""


@pytest.mark.slow
@both
def test_labels(check, stored, request, tmp_path):
    if stored:
        folder = request.getfixturevalue("cases") / "labels_csv_crlf"
    else:
        folder = good(tmp_path)
        for name, ending in (("a", "csv"), ("b", "txt"), ("c", "mat")):
            write(folder / "test" / "jam" / f"{name}.mp4")
            text = b"\r\n".join(b"%d" % (i > 40) for i in range(75))
            (folder / "test" / "jam" / f"{name}.{ending}").write_bytes(text)
        write(folder / "test" / "normal" / "ok.mp4")
    status, text = check(folder)
    assert status == 1
    assert text.count("problem: ") == 1
    assert "c.mat: is no video (.mp4" in text
    assert "and no labels of one beside it (NAME.npy, NAME.csv, NAME.txt)" in text
    with pytest.raises(DataError, match=r"c\.mat: is no video"):
        read_source(folder, None, None)
    if not stored:
        for name in ("c.mat", "c.mp4"):
            (folder / "test" / "jam" / name).unlink()
        test = {video.name: video for video in read_source(folder, None, None)[1]}
        expected = [int(i > 40) for i in range(75)]
        for name in ("jam-a", "jam-b"):
            assert [frame.label for frame in test[name].frames()] == expected
            assert [frame.kind for frame in test[name].frames()] == expected  # 1: jam


def test_spans_name_kinds_of_their_own(tmp_path):
    good(tmp_path)
    write(tmp_path / "test" / "day.mp4")
    (tmp_path / "test" / "day.csv").write_text("start_s,end_s,kind\n1.0,1.4,jam\n2.0,2.4,drip\n")
    _, (video,), metadata = read_source(tmp_path, None, None)
    assert metadata["kinds"] == ["normal", "drip", "jam"]
    kinds = [frame.kind for frame in video.frames()]
    assert kinds == [2 * (25 <= i < 35) + (50 <= i < 60) for i in range(75)]


def test_masks_of_a_video_are_its_labels_and_its_masks(tmp_path):
    good(tmp_path)
    write(tmp_path / "test" / "jam" / "a.mp4", 20)
    masks = np.zeros((20, 64, 96), np.uint8)
    masks[12:, 10:20, 30:40] = 1
    np.save(tmp_path / "test" / "jam" / "a.npy", masks)
    _, (video,), _ = read_source(tmp_path, None, None)
    found = list(video.frames())
    assert [frame.label for frame in found] == [int(i >= 12) for i in range(20)]
    assert found[0].load_mask is None
    np.testing.assert_array_equal(found[15].load_mask()[..., 0], masks[15] * 255)


def test_labels_of_training_footage_are_refused(tmp_path):
    good(tmp_path)
    (tmp_path / "train" / "normal" / "n0.csv").write_text("0\n1\n")
    with pytest.raises(DataError, match=r"n0\.csv: labels training footage"):
        read_source(tmp_path, None, None)


@pytest.mark.slow
def test_frozen_footage_is_not_usable(tmp_path, check):
    good(tmp_path)
    write(tmp_path / "train" / "normal" / "frozen.mp4", [scene(0)] * 80)
    write(tmp_path / "train" / "normal" / "hung.mp4", [scene(min(i, 30)) for i in range(120)])
    write(tmp_path / "test" / "stuck" / "a.mp4", [scene(min(i, 30)) for i in range(120)])
    status, text = check(tmp_path)
    assert status == 1
    assert "frozen.mp4: its 80 frames are all one picture" in text
    assert (
        "problem: " + str(tmp_path / "train" / "normal" / "hung.mp4") + ": shows one picture"
        in text
    )
    # of a machine that is stuck a video may well show this
    assert "note: " + str(tmp_path / "test" / "stuck" / "a.mp4") + ": shows one picture" in text


def test_frames_repeated_to_reach_a_rate_are_named(tmp_path, check):
    good(tmp_path)
    pictures = [scene(i // 2) for i in range(100)]
    write(tmp_path / "train" / "normal" / "twice.avi", pictures, codec="ffv1")
    status, text = check(tmp_path)
    assert status == 0
    assert (
        "twice.avi: 50 of its 100 frames repeat the one before: its true rate is about 12." in text
    )


@pytest.mark.slow
def test_a_long_file_is_sampled_and_with_full_decoded(tmp_path, check, monkeypatch):
    monkeypatch.setattr("ipad_jax.prepare.check.SAMPLE_VIDEO", (3, 20))
    write(tmp_path / "train" / "normal" / "a.mp4", 300, options={"g": "25"})
    status, text = check(tmp_path)
    assert status == 0
    assert "of 300 frames were decoded" in text
    assert "300 of 300" not in text
    assert "300 of 300" in check(tmp_path, "--full")[1]
    drawn_video.damage(tmp_path / "train" / "normal" / "a.mp4", 0.3, 0.8)
    status, text = check(tmp_path)  # the sample meets it, so all is decoded
    assert status == 1
    assert "are lost at" in text


def test_pictures_of_mixed_sizes_and_folders_shorter_than_a_clip(tmp_path, check):
    root = tmp_path / "training" / "frames"
    drawn_folder(root / "01", 20)
    drawn_folder(root / "02", 5)
    cv2.imwrite(str(root / "01" / "007.png"), scene(7, (48, 64)))
    status, text = check(tmp_path, "--fps", "25")
    assert status == 0
    assert "1 of 25 pictures differ in frame size from the usual 96x64" in text
    assert "training/frames/01/007.png (64x48)" in text
    assert "02: 5 frames: shorter than a clip of 16, nothing of it is trained on" in text


def test_no_training_video_as_long_as_a_clip_is_a_problem(tmp_path, check):
    write(tmp_path / "train" / "normal" / "a.mp4", 10)
    assert check(tmp_path)[0] == 1
