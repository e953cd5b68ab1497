"""Camera poses of photos from a printed ChArUco board in them, by OpenCV's detector and calibration.

The lens is calibrated on photos that show the board well, one lens for all; each photo's pose follows from
its corners alone (Zhang, PAMI 2000). OpenCV has the first pixel's centre at (0, 0), `transforms.json` at
(0.5, 0.5).
"""

import collections
import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ipad_jax.data_builders.files import DataError, Problem
from ipad_jax.data_builders.objects import FEWEST
from ipad_jax.data_builders.photos import is_photo, read_photo
from ipad_jax.prepare.board import Board
from ipad_jax.run.files import write_atomic

FILE = "transforms.json"
LEAST_CORNERS = 6  # of a photo; four leave no check
MOST_PHOTOS = 40  # that the lens is calibrated on
ERROR_PX = 1.0  # of a photo, root mean square; also this many times the median are let pass
ERROR_TIMES = 3.0
OWN_CENTRE = 0.01  # of the width: a principal point less certain is taken for the middle
FOCAL_SHARE = 0.02  # a focal length less certain is none

# The board has x right, y down and z into the paper; the world has y up the page and z up from it.
WORLD_FROM_BOARD = np.diag([1.0, -1.0, -1.0, 1.0])
GL_FROM_CV = np.diag([1.0, -1.0, -1.0, 1.0])  # axes of a camera


@dataclasses.dataclass(frozen=True)
class Seen:
    """A photo and the board's corners in it.

    Attributes:
      size: width and height in pixels, upright.
      places: float32 [n, 2] in pixels, OpenCV's.
      points: float32 [n, 3] on the board, in metres.
    """

    path: Path
    size: tuple[int, int]
    places: np.ndarray
    points: np.ndarray


@dataclasses.dataclass(frozen=True)
class Lens:
    """One pinhole with radial distortion: matrix float64 [3, 3] of OpenCV, coefficients k1, k2."""

    matrix: np.ndarray
    coefficients: np.ndarray
    own_centre: bool  # whether the photos tell the principal point

    @property
    def opencv(self) -> np.ndarray:
        """k1, k2, p1, p2."""
        return np.array([*self.coefficients, 0.0, 0.0])


@dataclasses.dataclass(frozen=True)
class BoardPoses:
    """What the photos of a folder tell.

    Attributes:
      lens: of all photos. size: width and height in pixels.
      poses: world_from_camera float64 [4, 4] by photo, OpenGL's axes, in metres above the board.
      errors: root mean square of the reprojection in pixels, by photo.
      failed: why a photo has no pose, by photo.
    """

    lens: Lens
    size: tuple[int, int]
    poses: dict[Path, np.ndarray]
    errors: dict[Path, float]
    failed: dict[Path, str]

    def summary(self) -> str:
        """What a person should know, in lines."""
        errors = np.array(list(self.errors.values()))
        matrix, (width, height) = self.lens.matrix, self.size
        eyes = np.stack([pose[:3, 3] for pose in self.poses.values()])
        about = eyes - eyes.mean(axis=0) * (1, 1, 0)
        elevation = np.degrees(np.arctan2(about[:, 2], np.hypot(about[:, 0], about[:, 1])))
        turn = np.sort(np.degrees(np.arctan2(about[:, 1], about[:, 0])))
        gap = np.max(np.diff(np.append(turn, turn[0] + 360)))
        k1, k2 = self.lens.coefficients
        centre = f"{matrix[0, 2] + 0.5:.1f}, {matrix[1, 2] + 0.5:.1f}"
        if not self.lens.own_centre:
            centre += " (taken for the middle: the photos do not tell it)"
        lines = [
            f"poses: {len(self.poses)} of {len(self.poses) + len(self.failed)} photos of {width}x{height}",
            f"reprojection error: median {np.median(errors):.2f} px, largest {errors.max():.2f} px",
            f"lens: focal length {matrix[0, 0]:.1f} px, principal point {centre}, k1 {k1:.4f}, k2 {k2:.4f}",
            f"cameras: {elevation.min():.0f} to {elevation.max():.0f} degrees above the board, the largest "
            f"gap around it {gap:.0f} degrees",
        ]
        lines += [f"failed: {path.name}: {why}" for path, why in self.failed.items()]
        return "\n".join(lines)


