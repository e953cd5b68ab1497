"""Reader of MAD's folders: classes, views, poses, pictures over white; knows nothing of TFDS."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ipad_jax.data_builders.encoding import encode, resize_mask
from ipad_jax.data_builders.files import DataError, Problem, read_image
from ipad_jax.data_builders.object_folder import transforms
from ipad_jax.data_builders.shrink import shrink

SIM_CLASSES = (
    "01Gorilla",
    "02Unicorn",
    "03Mallard",
    "04Turtle",
    "05Whale",
    "06Bird",
    "07Owl",
    "08Sabertooth",
    "09Swan",
    "10Sheep",
    "11Pig",
    "12Zalika",
    "13Pheonix",  # the archive's own spelling
    "14Elephant",
    "15Parrot",
    "16Cat",
    "17Scorpion",
    "18Obesobeso",
    "19Bear",
    "20Puppy",
)
# Nobody here has seen MAD-Real: its ten class folders are taken by their order, not by name, so all
# ten must be there for a number to mean the same class everywhere.
REAL_CLASSES = tuple(f"real{number:02d}" for number in range(1, 11))
GOOD = "good"
SAME_ASPECT = 0.01  # relative
SIDE = 800  # pixels of the archive's pictures

TREE = """
    DIR/MAD-Sim/<class>/train/good/<N>.png
    DIR/MAD-Sim/<class>/test/{Burrs,Missing,Stains,good}/<N>.png
    DIR/MAD-Sim/<class>/ground_truth/<defect>/<N>_mask.png
    DIR/MAD-Sim/<class>/transforms.json
