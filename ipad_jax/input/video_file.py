"""Frames of video files, folders of frames and cameras, as a stream: constant memory, any length.

What a detector sees must be what training saw: frames are brought to the training's rate by their
times (`resample`), and to its size and JPEG quality by `as_stored`, the same steps in the same order
as in the dataset's builder.
"""

import itertools
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from data_builders.frame_folder import IMAGE_SUFFIXES, read_image
from data_builders.video_files import COUNT_TOLERANCE, SAME_RATE, VIDEO_SUFFIXES, probe

TimedFrame = tuple[float, np.ndarray]  # seconds from the first frame; [h, w, 3] uint8 RGB
RATE_WINDOW_S = 5.0  # over which the rate that a camera delivers is judged, again and again


class VideoSource(Protocol):
    """A stream of frames, to be read once.

    Attributes:
      name: of the file, folder or camera.
      fps: frames a second; None unknown.
      num_frames: as the container states it; None unknown.
      live: frames come as they happen.
      problem: after reading, what was wrong with the stream; "" nothing.
    """

    name: str
    fps: float | None
    num_frames: int | None
    live: bool
    problem: str

    def __iter__(self) -> Iterator[TimedFrame]: ...


@dataclass
class VideoFile:
    """A file that OpenCV decodes: mp4, avi, mov, mkv."""

    path: Path
    name: str
    fps: float | None
    num_frames: int | None
    live: bool = False
    problem: str = ""

    def __iter__(self) -> Iterator[TimedFrame]:
        capture = cv2.VideoCapture(str(self.path))
        count, first_s, previous_s = 0, 0.0, -1.0
        try:
            while True:
                ok, image = capture.read()
                if not ok:
                    break
                # Files of varying rate carry true times; some containers carry none.
                time_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000 - first_s
                if not count:
                    first_s, time_s = time_s, 0.0
                if not time_s > previous_s:
                    time_s = count / self.fps if self.fps else previous_s
                previous_s = time_s
                count += 1
                yield time_s, cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        finally:
            capture.release()
        stated = self.num_frames or 0
        if stated - count > max(COUNT_TOLERANCE[0], COUNT_TOLERANCE[1] * stated):
            self.problem = (
                f"{self.path} stops early: {count} of {stated} frames could be decoded; the rest is "
                f"unseen. Copy the file again."
            )


@dataclass
class FrameFolder:
    """A folder of images, in numeric order; it has no frame rate of its own."""

    path: Path
    files: list[Path] = field(repr=False)
    name: str
    fps: float | None
    num_frames: int | None
    live: bool = False
    problem: str = ""

    def __iter__(self) -> Iterator[TimedFrame]:
        for index, file in enumerate(self.files):
            frame = cv2.cvtColor(read_image(file), cv2.COLOR_BGR2RGB)
            yield index / (self.fps or 1.0), frame


@dataclass
class Camera:
    """A camera by number, or a network stream by address."""

    address: str
    name: str
    fps: float | None
    num_frames: int | None = None
    live: bool = True
    problem: str = ""
    _capture: cv2.VideoCapture | None = field(default=None, repr=False)

    def __iter__(self) -> Iterator[TimedFrame]:
        capture, self._capture = self._capture, None
        if capture is None:
            raise ValueError(f"camera {self.address} was read to its end; open it again.")
        count, judged, judged_s = 0, 0, time.monotonic()
        try:
            while True:
                ok, image = capture.read()
                if not ok:
                    break
                count += 1
                elapsed = time.monotonic() - judged_s
                if elapsed > RATE_WINDOW_S:
                    self._judge_rate((count - judged) / elapsed)
                    judged, judged_s = count, time.monotonic()
                yield (count - 1) / (self.fps or 1.0), cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        finally:
            capture.release()
        if not count:
            self.problem = f"camera {self.address} delivered no frame."

    def _judge_rate(self, measured: float) -> None:
        """A camera in the dark, or a machine too slow for it, delivers fewer frames than it says."""
        if self.fps and abs(measured - self.fps) > 0.1 * self.fps:
            self.problem = (
                f"camera {self.address} delivers {measured:.1f} frames a second, not {self.fps:g}: its "
                f"scores are not to be trusted. Fix its exposure time, use a faster machine or a longer "
                f"--stride, or pass the true rate with --fps."
            )
        else:
            self.problem = ""


