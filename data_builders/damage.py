"""What is wrong with a video file, found while it is decoded: frames that are lost, damaged or repeated."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import av
import cv2
import numpy as np

# Containers state their frame count from the duration, so it may be off by a little.
COUNT_TOLERANCE = (2, 0.01)  # frames, share
UNEVEN_S = 0.5  # by which the last frame of uneven times may come before the end
FROZEN = 0.8  # share of a file that shows one picture and nothing else worth reading
THUMBNAIL = (8, 8)
MOVES = (
    8.0  # grey levels that a cell of it changes by where something moves; less as a coder settles
)
NOISE = 0.03  # mean grey levels; real cameras change by more from frame to frame
STEP = 10  # grey levels that single pixels change by where something small moves
HUNG = (2.0, 10)  # seconds, frames: one picture for longer is a camera or an encoder that hung


@dataclasses.dataclass(frozen=True)
class VideoInfo:
    """What a video file states of itself; `frames` is 0 where it does not say.

    size: width and height, as a player shows it. estimated: the container states no length, and
    `frames` says nothing of whether the file is complete.
    """

    fps: float
    frames: int
    size: tuple[int, int]
    estimated: bool = False


@dataclasses.dataclass
class Reading:
    """What was met while a file was decoded; times are seconds from its first frame.

    frames: so far. start_s: the container's time of the first; end_s: time of the last. complete: the
    end was reached. lost: first and last time of each stretch of frames that could not be decoded, and
    their number. corrupt_s: times of frames decoded with errors, parts of which are guessed. interlaced:
    frames made of two fields. repeats: frames that equal the one before bit for bit. hung: stretches
    longer than `HUNG` in which one picture comes again and again. uneven_s: from when on times are half
    a frame or more off an even rate.
    """

    frames: int = 0
    start_s: float = 0.0
    end_s: float = 0.0
    complete: bool = False
    lost: list[tuple[float, float, int]] = dataclasses.field(default_factory=list)
    corrupt_s: list[float] = dataclasses.field(default_factory=list)
    interlaced: int = 0
    repeats: int = 0
    hung: list[tuple[float, float]] = dataclasses.field(default_factory=list)
    uneven_s: float | None = None

    def add_corrupt(self, time_s: float) -> None:
        """Notes the time of a frame that is damaged; of packet and frame may come one each."""
        if not any(abs(time_s - other_s) < 1e-3 for other_s in self.corrupt_s[-8:]):
            self.corrupt_s.append(time_s)

    @property
    def shows_one_picture(self) -> bool:
        """Whether it has no more to show than a still."""
        hung_s = sum(end - start for start, end in self.hung)
        same = self.repeats == self.frames - 1 or hung_s > FROZEN * self.end_s
        return self.frames > 1 and same

    def damage(self, fps: float) -> str:
        """What could not be decoded, in words; "" where all could."""
        parts = []
        if self.lost:
            seconds = sum(end - start for start, end, _ in self.lost)
            places = ", ".join(f"{start:.2f} to {end:.2f} s" for start, end, _ in self.lost[:5])
            more = f" and {len(self.lost) - 5} more places" if len(self.lost) > 5 else ""
            count = sum(count for *_, count in self.lost)
            parts.append(f"is damaged: {count} frames ({seconds:.1f} s) are lost at {places}{more}")
        # A stream that was cut off ends in the middle of a picture.
        if self.corrupt_s and min(self.corrupt_s) < self.end_s - 1.5 / fps:
            count = len(self.corrupt_s)
            parts.append(
                f"{'' if parts else 'is damaged: '}{count} frame{'s' * (count > 1)} from "
                f"{min(self.corrupt_s):.2f} to {max(self.corrupt_s):.2f} s decoded with errors"
            )
        return ", ".join(parts)


def complaint_about(path: Path, info: VideoInfo, reading: Reading, may_stand: bool) -> str:
    """Why a file that was decoded to its end is not what it seems; "" where it is."""
    count, expected = reading.frames, info.frames
    parts = []
    missing = expected - count - sum(lost for *_, lost in reading.lost)
    slack = COUNT_TOLERANCE[0] if reading.uneven_s is None else UNEVEN_S * info.fps
    if info.estimated or reading.end_s * info.fps > expected - 1 - slack:
        missing = 0  # recorders that drop frames count them too
    if missing > max(COUNT_TOLERANCE[0], COUNT_TOLERANCE[1] * expected) and not is_whole(path):
        parts.append(
            f"stops early, {count} of {expected} frames could be decoded, {missing / info.fps:.1f} s "
            "are missing at its end"
        )
    elif not count:
        parts.append("holds no frame that can be decoded")
    if damage := reading.damage(info.fps):
        parts.append(damage)
    if parts:
        return (
            f"{', and it '.join(parts)}; copy the file again, or re-encode it (`ffmpeg -i FILE "
            "OUT.mp4`) to keep what is readable, and cut out what is damaged"
        )
    if not may_stand and reading.shows_one_picture:
        return f"its {count} frames are all one picture: the camera or the recorder hung; record it again"
    return ""


def is_whole(path: Path) -> bool:
    """Whether an mp4 or mov file has all its bytes: its boxes (ISO 14496-12, 4.2) end where it ends.

    One that was cut without re-encoding (`-c copy`, a phone's trim) counts frames that its edit list
    hides.
    """
    size, at, names = path.stat().st_size, 0, []
    with path.open("rb") as file:
        while at + 8 <= size:
            file.seek(at)
            head = file.read(16)
            length, name = int.from_bytes(head[:4], "big"), head[4:8]
            if length == 1:  # too long for four bytes
                length = int.from_bytes(head[8:16], "big")
            if length < 8:  # 0: to the end, wherever that was
                return False
            names.append(name)
            at += length
    return at == size and b"moov" in names


class Hangs:
    """Finds stretches in which one picture comes again and again.

    An encoder goes on after its camera has hung, and codes the same picture a little differently each
    time: nearly nothing changes from frame to frame, and nothing at all in the picture as a thumbnail.
    A camera that works has noise, also where nothing moves.
    """

    def __init__(self, reading: Reading, fps: float):
        self._reading, self._limit_s = reading, max(HUNG[0], HUNG[1] / fps)
        self._image: np.ndarray | None = None
        self._thumbnail = np.zeros((1, 1))
        self._since_s = self._last_s = 0.0
        self._near = self._frames = 0

    def see(self, time_s: float, image: np.ndarray) -> None:
        """Takes the next picture."""
        before, self._image = self._image, image
        step = max(1, min(image.shape[:2]) // 256)  # enough to see, and little work
        few = image[::step, ::step]
        thumbnail = cv2.resize(few, THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.float32)
        change = None if before is None else cv2.absdiff(few, before[::step, ::step])
        same = change is not None and change.mean() < NOISE and change.max() < STEP
        if same and np.array_equal(image, before):
            self._reading.repeats += 1
        if before is None or np.abs(thumbnail - self._thumbnail).max() > MOVES:
            self.close()
            self._since_s, self._thumbnail, self._near, self._frames = time_s, thumbnail, 0, 0
        self._near += same
        self._frames += 1
        self._last_s = time_s

    def close(self) -> None:
        """Ends a stretch."""
        long = self._last_s - self._since_s >= self._limit_s
        if long and self._near > self._frames / 2:
            self._reading.hung.append((self._since_s, self._last_s))
        self._since_s = self._last_s


class Losses:
    """Which frames were to come by the times of their packets, and did not."""

    def __init__(self, reading: Reading, unit_s: float, fps: float):
        self._reading, self._unit_s, self._step_s = reading, unit_s, 1 / fps
        self._waiting: set[int] = set()
        self._first: int | None = None
        self._last = 0
        self._failures = 0

    def expect(self, packet: av.Packet) -> None:
        """Takes a packet before it is decoded; an edit list's hidden ones bring no frame."""
        if packet.size and packet.pts is not None and not packet.is_discard:
            self._waiting.add(packet.pts)
            if packet.is_corrupt and self._first is not None:
                self._reading.add_corrupt((packet.pts - self._first) * self._unit_s)

    def failed(self, packet: av.Packet) -> None:
        """Counts a packet that cannot be decoded."""
        self._failures += 1
        if packet.pts is None:  # AVI: its place is known by the frames around it alone
            at_s = 0.0 if self._first is None else (self._last - self._first) * self._unit_s
            self._lose(at_s, at_s + self._step_s, 1)

    def arrived(self, frame: av.VideoFrame | None) -> float | None:
        """The time of a frame in seconds, None unknown; what was due before it is lost.

        None for a frame: the file is at its end.
        """
        if frame is not None and frame.pts is None:
            return None
        due = {pts for pts in self._waiting if frame is None or pts <= frame.pts}
        self._waiting -= due
        # What comes before the first frame refers to pictures that were cut off.
        missing = sorted(pts for pts in due if self._first is not None and pts > self._last)
        if frame is not None:
            missing = [pts for pts in missing if pts != frame.pts]
        # A second field and a hidden picture have a packet each and no frame of their own; single
        # pictures that say "as before" are not damage either.
        if missing and (self._failures or len(missing) > 2):
            first = self._first or 0
            start_s = (missing[0] - first) * self._unit_s
            end = missing[-1] if frame is None else frame.pts
            end_s = (end - first) * self._unit_s + (self._step_s if frame is None else 0.0)
            if end_s - (self._last - first) * self._unit_s > 1.5 * self._step_s:
                self._lose(start_s, end_s, len(missing))
        if frame is None:
            return None
        if self._first is None:
            self._first = frame.pts
        self._last = frame.pts
        return frame.pts * self._unit_s

    def _lose(self, start_s: float, end_s: float, count: int) -> None:
        """Adds a stretch, to the one before where they touch."""
        lost = self._reading.lost
        if lost and start_s <= lost[-1][1] + 1.5 * self._step_s:
            earlier_s, _, earlier = lost.pop()
            start_s, count = earlier_s, earlier + count
        lost.append((start_s, end_s, count))
