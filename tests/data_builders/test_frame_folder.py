"""The reader of IPAD's folder layout: order, phase, labels, sidecars and every complaint."""

import cv2
import numpy as np
import pytest
from footage import picture, write_frames, write_labels, write_scene, write_sidecars

from ipad_jax.data_builders.files import DataError
from ipad_jax.data_builders.frame_folder import read_scene, scan_scene


def problems(scene, **options) -> str:
    """Every complaint about a scene, as one text."""
    options = {"fps": 25.0, "cycle": "folder", "require_labels": True} | options
    return "\n".join(map(str, scan_scene(scene, **options)[1]))


def test_frames_are_in_numeric_order_whatever_the_padding(tmp_path):
    write_frames(tmp_path / "training" / "frames" / "2", 12, digits=1)
    write_frames(tmp_path / "training" / "frames" / "10", 2)
    scene = read_scene(tmp_path, fps=10)
    assert [video.name for video in scene.train] == ["2", "10"]
    assert [int(path.stem) for path in scene.train[0].paths] == list(range(12))


def test_phase_is_index_over_length_and_unknown_in_a_folder_far_too_short(tmp_path):
    scene = read_scene(write_scene(tmp_path / "S01", train=(10, 8, 10, 3)), fps=25, cycle="folder")
    np.testing.assert_array_equal(scene.train[0].phase, np.arange(10, dtype=np.float32) / 10)
    np.testing.assert_array_equal(scene.train[1].phase, np.arange(8, dtype=np.float32) / 8)
    assert np.isnan(scene.train[3].phase).all()
    assert (scene.train[3].cycle == -1).all()
    assert [video.cycle_frames for video in scene.train] == [10, 8, 10, None]
    assert all(np.isnan(video.phase).all() for video in scene.test)
    assert {video.cycle_frames for video in scene.test} == {9.0}  # median of 10, 8, 10, 3


@pytest.mark.parametrize(("cycle", "fps"), [(0.3, 10.0), (1 / 3, 9.0), (2.5, 24.0), (0.1, 10.0)])
def test_phase_of_a_fixed_cycle(tmp_path, cycle, fps):
    scene = read_scene(write_scene(tmp_path, train=(30,)), fps=fps, cycle=cycle)
    video = scene.train[0]
    assert video.cycle_frames == pytest.approx(cycle * fps)
    for i in range(30):
        turns = i / (cycle * fps)
        # On the circle, since a frame at a cycle's very end may belong to either side of it.
        distance = abs(video.phase[i] + video.cycle[i] - turns)
        assert distance < 1e-5
    assert ((video.phase >= 0) & (video.phase < 1)).all()
    whole = np.isclose(np.arange(30) / (cycle * fps) % 1, 0, atol=1e-7)
    assert (video.phase[whole] == 0).all()


def test_labels_missing_are_unknown_and_surplus_dropped(tmp_path):
    scene = read_scene(write_scene(tmp_path, test=(5, 5, 5), labels=(5, 4, 7)), fps=25)
    np.testing.assert_array_equal(scene.test[0].label, [0, 0, 0, 1, 1])
    np.testing.assert_array_equal(scene.test[1].label, [0, 0, 1, 1, -1])
    np.testing.assert_array_equal(scene.test[2].label, [0, 0, 0, 0, 0])
    np.testing.assert_array_equal(scene.test[0].kind, [0, 0, 0, -1, -1])
    assert scene.mislabelled == ("02", "03")
    assert [video.num_labels for video in scene.test] == [5, 4, 7]
    assert all((video.label == 0).all() for video in scene.train)


def test_sidecars_give_kinds_phases_cycles_and_masks(tmp_path):
    write_scene(tmp_path, train=(6, 6), test=(5, 4))
    write_sidecars(tmp_path, train=(6, 6), test=(5, 4))
    scene = read_scene(tmp_path)
    assert scene.kinds == ("normal", "appearance", "position")
    assert scene.train[0].fps == 25
    np.testing.assert_array_equal(scene.test[0].kind, [0, 0, 0, 2, 2])
    np.testing.assert_array_equal(scene.test[0].cycle, [0, 0, 0, 0, 1])
    np.testing.assert_allclose(scene.test[0].phase, np.arange(5) / 3.5 % 1, rtol=1e-6)
    assert list(scene.test[0].masks) == [4]
    assert scene.test[0].cycle_frames == 3.5


@pytest.mark.parametrize(
    ("shape", "message"), [((3,), r"shape \(3,\); expected \(6,\)"), ((6, 1), r"shape \(6, 1\)")]
)
def test_annotations_of_another_length_are_refused(tmp_path, shape, message):
    write_scene(tmp_path, train=(6,))
    write_sidecars(tmp_path, train=(6,), test=(5, 4))
    path = tmp_path / "training" / "annotations" / "01.npz"
    np.savez(path, phase=np.zeros(shape), cycle=np.zeros(6), kind=np.zeros(6))
    with pytest.raises(DataError, match=message):
        read_scene(tmp_path)


def test_missing_and_empty_folders(tmp_path):
    assert "no such folder" in problems(tmp_path / "nowhere")
    assert "holds no frames" in problems(tmp_path)
    (tmp_path / "training" / "frames").mkdir(parents=True)
    assert f"{tmp_path / 'training' / 'frames'}: is empty" in problems(tmp_path)
    (tmp_path / "training" / "frames" / "01").mkdir()
    assert "01: holds no frames; expected 0.jpg" in problems(tmp_path)


