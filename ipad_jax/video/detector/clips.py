"""Alarms as people forward them: a picture of each (frame, heat map, box) and a short clip.

The clip begins before the alarm, so the last seconds of the source are held as small JPEGs. Pictures and
clips are written by a thread of low priority; where it cannot keep up, or the disk is nearly full, they
are left out: the alarm never waits for them.
"""

import contextlib
import os
import queue
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from ipad_jax.evaluation.report.heatmap import overlay
from ipad_jax.evaluation.report.side_by_side import (
    ALARM,
    BACK,
    PICTURES_PER_S,
    TEXT,
    enlarge,
    put_text,
)
from ipad_jax.video.detector.alarms import Box
from ipad_jax.video.detector.stream import Pictures

SHOWN_PX = 640  # longest side of pictures and clips
QUALITY = 85  # of the JPEGs
CAPTION = 28  # pixels
MOST_CLIP_S = 60.0  # of one alarm, however long it lasts
WAITING = 8  # pictures and clips that may wait for the thread
FREE_BYTES = 1 << 30  # of the disk that pictures and clips leave free
PRUNE_S = 600.0  # between two looks for what is too old


@dataclass(frozen=True)
class Keep:
    """How long pictures and clips are kept, and how many; None: for ever, any number."""

    days: float | None = None
    gb: float | None = None  # 1e9 bytes


@dataclass(frozen=True)
class Shown:
    """What is drawn of an alarm.

    Attributes:
      caption: one line.
      jpeg: the source's frame; b"" where it is gone, then the model's frame is taken.
      pictures: of the row; None where it has none.
      box: in shares of the picture.
    """

    caption: str
    jpeg: bytes
    pictures: Pictures | None
    box: Box | None


class AlarmFiles:
    """Writes `STEM.jpg` and `STEM.mp4` of each alarm into a folder.

    Attributes:
      num_left_out: pictures and clips that were not written.
      full: the disk was nearly full when it was looked at last.
    """

    def __init__(
        self,
        folder: Path,
        fps: float,
        clip_s: float,
        heat_range: tuple[float, float],
        *,
        keep: Keep | None = None,
        live: bool = False,
        say: Callable[[str], None] = lambda text: None,
    ):
        """Prepares.

        Args:
          folder: `alarms` of one detection; made here.
          fps: of the frames.
          clip_s: seconds before and after; 0: no clips.
          heat_range: of the heat map's colours.
          keep: for all `*/alarms` beside this one.
          live: what cannot be written in time is left out; else it is waited for.
          say: called once where the disk is nearly full, and when it is not any more.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.num_left_out = folder, 0
        self._fps, self._heat, self._keep, self._live = fps, heat_range, keep, live
        self._say = say
        self._around = round(clip_s * fps)
        self._every = max(1, round(fps / PICTURES_PER_S))
        self._held: deque[tuple[int, bytes]] = deque()  # frame, JPEG
        self._clips: list[_Clip] = []  # not yet complete
        self.full = False
        self._pruned_s = -PRUNE_S
        self._jobs: queue.Queue[Callable[[], None] | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def see(self, frame: int, image: np.ndarray) -> None:
        """Takes a frame [h, w, 3] uint8 RGB of the source, before it is judged."""
        if frame % self._every:
            return
        scale = min(1.0, SHOWN_PX / max(image.shape[:2]))
        height, width = (max(2, 2 * round(n * scale / 2)) for n in image.shape[:2])  # H.264: even
        small = enlarge(image, (width, height))
        bgr = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
        _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        self._held.append((frame, encoded.tobytes()))

    def jpeg_of(self, frame: int) -> bytes:
        """The held picture nearest to a frame; b"" where all are newer."""
        for held, jpeg in self._held:
            if held > frame - self._every:
                return jpeg if held < frame + self._every else b""
        return b""

    def begin(self, stem: str, start: int, shown: Shown) -> None:
        """An alarm begins at a frame: its picture is written, its clip collected."""
        self.draw(stem, shown)
        if self._around:
            self._clips.append(_Clip(stem, start - self._around, start))

    def draw(self, stem: str, shown: Shown) -> None:
        """Writes or replaces the picture of an alarm."""
        path = self.folder / f"{stem}.jpg"
        self._put(lambda: _write(path, alarm_picture(shown, self._heat)))

    def end(self, stop: int) -> None:
        """The alarm that was on is over with the frame before `stop`."""
        for clip in self._clips:
            clip.stop = min(clip.stop, stop)

    def judged(self, frame: int) -> None:
        """All frames up to this one are judged: clips that are complete are written."""
        for clip in list(self._clips):
            last = min(clip.stop + self._around, clip.first + round(MOST_CLIP_S * self._fps))
            if frame >= last:
                self._finish(clip, last)
        oldest = min([frame - self._around, *(clip.first for clip in self._clips)])
        while self._held and self._held[0][0] < oldest - self._every:
            self._held.popleft()

    def cut(self) -> None:
        """No more frames follow without a gap: clips end here."""
        for clip in list(self._clips):
            self._finish(clip, clip.first + round(MOST_CLIP_S * self._fps))
        self._held.clear()

    def close(self, timeout_s: float | None = None) -> None:
        """Waits for the thread, at most `timeout_s`; what is then half written is left out."""
        self.cut()
        with contextlib.suppress(queue.Full):
            self._jobs.put(None, timeout=timeout_s)
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            for partial in self.folder.glob(".*"):
                self.num_left_out += 1
                partial.unlink(missing_ok=True)

    def _finish(self, clip: "_Clip", last: int) -> None:
        self._clips.remove(clip)
        held = [(frame, jpeg) for frame, jpeg in self._held if clip.first <= frame < last]
        path, rate = self.folder / f"{clip.stem}.mp4", self._fps / self._every
        if held:
            self._put(lambda: write_clip(path, held, rate, (clip.start, clip.stop)))

    def _put(self, job: Callable[[], None]) -> None:
        if not self.has_room():
            self.num_left_out += 1
            return
        try:
            self._jobs.put(job, block=not self._live)
        except queue.Full:
            self.num_left_out += 1

    def has_room(self) -> bool:
        """Whether the disk has room for pictures; says so where that has changed."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)  # someone may have tidied up
            free = shutil.disk_usage(self.folder).free
        except OSError:
            return False
        full = free < (2 * FREE_BYTES if self.full else FREE_BYTES)
        if full != self.full:
            self.full = full
            self._say(
                f"the disk of {self.folder} is nearly full ({free / 1e9:.1f} GB free): alarms get no "
                "pictures and clips any more"
                if full
                else "the disk has room again: alarms get pictures and clips"
            )
        return not full

    def _work(self) -> None:
        with contextlib.suppress(OSError, AttributeError):  # not on every system
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        while (job := self._next_job()) is not None:
            try:
                job()
            except Exception as error:  # mostly a full disk; an alarm depends on none
                self.num_left_out += 1
                if self.num_left_out == 1:
                    self._say(f"a picture or clip of an alarm could not be written: {error}")
            if self._keep and time.monotonic() - self._pruned_s > PRUNE_S:
                self._pruned_s = time.monotonic()
                with contextlib.suppress(OSError):
                    prune(self.folder.parent.parent, self._keep)

    def _next_job(self) -> Callable[[], None] | None:
        """Waits for one, where files grow too old meanwhile only for a while; None at the end."""
        try:
            return self._jobs.get(timeout=PRUNE_S if self._keep else None)
        except queue.Empty:
            return lambda: None


