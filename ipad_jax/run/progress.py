"""Progress on the terminal: a bar where a person looks, a line now and then where a log is written."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_LOG_EVERY_S = 15.0  # seconds between lines where there is no terminal


@contextmanager
def frame_progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Shows how many frames are done.

    Args:
      what: a verb, such as "scoring".

    Yields:
      Function to call with (frames done, frames in all).
    """
    if not sys.stderr.isatty():
        last = time.monotonic()

        def line(done: int, total: int) -> None:
            nonlocal last
            if time.monotonic() - last > _LOG_EVERY_S:
                last = time.monotonic()
                print(f"{what}: {done:,} of {total:,} frames", file=sys.stderr, flush=True)

        yield line
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
