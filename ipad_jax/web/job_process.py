"""Runs one job's command and writes down how it ended: `python -m ipad_jax.web.job_process FOLDER`.

A process of its own, so that a command outlives the page that started it. Imports nothing that is slow.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

NICENESS = 5  # the page stays quick beside a training


def began(pid: int) -> str:
    """When a process began, in a form that no other of its number shares; "" where it is no more."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        if Path("/proc/self").exists():
            return ""
        try:  # no /proc: the number has to do
            os.kill(pid, 0)
        except OSError:
            return ""
        return "unknown"
    fields = text.rpartition(")")[2].split()  # a program's name may hold blanks
    return "" if fields[0] in "ZX" else fields[19]


def main(folder: Path) -> None:
    """Runs the command of job.json to its end; SIGTERM and SIGINT are passed on to it."""
    job = json.loads((folder / "job.json").read_text())
    asked: list[int] = []
    children: list[subprocess.Popen[bytes]] = []

    def pass_on(number: int, _frame: object) -> None:
        asked.append(number)
        for child in children:
            child.send_signal(number)

    signal.signal(signal.SIGTERM, pass_on)
    signal.signal(signal.SIGINT, pass_on)
    _write(folder / "state.json", {"pid": os.getpid(), "began": began(os.getpid())})
    os.nice(NICENESS)
    with (folder / "log.txt").open("ab") as log:
        try:
            child = subprocess.Popen(
                job["argv"],
                cwd=job["cwd"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | {"PYTHONUNBUFFERED": "1", "NO_COLOR": "1", "COLUMNS": "100"},
            )
            children.append(child)
            for number in asked:  # came before there was a child
                child.send_signal(number)
            status = child.wait()
        except OSError as error:
            log.write(f"{error}\n".encode())
            status = 127
    _write(folder / "ended.json", {"status": status, "time": time.time()})


def _write(path: Path, content: dict[str, object]) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(content))
    partial.replace(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
