"""A camera on loopback: an MJPEG stream over HTTP that plays what a test wants, network faults too."""

import contextlib
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
