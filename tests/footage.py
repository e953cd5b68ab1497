"""Drawn footage for the tests of builders, prepare and validate: small, deterministic, not real."""

import json
from pathlib import Path

import cv2
import numpy as np

FRAME = (12, 16)  # height, width
MAD_ANGLE = 0.6911  # radians


def picture(seed: int, size: tuple[int, int] = FRAME) -> np.ndarray:
    """A flat BGR colour that says which frame it is; JPEG keeps it to a few grey levels."""
    colour = (20 + 37 * seed % 200, 20 + 91 * seed % 200, 20 + 53 * seed % 200)
    return np.full((*size, 3), colour, np.uint8)


def write_frames(folder: Path, length: int, *, seed: int = 0, digits: int = 3, first: int = 0):
    """Writes `length` numbered JPEGs."""
    folder.mkdir(parents=True)
    for i in range(length):
        cv2.imwrite(str(folder / f"{first + i:0{digits}d}.jpg"), picture(seed + i))


def write_scene(
    scene: Path,
    train: tuple[int, ...] = (6, 6, 5),
    test: tuple[int, ...] = (5, 4),
    labels: tuple[int | None, ...] | None = None,
) -> Path:
    """A scene in IPAD's layout; the last two labels of a test folder are 1.

    Args: lengths of the folders; labels: number of labels of each test folder, None for no file.
    """
    for i, length in enumerate(train, 1):
        # Padding differs between folders, as in IPAD.
        folder = scene / "training" / "frames" / f"{i:02d}"
        write_frames(folder, length, seed=100 * i, digits=3 if i % 2 else 1)
    for i, length in enumerate(test, 1):
        write_frames(scene / "testing" / "frames" / f"{i:02d}", length, seed=1000 * i)
        count = length if labels is None else labels[i - 1]
        if count is not None:
            write_labels(scene, i, [0] * (count - 2) + [1, 1])
    return scene


def write_labels(scene: Path, number: int, labels) -> Path:
    """Writes test_label/NNN.npy."""
    path = scene / "test_label" / f"{number:03d}.npy"
    path.parent.mkdir(exist_ok=True)
    np.save(path, np.asarray(labels))
    return path


def write_sidecars(scene: Path, train: tuple[int, ...], test: tuple[int, ...]) -> None:
    """scene.json, annotations and one mask, as the rendered machines have."""
    kinds = ["normal", "appearance", "position"]
    (scene / "scene.json").write_text(json.dumps({"fps": 25, "kinds": kinds, "cycle_frames": 3.5}))
    for split, lengths in (("training", train), ("testing", test)):
        folder = scene / split / "annotations"
        folder.mkdir()
        for i, n in enumerate(lengths, 1):
            kind = np.zeros(n, np.int8)
            if split == "testing":
                kind[-2:] = 2
            phase = (np.arange(n) / 3.5 % 1).astype(np.float32)
            cycle = (np.arange(n) / 3.5).astype(np.int32)
            np.savez(folder / f"{i:02d}.npz", phase=phase, cycle=cycle, kind=kind)
    mask = np.zeros(FRAME, np.uint8)
    mask[:6, :8] = 255
    masks = scene / "testing" / "masks" / "01"
    masks.mkdir(parents=True)
    cv2.imwrite(str(masks / f"{test[0] - 1:03d}.png"), mask)


def write_video(
    path: Path,
    length: int,
    *,
    fps: float = 25.0,
    seed: int = 0,
    size: tuple[int, int] = (48, 64),
) -> Path:
    """A video file of flat colours; .avi as Motion JPEG, else MPEG-4."""
    path.parent.mkdir(parents=True, exist_ok=True)
    code = "MJPG" if path.suffix == ".avi" else "mp4v"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), fps, size[::-1])
    assert writer.isOpened()
    for i in range(length):
        writer.write(picture(seed + i, size))
    writer.release()
    return path


def write_square(path, num_frames, fault=range(0)):
    """A white square that moves to and fro; a second one stands where there is a fault."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (64, 48))
    for i in range(num_frames):
        picture = np.full((48, 64, 3), 60, np.uint8)
        left = abs(i % 40 - 20) * 2
        picture[10:26, left : left + 16] = 255
        if i in fault:
            picture[34:46, 40:60] = (0, 0, 255)
        writer.write(picture)
    writer.release()
    return path


def mad_pose(number: int) -> np.ndarray:
    """A camera at distance 3.5, turned about the vertical axis."""
    angle = 0.3 * number
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [np.cos(angle), 0, np.sin(angle)],
        [0, 1, 0],
        [-np.sin(angle), 0, np.cos(angle)],
    ]
    matrix[:3, 3] = 3.5 * matrix[:3, 2]
    return matrix


def write_class(folder: Path, train: int = 12, size: int = 40, real: bool = False) -> Path:
    """A class of MAD: a coloured ball on transparent ground, and masks of defects."""
    image = np.zeros((size, size, 4), np.uint8)
    cv2.circle(image, (size // 2, size // 2), size // 4, (30, 60, 200, 255), cv2.FILLED)
    (folder / "train" / "good").mkdir(parents=True)
    for n in range(train):
        cv2.imwrite(str(folder / "train" / "good" / f"{n}.png"), image)
    for defect in ("good", "Stains", "Burrs"):
        (folder / "test" / defect).mkdir(parents=True)
        for n in (0, 2, 10):
            cv2.imwrite(str(folder / "test" / defect / f"{n}.png"), image)
    if real:
        return folder
    for defect in ("Stains", "Burrs"):
        (folder / "ground_truth" / defect).mkdir(parents=True)
        for n in (0, 2, 10):
            mask = np.zeros((size, size), np.uint8)
            mask[10:20, 10 : 20 + n] = 255
            cv2.imwrite(str(folder / "ground_truth" / defect / f"{n}_mask.png"), mask)
    frames = [
        {"file_path": f"./train/good/{n}.png", "transform_matrix": mad_pose(n).tolist()}
        for n in range(train)
    ]
    content = {"camera_angle_x": MAD_ANGLE, "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(content))
    return folder


def read_split(folder: Path, split: str) -> list[dict]:
    """Every record of a prepared split, images decoded by OpenCV to RGB."""
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(str(folder))
    source = builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
    records = []
    for record in source:
        image = cv2.imdecode(np.frombuffer(record["image"], np.uint8), cv2.IMREAD_COLOR)
        records.append({**record, "image": cv2.cvtColor(image, cv2.COLOR_BGR2RGB)})
    return records


def metadata(folder: Path) -> dict:
    """Metadata of a prepared dataset."""
    import tensorflow_datasets as tfds

    return dict(tfds.builder_from_directory(str(folder)).info.metadata)
