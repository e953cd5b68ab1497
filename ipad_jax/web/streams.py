"""What goes on, sent to the browser as it happens: server-sent events, each with the place to go on from.

A browser that lost the connection sends the last place (Last-Event-ID) and misses nothing. The running
picture of a watch goes as parts that replace one another (MJPEG). Pictures and figures leak through streams
as through pages, so the same guard stands before them.
"""

import asyncio
import csv
import json
import os
import re
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from ipad_jax.web.archive import zipped
from ipad_jax.web.context import Context
from ipad_jax.web.jobs import TAIL_BYTES, read_from
from ipad_jax.web.settings import within

MOST_STREAMS = 4
EVERY_S = 0.5  # between two looks at a file
HEARTBEAT_S = 15.0  # a line, so that a connection that broke is noticed
LONGEST_S = 3600.0  # then the browser connects again
SCORES_AT_ONCE = 3000  # rows of scores.csv of a first answer: two minutes of a camera
ROW_BYTES = 160  # of such a row, about
EVENTS, PICTURES = "text/event-stream", "multipart/x-mixed-replace; boundary=picture"
# Of a watch: it writes the one while somebody sets the other's time (video/detector/live_picture.py).
PICTURE, LOOKING = "now.jpg", ".looking"
PATIENCE_S = 20.0  # for a watch that has just been started to make them
PICTURE_EVERY_S, LOOK_EVERY_S = 0.03, 1.0  # between two looks at the picture, and two touches

Parts = AsyncIterator[str] | AsyncIterator[bytes] | Iterator[bytes]


def routes(context: Context) -> list[Route]:
    """Addresses of the streams."""
    open_streams: list[int] = []

    def limited(parts: Parts, media_type: str = EVENTS) -> Response:
        if len(open_streams) >= MOST_STREAMS:
            return PlainTextResponse(
                f"{MOST_STREAMS} streams are open already: close another window.\n",
                503,
                headers={"Retry-After": "10"},
            )
        open_streams.append(1)  # before the answer starts: requests come side by side

        return _Released(parts, media_type, open_streams)

    async def job_stream(request: Request) -> Response:
        job = await run_in_threadpool(context.jobs.get, request.path_params["job"])
        return limited(_follow_job(context, job.id, _places(request, 2)))

    async def watch_stream(request: Request) -> Response:
        run = await run_in_threadpool(context.run, request)
        found = run.detection(request.query_params.get("of", ""))
        return limited(_follow_scores(found, _places(request, 1)))

    async def pictures(request: Request) -> Response:
        run = await run_in_threadpool(context.run, request)
        found = run.detection(request.query_params.get("of", ""))
        files = (within(found.folder, name) for name in (PICTURE, LOOKING))
        return limited(_follow_pictures(*files), PICTURES)

    async def archive(request: Request) -> Response:
        run = await run_in_threadpool(context.run, request)
        answer = limited(zipped(run.folder), "application/zip")
        name = re.sub("[^A-Za-z0-9_-]+", "-", run.folder.name).strip("-") or "run"
        answer.headers.setdefault("Content-Disposition", f'attachment; filename="{name}.zip"')
        return answer

    return [
        Route("/runs/{run}/archive.zip", archive),
        Route("/jobs/{job}/stream", job_stream),
        Route("/runs/{run}/watch/pictures", pictures),
        Route("/runs/{run}/watch/stream", watch_stream),
    ]


class _Released(StreamingResponse):
    """A stream that gives its place back, however it ends."""

    def __init__(self, parts: Parts, media_type: str, taken: list[int]):
        super().__init__(parts, media_type=media_type)
        self._taken = taken

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._taken.pop()


def _places(request: Request, count: int) -> list[int] | None:
    """Where a browser goes on; None where it starts."""
    last = request.headers.get("last-event-id", "")
    if not re.fullmatch(r"\d{1,15}(-\d{1,15})*", last) or last.count("-") != count - 1:
        return None
    return [int(place) for place in last.split("-")]


def event(kind: str, content: Any, *places: int) -> str:
    """One event as it goes over the line."""
    return f"id: {'-'.join(map(str, places))}\nevent: {kind}\ndata: {json.dumps(content)}\n\n"