with <class> one of 01Gorilla..20Puppy; for real01..real10 all ten folders of DIR/MAD-Real, by
name, with the same train/ and test/ (masks and transforms.json may be absent)."""


@dataclasses.dataclass(frozen=True)
class View:
    """One image of a class before it is loaded."""

    path: Path
    defect: int  # index into the metadata's defects; 0 = good
    mask: Path | None = None
    world_from_camera: np.ndarray | None = None  # float32 [4, 4]


def focal(width: int, camera_angle_x: float) -> float:
    """Focal length in pixels of a picture `width` pixels wide seen under an angle in radians."""
    return width / 2 / float(np.tan(camera_angle_x / 2))


def find_class(manual_dir: Path, name: str) -> Path:
    """Folder of a class.

    Raises: ValueError on an unknown class; FileNotFoundError naming what was looked for.
    """
    if name in REAL_CLASSES:
        looked = [manual_dir / "MAD-Real", manual_dir / "MAD-Real" / "MAD-Real", manual_dir]
        root = next((p for p in looked if p.is_dir() and p.name.startswith("MAD-Real")), None)
        folders = sorted(p for p in root.iterdir() if (p / "test").is_dir()) if root else []
        if len(folders) == len(REAL_CLASSES):
            return folders[REAL_CLASSES.index(name)]
        found = f" ({', '.join(p.name for p in folders)})" if folders else ""
        raise FileNotFoundError(
            f"MAD class {name} is counted among the {len(REAL_CLASSES)} class folders of MAD-Real, "
            f"but {len(folders)} were found below {manual_dir}{found}; unpack the whole archive "
            "and nothing else there. Expected:" + TREE.replace("DIR", str(manual_dir))
        )
    if name not in SIM_CLASSES:
        raise ValueError(
            f"unknown MAD class {name!r}; choose one of {', '.join(SIM_CLASSES + REAL_CLASSES)}."
        )
    looked = [
        manual_dir / "MAD-Sim" / name,
        manual_dir / "MAD-Sim" / "MAD-Sim" / name,
        manual_dir / name,
    ]
    for folder in looked:
        if folder.is_dir():
            return folder
    raise FileNotFoundError(
        f"MAD class {name} was not found; looked for {', '.join(map(str, looked))}. Expected:"
        + TREE.replace("DIR", str(manual_dir))
    )


def read_class(
    folder: Path, *, require_poses: bool
) -> tuple[dict[str, list[View]], list[str], float | None]:
    """Reads which images a class has, without opening them.

    Returns: views of train and test in order; names of the defects, "good" first;
        camera_angle_x in radians, None without transforms.json.
    Raises: DataError naming every file that is wrong, and poses that cannot be: see `transforms.check_views`.
    """
    problems: list[Problem] = []
    poses, angle = _read_poses(folder / "transforms.json", require_poses, problems)
    train_folder = folder / "train" / GOOD
    train = []
    for path in _images(train_folder):
        name = path.relative_to(folder).as_posix()
        if angle is not None and name not in poses:
            problems.append(Problem(path, "has no pose in transforms.json"))
        train.append(View(path, 0, None, poses.pop(name, None)))
    if not train:
        problems.append(Problem(train_folder, "holds no images; expected <N>.png"))
    problems += [
        Problem(folder / name, "is named in transforms.json but missing") for name in poses
    ]
    test_folder = folder / "test"
    names = (
        sorted(p.name for p in test_folder.iterdir() if p.is_dir()) if test_folder.is_dir() else []
    )
    defects = [GOOD, *(name for name in names if name != GOOD)]
    test = []
    for name in names:
        for path in _images(test_folder / name):
            mask = folder / "ground_truth" / name / f"{path.stem}_mask.png"
            test.append(View(path, defects.index(name), mask if mask.is_file() else None))
    if not test:
        problems.append(Problem(test_folder, "holds no images; expected <defect>/<N>.png"))
    if problems:
        raise DataError(problems)
    return {"train": train, "test": test}, defects, angle


def _images(folder: Path) -> list[Path]:
    """PNG and JPEG files in numeric order."""
    if not folder.is_dir():
        return []
    found = [
        p
        for p in folder.iterdir()
        if p.suffix.lower() in (".png", ".jpg", ".jpeg") and not p.name.startswith(".")
    ]
    return sorted(found, key=lambda p: (int(p.stem) if p.stem.isdigit() else -1, p.name))


def _read_poses(
    path: Path, required: bool, problems: list[Problem]
) -> tuple[dict[str, np.ndarray | None], float | None]:
    """World-from-camera matrices by image path, and the horizontal angle of view in radians.

    None for a matrix that is told as a problem.
    """
    if not path.is_file():
        if required:
            problems.append(Problem(path, "is missing; training views need their camera poses"))
        return {}, None
    try:
        content = json.loads(path.read_text())
        angle = float(content["camera_angle_x"])
        frames = [
            (str(frame["file_path"]).removeprefix("./"), frame) for frame in content["frames"]
        ]
        if not 0 < angle < np.pi:
            raise ValueError(f"camera_angle_x={angle} must be in (0, pi) radians")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        problems.append(
            Problem(path, f"cannot be read ({error!r}); expected camera_angle_x and frames")
        )
        return {}, None
    poses: dict[str, np.ndarray | None] = {}
    cameras = []
    for name, frame in frames:
        name = name if Path(name).suffix else f"{name}.png"
        poses[name] = None
        try:
            pose = transforms.rigid_pose(frame)
        except ValueError as error:
            problems.append(Problem(path.parent / name, str(error)))
            continue
        poses[name] = pose.astype(np.float32)
        cameras.append(posed(path.parent / name, (SIDE, SIDE), angle, pose))
    problems += transforms.check_views(cameras, path)
    return poses, angle


def posed(
    path: Path, size: tuple[int, int], camera_angle_x: float, pose: np.ndarray
) -> transforms.View:
    """The camera of a training view: of a picture of (width, height) pixels, world_from_camera [4, 4]."""
    width, height = size
    focal_px = focal(width, camera_angle_x)
    return transforms.View(
        path, width, height, focal_px, focal_px, width / 2, height / 2, np.asarray(pose, np.float64)
    )


def read_over_white(path: Path) -> np.ndarray:
    """Reads an image and lays it over white where it is transparent.

    Returns: [h, w, 3] uint8 BGR.
    Raises: ValueError naming a file that is no whole image.
    """
    image = read_image(path, cv2.IMREAD_UNCHANGED)
    if image.dtype == np.uint16:
        image = (image // 257).astype(np.uint8)
    if image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    if image.shape[2] == 3:
        return image
    alpha = image[..., 3:].astype(np.float32) / 255
    return np.rint(image[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)


def encode_views(
    views: Iterable[View],
    folder: Path,
    camera_angle_x: float | None,
    size: tuple[int, int],
) -> Iterator[dict[str, Any]]:
    """Loads, resizes and encodes views, one after the other.

    Args:
        folder: of the class, which names are relative to.
        camera_angle_x: in radians; None without poses.
        size: (width, height) of the stored picture.
    Yields: records.
    Raises: ValueError from a view that cannot be loaded, naming the file.
    """
    unknown = np.full((4, 4), np.nan, np.float32)
    for view in views:
        image, mask = _encode(view, size)
        posed = view.world_from_camera is not None and camera_angle_x is not None
        yield {
            "image": image,
            "name": str(view.path.relative_to(folder)),
            "label": min(view.defect, 1),
            "defect": view.defect,
            "mask": mask,
            "world_from_camera": view.world_from_camera if posed else unknown,
            "focal_px": focal(size[0], camera_angle_x) if posed else np.nan,
        }


def _encode(view: View, size: tuple[int, int]) -> tuple[bytes, bytes]:
    """PNG of the image, and of its mask: zero where good, b"" where unknown."""
    image = read_over_white(view.path)
    height, width = image.shape[:2]
    stretched = abs(width * size[1] / (height * size[0]) - 1) > SAME_ASPECT
    if view.world_from_camera is not None and stretched:
        raise ValueError(
            f"{view.path}: is {width}x{height}; --size {size[0]}x{size[1]} would "
            "stretch it, and one focal length could not describe it; keep the aspect ratio"
        )
    png = encode(".png", shrink(image, size))
    if view.defect == 0:
        return png, encode(".png", np.zeros(size[::-1], np.uint8))
    if view.mask is None:
        return png, b""
    mask = read_image(view.mask, cv2.IMREAD_GRAYSCALE)
    if mask.shape != (height, width):
        raise ValueError(f"{view.mask}: is {mask.shape[::-1]}; its image is {width}x{height}")
    return png, encode(".png", resize_mask(mask, size))
