"""Camera poses from `transforms.json`: both forms, and each mistake with its message."""

import dataclasses
import json

import cv2
import numpy as np
import pytest
from PIL import Image

from ipad_jax.data_builders.files import DataError
from ipad_jax.data_builders.object_folder.transforms import (
    View,
    bent,
    crossing_of_axes,
    pinhole_of,
    read_transforms,
    straightened,
    undistort,
)

WIDTH, HEIGHT = 12, 8
FLIP = np.diag([1.0, -1.0, -1.0, 1.0])  # between OpenCV's and OpenGL's axes


def drawn_pose(azimuth, elevation=0.4, radius=3.0, target=(0.0, 0.0, 0.0)):
    """OpenGL's camera on a sphere, that looks at its centre."""
    back = np.array(
        [
            np.cos(azimuth) * np.cos(elevation),
            np.sin(azimuth) * np.cos(elevation),
            np.sin(elevation),
        ]
    )
    right = np.cross([0, 0, 1], back)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(back, right), back], axis=1)
    pose[:3, 3] = radius * back + target
    return pose


POSES = [drawn_pose(azimuth) for azimuth in np.linspace(0, 5, 6)]


def write(folder, content, poses=POSES, suffix=".png", **of_each_frame):
    """Photos and transforms.json; `of_each_frame` are lists of values by name."""
    photos = folder / "train" / "good"
    photos.mkdir(parents=True, exist_ok=True)
    frames = []
    for number, pose in enumerate(poses):
        Image.new("RGB", (WIDTH, HEIGHT)).save(photos / f"{number}.png")
        frame = {
            "file_path": f"./train/good/{number}{suffix}",
            "transform_matrix": np.asarray(pose).tolist(),
        }
        frames.append(frame | {name: values[number] for name, values in of_each_frame.items()})
    path = folder / "transforms.json"
    path.write_text(json.dumps(content | {"frames": frames}))
    return path


ORIGINAL = {"camera_angle_x": 0.69}
STUDIO = {"camera_model": "OPENCV", "fl_x": 15.0, "fl_y": 16.0, "cx": 6.5, "cy": 3.5}
STUDIO |= {"w": WIDTH, "h": HEIGHT, "k1": 0, "k2": 0.0, "p1": 0, "p2": 0}


@pytest.mark.parametrize("suffix", [".png", ""])
def test_the_original_form(tmp_path, suffix):
    views = read_transforms(write(tmp_path, ORIGINAL, suffix=suffix))
    assert [view.path.name for view in views] == [f"{n}.png" for n in range(6)]
    for view, pose in zip(views, POSES):
        np.testing.assert_array_equal(view.world_from_camera, pose)
        # the picture's left and right borders are camera_angle_x apart
        np.testing.assert_allclose(2 * np.arctan(WIDTH / 2 / view.fx), 0.69, rtol=1e-12)
        assert (view.fy, view.cx, view.cy) == (view.fx, WIDTH / 2, HEIGHT / 2)


def test_nerfstudios_form_with_intrinsics_of_the_file_and_of_frames(tmp_path):
    focal = [20.0, 21.0, 22.0, 23.0, 24.0, 25.0]
    views = read_transforms(write(tmp_path, STUDIO, fl_x=focal))
    assert [view.fx for view in views] == focal
    assert {(v.fy, v.cx, v.cy, v.width, v.height) for v in views} == {(16, 6.5, 3.5, 12, 8)}
    assert {(v.model, v.distortion) for v in views} == {("PINHOLE", ())}


def test_the_applied_transform_is_not_applied_again(tmp_path):
    applied = {"applied_transform": [[0, 1, 0, 5], [1, 0, 0, 0], [0, 0, -1, 0]], "applied_scale": 7}
    views = read_transforms(write(tmp_path, STUDIO | applied))
    for view, pose in zip(views, POSES):
        np.testing.assert_array_equal(view.world_from_camera, pose)


def test_distortion_is_read_in_opencvs_order(tmp_path):
    coefficients = {"k1": 0.1, "k2": -0.02, "k3": 0.003, "p1": 0.004, "p2": 0.005}
    view = read_transforms(write(tmp_path, STUDIO | coefficients))[0]
    assert (view.model, view.distortion) == ("OPENCV", (0.1, -0.02, 0.004, 0.005, 0.003))
    fisheye = STUDIO | {"camera_model": "OPENCV_FISHEYE", "k1": 0.1, "k4": 0.2}
    view = read_transforms(write(tmp_path, fisheye))[0]
    assert (view.model, view.distortion) == ("OPENCV_FISHEYE", (0.1, 0, 0, 0.2))