async def _follow_job(context: Context, name: str, places: list[int] | None) -> AsyncIterator[str]:
    """What a job prints, and the lines of its run's metrics.jsonl."""
    job = context.jobs.get(name)
    log, log_at, metrics_at = context.jobs.log(name), *(places or [-TAIL_BYTES, 0])
    metrics = None
    if job.kind == "train" and job.run:
        metrics = context.settings.roots[0].joinpath(job.run) / "metrics.jsonl"
    began = heard = time.monotonic()
    while time.monotonic() - began < LONGEST_S:
        job = await run_in_threadpool(
            context.jobs.get, name
        )  # before the files: its last words count
        text, log_at = await run_in_threadpool(read_from, log, log_at)
        rows = []
        if metrics is not None:
            lines, end = await run_in_threadpool(read_from, metrics, metrics_at)
            whole, _, rest = lines.rpartition("\n")
            rows = [row for line in whole.splitlines() if (row := _row(line))]
            metrics_at = end - len(rest.encode())
        if text:
            yield event("log", text, log_at, metrics_at)
        if rows:
            yield event("metrics", rows, log_at, metrics_at)
        if not job.alive:
            yield event("end", job.state, log_at, metrics_at)
            return
        if text or rows:
            heard = time.monotonic()
        elif time.monotonic() - heard > HEARTBEAT_S:
            heard = time.monotonic()
            yield ": still there\n\n"
        await asyncio.sleep(EVERY_S)


def _row(line: str) -> dict[str, Any] | None:
    """A line of metrics.jsonl; NaN is none in JSON, and a browser would refuse it."""
    try:
        row = json.loads(line, parse_constant=lambda _: None)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


async def _follow_scores(found: Any, places: list[int] | None) -> AsyncIterator[str]:
    """New rows of a detection's scores.csv, and how many events there are."""
    path, events_seen = found.folder / "scores.csv", -1
    header = read_from(path, 0)[0].partition("\n")[0].split(",")
    at = places[0] if places else -SCORES_AT_ONCE * ROW_BYTES
    began = heard = time.monotonic()
    while time.monotonic() - began < LONGEST_S:
        text, end = await run_in_threadpool(read_from, path, at)
        if not header[0]:
            header = text.partition("\n")[0].split(",")
        whole, _, rest = text.rpartition("\n")
        at = end - len(rest.encode())
        rows = [row for line in csv.reader(whole.splitlines()) if (row := _score(header, line))]
        if rows:
            heard = time.monotonic()
            yield event("scores", rows, at)
        number = len(await run_in_threadpool(found.events))
        if number != events_seen:
            events_seen = number
            yield event("events", number, at)
        elif time.monotonic() - heard > HEARTBEAT_S:
            heard = time.monotonic()
            yield ": still there\n\n"
        await asyncio.sleep(EVERY_S)


def _score(header: list[str], values: list[str]) -> list[float | None] | None:
    """[seconds, score, running median, alarm] of a row; None for the header, and for a row that was cut."""
    if len(values) != len(header) or values == header:
        return None
    row = dict(zip(header, values))
    try:
        found = [float(v) if (v := row.get(name, "")) else None for name in _SCORES]
    except ValueError:
        return None
    return found if found[0] is not None else None


_SCORES = ("time_s", "score", "sustained", "alarm")


async def _follow_pictures(picture: Path, looking: Path) -> AsyncIterator[bytes]:
    """The pictures of a watch, each as soon as it is there, until the watch ends."""
    began, looked, seen, goes_on = time.monotonic(), -LOOK_EVERY_S, 0, False
    yield b"--picture\r\n"
    while time.monotonic() - began < LONGEST_S:
        if time.monotonic() - looked >= LOOK_EVERY_S:
            looked = time.monotonic()
            try:  # never made here: the watch makes it and removes it
                await run_in_threadpool(os.utime, looking)
                goes_on = True
            except OSError:
                if goes_on or looked - began > PATIENCE_S:
                    return
        found, seen = await run_in_threadpool(_newer, picture, seen)
        if found:
            head = f"Content-Type: image/jpeg\r\nContent-Length: {len(found)}\r\n\r\n"
            # A browser shows a part when the next one begins.
            yield head.encode() + found + b"\r\n--picture\r\n"
        await asyncio.sleep(PICTURE_EVERY_S)


def _newer(path: Path, seen: int) -> tuple[bytes, int]:
    """(a file's bytes where it was replaced since, its time)."""
    try:
        with path.open("rb") as file:
            changed = os.fstat(file.fileno()).st_mtime_ns
            return (file.read(), changed) if changed != seen else (b"", seen)
    except OSError:
        return b"", seen
