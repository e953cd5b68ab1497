"""A camera or network stream that is read for weeks: it is opened again whenever it goes away.

Another process decodes it (camera_process.py), a thread takes what that sends: whoever asks for the next
picture waits a fraction of a second at most, whatever the stream does.
"""

import contextlib
import re
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ipad_jax.input.camera_process import FRAME, HEADER, OPENED, is_device

TICK_S = 0.2  # the longest that whoever asks must wait
HANG_S = 4.0  # without a picture is a gap
OPENING_S = 15.0  # for a stream to show its first picture; RTSP waits for a key frame
WAITS_S = (0.5, 30.0)  # before it is opened again: at first and at most; doubled each time
AGAIN_S = (0.5, 0.5)  # the same of a file that is played again
STEADY_S = 10.0  # a connection that delivered for so long was a good one
RATE_WINDOW_S = 5.0  # over which the rate that a camera delivers is judged, again and again
BACKLOG_S = 2.0  # pictures that wait for a busy machine; if there are more, all of them are dropped
BACKLOG_BYTES = 512 << 20
PULL = (
    0.05  # share of a picture's distance from its regular time that is believed; the rest is jitter
)
STEP_S = 3.0  # a longer distance is no jitter
CLOCK_STEP_S = 0.5  # the machine's clock was set
SCHEMES = ("rtsp", "rtsps", "rtmp", "http", "https", "udp", "rtp", "srt", "tcp")


@dataclass(frozen=True)
class Shot:
    """A picture of a camera.

    Attributes:
      image: [h, w, 3] uint8 RGB.
      at_s: when it came, of `time.monotonic`, the jitter of the network taken out; never falls.
      utc_s: the same, in seconds since 1970.
    """

    image: np.ndarray = field(repr=False)
    at_s: float
    utc_s: float


@dataclass(frozen=True)
class Gap:
    """From `since_s` (of `time.monotonic`) on there are no pictures, or some were left out."""

    reason: str
    since_s: float


