"""The `mad` builder: poses, focal length, masks and transparent pictures."""

import json
import shutil

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds
from footage import MAD_ANGLE, mad_pose, metadata, read_split, write_class

from ipad_jax.data_builders.files import DataError
from ipad_jax.data_builders.frames import FrameConfig
from ipad_jax.data_builders.mad.archive import (
    REAL_CLASSES,
    SIM_CLASSES,
    find_class,
    focal,
    read_class,
    read_over_white,
)
from ipad_jax.data_builders.mad.mad_dataset_builder import Builder


def build(tmp_path, scene, size=(20, 20)):
    config = FrameConfig(scene=scene, width=size[0], height=size[1])
    builder = Builder(config=config, data_dir=tmp_path / "data")
    builder.download_and_prepare(
        download_dir=tmp_path / "downloads",
        download_config=tfds.download.DownloadConfig(manual_dir=str(tmp_path / "manual")),
    )
    return tmp_path / "data" / "mad" / config.name / "1.0.0"


def test_every_field_reads_back(tmp_path):
    write_class(tmp_path / "manual" / "MAD-Sim" / "07Owl")
    folder = build(tmp_path, "07Owl")
    train, test = read_split(folder, "train"), read_split(folder, "test")
    assert [r["name"].decode() for r in train] == [f"train/good/{n}.png" for n in range(12)]
    for n, record in enumerate(train):
        np.testing.assert_allclose(record["world_from_camera"], mad_pose(n), atol=1e-6)
        # A point half the picture's width off the axis is seen at half the angle of view.
        assert np.arctan(10 / record["focal_px"]) == pytest.approx(MAD_ANGLE / 2, rel=1e-6)
        assert record["label"] == record["defect"] == 0
        # White where it was transparent, and all without loss.
        assert record["image"][18, 18].tolist() == [255, 255, 255]
        assert record["image"][10, 10].tolist() == [200, 60, 30]
    assert metadata(folder)["defects"] == ["good", "Burrs", "Stains"]
    names = [f"test/{d}/{n}.png" for d in ("Burrs", "Stains", "good") for n in (0, 2, 10)]
    assert [r["name"].decode() for r in test] == names
    assert [int(r["defect"]) for r in test] == [1] * 3 + [2] * 3 + [0] * 3
    assert [int(r["label"]) for r in test] == [1] * 6 + [0] * 3
    assert all(np.isnan(r["world_from_camera"]).all() for r in test)
    assert all(np.isnan(r["focal_px"]) for r in test)
    masks = [cv2.imdecode(np.frombuffer(r["mask"], np.uint8), -1) for r in test]
    # Half of 10x10, 10x12 and 10x20 pixels on each side.
    assert [int((mask == 255).sum()) for mask in masks] == [25, 30, 50, 25, 30, 50, 0, 0, 0]
    assert all(mask.shape == (20, 20) for mask in masks)


def test_pictures_without_transparency_are_taken_as_they_are(tmp_path):
    """RGB and grey ones give the same records as RGBA ones that were laid over white."""
    folder = write_class(tmp_path / "manual" / "MAD-Sim" / "07Owl")
    write_class(tmp_path / "manual" / "MAD-Sim" / "10Sheep")
    for path in folder.glob("*/*/*.png"):
        if path.parent.parent.name != "ground_truth":
            cv2.imwrite(str(path), read_over_white(path))
            assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED).shape[2] == 3
    for split in ("train", "test"):
        pairs = [read_split(build(tmp_path, name), split) for name in ("07Owl", "10Sheep")]
        for plain, transparent in zip(*pairs, strict=True):
            np.testing.assert_array_equal(plain["image"], transparent["image"])
    grey = np.full((8, 8), 90, np.uint8)
    cv2.imwrite(str(tmp_path / "grey.png"), grey)
    np.testing.assert_array_equal(read_over_white(tmp_path / "grey.png"), np.stack([grey] * 3, -1))


def test_real_class_has_neither_masks_nor_poses(tmp_path):
    for name in "BDACEGFHIJ":
        write_class(tmp_path / "manual" / "MAD-Real" / name, train=2, real=True)
    folder = build(tmp_path, "real02")
    assert metadata(folder)["source"] == "MAD-Real/B"
    assert len(metadata(folder)["without_mask"]) == 6
    train, test = read_split(folder, "train"), read_split(folder, "test")
    assert all(np.isnan(r["world_from_camera"]).all() for r in train)
    assert [r["mask"] == b"" for r in test] == [r["label"] == 1 for r in test]


@pytest.mark.parametrize("count", [3, 11])
def test_real_classes_are_numbered_only_among_all_ten(tmp_path, count):
    for number in range(count):
        (tmp_path / "MAD-Real" / f"Toy{number:02d}" / "test").mkdir(parents=True)
    with pytest.raises(
        FileNotFoundError, match=rf"the 10 class folders of MAD-Real, but {count} .*\(Toy00, Toy01"
    ):
        find_class(tmp_path, "real01")


def test_translucent_pixels_mix_with_white(tmp_path):
    image = np.full((8, 8, 4), (0, 0, 200, 51), np.uint8)  # a fifth of red
    cv2.imwrite(str(tmp_path / "a.png"), image)
    assert read_over_white(tmp_path / "a.png")[0, 0].tolist() == [204, 204, 244]


def test_unknown_class_says_the_choices(tmp_path):
    with pytest.raises(ValueError, match=r"choose one of 01Gorilla, .*, real10"):
        find_class(tmp_path, "21Dodo")
    with pytest.raises(FileNotFoundError, match=r"looked for .*MAD-Sim/07Owl"):
        find_class(tmp_path, "07Owl")


