"""Small images in MVTec's layout, drawn: stripes, and a bright spot as the defect."""

from pathlib import Path

import cv2
import numpy as np

SIZE = (32, 40)  # height, width


def stripes(number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A good image, uint8 [h, w, 3]: its stripes move with the number."""
    y, x = np.mgrid[: size[0], : size[1]]
    shade = 110 + 60 * np.sin((x + y + number % 5) / 3)
    noise = np.random.default_rng(number).normal(0, 3, (*size, 3))
    return np.clip(shade[..., None] + np.array([0, 20, -20]) + noise, 0, 255).astype(np.uint8)


def spot(number: int, size: tuple[int, int] = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """A defective image and its mask, uint8 [h, w] of 0 and 255."""
    image, mask = stripes(number, size), np.zeros(size, np.uint8)
    y, x = 6 + number * 5 % (size[0] - 16), 6 + number * 7 % (size[1] - 16)
    image[y : y + 8, x : x + 8] = (250, 240, 30)
    mask[y : y + 8, x : x + 8] = 255
    return image, mask


def write(path: Path, image: np.ndarray) -> Path:
    """Writes RGB, grey or RGBA as the name's ending says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    swapped = image if image.ndim == 2 else image[..., [2, 1, 0, 3][: image.shape[2]]]
    if path.suffix.lower() not in (".png", ".jpg", ".tif", ".bmp", ".webp"):
        raise ValueError(path.suffix)
    data = cv2.imencode(path.suffix.lower(), np.ascontiguousarray(swapped))[1]
    path.write_bytes(data.tobytes())
    return path


def write_folder(folder: Path, train: int = 10, good: int = 3, spots: int = 3) -> Path:
    """A folder of such images; test images go on where training stopped."""
    for number in range(train):
        write(folder / "train/good" / f"{number:03d}.png", stripes(number))
    for number in range(good):
        write(folder / "test/good" / f"{number:03d}.png", stripes(100 + number))
    for number in range(spots):
        image, mask = spot(200 + number)
        write(folder / "test/spot" / f"{number:03d}.png", image)
        write(folder / "ground_truth/spot" / f"{number:03d}_mask.png", mask)
    return folder


def prepare(folder: Path, data_dir: Path, name: str = "stripes"):
    """Builds the dataset of a folder; its builder."""
    from ipad_jax.data_builders.image_folder.image_folder_dataset_builder import (
        Builder,
        ImageFolderConfig,
    )
    from ipad_jax.prepare.build import prepare

    config = ImageFolderConfig(name=name, source=str(folder))
    return prepare(Builder, config, str(data_dir))[0]


def trained(spec, data_dir, folder, **leaves):
    """A run folder on the drawn set `stripes`, fitted and calibrated."""
    from ipad_jax.image.detector import calibrate
    from ipad_jax.training.loop import train

    train(image_config(spec, data_dir, **leaves), str(folder), progress=lambda *_: None)
    calibrate(folder)
    return folder


def image_config(spec, data_dir, **leaves):
    """A config on the drawn set `stripes`."""
    from ipad_jax.run.config import load_config

    return load_config(
        spec, {"data.name": "stripes", "data.data_dir": str(data_dir), "seed": 3} | leaves
    )
