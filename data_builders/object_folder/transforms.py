"""Camera poses of photos from `transforms.json`: the original NeRF's and MAD's form, and nerfstudio's.

Host-side and without JAX. What most often goes wrong with own photos is looked for here and named in words.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from ipad_jax.data_builders.files import IMAGE_SUFFIXES, DataError, Problem

FOCAL_RANGE = (0.3, 5.0)  # of the picture's width; outside it is a wrong unit or another width's
ROTATION_TOLERANCE = 1e-3  # of a matrix printed with four digits
EXIF_ORIENTATION = 0x0112
FISHEYE = "OPENCV_FISHEYE"
# Distortion coefficients in OpenCV's order, by camera model; none means a pinhole.
MODELS: dict[str, tuple[str, ...]] = {
    "PINHOLE": (),
    "SIMPLE_PINHOLE": (),
    "SIMPLE_RADIAL": ("k1",),
    "RADIAL": ("k1", "k2"),
    "OPENCV": ("k1", "k2", "p1", "p2", "k3"),
    FISHEYE: ("k1", "k2", "k3", "k4"),
}
_COEFFICIENTS = ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")


@dataclasses.dataclass(frozen=True)
class View:
    """A photo and its camera, in OpenGL's axes; places in pixels from the picture's upper left corner."""

    path: Path
    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    world_from_camera: np.ndarray  # float64 [4, 4]
    model: str = "PINHOLE"
    distortion: tuple[float, ...] = ()  # in OpenCV's order; empty for a pinhole
    mask: Path | None = None  # white on the object; what lies outside is taken for white


def read_transforms(path: str | Path) -> list[View]:
    """Views of a `transforms.json`, sorted as the file has them.

    Focal lengths: `fl_x` and `fl_y`, of the file or of each frame, else `camera_angle_x` (radians across the
    width). `applied_transform` and `applied_scale` are already in the poses and are not applied again. A
    frame's `mask_path` (nerfstudio's) is the view's mask.

    Raises:
        FileNotFoundError: no such file.
        DataError: a ValueError that names every frame and photo that is wrong: see `check_views`, and photos
            without pose, poses without photo, sizes that disagree, a photo with an EXIF rotation.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of camera poses.")
    try:
        content = json.loads(path.read_text())
        frames = list(content["frames"])
        names = [str(frame["file_path"]) for frame in frames]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            [Problem(path, f"cannot be read ({error!r}); expected `frames` with `file_path`")]
        ) from error
    views, problems = [], []
    for name, frame in zip(names, frames):
        photo = _find_photo(path.parent, name)
        mask = _beside(path.parent, frame["mask_path"]) if "mask_path" in frame else None
        try:
            view = _read_view(photo, {**content, **frame})
            views.append(dataclasses.replace(view, mask=mask))
        except ValueError as error:
            problems.append(Problem(photo, str(error)))
    problems += _photos_without_pose(path.parent, names, content)
    problems += check_views(views, path)
    if problems:
        raise DataError(problems)
    return views


def _find_photo(folder: Path, name: str) -> Path:
    """The file of a frame; the original form leaves its suffix out."""
    path = _beside(folder, name)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return path
    found = [Path(f"{path}{suffix}") for suffix in (".png", ".jpg", ".jpeg")]
    return next((photo for photo in found if photo.is_file()), found[0])


def _beside(folder: Path, name: Any) -> Path:
    """The path of a name in the file of poses."""
    return folder / str(name).removeprefix("./")


def _photos_without_pose(folder: Path, names: list[str], content: Mapping) -> list[Problem]:
    """Photos beside those that have poses; masks and depths of the file are none."""
    used = {_find_photo(folder, name) for name in names} | left_out(folder, content)
    for frame in content["frames"]:
        for key in ("mask_path", "depth_file_path"):
            if key in frame:
                used.add(_beside(folder, frame[key]))
    folders = {_find_photo(folder, name).parent for name in names}
    beside = [photo for place in folders if place.is_dir() for photo in place.iterdir()]
    return [
        Problem(photo, "has no pose in transforms.json: add one, or move the photo away")
        for photo in sorted(beside)
        if photo.suffix.lower() in IMAGE_SUFFIXES and photo not in used
    ]