@dataclass
class Camera:
    """A camera by number or device, or a stream by address; opened when `events` is read.

    Attributes:
      shown: the address without user and password.
      fps: frames a second as given, or as the camera states once it is open; None unknown.
      hang_s, waits_s: see `HANG_S` and `WAITS_S`.
      give_up_after: seconds without a picture after which it ends; None never.
      num_pictures: that came.
      dropped: of them, those that this machine had no time for.
      rate: pictures a second that came in the last seconds; NaN unknown.
      gap: why there is no picture now; "" there is.
    """

    address: str = field(repr=False)  # may hold a password
    shown: str
    name: str
    fps: float | None
    hang_s: float = HANG_S
    waits_s: tuple[float, float] = WAITS_S
    give_up_after: float | None = None
    num_pictures: int = 0
    dropped: int = 0
    rate: float = float("nan")
    gap: str = ""
    _doubt: str = ""
    _offset_s: float = -1e9  # of UTC from `time.monotonic`

    @property
    def problem(self) -> str:
        """What is wrong with it at this moment; "" nothing."""
        return f"camera {self.shown}: {self.gap}" if self.gap else self._doubt

    def events(self) -> Generator[Shot | Gap | None]:
        """Pictures as they come, a gap once where they stop, and None now and then where nothing comes.

        Ends `give_up_after` seconds after the last picture, else never.
        """
        wait_s, self._last_s = self.waits_s[0], time.monotonic()
        while True:
            connection = _Connection(self.address, BACKLOG_S * (self.fps or 25.0))
            try:
                yield from self._read(connection)
            finally:
                connection.close()
            if connection.arrived_s - connection.started_s > STEADY_S:
                wait_s = self.waits_s[0]
            again_s = time.monotonic() + wait_s
            while (left_s := again_s - time.monotonic()) > 0 and not self._given_up:
                time.sleep(min(left_s, TICK_S))
                yield None
            if self._given_up:
                return
            wait_s = min(2 * wait_s, self.waits_s[1])

    @property
    def _given_up(self) -> bool:
        limit_s = self.give_up_after
        return limit_s is not None and time.monotonic() - self._last_s > limit_s

    def _read(self, connection: "_Connection") -> Iterator[Shot | Gap | None]:
        """Events of one connection, until it ends or hangs."""
        window_s, count, judged = connection.started_s, 0, False
        while True:
            match connection.take(TICK_S):
                case _Opened(fps):
                    self.fps = self.fps or fps or None
                case _Arrived(image, at_s, same_s):
                    steady = self._at(at_s)
                    self.gap = ""
                    self.num_pictures, count = self.num_pictures + 1, count + 1
                    if at_s - window_s > RATE_WINDOW_S:
                        # The first window has the pictures that waited while the stream was opened.
                        self.rate = count / (at_s - window_s) if judged else self.rate
                        window_s, count, judged = at_s, 0, True
                    self._doubt = self._doubts(same_s)
                    yield Shot(image, steady, self._utc(steady))
                case _Overrun(number):
                    self.num_pictures, count = self.num_pictures + number, count + number
                    self.dropped += number
                    yield Gap(
                        f"this machine was too slow: {number} pictures dropped; use a longer --stride",
                        self._last_s,
                    )
                case _Ended(reason):
                    yield from self._stop(reason)
                    return
                case None:
                    heard_s = connection.arrived_s or connection.started_s
                    silent_s = time.monotonic() - heard_s
                    if silent_s > max(self.hang_s, 3 / (self.fps or 1.0)):
                        yield from self._stop(f"nothing came for {silent_s:.0f} s")
                        if connection.arrived_s or silent_s > OPENING_S:
                            return
                    yield None
                    if self._given_up:
                        return

    def _at(self, arrived_s: float) -> float:
        """The regular time of a picture that arrived, and keeps it."""
        due_s = self._last_s + (1 / self.fps if self.fps else 0.0)
        off_s = arrived_s - due_s
        if abs(off_s) > STEP_S or self.gap or not self.fps:
            self._last_s = max(arrived_s, self._last_s)
        else:
            self._last_s = max(due_s + PULL * off_s, self._last_s)
        return self._last_s

    def _utc(self, at_s: float) -> float:
        """Seconds since 1970 of a regular time; what passes between two clocks' readings is no step."""
        off_s = time.time() - time.monotonic() - self._offset_s
        self._offset_s += off_s if abs(off_s) > CLOCK_STEP_S else PULL * off_s
        return at_s + self._offset_s

    def _stop(self, reason: str) -> Iterator[Gap]:
        """The gap that begins now; where one is known already, it may have another reason by now."""
        known, self.gap = self.gap, f"no picture: {reason}"
        if not known:
            yield Gap(reason, self._last_s)

    def _doubts(self, same_s: float) -> str:
        """Why its scores are not to be trusted."""
        if same_s > self.hang_s:
            return (
                f"camera {self.shown} shows the same picture bit for bit for {same_s:.0f} s: it or its "
                "encoder hangs, or nothing moves and nothing flickers."
            )
        # A camera in the dark, or one behind a slow network, delivers fewer frames than it says.
        if self.fps and abs(self.rate - self.fps) > 0.1 * self.fps:
            return (
                f"camera {self.shown} delivers {self.rate:.1f} frames a second, not {self.fps:g}: its "
                "scores are not to be trusted. Fix its exposure time, or pass the true rate with --fps."
            )
        return ""


@dataclass(frozen=True)
class _Opened:
    fps: float  # as stated; 0 unknown


@dataclass(frozen=True)
class _Arrived:
    image: np.ndarray
    at_s: float
    same_s: float  # how long it has been the same picture


@dataclass(frozen=True)
class _Overrun:
    number: int


@dataclass(frozen=True)
class _Ended:
    reason: str


