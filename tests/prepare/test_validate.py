"""`ipad-jax validate`: the table, every file that is wrong, and the exit status."""

import dataclasses

import numpy as np
import pytest
from footage import write_labels, write_scene, write_video

from ipad_jax.data_builders.ipad import scenes
from ipad_jax.main import main


@pytest.fixture
def run(tmp_path, capsys):
    """Runs a command line whose {} are tmp_path; gives the exit status and all that was printed."""

    def call(line: str) -> tuple[int, str]:
        status = main(["validate", *(part.format(tmp_path) for part in line.split())])
        captured = capsys.readouterr()
        return status, captured.out + captured.err

    return call


@pytest.fixture
def small(monkeypatch):
    """A world where S01 has 3 + 2 folders and 17 + 9 frames, as `write_scene` draws them."""
    expected = scenes.ExpectedScene(3, 2, (5, 6), 17, 9)
    monkeypatch.setitem(scenes.EXPECTED, "S01", expected)
    return expected


LINE = "ipad --manual-dir {} --scene S01"


def test_a_whole_scene_is_usable(tmp_path, run, small):
    write_scene(tmp_path / "IPAD_dataset" / "S01")
    status, text = run(LINE)
    assert status == 0
    row = next(line for line in text.splitlines() if "S01" in line)
    assert row.split() == [
        "S01",
        "3",
        "17",
        "2",
        "9",
        "25",
        "0:00:01",
        "44.4%",
        "usable",
    ]


def test_every_file_that_is_wrong_is_named(tmp_path, run, small):
    scene = write_scene(tmp_path / "S01")
    training, testing = scene / "training" / "frames", scene / "testing" / "frames"
    data = (training / "01" / "001.jpg").read_bytes()
    (training / "01" / "001.jpg").write_bytes(data[:-20])
    (training / "02" / "3.jpg").unlink()
    (testing / "01" / "002.jpg").write_text("no picture")
    write_labels(scene, 2, [0, 1, 0])
    status, text = run(LINE)
    assert status == 1
    assert "01/001.jpg: truncated JPEG" in text
    assert "training/frames/02: gap in frame numbers: 0..5 but 5 files, missing 3" in text
    assert "01/002.jpg: not an image" in text
    assert "testing/frames/02: 4 frames, 3 labels" in text
    assert "training/frames: 16 frames; the archive has 17" in text
    assert "without problems: none" in text


def test_a_sample_of_the_images_is_opened_and_with_full_all(tmp_path, run, small, monkeypatch):
    monkeypatch.setattr("ipad_jax.prepare.check.SAMPLE_IMAGES", 2)
    scene = write_scene(tmp_path / "S01")
    assert "usable; 10 of 26 frames were decoded" in run(LINE)[1]  # first and last of 5 folders
    (scene / "training" / "frames" / "01" / "001.jpg").write_text("no picture")
    assert run(LINE)[0] == 0
    status, text = run(LINE + " --full")
    assert status == 1
    assert "001.jpg: not an image" in text


def test_missing_folders_are_named(tmp_path, run, small):
    write_scene(tmp_path / "S01", train=(6, 5), test=(5, 4))
    status, text = run(LINE)
    assert status == 1
    assert "2 folders; the archive has 3, missing 3" in text


def test_known_oddities_are_notes(tmp_path, run, small, monkeypatch):
    write_scene(tmp_path / "S01", labels=(5, 6))
    monkeypatch.setitem(scenes.KNOWN_MISLABELLED, ("S01", "02"), (4, 6))
    status, text = run(LINE)
    assert status == 0
    assert "note: " in text
    assert "4 frames, 6 labels (as in the archive)" in text


def test_unusual_length_is_a_note(tmp_path, run, small, monkeypatch):
    monkeypatch.setitem(scenes.EXPECTED, "S01", dataclasses.replace(small, typical_length=(6, 6)))
    write_scene(tmp_path / "S01")
    status, text = run(LINE)
    assert status == 0
    assert "03: 5 frames, usual 6" in text


def test_a_missing_scene_makes_the_archive_unusable(tmp_path, run, small):
    write_scene(tmp_path / "S01")
    status, text = run("ipad --manual-dir {}")
    assert status == 1
    assert "S12: is missing" in text
    assert "17 of 430,867 train frames" in text
    assert "without problems: S01" in text


