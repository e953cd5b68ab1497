#!/usr/bin/env python3
"""Says whether a watch lives, by its health file: `alive.py [--kill] FILE`.

Exit status 0: it lives, be it quiet or without pictures from its camera. 1: it is dead, has ended or was
never started. `--kill`, for containers, ends one that is dead so that it is started again.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

DEAD_S = 60.0  # without a new file, which is written once a second
STARTING_S = 1800.0  # the same while the model is loaded and compiled
AGAIN_S = 3.0  # a second look, for a clock that was set makes files look old


def look(path: Path) -> tuple[dict, float]:
    """The file's content, and when it was written in seconds since 1970."""
    return json.loads(path.read_text()), path.stat().st_mtime


def verdict(path: Path) -> tuple[bool, str, dict]:
    """Whether it lives, a line for a person, and the file's content."""
    try:
        health, written_s = look(path)
        state = health["state"]
        if state == "ended":
            return False, "ended", {}
        limit_s = STARTING_S if state == "starting" else DEAD_S
        if time.time() - written_s > limit_s:
            time.sleep(AGAIN_S)
            again, later_s = look(path)
            if later_s == written_s:
                return False, f"dead: {path} is {time.time() - written_s:.0f} s old", again
    except (OSError, ValueError, KeyError) as error:
        return False, f"{path}: {error}", {}
    return True, f"{state}, {health['frames_per_s']} frames/s {health['problem']}".strip(), health


def main(argv: list[str]) -> int:
    """The command."""
    kill, names = "--kill" in argv, [word for word in argv if word != "--kill"]
    if len(names) != 1:
        print(__doc__)
        return 2
    lives, line, health = verdict(Path(names[0]))
    print(line)
    if kill and not lives and "pid" in health:
        os.kill(health["pid"], signal.SIGKILL)
    return 0 if lives else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
