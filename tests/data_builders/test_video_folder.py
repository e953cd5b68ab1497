"""The `video_folder` builder: both layouts, resampling, cycles, kinds, and files that are broken."""

import cv2
import numpy as np
import pytest
from footage import metadata, picture, read_split, write_scene, write_video

from ipad_jax.data_builders import video_files
from ipad_jax.data_builders.damage import VideoInfo
from ipad_jax.data_builders.decoding import decode, probe, timed_frames
from ipad_jax.data_builders.files import DataError
from ipad_jax.data_builders.video_folder.video_folder_dataset_builder import (
    Builder,
    VideoFolderConfig,
    read_source,
)


def build(tmp_path, **options):
    config = VideoFolderConfig(
        scene="mine", width=32, height=24, source=str(tmp_path / "source"), **options
    )
    builder = Builder(config=config, data_dir=tmp_path / "data")
    builder.download_and_prepare(download_dir=tmp_path / "downloads")
    return tmp_path / "data" / "video_folder" / "mine_32x24_q95" / "1.0.0"


def frame_numbers(records, seed, length) -> list[int]:
    """Which drawn picture each record shows."""
    colours = np.array([picture(seed + i, (1, 1))[0, 0, ::-1] for i in range(length)], int)
    out = []
    for record in records:
        distance = np.abs(colours - record["image"][12, 16].astype(int)).sum(1)
        out.append(int(distance.argmin()))
    return out


def test_video_files(tmp_path):
    source = tmp_path / "source"
    write_video(source / "train" / "normal" / "b2.avi", 12, seed=1)
    write_video(source / "train" / "normal" / "b10.mp4", 9, seed=30)
    write_video(source / "test" / "normal" / "a.mkv", 5, seed=60)
    write_video(source / "test" / "stuck" / "a.mp4", 6, seed=70)
    write_video(source / "test" / "broken tool" / "c.mov", 6, seed=80)
    np.save(source / "test" / "broken tool" / "c.npy", [0, 0, 1, 1])
    folder = build(tmp_path, cycle=0.2)  # 5 frames at 25 fps
    train, test = read_split(folder, "train"), read_split(folder, "test")
    found = metadata(folder)
    assert found["kinds"] == ["normal", "broken tool", "stuck"]
    assert [(v["name"], v["length"]) for v in found["videos"]["train"]] == [
        ("normal-b2", 12),
        ("normal-b10", 9),
    ]
    assert [v["name"] for v in found["videos"]["test"]] == ["broken tool-c", "normal-a", "stuck-a"]
    assert found["mislabelled"] == ["broken tool-c"]
    assert all(v["cycle_frames"] == 5 for v in found["videos"]["train"])
    assert all(v["fps"] == 25 for v in found["videos"]["test"])
    assert [int(r["label"]) for r in test] == [0, 0, 1, 1, -1, -1, *[0] * 5, *[1] * 6]
    assert [int(r["kind"]) for r in test] == [0, 0, 1, 1, -1, -1, *[0] * 5, *[2] * 6]
    assert all(r["label"] == 0 and r["kind"] == 0 for r in train)
    turns = np.arange(12) / 5
    np.testing.assert_allclose([r["phase"] for r in train[:12]], turns % 1, atol=1e-6)
    assert [int(r["cycle"]) for r in train[:12]] == list(turns.astype(int))
    assert frame_numbers(train[:12], 1, 12) == list(range(12))
    assert frame_numbers(train[12:], 30, 9) == list(range(9))


def test_normal_footage_of_another_day_is_a_split_of_its_own(tmp_path):
    source = tmp_path / "source"
    write_video(source / "train" / "normal" / "a.mp4", 9, seed=1)
    write_video(source / "calibrate" / "normal" / "monday.mp4", 7, seed=30)
    write_video(source / "calibrate" / "b.mp4", 5, seed=60)
    folder = build(tmp_path)
    found = metadata(folder)["videos"]
    assert {split: [v["name"] for v in videos] for split, videos in found.items()} == {
        "train": ["normal-a"],
        "test": [],
        "calibrate": ["b", "normal-monday"],
    }
    records = read_split(folder, "calibrate")
    assert [int(r["label"]) for r in records] == [0] * 12
    assert frame_numbers(records[:5], 60, 5) == list(range(5))
    # it is part of what was asked for: other footage is another dataset
    write_video(source / "calibrate" / "c.mp4", 5, seed=90)
    config = VideoFolderConfig(scene="mine", width=32, height=24, source=str(source))
    request = Builder(config=config, data_dir=tmp_path / "other").request()
    assert request["files"] == 4