NGP = {
    "camera_angle_x": 0.75,
    "camera_angle_y": 0.53,
    "fl_x": 15.0,
    "fl_y": 15.5,
    "cx": 6.5,
    "cy": 4.5,
}
NGP |= {
    "w": float(WIDTH),
    "h": float(HEIGHT),
    "k1": 0.1,
    "k2": 0.02,
    "k3": 0,
    "k4": 0,
    "p1": 0.003,
    "p2": 0.004,
}
NGP |= {"is_fisheye": False, "aabb_scale": 16, "scale": 0.5, "offset": [0.5, 0.5, 0.5]}
NGP |= {"n_extra_learnable_dims": 0}


def test_instant_ngps_form(tmp_path):
    """`colmap2nerf.py`: the focal lengths count and not the angles; its own cube moves no camera."""
    sharp = [30.0 + number for number in range(6)]
    views = read_transforms(write(tmp_path, NGP, sharpness=sharp))
    for view, pose in zip(views, POSES):
        np.testing.assert_array_equal(view.world_from_camera, pose)
        assert (view.fx, view.fy, view.cx, view.cy) == (15.0, 15.5, 6.5, 4.5)
        assert (view.model, view.distortion) == ("OPENCV", (0.1, 0.02, 0.003, 0.004, 0))
    fisheye = NGP | {"is_fisheye": True, "k3": 0.3, "k4": 0.4, "p1": 0, "p2": 0}
    view = read_transforms(write(tmp_path, fisheye))[0]
    assert (view.model, view.distortion) == ("OPENCV_FISHEYE", (0.1, 0.02, 0.3, 0.4))


def test_a_frames_own_numbers_count_before_the_files(tmp_path):
    own = {"fl_x": [20.0 + n for n in range(6)], "w": [WIDTH] * 6, "h": [HEIGHT] * 6}
    views = read_transforms(write(tmp_path, STUDIO | {"w": 99, "h": 99}, **own))
    assert [view.fx for view in views] == own["fl_x"]
    with pytest.raises(DataError, match=r"5\.png: is 12x8 pixels, .* says 24x16"):
        read_transforms(write(tmp_path, STUDIO, w=[WIDTH] * 5 + [24], h=[HEIGHT] * 5 + [16]))


def turned(pose, degrees):
    """The camera turned about its own y axis."""
    angle = np.radians(degrees)
    turn = np.eye(4)
    turn[:3, :3] = [
        [np.cos(angle), 0, np.sin(angle)],
        [0, 1, 0],
        [-np.sin(angle), 0, np.cos(angle)],
    ]
    return pose @ turn


def moved(pose, by):
    """The camera moved along the world's y axis."""
    pose = pose.copy()
    pose[1, 3] += by
    return pose


def with_changed(index, change):
    return [change(pose) if i == index else pose for i, pose in enumerate(POSES)]


@pytest.mark.parametrize(
    ("content", "poses", "complaint"),
    [
        (ORIGINAL, [p @ FLIP for p in POSES], r"OpenCV's.*negate the 2nd and 3rd column"),
        (ORIGINAL, [turned(p, 180) for p in POSES], r"look outwards"),
        (ORIGINAL, with_changed(2, lambda p: turned(p, 180)), r"2\.png: looks away"),
        (ORIGINAL, with_changed(4, lambda p: turned(p, 60)), r"4\.png: looks away"),
        (ORIGINAL, [turned(POSES[0], d) for d in range(6)], "all cameras stand at one place"),
        (
            ORIGINAL,
            [moved(POSES[0], n) for n in range(6)],
            "look the same way",
        ),
        (ORIGINAL, with_changed(1, lambda p: p * [2, 2, 2, 1]), r"1\.png.*length 2, 2, 2"),
        (ORIGINAL, with_changed(1, lambda p: p * [-1, 1, 1, 1]), r"determinant -1.*mirrored"),
        (ORIGINAL, with_changed(1, lambda p: p.T), r"1\.png.*last row.*transposed"),
        (ORIGINAL, with_changed(1, lambda p: p * np.nan), r"1\.png: transform_matrix.*finite 4x4"),
        (ORIGINAL, with_changed(1, lambda p: p[:2]), r"1\.png: transform_matrix has shape \(2, 4\)"),
        (STUDIO | {"fl_x": 0.05}, POSES, r"0\.png: has focal lengths 0\.05.*are they in mm"),
        (STUDIO | {"fl_x": 90}, POSES, r"expected 0\.3 to 5\.0 widths"),
        (STUDIO | {"fl_x": "wide"}, POSES, "fl_x='wide' is no finite number"),
        ({"camera_angle_x": 39.6}, POSES, r"39\.6 must be in \(0, pi\) radians"),
        ({}, POSES, "neither fl_x nor camera_angle_x"),
        (STUDIO | {"w": 24, "h": 16}, POSES, "is 12x8 pixels, but the file of poses says 24x16"),
        (STUDIO | {"camera_model": "FULL_OPENCV"}, POSES, "'FULL_OPENCV' is not read.*undistort"),
        (STUDIO | {"k4": 0.1}, POSES, r"k4=0\.1, which camera_model OPENCV does not have"),
    ],
)  # fmt: skip
def test_mistakes_are_named(tmp_path, content, poses, complaint):
    with pytest.raises(DataError, match=f"(?s){complaint}"):
        read_transforms(write(tmp_path, content, poses))


