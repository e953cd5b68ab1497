"""Commands that the page has started. Each is a folder; a restart of the page finds them all again.

    HOME/jobs/<id>/job.json      what was started
                  /state.json    the process that runs it
                  /log.txt       what it printed
                  /ended.json    its exit status

A process of its own (`job_process`) runs the command and writes down how it ended, so neither needs the page.
"""

import contextlib
import fcntl
import json
import os
import re
import secrets
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ipad_jax.run.files import write_atomic
from ipad_jax.web.job_process import began
from ipad_jax.web.settings import NotThereError

JOB, STATE, LOG, ENDED = "job.json", "state.json", "log.txt", "ended.json"
LOCK = ".lock"  # held while a job is started, also by another page on the same folder
STARTING_S = 30.0  # so long a job may have no process yet
TAIL_BYTES = 40_000  # of a log that are shown at once
STOPPED = (130, 143, -2, -15, -9)
ALARM, FOUND = 3, 1  # of `detect`, of `validate`


@dataclass(frozen=True)
class Job:
    """A command that was started.

    Attributes:
      id: names its folder.
      kind: such as "train"; only one of a kind runs at a time.
      words: of the command, behind `ipad-jax`.
      title: for a person.
      run: its run folder; "" without.
      back: address of the page that shows what it makes; "" without.
      started: seconds since 1970.
      status: exit status; None while it runs.
      alive: whether it runs.
      ended: seconds since 1970; None while it runs or where nobody saw its end.
    """

    id: str
    kind: str
    words: tuple[str, ...]
    title: str
    run: str
    back: str
    started: float
    status: int | None
    alive: bool
    ended: float | None

    @property
    def command(self) -> str:
        """To be repeated in a terminal."""
        words = [
            re.sub(r"://[^/@]*@", "://...@", word) for word in self.words
        ]  # a camera's password
        return shlex.join(["ipad-jax", *words])

    @property
    def state(self) -> str:
        """In a word or two."""
        if self.alive:
            return "running"
        if self.status is None:
            return "ended, nobody saw how"
        if self.status == 0:
            return "done"
        if self.status in STOPPED:
            return "stopped"
        if self.status == ALARM and "detect" in self.words[:1]:
            return "done, with an alarm"
        if self.status == FOUND and "validate" in self.words[:1]:
            return "done, with problems found"
        return f"failed (status {self.status})"

    @property
    def since(self) -> str:
        """When it was started, local time."""
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.started))

    @property
    def seconds(self) -> float | None:
        """How long it took, or has taken so far."""
        end = time.time() if self.alive else self.ended
        return None if end is None else max(0.0, end - self.started)


class Jobs:
    """The jobs below a folder."""

    def __init__(self, home: Path, program: Sequence[str]):
        """`home`: made where it is missing; `program`: how `ipad-jax` is started, as words."""
        self.folder, self.program = home / "jobs", tuple(program)
        self._children: list[subprocess.Popen[bytes]] = []

    def start(
        self, kind: str, words: Sequence[str], title: str, *, run: str = "", back: str = ""
    ) -> Job:
        """Starts a command; arguments as the attributes of `Job`.

        Raises:
          ValueError: one of this kind runs already.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / LOCK).open("w") as one_at_a_time:  # closing it gives it free
            fcntl.flock(one_at_a_time, fcntl.LOCK_EX)
            if busy := [job for job in self.all() if job.alive and job.kind == kind]:
                raise ValueError(
                    f"another job of this kind is running ({busy[0].title}): wait for its end, or stop it."
                )
            folder = self._write(kind, words, title, run, back)
        child = subprocess.Popen(
            [sys.executable, "-m", "ipad_jax.web.job_process", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C on the page, or its end, is none of the job's
        )
        self._children.append(child)
        return self.get(folder.name)

    def _write(self, kind: str, words: Sequence[str], title: str, run: str, back: str) -> Path:
        """The folder of a new job, which counts as running from now on."""
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
        folder = self.folder / name
        folder.mkdir()
        content = {
            "kind": kind,
            "words": list(words),
            "argv": [*self.program, *words],
            "cwd": str(self.folder.parent.parent),
            "title": title,
            "run": run,
            "back": back,
            "started": time.time(),
        }
        write_atomic(folder / JOB, json.dumps(content, indent=1).encode())
        (folder / LOG).touch()
        return folder

    def get(self, name: str) -> Job:
        """A job by its id.

        Raises:
          NotThereError: there is none.
        """
        if not re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{8}", name):
            raise NotThereError("there is no such job.")
        self._reap()
        folder = self.folder / name
        content = _read(folder / JOB)
        if content is None:
            raise NotThereError("there is no such job.")
        # The order matters: a process that ends between the two reads has written its end.
        alive = _is_alive(folder, content["started"])
        ended = _read(folder / ENDED) or {}
        return Job(
            name,
            content["kind"],
            tuple(content["words"]),
            content["title"],
            content["run"],
            content["back"],
            content["started"],
            ended.get("status"),
            alive and not ended,
            ended.get("time"),
        )

    def all(self) -> list[Job]:
        """All jobs, the newest first."""
        names = [p.name for p in self.folder.iterdir()] if self.folder.is_dir() else []
        found = []
        for name in names:
            with contextlib.suppress(NotThereError, KeyError, TypeError):
                found.append(self.get(name))
        return sorted(found, key=lambda job: -job.started)

    def stop(self, name: str, *, at_once: bool = False) -> bool:
        """Asks a job to end (it saves what it has), or kills it; whether there was a process to ask."""
        job = self.get(name)
        state = _read(self.folder / name / STATE)
        if not job.alive or state is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            if at_once:
                os.killpg(state["pid"], signal.SIGKILL)
            else:
                os.kill(state["pid"], signal.SIGTERM)
        return True

    def log(self, name: str) -> Path:
        """The file with what a job printed."""
        self.get(name)
        return self.folder / name / LOG

    def tail(self, name: str) -> str:
        """The end of what a job printed."""
        return read_from(self.log(name), -TAIL_BYTES)[0]

    def _reap(self) -> None:
        self._children = [child for child in self._children if child.poll() is None]


def read_from(path: Path, offset: int) -> tuple[str, int]:
    """(text from a byte on, bytes there are); a place below 0 is counted from the end."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            start = max(0, size + offset) if offset < 0 else min(offset, size)
            file.seek(start)
            return file.read(size - start).decode(errors="replace"), size
    except OSError:
        return "", 0


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _is_alive(folder: Path, started: float) -> bool:
    """Whether the very process that runs a job is there; its number alone may be another one's by now."""
    state = _read(folder / STATE)
    if state is None:
        return not (folder / ENDED).exists() and time.time() - started < STARTING_S
    return began(state["pid"]) == state["began"]
