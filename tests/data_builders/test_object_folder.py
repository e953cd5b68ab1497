"""`object_folder`: what it stores of a folder in any of the forms of poses, and what it refuses."""

import json
import shutil
import struct

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds

from ipad_jax.commands import prepare, validate
from ipad_jax.data_builders import objects
from ipad_jax.data_builders.files import DataError
from ipad_jax.data_builders.object_folder.colmap import read_colmap
from ipad_jax.data_builders.object_folder.silhouettes import background_of, silhouette
from ipad_jax.data_builders.object_folder.transforms import read_transforms
from ipad_jax.data_builders.objects import find_views, read_object, read_view
from ipad_jax.data_builders.toys import write


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("object") / "duck"
    write.write_toy(folder, "duck", 0, (14, 2, 1), 48)
    return folder


@pytest.fixture
def folder(source, tmp_path):
    return shutil.copytree(source, tmp_path / "duck")


def test_what_is_stored(source, tmp_path):
    words = ["object_folder", "--source", str(source), "--name", "duck", "--size", "24"]
    assert prepare.main([*words, "--data-dir", str(tmp_path)]) == 0
    builder = tfds.builder_from_directory(tmp_path / "object_folder/duck/1.0.0")
    train, test = builder.as_data_source("train"), builder.as_data_source("test")
    assert (len(train), len(test)) == (14, 5)
    assert train[0]["image"].shape == (24, 24, 3)
    x, y, z, radius = builder.info.metadata["ball"]
    views = read_transforms(source / "transforms.json")
    for record, view in zip(train, views):
        np.testing.assert_allclose(record["focal"], view.fx / 2, rtol=1e-6)
        np.testing.assert_allclose(record["centre"], 12)
        moved = (view.world_from_camera[:3, 3] - (x, y, z)) / radius
        np.testing.assert_allclose(record["world_from_camera"][:3, 3], moved, rtol=1e-5)
    assert all(np.isnan(record["world_from_camera"]).all() for record in test)
    true = builder.info.metadata["true_poses"]
    assert true.keys() == {bytes(record["name"]).decode() for record in test}
    # the object's hull: of 14 views a little more than the ball of radius 1 that holds the toy
    assert 0.9 < radius < 1.3
    assert [bytes(record["mask"]) != b"" for record in test] == [True] * 3 + [False] * 2


def test_the_lens_of_the_photos_is_kept_where_it_bends(folder):
    assert read_object(folder, 24)[1]["bent_lens"] == []
    path = folder / "transforms.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"k1": -0.05, "p2": 0.01}))
    focal = read_transforms(path)[0].fx
    numbers = [48, 48, focal, focal, 24, 24, 0, -0.05, 0, 0, 0.01, 0]
    assert read_object(folder, 24)[1]["bent_lens"] == pytest.approx(numbers)


