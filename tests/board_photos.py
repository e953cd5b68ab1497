"""Photos of a ball on a printed board, drawn in closed form: exact lens, poses and masks."""

import functools
import json

import cv2
import numpy as np
from PIL import Image

from ipad_jax.prepare.board import MODULES, Board

BOARD = Board(7, 5, 30.0)
WIDTH, HEIGHT, FOCAL, CENTRE, K1 = 480, 360, 520.0, (244.5, 176.0), -0.06
BALL = (
    np.array([0.105, -0.075, 0.02]),
    0.02,
)  # centre and radius in metres, on the middle of the board
FINER = 2  # rays a pixel, each way


def pose_of(azimuth, elevation, distance=0.36, roll=0.0):
    """world_from_camera in OpenGL's axes, looking at the ball; angles in radians."""
    flat = np.cos(elevation)
    back = np.array([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)])
    right = np.cross([0, 0, 1], back)
    right /= np.linalg.norm(right)
    up = np.cross(back, right)
    turned = np.cos(roll) * right + np.sin(roll) * up
    pose = np.eye(4)
    pose[:3, :3] = np.stack([turned, np.cross(back, turned), back], axis=1)
    pose[:3, 3] = BALL[0] + distance * back
    return pose


@functools.cache
def lens_rays():
    """Rays of all places of a finer picture in the camera's axes, of length 1: [n, 3]."""
    x, y = np.meshgrid(*((np.arange(n * FINER) + 0.5) / FINER for n in (WIDTH, HEIGHT)))
    matrix = np.array([[FOCAL, 0, CENTRE[0]], [0, FOCAL, CENTRE[1]], [0, 0, 1]])
    places = np.stack([x.ravel(), y.ravel()], -1)[:, None]
    straight = cv2.undistortPoints(places, matrix, np.array([K1, 0, 0, 0]))[:, 0]
    rays = np.stack([straight[:, 0], -straight[:, 1], -np.ones(len(straight))], -1)
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)


def places_of(points, pose):
    """Where a camera shows points [n, 3] of the world, in pixels from the corner: [n, 2]."""
    x, y, z = pose[:3, :3].T @ (points - pose[:3, 3]).T
    x, y = x / -z, -y / -z
    bent = 1 + K1 * (x**2 + y**2)
    return np.stack([CENTRE[0] + FOCAL * x * bent, CENTRE[1] + FOCAL * y * bent], -1)


def photo(pose, rng):
    """Image uint8 [h, w, 3] and the ball's mask bool [h, w]."""
    rays, eye = lens_rays() @ pose[:3, :3].T, pose[:3, 3]
    board, side = BOARD.modules(), BOARD.square_mm / 1000 / MODULES
    hit = eye + rays * (-eye[2] / np.minimum(rays[:, 2], -1e-6))[:, None]
    column, row = np.floor(hit[:, 0] / side).astype(int), np.floor(-hit[:, 1] / side).astype(int)
    paper = (row >= 0) & (row < board.shape[0]) & (column >= 0) & (column < board.shape[1])
    grey = np.full(len(rays), 235.0)
    grey[paper] = board[row[paper], column[paper]] * 0.85 + 15
    along = (rays * (BALL[0] - eye)).sum(1)
    miss = np.square(BALL[0] - eye).sum() - along**2
    ball = miss < BALL[1] ** 2
    grey = grey * (rays[:, 2] < 0) + 120 * (rays[:, 2] >= 0)
    colour = np.repeat(grey[:, None], 3, 1)
    colour[ball] = (190, 60, 40)
    shape = (HEIGHT * FINER, WIDTH * FINER)
    size = (WIDTH, HEIGHT)
    image = cv2.resize(colour.reshape(*shape, 3), size, interpolation=cv2.INTER_AREA)
    mask = cv2.resize(ball.reshape(shape).astype(np.float32), size, interpolation=cv2.INTER_AREA)
    noisy = image + rng.normal(0, 2, image.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8), mask > 0.5


def write_photos(folder, count=10, masks=True):
    """Photos and masks of a ball from all around; one lies turned, as a phone stores it. Poses by name."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    poses = {}
    for number in range(count):
        pose = pose_of(2 * np.pi * number / count, (0.6, 0.95, 1.25)[number % 3], roll=0.1 * number)
        image, mask = photo(pose, rng)
        exif = Image.Exif()
        if number == 1:
            exif[0x0112] = 6  # to be turned by 90 degrees
            image = np.rot90(image)
        Image.fromarray(np.ascontiguousarray(image)).save(
            folder / f"images/{number}.jpg", quality=95, exif=exif
        )
        if masks:
            Image.fromarray(mask).save(folder / f"masks/{number}.png")
        poses[f"{number}.jpg"] = pose
    return poses


def spoil(folder):
    """Three photos of the folder that cannot be posed: their names."""
    images = folder / "images"
    Image.new("RGB", (WIDTH, HEIGHT), "grey").save(images / "no_board.jpg")
    Image.open(images / "0.jpg").resize((WIDTH // 2, HEIGHT // 2)).save(images / "small.jpg")
    (images / "torn.jpg").write_bytes(b"\xff\xd8 torn")
    return {"no_board.jpg", "small.jpg", "torn.jpg"}


def read(folder):
    """The content of transforms.json."""
    return json.loads((folder / "transforms.json").read_text())