def left_out(folder: Path, content: Mapping) -> set[Path]:
    """Photos for which the file itself says that no pose was found, as `ipad-jax poses` does."""
    return {folder / name for name in content.get("left_out", ())}


def _read_view(photo: Path, values: Mapping[str, Any]) -> View:
    """One view of a frame's values, the file's where the frame has none.

    Raises: ValueError without the path of the photo.
    """
    pose = rigid_pose(values)
    stated = (values.get("w"), values.get("h"))
    width, height = check_photo(photo, stated, upright=values.get("upright") is True)
    model, distortion = _distortion(values)
    fx = _number(values, "fl_x")
    if fx is None:
        angle = _number(values, "camera_angle_x")
        if angle is None:
            raise ValueError("has no focal length: neither fl_x nor camera_angle_x is given")
        if not 0 < angle < np.pi:
            raise ValueError(f"camera_angle_x={angle:g} must be in (0, pi) radians")
        fx = width / 2 / float(np.tan(angle / 2))
    fy, cx, cy = (_number(values, name) for name in ("fl_y", "cx", "cy"))
    return View(
        path=photo,
        width=width,
        height=height,
        fx=fx,
        fy=fx if fy is None else fy,
        cx=width / 2 if cx is None else cx,
        cy=height / 2 if cy is None else cy,
        world_from_camera=pose,
        model=model,
        distortion=distortion,
    )


def check_photo(photo: Path, stated: tuple[Any, Any], *, upright: bool = False) -> tuple[int, int]:
    """Width and height of a photo that has a pose.

    Args:
        stated: width and height of the file of poses; None where it says none.
        upright: whether the poses are of the photo as it is to be seen, turned by its EXIF orientation.
    Raises: ValueError without the path of the photo: missing, unreadable, turned, or of another size.
    """
    if not photo.is_file():
        raise ValueError("has a pose in the file of poses, but is missing")
    try:
        with Image.open(photo) as image:
            width, height = image.size
            orientation = image.getexif().get(EXIF_ORIENTATION, 1)
    except OSError as error:
        raise ValueError(f"is no image that can be read: {error}") from error
    if upright:
        width, height = (height, width) if orientation in (5, 6, 7, 8) else (width, height)
    elif orientation != 1:
        raise ValueError(
            f"is turned by its EXIF orientation {orientation}, of which poses know nothing: save the photos "
            "with their pixels turned, and compute the poses from those"
        )
    wide, high = (
        (width if stated[0] is None else stated[0]),
        (height if stated[1] is None else stated[1]),
    )
    if (wide, high) != (width, height):
        raise ValueError(
            f"is {width}x{height} pixels, but the file of poses says {wide}x{high}: use the photos "
            "that the poses were computed from"
        )
    return width, height


def _number(values: Mapping[str, Any], name: str) -> float | None:
    if name not in values:
        return None
    try:
        number = float(values[name])
    except (TypeError, ValueError):
        number = np.nan
    if not np.isfinite(number):
        raise ValueError(f"{name}={values[name]!r} is no finite number")
    return number


def rigid_pose(values: Mapping[str, Any]) -> np.ndarray:
    """world_from_camera float64 [4, 4] of a frame; a rigid motion, or ValueError."""
    try:
        matrix = np.array(values["transform_matrix"], np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"has no transform_matrix of numbers ({error!r})") from error
    if matrix.shape == (3, 4):
        matrix = np.concatenate([matrix, [[0, 0, 0, 1]]])
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise ValueError(f"transform_matrix has shape {matrix.shape}, expected a finite 4x4")
    rotation = matrix[:3, :3]
    error = np.abs(rotation.T @ rotation - np.eye(3)).max()
    determinant = np.linalg.det(rotation)
    if error > ROTATION_TOLERANCE or determinant < 0 or (matrix[3] != (0, 0, 0, 1)).any():
        lengths = ", ".join(f"{length:.3g}" for length in np.linalg.norm(rotation, axis=0))
        raise ValueError(
            f"transform_matrix is no rotation with a translation: columns of length {lengths}, determinant "
            f"{determinant:.3g} (expected 1 each), last row {matrix[3].tolist()}: is it scaled, mirrored, or "
            "transposed?"
        )
    return matrix