def test_calibration_footage_must_be_normal(tmp_path):
    write_video(tmp_path / "train" / "a.mp4", 5)
    write_video(tmp_path / "calibrate" / "stuck" / "b.mp4", 5)
    with pytest.raises(
        DataError, match="calibration footage must be normal; move it to calibrate/"
    ):
        read_source(tmp_path, None, None)
    write_scene(tmp_path / "frames")
    (tmp_path / "frames" / "calibrate").mkdir()
    with pytest.raises(ValueError, match="folders of frames have no such part"):
        read_source(tmp_path / "frames", 10.0, None)


def test_resampling_takes_the_nearest_frames(tmp_path):
    write_video(tmp_path / "source" / "train" / "v.avi", 30, fps=30.0)
    folder = build(tmp_path, fps=10.0)
    assert frame_numbers(read_split(folder, "train"), 0, 30) == list(range(0, 30, 3))
    assert metadata(folder)["videos"]["train"][0]["fps"] == 10


def test_resampling_to_a_higher_rate_repeats(tmp_path):
    write_video(tmp_path / "source" / "train" / "v.avi", 6, fps=10.0)
    folder = build(tmp_path, fps=20.0)
    numbers = frame_numbers(read_split(folder, "train"), 0, 6)
    assert len(numbers) == 12
    assert np.abs(np.array(numbers) - np.arange(12) / 2).max() <= 0.5


def test_the_files_whose_rate_is_not_that_of_most_are_refused(tmp_path):
    """The first by name may be the odd one."""
    write_video(tmp_path / "source" / "train" / "a.avi", 6, fps=30.0)
    for name in "bc":
        write_video(tmp_path / "source" / "train" / f"{name}.avi", 6, fps=25.0)
    with pytest.raises(
        DataError, match=r"a\.avi: has 30 fps, 2 of 3 files have 25; .*--fps"
    ) as caught:
        build(tmp_path)
    assert len(caught.value.problems) == 1


def test_uneven_footage_is_counted_and_named(tmp_path):
    source = tmp_path / "source"
    write_video(source / "train" / "a.avi", 6, fps=30.0)
    write_video(source / "train" / "b.avi", 6, fps=29.97)  # the same rate
    assert read_source(source, None, None)[2]["notes"] == []
    write_video(source / "train" / "c.avi", 6, fps=15.0)
    write_video(source / "test" / "jam" / "d.avi", 6, fps=30.0, size=(64, 96))
    notes = read_source(source, 30.0, None)[2]["notes"]
    assert len(notes) == 2
    assert notes[0].startswith(
        "1 of 4 videos differ in rate from the usual 30 fps and are resampled"
    )
    assert notes[0].endswith(": train/c.avi (15 fps)")
    assert "1 of 4 videos differ in frame size from the usual" in notes[1]
    assert notes[1].endswith(": test/jam/d.avi (96x64)")


def test_hidden_files_beside_labels_are_none(tmp_path):
    write_scene(tmp_path, train=(4,), test=(4,))
    (tmp_path / "test_label" / "._001.npy").write_bytes(b"of a Mac")
    assert len(read_source(tmp_path, 10.0, None)[1]) == 1


def test_frame_folders_of_several_sizes_are_named(tmp_path):
    write_scene(tmp_path, train=(4, 4), test=(4,), labels=(None,))
    assert read_source(tmp_path, 10.0, None)[2]["notes"] == []
    odd = tmp_path / "testing" / "frames" / "01" / "000.jpg"
    cv2.imwrite(str(odd), picture(0, (20, 30)))
    (note,) = read_source(tmp_path, 10.0, None)[2]["notes"]
    assert note.startswith("1 of 3 videos differ in frame size")
    assert note.endswith(": testing/frames/01 (30x20)")