def photos_of(folder: Path) -> list[Path]:
    """The training photos of an object's folder: in train/good, in images, or in itself; sorted.

    Raises: FileNotFoundError: no such folder, or no photo in it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder of photos.")
    for place in (folder / "train" / "good", folder / "images", folder):
        found = sorted(p for p in place.iterdir() if is_photo(p)) if place.is_dir() else []
        if found:
            return found
    raise FileNotFoundError(f"{folder}: no photos in it, in its images/ or in its train/good/.")


def poses_of(
    photos: Sequence[Path],
    board: Board,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> BoardPoses:
    """Lens and poses of photos that show a board.

    Raises:
      DataError: fewer photos have a pose than an object needs; names every one that failed.
      ValueError: the photos do not tell the focal length.
    """
    seen, failed = [], {}
    for number, path in enumerate(photos):
        try:
            seen.append(find_corners(path, board))
        except ValueError as error:
            failed[path] = str(error).removeprefix(f"{path}: ")
        progress(number + 1, len(photos))
    if seen:
        size = collections.Counter(s.size for s in seen).most_common(1)[0][0]
        for other in [s for s in seen if s.size != size]:
            failed[other.path] = (
                f"is {other.size[0]}x{other.size[1]} pixels, most photos are {size[0]}x{size[1]}"
            )
        seen = [s for s in seen if s.size == size]
    _check_count(seen, failed)
    lens, poses, errors = _solve(seen)
    limit = max(ERROR_PX, ERROR_TIMES * float(np.median(errors)))
    good = [s for s, error in zip(seen, errors) if error <= limit]
    for one, error in zip(seen, errors):
        if error > limit:
            failed[one.path] = (
                f"reprojection error {error:.1f} px: is it blurred, or the board bent?"
            )
    _check_count(good, failed)
    if len(good) < len(seen):
        lens, poses, errors = _solve(good)
    paths = [s.path for s in good]
    ordered = {path: failed[path] for path in photos if path in failed}
    return BoardPoses(lens, size, dict(zip(paths, poses)), dict(zip(paths, errors)), ordered)


def find_corners(path: Path, board: Board) -> Seen:
    """The board's inner corners in a photo.

    Raises: ValueError: it cannot be read, or shows too little of the board.
    """
    grey = cv2.cvtColor(read_photo(path), cv2.COLOR_RGB2GRAY)
    charuco: Any = board.charuco  # OpenCV's stubs want many arrays of corners, its code wants one
    corners, numbers, markers, _ = cv2.aruco.CharucoDetector(charuco).detectBoard(grey)
    count = 0 if numbers is None else len(numbers)
    if not count:
        shown = (
            "none of its markers"
            if not len(markers)
            else f"{len(markers)} of its markers, no corner"
        )
        raise ValueError(f"{path}: the board was not found: {shown}")
    if count < LEAST_CORNERS:
        raise ValueError(
            f"{path}: {count} corners of the board were found, {LEAST_CORNERS} are needed"
        )
    points, places = charuco.matchImagePoints(corners, numbers)
    points, places = points.reshape(-1, 3), places.reshape(-1, 2)
    if np.linalg.svd(points - points.mean(axis=0), compute_uv=False)[1] < board.square_mm / 2000:
        raise ValueError(f"{path}: the corners found lie in one line")
    return Seen(path, (grey.shape[1], grey.shape[0]), places, points)


def _check_count(seen: Sequence[Seen], failed: dict[Path, str]) -> None:
    if len(seen) >= FEWEST:
        return
    problems = [Problem(path, why) for path, why in failed.items()]
    about = (
        f"{len(seen)} photos show the board well enough, at least {FEWEST} are needed: photograph it from "
        "nearer and sharply, or print a larger one; is --board the one that was printed?"
    )
    raise DataError([*problems, Problem(Path("photos"), about)])


def _solve(seen: Sequence[Seen]) -> tuple[Lens, list[np.ndarray], list[float]]:
    """Lens, poses world_from_camera and reprojection errors of photos of one size."""
    most = sorted(seen, key=lambda s: -len(s.places))
    chosen = most[: max(MOST_PHOTOS, len(seen) // 2)]
    chosen = chosen[:: max(1, len(chosen) // MOST_PHOTOS)]
    lens = calibrated(chosen)
    found = [pose_of(one, lens) for one in seen]
    return lens, [pose for pose, _ in found], [error for _, error in found]


def calibrated(seen: Sequence[Seen]) -> Lens:
    """The lens that photos of a board tell.

    Raises: ValueError: they do not tell the focal length, all having the board at one slant.
    """
    width, height = seen[0].size
    start = np.array([[width, 0, (width - 1) / 2], [0, width, (height - 1) / 2], [0, 0, 1.0]])
    flags = cv2.CALIB_USE_INTRINSIC_GUESS | cv2.CALIB_FIX_ASPECT_RATIO
    flags |= cv2.CALIB_ZERO_TANGENT_DIST | cv2.CALIB_FIX_K3
    points, places = [s.points for s in seen], [s.places for s in seen]
    middle = cv2.CALIB_FIX_PRINCIPAL_POINT
    own_centre = True
    # what the photos do not tell is left out
    for more in (0, cv2.CALIB_FIX_K2, cv2.CALIB_FIX_K2 | middle):
        own_centre = not more & middle
        _, matrix, coefficients, _, _, spread, _, _ = cv2.calibrateCameraExtended(
            points, places, (width, height), start.copy(), np.zeros(5), flags=flags | more
        )
        spread = spread.ravel()  # fx (0: it follows fy), fy, cx, cy, k1, k2, ...
        bends_twice = abs(coefficients.ravel()[1]) > 3 * spread[5]
        if max(spread[2:4]) <= OWN_CENTRE * width and (more or bends_twice):
            break
    if not spread[1] < FOCAL_SHARE * matrix[0, 0] or not 0.3 < matrix[0, 0] / width < 5:
        raise ValueError(
            f"the photos do not tell the focal length ({matrix[0, 0]:.0f} +- {spread[1]:.0f} px in pictures "
            f"{width} px wide): photograph the board from lower and from higher too."
        )
    return Lens(matrix, coefficients.ravel()[:2], own_centre)


def pose_of(seen: Seen, lens: Lens) -> tuple[np.ndarray, float]:
    """world_from_camera float64 [4, 4] of a photo, and the root mean square reprojection error in pixels.

    A plane seen from afar has two poses that look alike; the one that fits better after refinement is taken.
    """
    arguments = (seen.points, seen.places, lens.matrix, lens.opencv)
    _, turns, moves, _ = cv2.solvePnPGeneric(*arguments, flags=cv2.SOLVEPNP_IPPE)
    found = []
    for turn, move in zip(turns, moves):
        turn, move = cv2.solvePnPRefineLM(*arguments, turn, move)
        again, _ = cv2.projectPoints(seen.points, turn, move, lens.matrix, lens.opencv)
        off = np.square(again.reshape(-1, 2) - seen.places).sum(axis=1)
        found.append((float(np.sqrt(off.mean())), turn, move))
    error, turn, move = min(found, key=lambda one: one[0])
    camera_from_board = np.eye(4)
    camera_from_board[:3, :3], camera_from_board[:3, 3] = cv2.Rodrigues(turn)[0], move.ravel()
    return WORLD_FROM_BOARD @ np.linalg.inv(camera_from_board) @ GL_FROM_CV, error


def write_transforms(folder: Path, found: BoardPoses, board: Board) -> Path:
    """Writes `transforms.json` of nerfstudio's form, which `prepare object_folder` reads."""
    matrix, (width, height) = found.lens.matrix, found.size
    k1, k2 = (float(k) for k in found.lens.coefficients)
    content: dict[str, Any] = {
        "camera_model": "OPENCV",
        "fl_x": float(matrix[0, 0]),
        "fl_y": float(matrix[1, 1]),
        "cx": float(matrix[0, 2]) + 0.5,
        "cy": float(matrix[1, 2]) + 0.5,
        "w": width,
        "h": height,
        "k1": k1,
        "k2": k2,
        "p1": 0.0,
        "p2": 0.0,
        "board": str(board),
        "upright": True,  # poses of the photos as they are to be seen, whatever their EXIF orientation
        "left_out": {p.relative_to(folder).as_posix(): why for p, why in found.failed.items()},
        "frames": [
            {
                "file_path": path.relative_to(folder).as_posix(),
                "transform_matrix": pose.tolist(),
                "reprojection_px": round(found.errors[path], 3),
            }
            for path, pose in found.poses.items()
        ],
    }
    path = folder / FILE
    write_atomic(path, json.dumps(content, indent=1).encode())
    return path