def _distortion(values: Mapping[str, Any]) -> tuple[str, tuple[float, ...]]:
    """Camera model and its coefficients; all 0 is a pinhole.

    Raises: ValueError on another model, or on a coefficient that the model does not have.
    """
    model = values.get("camera_model", FISHEYE if values.get("is_fisheye") else "OPENCV")
    if model not in MODELS:
        raise ValueError(
            f"camera_model {model!r} is not read; expected one of {', '.join(MODELS)}: undistort the photos "
            "with the program that calibrated them"
        )
    given = {name: _number(values, name) or 0.0 for name in _COEFFICIENTS}
    unread = [f"{n}={x:g}" for n, x in given.items() if x and n not in MODELS[model]]
    if unread:
        raise ValueError(
            f"has {', '.join(unread)}, which camera_model {model} does not have here: undistort the photos "
            "with the program that calibrated them"
        )
    coefficients = tuple(given[name] for name in MODELS[model])
    return (model, coefficients) if any(coefficients) else ("PINHOLE", ())


def crossing_of_axes(world_from_camera: np.ndarray) -> np.ndarray:
    """The point nearest to all optical axes, by least squares: [n, 4, 4] -> [3].

    Raises: ValueError where the axes are parallel, so that there is no such point.
    """
    axes, centres = world_from_camera[:, :3, 2], world_from_camera[:, :3, 3]
    across = np.eye(3) - axes[:, :, None] * axes[:, None, :]  # takes what is along the axis away
    total = across.sum(axis=0)
    if np.linalg.eigvalsh(total)[0] < 1e-6 * len(axes):
        raise ValueError(
            "all cameras look the same way, so that nothing shows where the object is: photograph it from "
            "all around"
        )
    return np.linalg.solve(total, np.einsum("nij,nj->i", across, centres))


def check_views(views: Sequence[View], source: Path) -> list[Problem]:
    """What is wrong with poses and focal lengths, in words.

    Found are focal lengths outside `FOCAL_RANGE`, cameras that do not move, axes of OpenCV where OpenGL's are
    expected, and cameras whose picture does not hold the point that all cameras look at.

    Args: source: the file that the whole set's problems are about.
    """
    problems = []
    for view in views:
        share = view.fx / view.width
        if not FOCAL_RANGE[0] <= share <= FOCAL_RANGE[1] or not 0.5 < view.fy / view.fx < 2:
            problems.append(
                Problem(
                    view.path,
                    f"has focal lengths {view.fx:.4g} and {view.fy:.4g} pixels in a picture {view.width} "
                    f"pixels wide; expected {FOCAL_RANGE[0]} to {FOCAL_RANGE[1]} widths, both alike: "
                    "are they in mm, or of another picture size?",
                )
            )
    if len(views) < 2:
        return problems
    poses = np.stack([view.world_from_camera for view in views])
    centres = poses[:, :3, 3]
    if np.ptp(centres, axis=0).max() <= 1e-6 * max(1.0, np.abs(centres).max()):
        message = "all cameras stand at one place: depth cannot be seen; move the camera or turn the object"
        return [*problems, Problem(source, message)]
    try:
        seen = _sees(views, crossing_of_axes(poses))
        if 1 < seen.sum() < len(views):  # once more without those that pulled the point away
            seen = _sees(views, crossing_of_axes(poses[seen]))
        behind = (
            np.einsum("ni,ni->n", poses[:, :3, 2], crossing_of_axes(poses) - centres) >= 0
        ).all()
    except ValueError as error:
        return [*problems, Problem(source, str(error))]
    if behind:
        message = (
            "all cameras have the point that their axes share behind them. Either the axes are OpenCV's (y "
            "down, z forward) where OpenGL's (y up, z back) are expected: negate the 2nd and 3rd column of "
            "each transform_matrix. Or the cameras look outwards, away from each other: an object must be "
            "photographed from around it"
        )
        return [*problems, Problem(source, message)]
    message = "looks away from the point that the other cameras look at: is its pose wrong?"
    return problems + [Problem(view.path, message) for view, sees in zip(views, seen) if not sees]