class _Connection:
    """A reading process and the thread that takes what it sends.

    Attributes:
      started_s, arrived_s: when it was started and when the last picture came, 0 none; `time.monotonic`.
    """

    def __init__(self, address: str, backlog: float):
        self.started_s, self.arrived_s = time.monotonic(), 0.0
        self._most = max(8, round(backlog))
        self._items: deque[_Opened | _Arrived | _Overrun | _Ended] = deque()
        self._there = threading.Condition()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ipad_jax.input.camera_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # libraries print the address, its password included
            bufsize=0,
            start_new_session=True,  # Ctrl-C in a terminal is for us alone
        )
        self._in: Any = self._process.stdin
        self._out: Any = self._process.stdout
        with contextlib.suppress(OSError):  # it has died; its end says so
            self._in.write(address.encode() + b"\n")
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def take(self, timeout_s: float) -> _Opened | _Arrived | _Overrun | _Ended | None:
        """The next item; None where none comes within `timeout_s`."""
        with self._there:
            if not self._items:
                self._there.wait(timeout_s)
            return self._items.popleft() if self._items else None

    def close(self) -> None:
        """Ends the process, whatever it waits for."""
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # a driver may hold it for a while
            self._process.wait(1.0)
        self._thread.join(1.0)
        self._in.close()
        if not self._thread.is_alive():
            self._out.close()

    def _run(self) -> None:
        last, since_s = np.empty(0), 0.0
        try:
            while True:
                kind, height, width, number = HEADER.unpack(self._exactly(HEADER.size))
                if kind == OPENED:
                    self._put(_Opened(number))
                elif kind == FRAME:
                    data = self._exactly(height * width * 3)
                    image = np.frombuffer(data, np.uint8).reshape(height, width, 3)
                    now_s = time.monotonic()
                    if not _same(image, last):
                        since_s = now_s
                    last, self.arrived_s = image, now_s
                    self._put(_Arrived(image, now_s, now_s - since_s))
                else:
                    self._put(_Ended(self._exactly(height).decode(errors="replace")))
                    return
        except (EOFError, OSError, ValueError):  # ValueError: closed
            self._put(_Ended("the process that reads it died"))

    def _put(self, item: _Opened | _Arrived | _Ended) -> None:
        with self._there:
            if isinstance(item, _Arrived):
                most = min(self._most, max(2, BACKLOG_BYTES // item.image.nbytes))
                if len(self._items) >= most:
                    # All of them: from the newest on all is regular again, and in time.
                    dropped, others = 0, []
                    for old in self._items:
                        if isinstance(old, _Arrived):
                            dropped += 1
                        elif isinstance(old, _Overrun):
                            dropped += old.number
                        else:
                            others.append(old)
                    self._items = deque([*others, _Overrun(dropped)])
            self._items.append(item)
            self._there.notify()

    def _exactly(self, size: int) -> bytearray:
        data = bytearray(size)
        rest = memoryview(data)
        while rest:
            count = self._out.readinto(rest)
            if not count:
                raise EOFError
            rest = rest[count:]
        return data


def _same(image: np.ndarray, last: np.ndarray) -> bool:
    """Whether two pictures are equal bit for bit; a few lines tell most."""
    few = slice(None, None, 64)
    return (
        image.shape == last.shape
        and np.array_equal(image[few], last[few])
        and np.array_equal(image, last)
    )


def open_camera(
    address: str | int, fps: float | None = None, give_up_after: float | None = None
) -> Camera:
    """A camera by number or device, a stream by address, which need not be there yet, or a file as if live.

    Args:
      address: 0 is the first camera; /dev/video0; rtsp://... or http://.... A video file is
        played at its own rate, again and again, with a gap where it begins anew.
      fps: the rate it really delivers; otherwise what it states, which may be nothing.
      give_up_after: seconds without a picture after which it ends; None never.

    Raises:
      ValueError: no such address.
    """
    target = str(address)
    shown = re.sub(r"//[^/@]*@", "//", target)  # user and password stay out of files and logs
    scheme = target.partition("://")[0] if "://" in target else ""
    if not scheme and not is_device(target) and Path(target).is_file():
        name = "file-" + re.sub(r"[^\w.-]+", "_", Path(target).name)
        return Camera(target, shown, name, fps, waits_s=AGAIN_S, give_up_after=give_up_after)
    if scheme.lower() not in SCHEMES and not is_device(target):
        raise ValueError(
            f"camera {shown!r}: give a camera's number (0 is the first), its device (on Linux "
            f"/dev/video*), the address of a stream (rtsp://host/path, http://host/path), or a video file."
        )
    name = "camera-" + re.sub(r"[^\w.-]+", "_", shown)
    return Camera(target, shown, name, fps, give_up_after=give_up_after)
