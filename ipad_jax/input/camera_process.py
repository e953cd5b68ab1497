"""The process that reads a camera: `python -m ipad_jax.input.camera_process`, started by camera.py.

A stream that hangs does so inside a C library, where no thread can be ended; a process can. The address
comes on standard input, since it may hold a password and arguments are seen by everyone. What goes to
standard output is a header each (`HEADER`: kind, height, width, number), after FRAME the height * width *
3 bytes RGB, after ENDED `height` bytes of text.
"""

import errno
import os
import struct
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import av
import cv2
import numpy as np
from av.error import FFmpegError

from ipad_jax.data_builders.damage import Reading
from ipad_jax.data_builders.decoding import deinterlaced, picture_of

HEADER = struct.Struct("<BIId")
OPENED, FRAME, ENDED = range(3)  # kinds; the number is the stated rate of OPENED, 0 unknown
# Over TCP a picture is whole or late, not smeared; a second is enough to find what the stream is.
# A camera that redirects could send this machine anywhere in its network.
OPTIONS = {
    "rtsp_transport": "tcp",
    "analyzeduration": "1000000",
    "fflags": "nobuffer",
    "max_redirects": "0",
}

Frames = Iterator[np.ndarray]  # [h, w, 3] uint8 BGR


def is_device(address: str) -> bool:
    """Whether it is a camera's number or device, not an address or a file."""
    return address.isdigit() or address.startswith("/dev/")


def open_device(address: str) -> tuple[float, Frames]:
    """Stated rate (0 unknown) and frames of a camera of this machine.

    By OpenCV, which opens the cameras of every system alike; FFmpeg has another name for each.
    """
    capture = cv2.VideoCapture(int(address) if address.isdigit() else address)
    if not capture.isOpened():
        raise OSError("it cannot be opened")

    def frames() -> Frames:
        while True:
            ok, image = capture.read()
            if not ok:
                return
            yield image

    return float(capture.get(cv2.CAP_PROP_FPS)), frames()


def open_stream(address: str) -> tuple[float, Frames]:
    """The same of a network stream, by the decoder that files are read with, or of a file in real time."""
    is_file = "://" not in address
    options = {} if is_file else OPTIONS
    container: Any = av.open(address, options=options, metadata_errors="replace")
    if not container.streams.video:
        raise OSError("it has no video")
    stream = container.streams.video[0]

    def decoded() -> Iterator[tuple[None, av.VideoFrame]]:
        for packet in container.demux(stream):
            try:
                # What is decoded with errors would look like a fault of the machine.
                yield from ((None, frame) for frame in packet.decode() if not frame.is_corrupt)
            except FFmpegError:
                continue

    frames = (picture_of(frame) for _, frame in deinterlaced(decoded(), Reading()))
    fps = float(stream.average_rate or stream.guessed_rate or 0)
    return fps, in_real_time(frames, fps) if is_file else frames


def in_real_time(frames: Frames, fps: float) -> Frames:
    """Frames as a camera of that rate would give them; as fast as they come where it is unknown."""
    start_s = time.monotonic()
    for number, frame in enumerate(frames):
        if fps:
            time.sleep(max(0.0, start_s + number / fps - time.monotonic()))
        yield frame


def serve(address: str, out: int) -> None:
    """Writes what a camera delivers to a file descriptor until it ends, and why it did."""
    try:
        fps, frames = (open_device if is_device(address) else open_stream)(address)
        known = np.isfinite(fps) and 0 < fps <= 1000
        write(out, HEADER.pack(OPENED, 0, 0, fps if known else 0.0))
        for image in frames:
            rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
            write(out, HEADER.pack(FRAME, *rgb.shape[:2], 0.0))
            write(out, rgb.data)
        reason = "the stream ended"
    except (FFmpegError, OSError) as error:  # whose text has the address, its password included
        reason = error.strerror or str(error)
        if address.startswith("http") and error.errno == errno.EIO:
            reason += "; where it redirects, give the address that it leads to"
    text = reason.encode()
    write(out, HEADER.pack(ENDED, len(text), 0, 0.0) + text)


def write(out: int, data: bytes | memoryview) -> None:
    """Writes all of it."""
    rest = memoryview(data).cast("B")
    while rest:
        rest = rest[os.write(out, rest) :]


def main() -> None:
    """Reads the address and serves it."""
    out = os.dup(1)
    os.dup2(2, 1)  # what libraries print must not get between the frames
    address = sys.stdin.buffer.readline().decode().rstrip("\n")

    def end_with_parent() -> None:
        sys.stdin.buffer.read()
        os._exit(0)

    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        serve(address, out)
    finally:
        os._exit(0)  # without waiting for a library's threads


if __name__ == "__main__":
    main()
