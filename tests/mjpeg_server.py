"""A camera on loopback: an MJPEG stream over HTTP that plays what a test wants, network faults too.

By hand, to try a watch without a camera: `python tests/mjpeg_server.py VIDEO` plays a file for ever at 25
pictures a second, with `--hang-after SECONDS` until then, and prints its address.
"""

import argparse
import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np

HANG, DROP = "hang", "drop"
Piece = (
    np.ndarray | bytes | str
)  # a frame [h, w, 3] RGB; bytes as they are; or what happens to the line


@contextlib.contextmanager
def mjpeg_server(play: Callable[[int], Iterator[Piece]], fps: float) -> Iterator[str]:
    """Serves a stream; yields its address.

    Args:
      play: called with the number of the connection, from 0; its pieces are sent at `fps`. `HANG` sends
        nothing any more, `DROP` or the end of the pieces closes the connection.
      fps: pieces a second.
    """
    ended = threading.Event()
    connections = iter(range(1_000_000))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            next_s = time.monotonic()
            try:
                for piece in play(next(connections)):
                    if isinstance(piece, str):
                        if piece == HANG:
                            ended.wait()
                        return
                    self.wfile.write(piece if isinstance(piece, bytes) else part(piece))
                    next_s += 1 / fps
                    if ended.wait(max(0.0, next_s - time.monotonic())):
                        return
            except OSError:  # the reader has gone
                return

        def log_message(self, *_) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/video"
    finally:
        ended.set()
        server.shutdown()
        thread.join()
        server.server_close()


def part(picture: np.ndarray) -> bytes:
    """One part of the stream."""
    jpeg = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes()
    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
    return head.encode() + jpeg + b"\r\n"


def main() -> None:
    """Plays a file until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video")
    parser.add_argument("--fps", type=float, default=25.0)
    parser.add_argument("--width", type=int, help="of the pictures (default: the file's)")
    parser.add_argument("--hang-after", type=float, default=float("inf"), metavar="SECONDS")
    args = parser.parse_args()
    capture, parts = cv2.VideoCapture(args.video), []
    while (read := capture.read())[0]:
        height, width = read[1].shape[:2]
        size = (args.width or width, round(height * (args.width or width) / width))
        parts.append(part(cv2.cvtColor(cv2.resize(read[1], size), cv2.COLOR_BGR2RGB)))

    def play(_: int) -> Iterator[Piece]:
        for i, piece in enumerate(itertools.cycle(parts)):
            if i >= args.hang_after * args.fps:
                yield HANG
            yield piece

    with mjpeg_server(play, args.fps) as address:
        print(address, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