def test_without_a_cycle_there_is_no_phase(tmp_path):
    write_video(tmp_path / "source" / "train" / "a.avi", 6)
    folder = build(tmp_path)
    records = read_split(folder, "train")
    assert all(np.isnan(r["phase"]) and r["cycle"] == -1 for r in records)
    assert metadata(folder)["videos"]["train"][0]["cycle_frames"] is None
    assert metadata(folder)["videos"]["test"] == []


def test_only_test_videos_and_no_kind(tmp_path):
    write_video(tmp_path / "source" / "test" / "a.avi", 6)
    records = read_split(build(tmp_path), "test")
    assert [(int(r["label"]), int(r["kind"])) for r in records] == [(-1, -1)] * 6


def test_folders_of_frames(tmp_path):
    write_scene(tmp_path / "source", train=(6, 6), test=(5, 4), labels=(None, None))
    folder = build(tmp_path, fps=10.0)
    assert len(read_split(folder, "train")) == 12
    assert {int(r["label"]) for r in read_split(folder, "test")} == {-1}
    assert [v["labels"] for v in metadata(folder)["videos"]["test"]] == [None, None]


def test_folders_that_are_one_cycle_each(tmp_path):
    write_scene(tmp_path / "source", train=(6, 8), test=(5,))
    train, test, _ = read_source(tmp_path / "source", 10.0, "folder")
    assert [video.cycle_frames for video in train] == [6, 8]
    assert [video.cycle_frames for video in test] == [7]