def open_video(path: str | Path, fps: float | None = None) -> VideoSource:
    """Opens a video file or a folder of frames.

    Args:
      path: mp4, avi, mov, mkv, or a folder of jpg, png, bmp.
      fps: frames a second, where the source states none or a wrong one.

    Raises:
      FileNotFoundError: nothing there.
      ValueError: it cannot be decoded, or the folder holds no images.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; give a video file or a folder of frames.")
    if path.is_dir():
        files = _numbered_frames(path)
        return FrameFolder(path, files, path.name, fps, len(files))
    try:
        stated_fps, count = probe(path)
    except ValueError as error:
        raise ValueError(f"{path} {error}") from error
    return VideoFile(path, path.stem, fps or stated_fps, count or None)


def _numbered_frames(path: Path) -> list[Path]:
    """Images of a folder in the order of the numbers their names end with; no number may lack."""
    files = [p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and p.name[0] != "."]
    if not files:
        raise ValueError(f"{path} holds no frames ({', '.join(IMAGE_SUFFIXES)}).")
    matches = {p: re.search(r"(\d+)$", p.stem) for p in files}
    odd = sorted(p.name for p, match in matches.items() if match is None)
    if odd:
        raise ValueError(
            f"{path}: the names of frames must end with their number, or their order is a guess; got "
            f"{', '.join(odd[:3])}. Rename them 0.jpg, 1.jpg, ..."
        )
    numbers = {p: int(match[1]) for p, match in matches.items() if match}
    files.sort(key=numbers.__getitem__)
    for before, after in itertools.pairwise(files):
        if numbers[after] != numbers[before] + 1:
            raise ValueError(
                f"{path}: {after.name} follows {before.name}; frames that lack or appear twice would "
                f"falsify every time after them. Number the frames without gaps."
            )
    return files


def videos_in(path: str | Path) -> list[Path]:
    """The inputs a path stands for: itself, or each video file of a folder that holds such files.

    Raises:
      ValueError: a folder that holds both video files and frames.
    """
    path = Path(path)
    if not path.is_dir():
        return [path]
    videos = sorted(p for p in path.iterdir() if p.suffix.lower() in VIDEO_SUFFIXES)
    if videos and any(p.suffix.lower() in IMAGE_SUFFIXES for p in path.iterdir()):
        raise ValueError(f"{path} holds both video files and images; give one of them.")
    return videos or [path]


def open_camera(address: str | int, fps: float | None = None) -> Camera:
    """Opens a camera by number or a stream by address (rtsp://...).

    Args:
      address: 0 is the first camera.
      fps: the rate it really delivers; otherwise what it states, which may be nothing.

    Raises:
      ValueError: it cannot be opened.
    """
    number = int(address) if str(address).isdigit() else None
    capture = cv2.VideoCapture(str(address)) if number is None else cv2.VideoCapture(number)
    shown = re.sub(r"//[^/@]*@", "//", str(address))  # user and password stay out of files and logs
    if not capture.isOpened():
        raise ValueError(
            f"camera {shown!r} cannot be opened; give a camera's number (0 is the first; on Linux "
            f"they are /dev/video*) or the address of a stream (rtsp://host/path)."
        )
    stated = capture.get(cv2.CAP_PROP_FPS)
    known = np.isfinite(stated) and 0 < stated <= 1000
    rate = fps or (float(stated) if known else None)
    name = "camera-" + re.sub(r"[^\w.-]+", "_", shown)
    return Camera(shown, name, rate, _capture=capture)


def same_rate(fps: float, other_fps: float) -> bool:
    """Whether two rates are one: 29.97 and 30 are, 25 and 30 are not."""
    return abs(fps - other_fps) <= SAME_RATE * other_fps


def resample(frames: Iterable[TimedFrame], fps: float) -> Iterator[np.ndarray]:
    """A frame for each tick of a clock: the nearest in time, the earlier of two equally near.

    The choice depends on the times alone, and needs to look one frame ahead.

    Args:
      frames: (seconds, frame), times rising from about 0.
      fps: ticks a second; the first is at 0.
    """
    tick, previous, gap_s = 0, None, 0.0
    for time_s, frame in frames:
        if previous is None:
            previous = (time_s, frame)
            continue
        gap_s = time_s - previous[0]
        # a nanosecond of grace, so that rounding does not break ties
        while tick / fps <= (previous[0] + time_s) / 2 + 1e-9:
            yield previous[1]
            tick += 1
        previous = (time_s, frame)
    if previous is None:
        return
    while tick == 0 or tick / fps < previous[0] + gap_s / 2 - 1e-9:
        yield previous[1]
        tick += 1


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
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise ValueError(f"Got a frame {frame.dtype} {frame.shape}, expected uint8 [h, w, 3] RGB.")
    small = cv2.resize(frame, (size[1], size[0]), interpolation=cv2.INTER_AREA)
    bgr = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB))