def write_model(folder, views, kind, camera="PINHOLE", numbers=None):
    """The views as a COLMAP model, of one camera with other numbers where they are given."""
    folder.mkdir(parents=True)
    first = views[0]
    numbers = numbers or (first.fx, first.fy, first.cx, first.cy)
    rows = []
    for number, view in enumerate(views):
        rotation = (view.world_from_camera[:3, :3] * (1, -1, -1)).T
        translation = -rotation @ view.world_from_camera[:3, 3]
        w = np.sqrt(max(0, 1 + np.trace(rotation))) / 2
        if w < 1e-3:
            pytest.skip("a half turn")
        a = rotation
        q = (w, *(np.array([a[2, 1] - a[1, 2], a[0, 2] - a[2, 0], a[1, 0] - a[0, 1]]) / (4 * w)))
        rows.append((number + 1, (*q, *translation), view.path.name))
    if kind == "text":
        (folder / "cameras.txt").write_text(
            f"# a comment\n1 {camera} {first.width} {first.height} "
            + " ".join(map(repr, map(float, numbers)))
        )
        lines = [
            f"{n} {' '.join(repr(float(x)) for x in v)} 1 {name}\n1.0 2.0 -1\n"
            for n, v, name in rows
        ]
        (folder / "images.txt").write_text("# a comment\n" + "".join(lines))
        return
    known = ("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "OPENCV_FISHEYE")
    head = struct.pack("<QiiQQ", 1, 1, known.index(camera), first.width, first.height)
    (folder / "cameras.bin").write_bytes(head + struct.pack(f"<{len(numbers)}d", *numbers))
    images = [
        struct.pack("<i7di", n, *v, 1)
        + name.encode()
        + b"\0"
        + struct.pack("<Qddq", 1, 1.0, 2.0, -1)
        for n, v, name in rows
    ]
    (folder / "images.bin").write_bytes(struct.pack("<Q", len(rows)) + b"".join(images))


@pytest.mark.parametrize("kind", ["text", "binary"])
def test_a_colmap_model_gives_the_same_cameras(folder, kind):
    views = read_transforms(folder / "transforms.json")
    write_model(folder / "sparse/0", views, kind)
    (folder / "transforms.json").unlink()
    by_name = {view.path: view for view in views}
    found = read_colmap(folder / "sparse/0", folder)
    assert len(found) == len(views)
    for view in found:
        expected = by_name[view.path]
        np.testing.assert_allclose(view.world_from_camera, expected.world_from_camera, atol=1e-9)
        assert (view.fx, view.cx) == (expected.fx, expected.cx)
    images, _ = read_object(folder, 48)
    assert len(images.train) == 14


@pytest.mark.parametrize("kind", ["text", "binary"])
@pytest.mark.parametrize(
    ("camera", "numbers", "focal", "model", "distortion"),
    [
        ("SIMPLE_PINHOLE", (60.0, 23.0, 25.0), (60, 60), "PINHOLE", ()),
        ("SIMPLE_RADIAL", (60.0, 23.0, 25.0, 0.1), (60, 60), "SIMPLE_RADIAL", (0.1,)),
        ("SIMPLE_RADIAL", (60.0, 23.0, 25.0, 0.0), (60, 60), "PINHOLE", ()),
        ("RADIAL", (60.0, 23.0, 25.0, 0.1, 0.2), (60, 60), "RADIAL", (0.1, 0.2)),
        (
            "OPENCV",
            (60.0, 61.0, 23.0, 25.0, 0.1, 0.2, 0.3, 0.4),
            (60, 61),
            "OPENCV",
            (0.1, 0.2, 0.3, 0.4, 0),  # k3 last, which COLMAP's does not have
        ),
    ],
)
def test_colmaps_cameras_are_read(folder, kind, camera, numbers, focal, model, distortion):
    views = read_transforms(folder / "transforms.json")
    write_model(folder / "sparse/0", views, kind, camera, numbers)
    for view in read_colmap(folder / "sparse/0", folder):
        assert (view.fx, view.fy) == focal
        assert (view.cx, view.cy) == (23, 25)
        assert (view.model, view.distortion) == (model, distortion)


def test_photos_that_colmap_left_out_are_named_and_its_largest_model_is_used(folder, capsys):
    views = read_transforms(folder / "transforms.json")
    for place, some, kind in (("0", views[:3], "text"), ("1", views[:12], "binary")):
        write_model(folder / "sparse" / place, some, kind)
    (folder / "transforms.json").unlink()
    (folder / "train").rename(folder / "photos")
    (folder / "photos/good").rename(folder / "images")
    shutil.rmtree(folder / "test")
    images, metadata = read_object(folder, 48)
    assert len(images.train) == 12
    told = " ".join(metadata["notes"])
    assert "2 photos have no pose, not used: 12.png, 13.png" in told
    assert "2 COLMAP models" in told
    assert "sparse/1 with 12 photos; not used are 0 3 photos" in told
    assert validate.main(["object_folder", "--source", str(folder)]) == 0
    assert "note: " in capsys.readouterr().out


def test_two_photos_never_share_a_mask(folder):
    """Those of a.png and a.jpg are a.png.png and a.jpg.png; where one is called a.png, it is nobody's."""
    first, second = folder / "train/good/0.png", folder / "train/good/1.png"
    second.rename(folder / "train/good/0.jpg")
    change(folder, lambda content: content["frames"][1].update(file_path="train/good/0.jpg"))
    masks = folder / "masks"
    masks.mkdir()
    for view in read_transforms(folder / "transforms.json"):
        cv2.imwrite(str(masks / f"{view.path.stem}.png"), np.full((48, 48), 255, np.uint8))
    with pytest.raises(DataError, match=r"masks/0\.png: is the mask of 0\.jpg, 0\.png: give each"):
        find_views(folder)
    for name in ("0.jpg.png", "0.png.png"):
        shutil.copy(masks / "0.png", masks / name)
    found = {view.path.name: view.mask for view in find_views(folder)[0]}
    assert found[first.name] == masks / "0.png.png"
    assert found["0.jpg"] == masks / "0.jpg.png"
    assert found["5.png"] == masks / "5.png"


def test_masks_that_the_file_of_poses_names_cut_the_photos_out(folder):
    """nerfstudio's `mask_path`: what lies outside is white, as of masks/."""

    def name_masks(content):
        for number, frame in enumerate(content["frames"]):
            frame["mask_path"] = f"./cut/{number}.png"

    change(folder, name_masks)
    (folder / "cut").mkdir()
    inside = np.zeros((48, 48), np.uint8)
    inside[12:36, 12:36] = 255
    for number in range(14):
        cv2.imwrite(str(folder / f"cut/{number}.png"), inside)
    views = find_views(folder)[0]
    for view in views:
        photo = cv2.cvtColor(cv2.imread(str(view.path)), cv2.COLOR_BGR2RGB)
        np.testing.assert_array_equal(read_view(view)[12:36, 12:36], photo[12:36, 12:36])
        assert (read_view(view)[inside == 0] == 255).all()
    change(folder, lambda content: content["frames"][3].pop("mask_path"))
    with pytest.raises(DataError, match=r"good/3\.png: has no mask: other photos have masks"):
        find_views(folder)


def test_a_camera_model_that_is_not_read_is_named(folder):
    write_model(folder / "sparse", read_transforms(folder / "transforms.json"), "text")
    cameras = folder / "sparse/cameras.txt"
    cameras.write_text(cameras.read_text().replace("PINHOLE", "FOV"))
    with pytest.raises(DataError, match="camera model FOV is not read"):
        read_colmap(folder / "sparse", folder)


def change(folder, edit):
    path = folder / "transforms.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def test_poses_that_no_object_fits_are_refused(folder):
    """Every camera stands aside, each to its own side, but still looks past the middle."""

    def shift(content):
        for number, frame in enumerate(content["frames"]):
            pose = np.array(frame["transform_matrix"])
            pose[:3, 3] += 0.85 * (-1) ** number * pose[:3, number // 2 % 2]
            frame["transform_matrix"] = pose.tolist()

    change(folder, shift)
    with pytest.raises(DataError, match="The hull is empty"):
        read_object(folder, 48)


def swap(content, *pairs):
    frames = content["frames"]
    for a, b in pairs:
        one, other = frames[a]["transform_matrix"], frames[b]["transform_matrix"]
        frames[a]["transform_matrix"], frames[b]["transform_matrix"] = other, one


def test_poses_that_are_swapped_are_named_and_where_no_object_fits_them_refused(
    folder, monkeypatch
):
    assert read_object(folder, 48)[1]["notes"] == []
    change(folder, lambda content: swap(content, (5, 9), (4, 11)))
    (note,) = read_object(folder, 48)[1]["notes"]
    assert "some poses are of other photos" in note
    assert {"4.png", "5.png", "9.png", "11.png"} & set(note.rpartition(": ")[2].split(", "))
    monkeypatch.setattr(objects, "NO_OBJECT", objects.AGREE)
    with pytest.raises(DataError, match="of one in the median, expected 95% or more"):
        read_object(folder, 48)


def test_a_training_photo_of_other_proportions_is_named(folder):
    path = folder / "train/good/5.png"
    cv2.imwrite(str(path), cv2.imread(str(path))[:36])
    with pytest.raises(DataError, match=r"13 are 48x48, 5\.png 48x36: photos of one camera"):
        read_object(folder, 48)


def test_a_test_photo_of_another_camera_is_named(folder, capsys):
    """Before it is prepared: `evaluate` could not judge it."""
    paths = [folder / f"test/good/{number}.png" for number in (0, 1)]
    cv2.imwrite(str(paths[0]), cv2.imread(str(paths[0]))[:36])
    cv2.imwrite(str(paths[1]), cv2.resize(cv2.imread(str(paths[1])), (96, 97)))  # nearly as wide
    assert validate.main(["object_folder", "--source", str(folder)]) == 1
    told = capsys.readouterr().out
    assert "good/0.png: is 48x36, the training photos are 48x48, of other proportions" in told
    assert "good/1.png" not in told
    path = folder / "transforms.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"k1": -0.05}))
    with pytest.raises(DataError, match=r"1\.png: is 96x97, .* and their lens bends: a test photo"):
        read_object(folder, 48)


def test_the_same_problem_of_many_files_is_said_once(folder, capsys):
    change(folder, lambda content: content.update(camera_angle_x=0.01))
    assert validate.main(["object_folder", "--source", str(folder)]) == 1
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("problem:")]
    assert len(told) == validate.ALIKE + 1
    assert told[-1].startswith("problem: the same of 11 more: ")
    assert told[-1].endswith(", 13.png")


def test_what_is_wrong_is_said_by_the_command(folder, capsys):
    assert validate.main(["object_folder", "--source", str(folder)]) == 0
    assert "lies in a ball of radius" in capsys.readouterr().out
    change(folder, lambda content: content["frames"].pop())
    assert validate.main(["object_folder", "--source", str(folder)]) == 1
    assert "13.png: has no pose" in capsys.readouterr().out
    (folder / "transforms.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"neither transforms\.json nor a COLMAP model"):
        validate.main(["object_folder", "--source", str(folder)])


def test_silhouettes_by_the_colour_of_the_border():
    image = np.full((120, 150, 3), (20, 30, 25), np.uint8)
    image[30:90, 36:120] = (90, 60, 30)
    image[45:49, 60:64] = (20, 30, 25)  # an eye of the background's colour
    image[2, 2] = 255  # a speck
    background, levels = background_of([image])
    np.testing.assert_allclose(background, (20, 30, 25))
    expected = np.zeros((120, 150), bool)
    expected[30:90, 36:120] = True
    np.testing.assert_array_equal(silhouette(image, background, levels), expected)


def test_a_white_part_before_white_belongs_to_the_object():
    image = np.full((100, 100, 3), 255, np.uint8)
    image[20:80, 20:80] = (40, 90, 160)
    image[30:70, 30:70] = 255  # its top as bright as the background
    image[10:20, 40:60] = 250  # another at the outline, a little darker
    expected = np.zeros((100, 100), bool)
    expected[20:80, 20:80] = expected[10:20, 40:60] = True
    np.testing.assert_array_equal(silhouette(image, *background_of([image])), expected)


def test_a_background_of_many_colours_is_refused():
    noise = np.random.default_rng(0).integers(0, 255, (40, 50, 3)).astype(np.uint8)
    with pytest.raises(ValueError, match="no one colour"):
        background_of([noise])
