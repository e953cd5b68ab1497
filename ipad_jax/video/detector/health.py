"""Signs of life of a watch, so that a supervisor can tell dead from quiet: a file, and systemd's watchdog."""

import contextlib
import json
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ipad_jax.run.files import write_atomic

EVERY_S = 1.0  # between two writings of the file
RATE_S = 10.0  # over which frames a second are counted


class Health:
    """Counts what is judged, and writes the file once a second where `tick` is called often enough."""

    def __init__(self, path: Path | None, state: Callable[[], Mapping[str, Any]]):
        """Prepares; `state` gives the rest of what the file holds."""
        self._path, self._state = path, state
        self._written_s = -EVERY_S
        self._judged: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])
        self._num_frames = 0

    def judged(self) -> None:
        """A frame was judged."""
        self._num_frames += 1

    @property
    def rate(self) -> float:
        """Frames judged a second, over the last `RATE_S`."""
        then_s, before = self._judged[0]
        return (self._num_frames - before) / max(1e-3, time.monotonic() - then_s)

    def tick(self, now: bool = False) -> None:
        """Writes the file where it is time; a disk that is full does not stop the watch."""
        if time.monotonic() - self._written_s < EVERY_S and not now:
            return
        self._written_s = time.monotonic()
        self._judged.append((self._written_s, self._num_frames))
        while self._judged[0][0] < self._written_s - RATE_S:
            self._judged.popleft()
        tell_systemd("WATCHDOG=1")
        if self._path is None:
            return
        content = {"pid": os.getpid(), "frames_per_s": round(self.rate, 2), **self._state()}
        try:
            write_atomic(self._path, json.dumps(content, indent=1).encode() + b"\n")
        except OSError:
            return


def tell_systemd(text: str) -> None:
    """Sends a line such as READY=1 where systemd started this process (sd_notify(3)); else nothing."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address[0] == "@":  # Linux's abstract name space
        address = "\0" + address[1:]
    with (
        contextlib.suppress(OSError),  # systemd itself is being started anew
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line,
    ):
        line.sendto(text.encode(), address)