@dataclass
class _Clip:
    """A clip that is collected: from frame `first` on, of an alarm in [start, stop)."""

    stem: str
    first: int
    start: int
    stop: int = 1 << 62


def alarm_picture(shown: Shown, heat_range: tuple[float, float]) -> bytes:
    """JPEG of the frame beside the heat map, with the box in both and a caption below."""
    pictures = shown.pictures
    if shown.jpeg:
        frame = cv2.imdecode(np.frombuffer(shown.jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
    elif pictures is not None:
        frame = pictures.frame
    else:
        frame = np.full((SHOWN_PX // 2, SHOWN_PX, 3), BACK, np.uint8)
    frame = np.asarray(frame)
    height, width = (max(2, round(n * SHOWN_PX / max(frame.shape[:2]))) for n in frame.shape[:2])
    panels = [enlarge(frame, (width, height)).copy()]
    if pictures is not None:
        heat = overlay(pictures.frame, pictures.error, *heat_range)
        panels.append(enlarge(heat, (width, height)).copy())
    for panel in panels:
        if shown.box is not None:
            left, top, right, bottom = shown.box
            corners = (
                (round(left * width), round(top * height)),
                (round(right * width) - 1, round(bottom * height) - 1),
            )
            cv2.rectangle(panel, *corners, ALARM, 2)
    canvas = np.full((height + CAPTION, width * len(panels), 3), BACK, np.uint8)
    canvas[:height] = np.concatenate(panels, axis=1)
    put_text(canvas, shown.caption, 8, height + 5, TEXT)
    bgr = cv2.cvtColor(canvas, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


def write_clip(
    path: Path, held: Sequence[tuple[int, bytes]], rate: float, alarm: tuple[int, int]
) -> None:
    """Writes an MP4 (H.264, which phones play) of JPEGs with their frames; red around those in alarm.

    The file gets its name when it is complete.
    """
    partial = path.with_name(f".{path.name}")
    try:
        with av.open(str(partial), "w", format="mp4", options={"movflags": "faststart"}) as out:
            stream = None
            for frame, jpeg in held:
                picture = np.asarray(
                    cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
                )
                height, width = picture.shape[:2]
                if stream is None:
                    stream = out.add_stream("h264", rate=Fraction(rate).limit_denominator(1000))
                    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                    stream.options = {"preset": "veryfast", "crf": "23"}
                    stream.codec_context.thread_count = 1
                picture = enlarge(picture, (stream.width, stream.height))
                if alarm[0] <= frame < alarm[1]:
                    picture = cv2.rectangle(
                        picture.copy(), (0, 0), (stream.width - 1, stream.height - 1), ALARM, 4
                    )
                out.mux(stream.encode(_video_frame(picture)))
            if stream is not None:
                out.mux(stream.encode(None))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _video_frame(picture: Any) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(picture, format="rgb24")


def prune(camera: Path, keep: Keep) -> None:
    """Removes the oldest pictures and clips below `CAMERA/*/alarms` until the rest may stay."""
    found = []
    for path in camera.glob("*/alarms/*"):
        with contextlib.suppress(FileNotFoundError):
            if path.suffix in (".jpg", ".mp4") and not path.name.startswith("."):
                stat = path.stat()
                found.append((stat.st_mtime, path, stat.st_size))
    found.sort()
    total = sum(size for _, _, size in found)
    oldest_s = -1.0 if keep.days is None else time.time() - keep.days * 86400
    most = total if keep.gb is None else keep.gb * 1e9
    for written_s, path, size in found:
        if written_s >= oldest_s and total <= most:
            break
        path.unlink(missing_ok=True)
        total -= size


def _write(path: Path, data: bytes) -> None:
    partial = path.with_name(f".{path.name}")
    partial.write_bytes(data)
    partial.replace(path)