def test_unknown_scene_and_missing_folder(tmp_path, run):
    for folder, state in ((f"{tmp_path}/absent", "no such folder"), (tmp_path, "is empty")):
        status, text = run(f"ipad --manual-dir {folder}")
        assert status == 1
        assert f"--manual-dir {folder}: {state}." in text
        assert "IPAD cannot be downloaded for you" in text
    (tmp_path / "x").mkdir()
    status, text = run("ipad --manual-dir {} --scene S13")
    assert status == 2
    assert "choose from R01" in text


def test_footage_of_frames(tmp_path, run):
    write_scene(tmp_path / "mine", train=(60, 64), test=(5, 4), labels=(7, None))
    status, text = run("video_folder --source {}/mine --fps 2")
    assert status == 0
    row = next(line for line in text.splitlines() if "usable" in line).split()
    assert row[5:7] == ["2", "0:01:06"]  # 133 frames
    assert "no labels for test folder 02" in text
    assert "01: 5 frames, 7 labels; kept, surplus labels dropped" in text
    status, text = run("video_folder --source {}/mine")  # as prepare
    assert status == 1
    assert "give one (--fps)" in text
    assert "0:0" not in text
    (tmp_path / "mine" / "training" / "frames" / "02" / "3.jpg").write_bytes(b"")
    status, text = run("video_folder --source {}/mine --fps 2")
    assert status == 1
    assert "3.jpg: is empty" in text


def test_footage_of_files(tmp_path, run):
    source = tmp_path / "mine"
    write_video(source / "train" / "normal" / "a.avi", 40)
    write_video(source / "test" / "stuck" / "b.avi", 10)
    np.save(source / "test" / "stuck" / "b.npy", [0] * 5 + [1] * 4)
    status, text = run("video_folder --source {}/mine")
    assert status == 0
    assert "b.avi: 10 frames, 9 labels" in text
    assert "44.4%" in text
    path = source / "train" / "normal" / "a.avi"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    status, text = run("video_folder --source {}/mine")
    assert status == 1
    assert "a.avi: stops early" in text
    (source / "train" / "normal" / "c.mp4").write_text("no video")
    status, text = run("video_folder --source {}/mine")
    assert status == 1
    assert "c.mp4: cannot be decoded" in text


def test_one_bad_file_hides_neither_the_others_nor_what_is_wrong_with_them(tmp_path, run):
    source = tmp_path / "mine"
    write_video(source / "test" / "good.avi", 20)
    cut = write_video(source / "train" / "cut.avi", 40)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    (source / "train" / "text.mp4").write_text("no video")
    status, text = run("video_folder --source {}/mine")
    assert status == 1
    assert "text.mp4: cannot be decoded" in text
    assert "cut.avi: stops early" in text
    row = next(line for line in text.splitlines() if "problems" in line)
    assert row.split()[:1] == ["mine"]
    assert row.split()[1] == "1"  # training file that states a length
    assert row.split()[3:5] == ["1", "20"]


def test_footage_in_neither_layout(tmp_path, run):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.mp4").write_bytes(b"")
    status, text = run("video_folder --source {}/mine")
    assert status == 1
    assert "neither layout of footage, and 1 video files outside train/ and test/" in text
    assert "train/normal/<name>.mp4" in text
    assert run("video_folder --source {}/absent")[0] == 1


def test_normal_footage_of_another_day_is_counted_and_its_short_files_named(tmp_path, run):
    write_video(tmp_path / "train" / "normal" / "a.mp4", 20)
    write_video(tmp_path / "calibrate" / "normal" / "monday.mp4", 30, seed=1)
    write_video(tmp_path / "calibrate" / "b.mp4", 5, seed=2)
    line = "video_folder --source {}"
    status, text = run(line)
    assert status == 0
    assert "calibrate: 2 videos" in text
    assert "b.mp4: 5 frames: shorter than a clip of 16, nothing of it is calibrated on" in text
    assert "usable; 55 of 55 frames were decoded" in text
    (tmp_path / "calibrate" / "normal" / "monday.mp4").unlink()
    status, text = run(line)  # it would set no threshold
    assert status == 1
    assert "problem: " in text


def test_folders_of_frames_have_no_calibration_part(tmp_path, run):
    write_scene(tmp_path, train=(20, 20), test=(20,))
    line = "video_folder --source {} --fps 10"
    assert run(line)[0] == 0
    (tmp_path / "calibrate").mkdir()
    status, text = run(line)
    assert status == 1
    assert "calibrate: folders of frames have no such part; give the footage to" in text
