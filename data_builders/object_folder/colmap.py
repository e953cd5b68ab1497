"""Camera poses of a COLMAP model: cameras and images, text or binary (colmap/scene/reconstruction_io.cc).

Host-side and without JAX. COLMAP keeps camera-from-world and looks along +z with y down; ours is turned to
world-from-camera and OpenGL's axes. Its first pixel's centre is (0.5, 0.5), as ours.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ipad_jax.data_builders.files import DataError, Problem
from ipad_jax.data_builders.object_folder.transforms import MODELS, View, check_photo, check_views

# Numbers of a camera by model, in COLMAP's order; the place in the list is its number in a binary file.
_PARAMETERS = {
    "SIMPLE_PINHOLE": ("f", "cx", "cy"),
    "PINHOLE": ("fx", "fy", "cx", "cy"),
    "SIMPLE_RADIAL": ("f", "cx", "cy", "k1"),
    "RADIAL": ("f", "cx", "cy", "k1", "k2"),
    "OPENCV": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2"),
    "OPENCV_FISHEYE": ("fx", "fy", "cx", "cy", "k1", "k2", "k3", "k4"),
}
_NAMES = (
    *_PARAMETERS,
    "FULL_OPENCV",
    "FOV",
    "SIMPLE_RADIAL_FISHEYE",
    "RADIAL_FISHEYE",
    "THIN_PRISM_FISHEYE",
)
PLACES = ("sparse", "colmap/sparse", "colmap")  # a model, or folders 0, 1, ... of one each
PHOTOS = ("images", "train/good", "train", "")


def find_models(folder: Path) -> list[Path]:
    """Folders of the COLMAP models in a folder of photos, the one with the most photos first; may be none.

    COLMAP writes several where it could not join the photos.

    Raises:
        DataError: of several, one cannot be read.
    """
    for place in PLACES:
        own = folder / place
        below = sorted(own.iterdir()) if own.is_dir() else []
        if found := [model for model in (own, *below) if _is_model(model)]:
            return found if len(found) == 1 else sorted(found, key=lambda m: -len(_read(m)[1]))
    return []


def _is_model(folder: Path) -> bool:
    return any((folder / f"cameras.{kind}").is_file() for kind in ("bin", "txt"))


def photos_in_model(model: Path) -> int:
    """Photos that a model has poses of."""
    return len(_read(model)[1])


def read_colmap(model: Path, folder: Path) -> list[View]:
    """Views of a COLMAP model, sorted by their names; photos are looked for below `folder`.

    Raises:
        DataError: a ValueError that names every photo and camera that is wrong.
    """
    cameras, images = _read(model)
    views, problems = [], []
    for name, camera, quaternion, translation in sorted(images, key=lambda image: image[0]):
        photo = _find(folder, name)
        try:
            if camera not in cameras:
                raise ValueError(f"belongs to camera {camera}, which the model does not have")
            views.append(_view(photo, *cameras[camera], quaternion, translation))
        except ValueError as error:
            problems.append(Problem(photo, str(error)))
    problems += check_views(views, model)
    if problems:
        raise DataError(problems)
    return views


def _read(model: Path) -> tuple[dict[int, Any], list[Any]]:
    """Cameras by their numbers, and images.

    Raises: DataError.
    """
    kind = "bin" if (model / "cameras.bin").is_file() else "txt"
    try:
        if kind == "bin":
            cameras = _binary_cameras((model / "cameras.bin").read_bytes())
            return cameras, list(_binary_images((model / "images.bin").read_bytes()))
        cameras = _text_cameras((model / "cameras.txt").read_text())
        return cameras, list(_text_images((model / "images.txt").read_text()))
    except (OSError, ValueError, struct.error, IndexError) as error:
        message = f"cannot be read as a COLMAP model ({error!r})"
        raise DataError([Problem(model, message)]) from error


def _find(folder: Path, name: str) -> Path:
    """Where a photo of the model lies."""
    places = [folder / place / name for place in PHOTOS]
    return next((place for place in places if place.is_file()), places[0])


def _view(
    photo: Path,
    model: str,
    size: tuple[int, int],
    values: tuple[float, ...],
    quaternion: tuple[float, ...],
    translation: tuple[float, ...],
) -> View:
    if model not in _PARAMETERS:
        raise ValueError(
            f"camera model {model} is not read; expected one of {', '.join(_PARAMETERS)}: run COLMAP's "
            "image_undistorter"
        )
    given = dict(zip(_PARAMETERS[model], values, strict=True))
    width, height = check_photo(photo, size)
    rotation = _rotation(quaternion)
    pose = np.eye(4)
    pose[:3, :3] = rotation.T * (1, -1, -1)  # y and z turned: OpenCV's axes to OpenGL's
    pose[:3, 3] = -rotation.T @ np.array(translation)
    distortion = tuple(given.get(name, 0.0) for name in MODELS[model])
    has = any(distortion)
    return View(
        path=photo,
        width=width,
        height=height,
        fx=given.get("fx", given.get("f", 0.0)),
        fy=given.get("fy", given.get("f", 0.0)),
        cx=given["cx"],
        cy=given["cy"],
        world_from_camera=pose,
        model=model if has else "PINHOLE",
        distortion=distortion if has else (),
    )


def _rotation(quaternion: tuple[float, ...]) -> np.ndarray:
    """Rotation matrix [3, 3] of w, x, y, z."""
    w, x, y, z = np.array(quaternion) / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("#")]


def _text_cameras(text: str) -> dict[int, Any]:
    found = {}
    for line in filter(str.strip, _lines(text)):
        number, model, width, height, *values = line.split()
        found[int(number)] = (model, (int(width), int(height)), tuple(map(float, values)))
    return found


def _text_images(text: str) -> Iterator[tuple[str, int, tuple[float, ...], tuple[float, ...]]]:
    lines = _lines(text)
    while lines and not lines[0].strip():
        lines = lines[1:]
    for line in lines[::2]:  # every second line has the 2-D points, and may be empty
        if not line.strip():
            continue
        words = line.split(maxsplit=9)
        numbers = tuple(map(float, words[1:8]))
        yield words[9].strip(), int(words[8]), numbers[:4], numbers[4:]


def _binary_cameras(data: bytes) -> dict[int, Any]:
    (count,), at, found = struct.unpack_from("<Q", data), 8, {}
    for _ in range(count):
        number, model, width, height = struct.unpack_from("<iiQQ", data, at)
        at += 24
        name = _NAMES[model]
        size = len(_PARAMETERS.get(name, ()))
        if not size:
            raise ValueError(f"camera model {name} is not read: run COLMAP's image_undistorter")
        found[number] = (name, (width, height), struct.unpack_from(f"<{size}d", data, at))
        at += 8 * size
    return found


def _binary_images(
    data: bytes,
) -> Iterator[tuple[str, int, tuple[float, ...], tuple[float, ...]]]:
    (count,), at = struct.unpack_from("<Q", data), 8
    for _ in range(count):
        _, *numbers, camera = struct.unpack_from("<i7di", data, at)
        at += 64
        end = data.index(b"\0", at)
        name = data[at:end].decode()
        (points,) = struct.unpack_from("<Q", data, end + 1)
        at = end + 9 + 24 * points
        yield name, camera, tuple(numbers[:4]), tuple(numbers[4:])