def test_one_wrong_camera_accuses_no_other(tmp_path):
    with pytest.raises(DataError) as raised:
        read_transforms(write(tmp_path, ORIGINAL, with_changed(2, lambda p: turned(p, 180))))
    assert [problem.path.name for problem in raised.value.problems] == ["2.png"]


def test_photos_and_poses_without_each_other_are_both_named(tmp_path):
    path = write(tmp_path, ORIGINAL)
    (tmp_path / "train" / "good" / "3.png").rename(tmp_path / "train" / "good" / "33.png")
    with pytest.raises(DataError) as raised:
        read_transforms(path)
    message = str(raised.value)
    assert "3.png: has a pose in the file of poses, but is missing" in message
    assert "33.png: has no pose in transforms.json" in message
    assert len(raised.value.problems) == 2


def test_masks_and_depths_of_the_file_need_no_pose(tmp_path):
    names = [f"train/good/mask{number}.png" for number in range(6)]
    path = write(tmp_path, ORIGINAL, mask_path=names)
    for name in names:
        Image.new("L", (WIDTH, HEIGHT)).save(tmp_path / name)
    assert len(read_transforms(path)) == 6


def test_an_exif_rotation_is_named(tmp_path):
    path = write(tmp_path, ORIGINAL)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "train" / "good" / "5.png", exif=exif)
    with pytest.raises(DataError, match=r"5\.png: is turned by its EXIF orientation 6"):
        read_transforms(path)


@pytest.mark.parametrize("content", ["", "[]", '{"frames": 3}', '{"frames": [{}]}', "{"])
def test_a_file_of_another_form_is_named(tmp_path, content):
    (tmp_path / "transforms.json").write_text(content)
    with pytest.raises(DataError, match=r"transforms\.json: cannot be read.*file_path"):
        read_transforms(tmp_path / "transforms.json")
    with pytest.raises(FileNotFoundError, match=r"other\.json: no such file"):
        read_transforms(tmp_path / "other.json")


def test_a_photo_that_is_none_is_named(tmp_path):
    path = write(tmp_path, ORIGINAL)
    (tmp_path / "train" / "good" / "0.png").write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"0\.png: is no image that can be read"):
        read_transforms(path)


def test_axes_cross_where_the_cameras_look():
    target = np.array([0.5, -2.0, 1.0])
    poses = np.stack([drawn_pose(a, 0.2 * a, 3 + a, target) for a in range(5)])
    np.testing.assert_allclose(crossing_of_axes(poses), target, rtol=0, atol=1e-9)


def slow_distort(x, y, view):
    """OpenCV's models, from their formulas: place on the plane z = 1 to where the lens puts it there."""
    r = np.hypot(x, y)
    if view.model == "OPENCV_FISHEYE":
        angle = np.arctan(r)
        k1, k2, k3, k4 = view.distortion
        bent = angle * (1 + k1 * angle**2 + k2 * angle**4 + k3 * angle**6 + k4 * angle**8)
        return x * bent / r, y * bent / r
    k1, k2, p1, p2, k3 = view.distortion
    scale = 1 + k1 * r**2 + k2 * r**4 + k3 * r**6
    return (
        x * scale + 2 * p1 * x * y + p2 * (r**2 + 2 * x**2),
        y * scale + p1 * (r**2 + 2 * y**2) + 2 * p2 * x * y,
    )


