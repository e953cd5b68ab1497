"""How long a browser waits for a page of `ipad-jax ui` while others read too: median and 95th percentile.

The command is started on drawn run folders; each client is a thread with a connection of its own, which reads
one page after the other and rests between them, as people do.
"""

import contextlib
import http.client
import json
import math
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ipad_jax.performance.timing import number
from ipad_jax.run.table import Table

PAGES = ("/", "/data", "/train", "/threshold", "/try", "/live", "/events", "/jobs", "/help")
START_S = 30.0  # for the command to answer
REST_S = 2.0  # between two pages of a client, on average
STEPS, EVENTS = 2000, 100  # of each drawn run


@dataclass(frozen=True)
class Answer:
    """A page that a client has read: its address, HTTP status and seconds; status 0: no answer."""

    page: str
    status: int
    seconds: float


def time_pages(*, clients: int, seconds: float, runs: int) -> Table:
    """Times the pages of a root with so many run folders."""
    with tempfile.TemporaryDirectory() as folder:
        for index in range(runs):
            draw_run(Path(folder) / "runs" / f"run{index:02}")
        with serving(Path(folder)) as port:
            alone = read_pages(port, PAGES, clients=1, seconds=seconds / 4, rest_s=0.0)
            crowd = read_pages(port, PAGES, clients=clients, seconds=seconds)
    names = (("1, without a rest", alone), (f"{clients}, {REST_S:g} s between pages", crowd))
    return Table(
        f"Pages of `ipad-jax ui` with {runs} runs",
        ("clients", "pages", "median, s", "95 %, s", "slowest page", "failed"),
        tuple((name, *_row(answers)) for name, answers in names),
        left=(0, 4),
    )


def _row(answers: Sequence[Answer]) -> tuple[str, ...]:
    times = [answer.seconds for answer in answers] or [math.nan]
    pages = sorted({answer.page for answer in answers})
    median = {p: float(np.median([a.seconds for a in answers if a.page == p])) for p in pages}
    slowest = max(pages, key=median.__getitem__) if pages else "-"
    failed = sum(answer.status != 200 for answer in answers)
    quantiles = (number(float(np.quantile(times, share))) for share in (0.5, 0.95))
    return (f"{len(answers):,}", *quantiles, slowest, str(failed))


def read_pages(
    port: int, pages: Sequence[str], *, clients: int, seconds: float, rest_s: float = REST_S
) -> list[Answer]:
    """What clients of a page on loopback read in so many seconds, each from a place of its own on."""
    answers: list[Answer] = []
    end_s = time.monotonic() + seconds

    def read(client: int) -> None:
        order, found = random.Random(client), list(pages)
        order.shuffle(found)
        time.sleep(order.uniform(0, rest_s))
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        for page in (page for _ in iter(int, 1) for page in found):
            if time.monotonic() >= end_s:
                break
            began_s, status = time.perf_counter(), 0
            try:
                line.request("GET", page)
                answer = line.getresponse()
                answer.read()
                status = answer.status
            except (OSError, http.client.HTTPException):
                line.close()
            answers.append(Answer(page, status, time.perf_counter() - began_s))
            time.sleep(order.uniform(0, 2 * rest_s))
        line.close()

    threads = [threading.Thread(target=read, args=(client,)) for client in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


@contextlib.contextmanager
def serving(root: Path) -> Iterator[int]:
    """`ipad-jax ui` on a free port, which is yielded.

    Raises:
      ChildProcessError: it did not start; with what it printed.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["--root", str(root), "--port", str(port), "--data-dir", str(root / "data")]
    process = subprocess.Popen(
        [sys.executable, "-m", "ipad_jax.main", "ui", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        end_s = time.monotonic() + START_S
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > end_s:
                process.kill()
                raise ChildProcessError(f"the page did not start:\n{process.communicate()[0]}")
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.communicate()


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def draw_run(folder: Path) -> None:
    """A run folder as a training of some hours and a watch leave it, without weights."""
    detected = folder / "detect" / "camera-0" / "20261129T000000Z"
    detected.mkdir(parents=True)
    config = {"task": "video.ipad", "total_steps": STEPS, "data": {"name": "drawn"}}
    (folder / "config.json").write_text(json.dumps(config))
    rows = (json.dumps({"step": step, "loss": 1 / step}) for step in range(1, STEPS + 1))
    (folder / "metrics.jsonl").write_text("\n".join(rows) + "\n")
    scores = (f"{i},{i / 25:.3f},1.5,1.2,0," for i in range(10 * STEPS))
    header = "frame,time_s,score,sustained,alarm,note"
    (detected / "scores.csv").write_text("\n".join([header, *scores]) + "\n")
    events = (f"{i},{20 * i}.0,{20 * i + 2}.0,9.1,2.0" for i in range(1, EVENTS + 1))
    header = "number,start_s,end_s,peak_score,strength"
    (detected / "events.csv").write_text("\n".join([header, *events]) + "\n")
