"""Video files of any kind, written by FFmpeg for the tests: codecs, tags, times, fields, damage."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

SIZE = (64, 96)  # height, width


def scene(number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A BGR picture of a textured plate over which a block goes round once in 25 pictures."""
    height, width = size
    plate = np.random.default_rng(7).integers(60, 120, (height // 8, width // 8, 3), np.uint8)
    image = plate.repeat(8, 0).repeat(8, 1)
    turn = 2 * np.pi * number / 25
    row, column = (
        int(side / 2 + side / 4 * part) for side, part in zip(size, (np.sin(turn), np.cos(turn)))
    )
    image[row - 6 : row + 6, column - 6 : column + 6] = (40, 200, 230)
    noise = np.random.default_rng(number).integers(-3, 4, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def write(
    path: Path,
    pictures: Sequence[np.ndarray] | int = 75,
    *,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    fps: int = 25,
    times: Sequence[float] | None = None,
    options: dict[str, str] | None = None,
    rotation: int | None = None,
    change: Callable[[av.VideoFrame], None] | None = None,
) -> Path:
    """Writes BGR pictures (or that many of `scene`), at `times` in seconds or evenly."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options = dict(options or {})
    if codec == "libx264":  # whose vector code writes other bytes in one of some fifty files
        options["x264-params"] = ":".join(["asm=0", *filter(None, [options.get("x264-params")])])
    if isinstance(pictures, int):
        pictures = [scene(number) for number in range(pictures)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps, options=options)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pixels
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if rotation is not None:
            stream.set_display_rotation(rotation)
        for number, picture in enumerate(pictures):
            kind = "bgr24" if picture.ndim == 3 else "gray16le"
            frame = av.VideoFrame.from_ndarray(picture, format=kind)
            if times is not None:
                frame.pts, frame.time_base = round(times[number] * 1000), Fraction(1, 1000)
            if change:
                change(frame)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_interlaced(path: Path, count: int = 50, codec: str = "mpeg2video") -> Path:
    """Pictures whose even rows are one scene and whose odd rows the next, coded as two fields."""
    pictures = []
    for number in range(count):
        picture = scene(2 * number)
        picture[1::2] = scene(2 * number + 1)[1::2]
        pictures.append(picture)
    if codec == "libx264":
        return write(path, pictures, options={"x264-params": "tff=1", "preset": "veryfast"})
    return write(path, pictures, codec=codec, options={"flags": "+ilme+ildct", "b": "2M"})


def damage(path: Path, first: float = 1 / 3, last: float = 1 / 2) -> Path:
    """Overwrites a share of the pictures' bytes of an mp4 with noise; its index stays whole."""
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat")
    length = data.index(b"moov") - start
    rng = np.random.default_rng(0)
    for place in range(start + int(length * first), start + int(length * last)):
        data[place] = int(rng.integers(256))
    path.write_bytes(data)
    return path