def _sees(views: Sequence[View], point: np.ndarray) -> np.ndarray:
    """Which views have a point [3] of the world in their picture: bool [n]."""
    found = []
    for view in views:
        pose = view.world_from_camera
        x, y, z = pose[:3, :3].T @ (point - pose[:3, 3])
        found.append(
            z < 0  # cameras look along -z
            and 0 <= view.cx - view.fx * x / z <= view.width
            and 0 <= view.cy + view.fy * y / z <= view.height
        )
    return np.array(found)


def undistort(image: np.ndarray, view: View) -> tuple[np.ndarray, View]:
    """Photo and view of the pinhole camera that shows the largest part of the photo without a border.

    Args: image: [h, w] or [h, w, c], the photo of the view; returned as it is where nothing is distorted.
    Raises: ValueError where the image is not of the view's size.
    """
    if image.shape[:2] != (view.height, view.width):
        raise ValueError(
            f"{view.path}: the image is {image.shape[1]}x{image.shape[0]}, "
            f"expected {view.width}x{view.height}."
        )
    if not view.distortion:
        return image, view
    pinhole = pinhole_of(view)
    return straightened(image, view, pinhole), pinhole


def pinhole_of(view: View) -> View:
    """The pinhole camera that shows the largest part of a view's photo without a border."""
    matrix, coefficients = _matrix(view), _coefficients(view)
    size = (view.width, view.height)
    if view.model == FISHEYE:
        new = cv2.fisheye.estimateNewCameraMatrixForUndistortRectify(
            matrix, coefficients, size, np.eye(3), balance=0.0
        )
    else:
        new, _ = cv2.getOptimalNewCameraMatrix(matrix, coefficients, size, 0.0)
    return dataclasses.replace(
        view,
        fx=float(new[0, 0]),
        fy=float(new[1, 1]),
        cx=float(new[0, 2]) + 0.5,
        cy=float(new[1, 2]) + 0.5,
        model="PINHOLE",
        distortion=(),
    )


def straightened(image: np.ndarray, view: View, pinhole: View) -> np.ndarray:
    """A view's photo [h, w] or [h, w, c] as a pinhole camera at its place shows it."""
    module = cv2.fisheye if view.model == FISHEYE else cv2
    x, y = module.initUndistortRectifyMap(
        _matrix(view),
        _coefficients(view),
        np.eye(3),
        _matrix(pinhole),
        (view.width, view.height),
        cv2.CV_32FC1,
    )
    return cv2.remap(image, x, y, cv2.INTER_LINEAR)


def bent(image: np.ndarray, view: View, pinhole: View) -> np.ndarray:
    """The other way: a pinhole's picture [h, w] as the view's photo shows it; 0 where only the photo sees."""
    module = cv2.fisheye if view.model == FISHEYE else cv2
    rows, columns = np.mgrid[: view.height, : view.width]
    places = np.stack([columns, rows], -1).reshape(-1, 1, 2).astype(np.float64)
    new = _matrix(pinhole)
    found = module.undistortPoints(places, _matrix(view), _coefficients(view), R=np.eye(3), P=new)
    x, y = np.moveaxis(found.reshape(view.height, view.width, 2).astype(np.float32), -1, 0)
    return cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)


def scaled(view: View, width: int, height: int) -> View:
    """The same camera with a picture of another size."""
    x, y = width / view.width, height / view.height
    return dataclasses.replace(
        view,
        width=width,
        height=height,
        fx=view.fx * x,
        fy=view.fy * y,
        cx=view.cx * x,
        cy=view.cy * y,
    )


def _matrix(view: View) -> np.ndarray:
    """[3, 3], in OpenCV's places: the first pixel's centre is at (0, 0) there, ours at (0.5, 0.5)."""
    return np.array([[view.fx, 0, view.cx - 0.5], [0, view.fy, view.cy - 0.5], [0, 0, 1]])


def _coefficients(view: View) -> np.ndarray:
    """As OpenCV wants them, four or more."""
    return np.pad(np.array(view.distortion, np.float64), (0, max(0, 4 - len(view.distortion))))