def blob_at(image, x, y):
    """A spot of light centred at a place in pixels from the corner."""
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    image += 250 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 18)


@pytest.mark.parametrize(
    ("model", "distortion"),
    [
        ("OPENCV", (-0.2, 0.05, 0.01, -0.02, 0.01)),
        ("OPENCV", (0.15, 0.0, 0.0, 0.0, 0.0)),
        ("OPENCV_FISHEYE", (0.05, -0.02, 0.01, 0.0)),
    ],
)
@pytest.mark.parametrize("point", [(0.3, 0.2), (-0.35, 0.1), (0.05, -0.3)])
def test_an_undistorted_photo_shows_points_where_a_pinhole_does(tmp_path, model, distortion, point):
    view = View(
        tmp_path, 160, 120, 150.0, 140.0, 78.0, 63.0, np.eye(4), model=model, distortion=distortion
    )
    x, y = slow_distort(*point, view)
    photo = np.zeros((120, 160))
    blob_at(photo, view.cx + view.fx * x, view.cy + view.fy * y)
    image, pinhole = undistort(np.rint(photo).astype(np.uint8), view)
    rows, columns = np.mgrid[:120, :160] + 0.5
    weight = image / image.sum()
    found = (columns * weight).sum(), (rows * weight).sum()
    expected = pinhole.cx + pinhole.fx * point[0], pinhole.cy + pinhole.fy * point[1]
    # A spot is bent by the lens, which moves its centre of mass; half a pixel would be the corner's mistake.
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.15)
    assert (pinhole.model, pinhole.distortion) == ("PINHOLE", ())


def test_undistorted_photos_have_no_border(tmp_path):
    for model, distortion in {
        "OPENCV": (-0.2, 0, 0, 0, 0),
        "OPENCV_FISHEYE": (0.1, 0, 0, 0),
    }.items():
        view = View(tmp_path, 64, 48, 60.0, 60.0, 32.0, 24.0, np.eye(4), "OPENCV", ())
        view = dataclasses.replace(view, model=model, distortion=distortion)
        image, _ = undistort(np.full((48, 64, 3), 255, np.uint8), view)
        assert image[2:-2, 2:-2].min() == 255  # rounding may cost the outermost rows


@pytest.mark.parametrize(
    ("model", "distortion"),
    [("OPENCV", (-0.2, 0.05, 0.01, -0.02, 0.01)), ("OPENCV_FISHEYE", (0.05, -0.02, 0.01, 0.0))],
)
def test_a_map_of_the_pinhole_s_picture_is_laid_back_onto_the_photo(tmp_path, model, distortion):
    view = View(tmp_path, 160, 120, 150.0, 140.0, 78.0, 63.0, np.eye(4), model, distortion)
    rows, columns = np.mgrid[:120, :160]
    ramps = np.stack([columns, rows], -1).astype(np.float32)  # each pixel says where it is
    pinhole = pinhole_of(view)
    back = bent(straightened(ramps, view, pinhole), view, pinhole)
    inner = np.s_[12:-12, 12:-12]  # the pinhole's picture ends before the photo does
    # OpenCV takes places between pixels in steps of 1/32
    assert np.abs(back - ramps)[inner].max() < 2 / 32
    moved = np.abs(straightened(ramps, view, pinhole) - ramps).max()
    assert moved > 3  # pixels: otherwise nothing is shown


def test_without_distortion_a_photo_stays_as_it_is(tmp_path):
    view = View(tmp_path, 5, 4, 6.0, 6.0, 2.5, 2.0, np.eye(4))
    image = np.random.default_rng(0).integers(0, 255, (4, 5, 3), np.uint8)
    assert undistort(image, view)[0] is image
    with pytest.raises(ValueError, match="the image is 4x5, expected 5x4"):
        undistort(cv2.transpose(image), view)


@pytest.mark.real_data
def test_real_photos_and_their_cameras(real_data):
    views = read_transforms(real_data / "temple_ring" / "transforms.json")
    assert len(views) == 47
    assert {(v.width, v.height, v.model) for v in views} == {(640, 480, "PINHOLE")}
    # the README's tight box of the temple holds what the cameras look at
    point = crossing_of_axes(np.stack([view.world_from_camera for view in views]))
    assert (np.array([-0.023121, -0.038009, -0.09194]) < point).all()
    assert (point < np.array([0.078626, 0.121636, -0.017395])).all()
    toys = read_transforms(real_data / "brick_toys" / "01Puppy" / "transforms.json")
    assert len(toys) == 210
