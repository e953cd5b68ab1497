"""Frames of video files and folders of frames, as a stream: constant memory, any length.

What a detector sees must be what training saw: files are decoded and brought to the training's rate
by the dataset builder's own code (`timed_frames`, `resample`), and to its size and JPEG quality by
`as_stored`, the same steps in the same order.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from ipad_jax.data_builders.bit_depth import describe_bit_depth, find_bit_depth, read_picture
from ipad_jax.data_builders.damage import Reading, VideoInfo
from ipad_jax.data_builders.decoding import VIDEO_SUFFIXES, creation_time, probe, timed_frames
from ipad_jax.data_builders.files import IMAGE_SUFFIXES, DataError, Problem
from ipad_jax.data_builders.numbered_files import numbered_frames
from ipad_jax.data_builders.shrink import shrink

TimedFrame = tuple[float, np.ndarray]  # seconds from the first frame; [h, w, 3] uint8 RGB


class VideoSource(Protocol):
    """A stream of frames, to be read once.

    Attributes:
      name: of the file or folder.
      fps: frames a second; None unknown.
      num_frames: as the container states it; None unknown.
      problem: after reading, what was wrong with the stream; "" nothing.
      note: after reading, what was odd about it and no harm; "" nothing.
    """

    name: str
    fps: float | None
    num_frames: int | None
    problem: str
    note: str

    def __iter__(self) -> Iterator[TimedFrame]: ...


@dataclass
class VideoFile:
    """A video file, of any ending in `VIDEO_SUFFIXES`.

    Attributes:
      size: width and height, as a player shows it.
      rate_given: a person vouches for `fps`; the file's own times then do not count.
      started_s: seconds since 1970 at its first frame, where its header says when it was made.
    """

    path: Path
    name: str
    fps: float | None
    num_frames: int | None
    info: VideoInfo = field(repr=False)
    rate_given: bool = False
    started_s: float | None = None
    problem: str = ""
    note: str = ""

    def __iter__(self) -> Iterator[TimedFrame]:
        reading = Reading()
        rate = self.fps if self.rate_given else None
        try:
            for time_s, image in timed_frames(self.path, self.info, by_rate=rate, reading=reading):
                yield time_s, cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        except ValueError as error:
            self.problem = str(error) if reading.complete else f"{error}; the rest is unseen."
        finally:
            self.note = self._oddities(reading)

    def _oddities(self, reading: Reading) -> str:
        """What was odd about a file that was read."""
        notes = []
        if reading.uneven_s is not None and not reading.lost and not self.rate_given:
            notes.append(
                f"its frames do not come at an even {self.fps:g} a second (uneven from "
                f"{reading.uneven_s:.1f} s on); they were picked by their times"
            )
        if reading.interlaced:
            notes.append(f"{reading.interlaced:,} of its frames are interlaced; deinterlaced")
        if reading.hung and not self.problem:
            start_s, end_s = reading.hung[0]
            more = f", and {len(reading.hung) - 1} times more" if len(reading.hung) > 1 else ""
            notes.append(
                f"its picture is the same bit for bit from {start_s:.1f} to {end_s:.1f} s{more}: the camera "
                "or its encoder hung"
            )
        return "; ".join(notes)


@dataclass
class FrameFolder:
    """A folder of images, in numeric order; it has no frame rate of its own.

    Attributes:
      bit_depth: of 16-bit pictures, as the run's dataset has it; None: of these pictures themselves.
    """

    path: Path
    files: list[Path] = field(repr=False)
    name: str
    fps: float | None
    num_frames: int | None
    bit_depth: int | None = None
    problem: str = ""
    note: str = ""

    def __iter__(self) -> Iterator[TimedFrame]:
        depth = self.bit_depth or find_bit_depth(self.files)
        if depth:
            self.note = describe_bit_depth(depth)
        for index, file in enumerate(self.files):
            frame = cv2.cvtColor(read_picture(file, depth), cv2.COLOR_BGR2RGB)
            yield index / (self.fps or 1.0), frame


def open_video(path: str | Path, fps: float | None = None) -> VideoFile | FrameFolder:
    """Opens a video file or a folder of frames.

    Args:
      path: a video file, or a folder of images.
      fps: frames a second, where the source states none or a wrong one.

    Raises:
      FileNotFoundError: nothing there.
      ValueError: it cannot be decoded, or the folder's files are not frames numbered without a gap.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; give a video file or a folder of frames.")
    if path.is_dir():
        problems: list[Problem] = []
        files = [file for _, file in numbered_frames(path, problems)]
        if problems:
            raise DataError(problems)
        return FrameFolder(path, files, path.name, fps, len(files))
    try:
        info = probe(path)
    except ValueError as error:
        raise ValueError(f"{path} {error}") from error
    return VideoFile(
        path,
        path.stem,
        fps or info.fps,
        info.frames or None,
        info,
        rate_given=bool(fps),
        started_s=creation_time(path),
    )


def videos_in(path: str | Path) -> list[Path]:
    """The inputs a path stands for: itself, or each video file of a folder that holds such files.

    Raises:
      ValueError: a folder that holds both video files and frames, or whose subfolders hold them.
    """
    path = Path(path)
    if not path.is_dir():
        return [path]
    videos, images = _held(path)
    if videos and images:
        raise ValueError(f"{path} holds both video files and images; give one of them.")
    if not videos and not images:
        below = sorted(p.name for p in path.iterdir() if p.is_dir() and any(_held(p)))
        if below:
            raise ValueError(
                f"{path} holds no video files or frames itself, its subfolders "
                f"{', '.join(below[:5])}{', ...' if len(below) > 5 else ''} do: give one of them."
            )
    return videos or [path]


def _held(folder: Path) -> tuple[list[Path], list[Path]]:
    """Video files and images of a folder; hidden ones (macOS writes ._a.mp4) do not count."""
    files = sorted(p for p in folder.iterdir() if p.name[0] != "." and p.is_file())
    videos = [p for p in files if p.suffix.lower() in VIDEO_SUFFIXES]
    return videos, [p for p in files if p.suffix.lower() in IMAGE_SUFFIXES]


def as_stored(frame: np.ndarray, size: tuple[int, int], quality: int) -> np.ndarray:
    """A frame as a prepared dataset would give it back: resized, and once through JPEG.

    Args:
      frame: [h, w, 3] uint8 RGB, any size.
      size: (height, width) of the dataset.
      quality: its JPEG quality.

    Returns:
      [height, width, 3] uint8 RGB.

    Raises:
      ValueError: not such a frame.
    """
    if not isinstance(frame, np.ndarray):
        raise ValueError(
            f"Got a frame of type {type(frame).__name__}, expected uint8 [h, w, 3] RGB."
        )
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or not frame.size:
        raise ValueError(f"Got a frame {frame.dtype} {frame.shape}, expected uint8 [h, w, 3] RGB.")
    small = shrink(frame, (size[1], size[0]))
    bgr = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB))