def test_no_labels(tmp_path):
    write_scene(tmp_path, test=(5, 4), labels=(None, 4))
    assert "no labels for test folder 01; expected 001.npy" in problems(tmp_path)
    scene = read_scene(tmp_path, fps=25)  # footage of one's own needs none
    assert (scene.test[0].label == -1).all()
    assert scene.test[0].num_labels is None
    assert scene.mislabelled == ()


def test_label_without_a_folder(tmp_path):
    write_scene(tmp_path)
    write_labels(tmp_path, 9, [0, 1])
    assert "009.npy: labels a test folder that is missing" in problems(tmp_path)


def test_gap_in_frame_numbers_names_what_is_missing(tmp_path):
    write_scene(tmp_path, train=(12,))
    for name in ("003.jpg", "004.jpg", "009.jpg"):
        (tmp_path / "training" / "frames" / "01" / name).unlink()
    assert "gap in frame numbers: 0..11 but 9 files, missing 3-4, 9" in problems(tmp_path)


def test_every_gap_is_named(tmp_path):
    write_frames(tmp_path / "training" / "frames" / "01", 60)
    for number in range(1, 56, 5):
        (tmp_path / "training" / "frames" / "01" / f"{number:03d}.jpg").unlink()
    assert "missing 1, 6, 11, 16, 21, 26, 31, 36, 41, 46, 51; restore" in problems(tmp_path)


def test_names_that_are_times_are_said_to_be(tmp_path):
    # 2**50 numbers lie between: a list of the missing ones would not fit into memory.
    folder = tmp_path / "training" / "frames" / "01"
    write_frames(folder, 4)
    for i, path in enumerate(sorted(folder.iterdir())):
        path.rename(folder / f"{1_700_000_000_000_000_000 + i * 2**48}.jpg")
    assert "3 gaps: the names look like times, not frame numbers" in problems(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"fps": "25"}', "\"fps\" is '25'; expected a number above 0, without quotes"),
        ('{"fps": 25, "cycle_frames": true}', '"cycle_frames" is True'),
        ('{"fps": 25, "kinds": 3}', '"kinds" is 3; expected a list'),
        ('{"fps": 25, "kinds": ["jam"]}', 'begins with "normal"'),
        ("[25]", "holds a list; expected an object"),
        ("{", "is no JSON"),
    ],
)
def test_a_description_that_is_wrong(tmp_path, text, message):
    write_scene(tmp_path)
    (tmp_path / "scene.json").write_text(text)
    found = problems(tmp_path)
    assert "scene.json: " in found
    assert message in found


def test_folders_of_one_number_clash(tmp_path):
    write_scene(tmp_path, train=(4,), test=(4,))
    for split in ("training", "testing"):
        write_frames(tmp_path / split / "frames" / "1", 4)
    found = problems(tmp_path)
    assert found.count("1: has the same number as 01: one label file would mean both; rename") == 2
    assert f"{tmp_path / 'testing' / 'frames'}" in found


def test_first_frame_missing(tmp_path):
    write_frames(tmp_path / "training" / "frames" / "01", 4, first=7)
    assert problems(tmp_path) == ""
    assert "begins with frame 7; expected 0 or 1" in problems(tmp_path, first_numbers=(0, 1))


def test_strangers_twins_and_zero_bytes_are_named(tmp_path):
    write_scene(tmp_path)
    folder = tmp_path / "training" / "frames" / "01"
    (folder / "notes.txt").write_text("hello")
    (folder / "Thumbs.db").write_text("harmless")
    (folder / ".hidden").write_text("harmless")
    cv2.imwrite(str(folder / "1.png"), picture(1))
    (folder / "002.jpg").write_bytes(b"")
    found = problems(tmp_path)
    assert "notes.txt: is no numbered image" in found
    assert "1.png: has the same frame number as 001.jpg" in found
    assert "002.jpg: is empty (0 bytes)" in found
    assert len(found.splitlines()) == 3


def test_frame_rate_must_be_known(tmp_path):
    write_scene(tmp_path)
    assert "fps is None; frame folders need a positive rate" in problems(tmp_path, fps=None)


def test_all_problems_are_raised_at_once(tmp_path):
    write_scene(tmp_path, train=(6, 6))
    for number in ("01", "02"):
        folder = tmp_path / "training" / "frames" / number
        sorted(folder.iterdir())[2].unlink()
    with pytest.raises(DataError, match=r"(?s)01: gap.*02: gap") as caught:
        read_scene(tmp_path, fps=25)
    assert len(caught.value.problems) == 2


class Trap:
    """Pickles into something that leaves a trace when it is loaded."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return (open, (str(self.trace), "w"))


def test_labels_that_hold_objects_are_never_unpickled(tmp_path):
    write_scene(tmp_path)
    trace = tmp_path / "trace"
    path = tmp_path / "test_label" / "001.npy"
    np.save(path, np.array([Trap(trace)], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"001\.npy: not a plain array.*never opened"):
        read_scene(tmp_path, fps=25)
    path.write_bytes(__import__("pickle").dumps(Trap(trace)))
    with pytest.raises(DataError, match=r"001\.npy: not a plain array"):
        read_scene(tmp_path, fps=25)
    assert not trace.exists()
