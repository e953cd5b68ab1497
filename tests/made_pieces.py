"""Pieces for tests, in a module that a worker imports quickly: what a piece does is its name."""

import os
import signal
import sys
import time
from functools import partial

from ipad_jax.data_builders.pieces import Piece


def make(video: int, length: int, do: str = "", wait_s: float = 0.0) -> Piece:
    """A piece of `length` records, after `wait_s`; `do` is what goes wrong in its middle."""
    return Piece(video, f"piece {video}", partial(records, video, length, do, wait_s))


def records(video: int, length: int, do: str, wait_s: float):
    time.sleep(wait_s)
    for i in range(length):
        if i == length // 2:
            go_wrong(do, video)
        yield {"image": bytes([video]) * 1000, "frame": i, "process": os.getpid()}


class Odd(ValueError):
    """Pickles, but cannot be unpickled."""

    def __init__(self, first: str, second: str):
        super().__init__(f"{first} {second}")


def go_wrong(do: str, video: int) -> None:
    if do == "raise":
        raise ValueError(f"{video}.jpg: truncated")
    if do == "odd":
        raise Odd("an odd", "error")
    if do == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if do == "exit":
        sys.exit(3)