def test_neither_layout(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such folder. Expected"):
        read_source(tmp_path / "absent", None, None)
    with pytest.raises(FileNotFoundError, match="neither layout"):
        read_source(tmp_path, None, None)


def test_training_footage_must_be_normal(tmp_path):
    write_video(tmp_path / "train" / "scratch" / "a.avi", 3)
    with pytest.raises(DataError, match=r"a\.avi: training footage must be normal"):
        video_files.read_folder(tmp_path)


def test_names_of_normal_folders(tmp_path):
    for folder in ("train/Good", "test/Normal", "test/ok", "test/GOOD", "test/jam"):
        write_video(tmp_path / folder / "a.avi", 3)
    scene = video_files.read_folder(tmp_path)
    assert scene.kinds == ("normal", "jam")
    assert [video.kind for video in scene.train] == [0]
    assert {video.name: video.kind for video in scene.test} == {
        "GOOD-a": 0,
        "Normal-a": 0,
        "jam-a": 1,
        "ok-a": 0,
    }


@pytest.mark.parametrize(
    ("one", "other"),
    [("test/jam/a.avi", "test/jam/a.mkv"), ("test/jam-a.avi", "test/jam/a.avi")],
)
def test_two_files_of_one_name_are_refused(tmp_path, one, other):
    write_video(tmp_path / one, 3)
    write_video(tmp_path / other, 3)
    with pytest.raises(DataError, match=r"has the same name as test/.*; rename one"):
        video_files.read_folder(tmp_path)


def test_files_that_are_no_videos(tmp_path):
    folder = tmp_path / "train" / "normal"
    whole = write_video(folder / "a.mp4", 20).read_bytes()
    (folder / "b.mp4").write_bytes(b"")
    (folder / "c.mp4").write_bytes(b"these are not the frames you are looking for")
    (folder / "d.mp4").write_bytes(whole[: len(whole) // 2])  # its index is at the end
    with pytest.raises(DataError) as caught:
        video_files.read_folder(tmp_path)
    text = str(caught.value)
    assert "b.mp4: is empty (0 bytes)" in text
    assert "c.mp4: cannot be decoded" in text
    assert "d.mp4: cannot be decoded" in text
    assert "a.mp4" not in text


def test_a_video_that_stops_early_is_named(tmp_path):
    path = write_video(tmp_path / "source" / "train" / "normal" / "a.avi", 60)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(
        ValueError,
        match=r"a\.avi: stops early, \d+ of 60 frames could be decoded, \d\.\d s are missing",
    ):
        build(tmp_path)
    assert not (tmp_path / "data" / "video_folder" / "mine_32x24_q95" / "1.0.0").exists()


def test_frames_that_a_cut_hides_are_no_damage(tmp_path):
    """An mp4 cut without re-encoding states the frames before the cut too; a whole file shows all it has."""
    stated = VideoInfo(25.0, 60, (64, 48))
    cut = write_video(tmp_path / "cut.mp4", 20)
    assert len(list(timed_frames(cut, stated))) == 20
    for path in (write_video(tmp_path / "a.avi", 20), write_video(tmp_path / "short.mp4", 20)):
        if path.suffix == ".mp4":
            with path.open("ab") as file:  # a box of which most is not there
                file.write((10_000).to_bytes(4, "big") + b"mdat" + bytes(100))
        with pytest.raises(
            ValueError, match=r"stops early, 20 of 60 .*1\.6 s are missing.*re-encode"
        ):
            list(timed_frames(path, stated))


def test_files_that_nothing_is_made_of_are_counted_and_named(tmp_path):
    write_video(tmp_path / "train" / "normal" / "a.avi", 4)
    write_video(tmp_path / "test" / "jam" / "b.avi", 4)
    np.save(tmp_path / "test" / "jam" / "b.npy", [0, 0, 1, 1])
    (tmp_path / "test" / "jam" / "._b.avi").write_bytes(b"of a Mac")
    assert read_source(tmp_path, None, None)[2]["notes"] == []
    write_video(tmp_path / "test" / "jam" / "monday" / "c.avi", 4)
    (tmp_path / "train" / "normal" / "d.3gp").write_bytes(b"some video")
    (note,) = read_source(tmp_path, None, None)[2]["notes"]
    assert note.startswith("2 files are left out")
    assert note.endswith(": train/normal/d.3gp, test/jam/monday/c.avi")
    write_video(tmp_path / "test" / "torn" / "monday" / "e.avi", 4)
    with pytest.raises(
        DataError, match=r"torn: its videos lie one folder too deep \(monday/e.avi\)"
    ):
        read_source(tmp_path, None, None)


def test_a_corrected_label_makes_another_request(tmp_path):
    write_scene(tmp_path, train=(4,), test=(4,))
    label = tmp_path / "test_label" / "001.npy"
    np.save(label, np.array([0, 0, 1, 1]))

    def request():
        config = VideoFolderConfig(scene="mine", source=str(tmp_path), fps=10.0)
        return Builder(config=config, data_dir=tmp_path / "data").request()

    before = request()
    assert request() == before
    np.save(label, np.array([0, 1, 1, 1]))
    after = request()
    assert {name for name in before if before[name] != after[name]} == {"labels"}


def test_a_file_name_with_colons_is_no_address(tmp_path, monkeypatch):
    written = write_video(tmp_path / "a.avi", 4)
    monkeypatch.chdir(tmp_path)
    path = written.rename(tmp_path / "10:30:00.avi").relative_to(tmp_path)
    assert probe(path).frames == 4
    assert len(list(decode(path, probe(path)))) == 4


def test_a_sidecar_of_objects_is_refused(tmp_path):
    write_video(tmp_path / "test" / "stuck" / "a.avi", 4)
    np.save(tmp_path / "test" / "stuck" / "a.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(DataError, match=r"a\.npy: not a plain array"):
        video_files.read_folder(tmp_path)


def test_cycle_by_folder_is_for_frames_only(tmp_path):
    write_video(tmp_path / "train" / "a.avi", 4)
    with pytest.raises(ValueError, match="in seconds"):
        video_files.read_folder(tmp_path, cycle="folder")


@pytest.mark.real_data
def test_real_frame_folders(real_data):
    train, test, metadata = read_source(real_data / "ped2", 10.0, None)
    assert (len(train), sum(map(len, train))) == (16, 2550)
    assert (len(test), sum(map(len, test))) == (6, 990)
    assert sum(int((video.label == 0).sum()) for video in test) == 115
    assert metadata["mislabelled"] == []
    image = next(iter(test[0].frames())).load()
    assert image.shape == (240, 360, 3)


@pytest.mark.slow
@pytest.mark.real_data
def test_real_video_file(real_data):
    path = real_data / "clips" / "bottle-detection.mp4"
    info = probe(path)
    assert info.fps == pytest.approx(30, rel=0.01)
    assert info.size == next(decode(path, info)).shape[1::-1]
    assert info.frames == sum(1 for _ in decode(path, info)) == 1189
