"""Runs a program that ends, with all that it started, when another process ends.

    python tethered.py PID PROGRAM ARGUMENT ...

Jobs of the page outlive it on purpose; those of a test must not outlive a test run that was killed.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading


def words(*program: str) -> tuple[str, ...]:
    """A program's words, tied to this process."""
    return (sys.executable, __file__, str(os.getpid()), *program)


def end_with(pid: int) -> None:
    """Kills this process group once a process has ended."""
    with contextlib.suppress(ProcessLookupError):  # it is gone already
        select.select([os.pidfd_open(pid)], [], [])
    os.killpg(0, signal.SIGKILL)


def main(pid: int, program: list[str]) -> int:
    """The program's exit status, as a shell gives it; SIGTERM and SIGINT are passed on."""
    child = subprocess.Popen(program)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: child.send_signal(number))
    threading.Thread(target=end_with, args=(pid,), daemon=True).start()
    status = child.wait()
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
