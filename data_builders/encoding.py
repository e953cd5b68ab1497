"""Pictures to the bytes that are stored: all that a worker process needs, and no TFDS, whose import
takes seconds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import cv2
import numpy as np

from ipad_jax.data_builders.frame_folder import Frame
from ipad_jax.data_builders.shrink import shrink


def encode_frames(
    frames: Iterable[Frame], size: tuple[int, int], quality: int
) -> Iterator[dict[str, Any]]:
    """Loads, resizes and encodes frames, one after the other.

    Args: size (width, height) of the stored picture; JPEG quality, 1..100.
    Yields: the fields of a frame record that do not depend on where in the dataset it stands.
    Raises: ValueError from a frame that cannot be loaded, naming the file.
    """
    for frame in frames:
        image, mask = encode_frame(frame, size, quality)
        yield {
            "image": image,
            "label": frame.label,
            "phase": frame.phase,
            "kind": frame.kind,
            "cycle": frame.cycle,
            "mask": mask,
        }


def encode_video(video: Any, size: tuple[int, int], quality: int) -> Iterator[dict[str, Any]]:
    """As `encode_frames`, of a whole video that is opened where this runs."""
    return encode_frames(video.frames(), size, quality)


def encode_frame(frame: Frame, size: tuple[int, int], quality: int) -> tuple[bytes, bytes]:
    """JPEG of the resized image and PNG of the resized mask (b"" without one)."""
    jpeg = frame.load_jpeg() if frame.load_jpeg else encode_image(frame.load(), size, quality)
    if frame.load_mask is None:
        return jpeg, b""
    mask = resize_mask(frame.load_mask()[..., 0], size)
    return jpeg, encode(".png", mask) if mask.any() else b""


def encode_image(image: np.ndarray, size: tuple[int, int], quality: int) -> bytes:
    """JPEG of a BGR uint8 image [h, w, 3] resized to (width, height) by averaging areas."""
    return encode(".jpg", shrink(image, size), [cv2.IMWRITE_JPEG_QUALITY, quality])


def resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes a mask [h, w] uint8 (above 127 is set) to size (width, height), values 0 and 255.

    A pixel is set where at least half of it is covered; where none is, every touched pixel is, so
    that a fault thinner than a pixel of the small picture stays a fault.
    """
    cover = cv2.resize((mask > 127).astype(np.float32), size, interpolation=cv2.INTER_AREA)
    kept = cover >= 0.5
    return (kept if kept.any() else cover > 0).astype(np.uint8) * 255


def encode(suffix: str, image: np.ndarray, options: list[int] | None = None) -> bytes:
    """Encodes a BGR or grey uint8 image; OpenCV writes JPEG and PNG files whose colours are RGB."""
    ok, data = cv2.imencode(suffix, image, options or [])
    if not ok:
        raise ValueError(f"OpenCV could not encode an image of shape {image.shape} as {suffix}.")
    return data.tobytes()