def test_thirty_classes():
    assert len(SIM_CLASSES) == 20
    assert len(REAL_CLASSES) == 10
    assert [int(name[:2]) for name in SIM_CLASSES] == list(range(1, 21))
    assert Builder.name == "mad"
    assert "@" in Builder.get_metadata().citation


def test_what_is_missing_is_named(tmp_path):
    folder = write_class(tmp_path / "07Owl")
    (folder / "train" / "good" / "3.png").unlink()
    with pytest.raises(DataError, match=r"3\.png: is named in transforms.json but missing"):
        read_class(folder, require_poses=True)
    cv2.imwrite(str(folder / "train" / "good" / "3.png"), np.zeros((4, 4, 3), np.uint8))
    cv2.imwrite(str(folder / "train" / "good" / "99.png"), np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(DataError, match=r"99\.png: has no pose"):
        read_class(folder, require_poses=True)
    (folder / "transforms.json").unlink()
    with pytest.raises(DataError, match=r"transforms\.json: is missing"):
        read_class(folder, require_poses=True)
    with pytest.raises(DataError, match=r"good: holds no images.*(?s:.*)test: holds no images"):
        read_class(tmp_path / "empty", require_poses=False)


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"camera_angle_x": 9, "frames": []}', '{"camera_angle_x": 0.5, "frames": [{}]}'],
)
def test_poses_that_cannot_be_read(tmp_path, content):
    folder = write_class(tmp_path / "07Owl")
    (folder / "transforms.json").write_text(content)
    with pytest.raises(DataError, match=r"transforms\.json: cannot be read"):
        read_class(folder, require_poses=True)


def opencvs(pose):
    return pose * (1, -1, -1, 1)


def doubled(pose):
    return pose * (2, 2, 2, 1)


def turned_round(pose):
    return pose * (-1, 1, -1, 1)


@pytest.mark.parametrize(
    ("change", "which", "complaint"),
    [
        (opencvs, range(12), r"transforms\.json: .*OpenCV's.*negate the 2nd and 3rd column"),
        (opencvs, [3], r"good/3\.png: looks away"),
        (turned_round, range(12), r"transforms\.json: .*look outwards"),
        (doubled, [5], r"good/5\.png: transform_matrix is no rotation.*length 2, 2, 2"),
        (np.transpose, [0], r"good/0\.png: .*transposed\?"),
        (lambda pose: pose * np.nan, [0], r"good/0\.png: .*expected a finite 4x4"),
        (lambda pose: mad_pose(0), range(12), r"all cameras stand at one place"),
    ],
)
def test_poses_that_cannot_be_are_named(tmp_path, change, which, complaint):
    """Whole sets of another convention, and single ones, as of `object_folder`."""
    folder = write_class(tmp_path / "07Owl")
    path = folder / "transforms.json"
    content = json.loads(path.read_text())
    for number in which:
        frame = content["frames"][number]
        frame["transform_matrix"] = change(np.array(frame["transform_matrix"])).tolist()
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=complaint) as raised:
        read_class(folder, require_poses=True)
    assert len(raised.value.problems) == 1  # and no other is accused


def test_a_posed_picture_is_never_stretched(tmp_path):
    write_class(tmp_path / "manual" / "MAD-Sim" / "07Owl")
    with pytest.raises(ValueError, match="would stretch"):
        build(tmp_path, "07Owl", size=(40, 20))


def test_a_mask_of_another_size_is_refused(tmp_path):
    folder = write_class(tmp_path / "manual" / "MAD-Sim" / "07Owl")
    path = folder / "ground_truth" / "Burrs" / "2_mask.png"
    cv2.imwrite(str(path), np.zeros((8, 8), np.uint8))
    with pytest.raises(ValueError, match=r"2_mask\.png: is \(8, 8\); its image is 40x40"):
        build(tmp_path, "07Owl")


@pytest.mark.real_data
def test_real_poses_lie_on_the_spheres(real_data, tmp_path):
    for name, radii in (("07Owl", {3.0, 3.5, 4.0}), ("10Sheep", {3.0, 3.5, 4.0})):
        content = json.loads((real_data / "mad_cameras" / name / "transforms.json").read_text())
        assert len(content["frames"]) == 210
        for frame in content["frames"]:
            matrix = np.asarray(frame["transform_matrix"])
            assert round(float(np.linalg.norm(matrix[:3, 3])), 2) in radii
            # Looks at the origin along -z.
            direction = matrix[:3, 3] / np.linalg.norm(matrix[:3, 3])
            np.testing.assert_allclose(matrix[:3, 2], direction, atol=1e-3)
    assert focal(400, content["camera_angle_x"]) == pytest.approx(555.56, abs=0.1)


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["07Owl", "10Sheep"])
def test_real_poses_pass_the_checks(real_data, tmp_path, name):
    cameras = real_data / "mad_cameras" / name / "transforms.json"
    for frame in json.loads(cameras.read_text())["frames"]:
        photo = tmp_path / f"{frame['file_path'].removesuffix('.png')}.png"
        photo.parent.mkdir(parents=True, exist_ok=True)
        photo.touch()
    (tmp_path / "test/good").mkdir(parents=True)
    (tmp_path / "test/good/0.png").touch()
    shutil.copy(cameras, tmp_path)
    views, _, _ = read_class(tmp_path, require_poses=True)
    assert len(views["train"]) == 210
