"""Alarms to other programs: a command that is run, an address that is posted to.

Each has a thread and a queue of its own, so that neither ever makes the stream wait. A queue that is full
loses its oldest message; what is lost is counted and said.
"""

import contextlib
import json
import math
import os
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

Message = dict[str, Any]  # JSON

WAITING = 100  # messages; more of them and the oldest is lost
COMMAND_S = 30.0  # a command that runs longer is ended
POST_S = 10.0  # an address that does not answer for so long is tried again
WAITS_S = (1.0, 60.0)  # before it is tried again: at first and at most; doubled each time
AGAIN = (408, 425, 429)  # answers of a client's error that another try may cure; and all of 5xx
TOLD_S = 60.0  # at most one line on failures in so long


class CannotSend(Exception):
    """A message did not get through.

    Attributes:
      final: trying again is of no use.
    """

    def __init__(self, reason: str, final: bool):
        super().__init__(reason)
        self.final = final


class Notifier:
    """Sends messages one after the other, in order, by a thread.

    Attributes:
      name: for people, such as "--webhook https://example.org".
      num_sent, num_lost: messages.
    """

    def __init__(
        self,
        name: str,
        send: Callable[[bytes], None],
        say: Callable[[str], None] = lambda text: None,
        waits_s: tuple[float, float] = WAITS_S,
    ):
        """Starts the thread; `send` raises CannotSend, `say` is called from it now and then."""
        self.name, self.num_sent, self.num_lost = name, 0, 0
        self._send, self._say, self._waits_s = send, say, waits_s
        self._waiting: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._end_s = math.inf  # of `time.monotonic`; from then on nothing is tried any more
        self._told_s = -TOLD_S
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def put(self, message: Message) -> None:
        """Queues a message; returns at once."""
        with self._changed:
            if len(self._waiting) >= WAITING:
                self._waiting.popleft()
                self.num_lost += 1
                self._tell(f"too many alarms wait, {self.num_lost} lost so far")
            self._waiting.append(json.dumps(message).encode())
            self._changed.notify_all()

    @property
    def num_waiting(self) -> int:
        """Messages that are not yet sent."""
        return len(self._waiting)

    def close(self, timeout_s: float) -> None:
        """Waits at most `timeout_s` for what is queued; what is left is said and lost."""
        with self._changed:
            self._end_s = time.monotonic() + timeout_s
            self._changed.notify_all()
        self._thread.join(timeout_s)
        if self._waiting:
            self.num_lost += len(self._waiting)
            self._say(f"{self.name}: {len(self._waiting)} messages were not sent")

    def _run(self) -> None:
        wait_s = self._waits_s[0]
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if not self._waiting:
                    return
                message = self._waiting[0]
            failed = None
            try:
                self._send(message)
            except CannotSend as error:
                failed = error
            with self._changed:
                # While it was sent, a full queue may have lost it.
                here = bool(self._waiting) and self._waiting[0] is message
                if failed is None or failed.final:
                    if here:
                        self._waiting.popleft()
                    self.num_sent += failed is None
                    self.num_lost += failed is not None and here
                    wait_s = self._waits_s[0]
                if failed is not None:
                    lost = f"; {self.num_lost} lost so far" if failed.final else "; trying again"
                    self._tell(f"{failed}{lost}")
                    if not failed.final:
                        # Not cut short by the next alarm.
                        again_s = time.monotonic() + wait_s
                        while (now_s := time.monotonic()) < again_s:
                            if now_s > self._end_s:
                                return
                            self._changed.wait(min(again_s, self._end_s) - now_s)
                        wait_s = min(2 * wait_s, self._waits_s[1])

    @property
    def _closing(self) -> bool:
        return self._end_s < math.inf

    def _tell(self, text: str) -> None:
        if time.monotonic() - self._told_s > TOLD_S:
            self._told_s = time.monotonic()
            self._say(f"{self.name}: {text}")


def command(argv: Sequence[str], timeout_s: float = COMMAND_S) -> Callable[[bytes], None]:
    """Runs a program for each message, which it gets on standard input; failures are not repeated."""

    def send(message: bytes) -> None:
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is not for it, and it ends with what it started
            )
        except OSError as error:
            raise CannotSend(f"cannot be run: {error.strerror}", final=True) from error
        try:
            _, errors = process.communicate(message, timeout=timeout_s)
        except subprocess.TimeoutExpired:
            if hasattr(os, "killpg"):
                os.killpg(process.pid, signal.SIGKILL)
            process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):  # one it started may have left it
                process.communicate(timeout=1.0)
            raise CannotSend(f"took longer than {timeout_s:g} s, ended", final=True) from None
        if process.returncode:
            last = errors.decode(errors="replace").strip().rsplit("\n", 1)[-1][:200]
            raise CannotSend(f"exit status {process.returncode}: {last}", final=True)

    return send


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A POST that is redirected arrives as an empty GET: that is an error."""

    def redirect_request(self, *_: Any) -> None:
        return None


def webhook(url: str, timeout_s: float = POST_S) -> Callable[[bytes], None]:
    """Posts each message as JSON; what a server cannot take now is tried again."""
    opener = urllib.request.build_opener(_NoRedirect)

    def send(message: bytes) -> None:
        request = urllib.request.Request(
            url, message, {"Content-Type": "application/json", "User-Agent": "ipad-jax"}
        )
        try:
            with opener.open(request, timeout=timeout_s):
                pass
        except urllib.error.HTTPError as error:
            error.close()
            final = error.code < 500 and error.code not in AGAIN
            raise CannotSend(f"answered {error.code} {error.reason}", final) from error
        except OSError as error:  # URLError, time-outs, resets
            reason = getattr(error, "reason", error)
            raise CannotSend(f"no answer: {reason}", final=False) from error
        except Exception as error:  # what is no HTTP
            raise CannotSend(f"no answer: {type(error).__name__}", final=False) from error

    return send


def shown_url(url: str) -> str:
    """Scheme and host: the rest of a webhook's address is often its secret."""
    parts = urllib.parse.urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}/..."
