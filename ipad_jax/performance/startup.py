"""Seconds to the first output: `train` to the end of its first step, what comes after it, what only answers.

Each start is a process of its own. Training is on a drawn dataset; the first finds an empty compilation
cache, the others the one it left; it ends when the first line of metrics.jsonl is on the disk. `evaluate`,
`calibrate` and `detect` take that run, on a terminal, and are ended at the first thing they show.
"""

import os
import pty
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ipad_jax.performance.input import SCENE, draw_frames, prepare_drawn
from ipad_jax.performance.timing import cpu_seconds, number
from ipad_jax.run.config import load_config
from ipad_jax.run.table import Table

COMMAND = (sys.executable, "-m", "ipad_jax.main")
ANSWERED_AT_ONCE = {  # what needs no model
    "`train --help`": ["train", "--help"],
    "`train`, no such config": ["train", "--config", "nowhere", "--workdir", "nowhere"],
    "`detect`, no such run": ["detect", "--workdir", "nowhere", "--video", "nowhere"],
}


FIRST_OUTPUT = {  # words that follow: footage of its machine
    "`evaluate`, first output": ["evaluate", "--protocol", "paper"],  # it held out nothing
    "`calibrate`, first output": ["calibrate", "--video"],
    "`detect`, first output": ["detect", "--video"],
}


def time_starts(*, config: str, size: int, warm: int) -> Table:
    """Starts the command 1 + `warm` times for a config, on frames of `size` pixels."""
    load_config(config)  # a wrong name is refused before anything is drawn
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        draw_frames(root / "frames", 6, 40, size, size)
        footage = root / "frames" / "testing" / "frames" / "01"
        shutil.copytree(root / "frames" / "training" / "frames" / "01", footage)
        (root / "frames" / "test_label").mkdir()
        np.save(root / "frames" / "test_label" / "001.npy", np.arange(40) // 20)
        prepare_drawn(root / "frames", root / "data", size)
        names = ["cold", *(["with the cache"] * warm)]
        seconds = [
            seconds_to_first_step(config, size, root, root / f"run{index}")
            for index in range(len(names))
        ]
        cold = seconds[0]
        rows = [
            (name, number(spent), "", f"{spent / cold:.2f}") for name, spent in zip(names, seconds)
        ]
        for name, words in (FIRST_OUTPUT | ANSWERED_AT_ONCE).items():
            start, cpu = time.perf_counter(), cpu_seconds()
            if name in FIRST_OUTPUT:
                video = [footage] if words[-1] == "--video" else []
                wait_for_output([*words, *map(str, video), "--workdir", str(root / "run0")])
            else:
                subprocess.run([*COMMAND, *words], cwd=root, capture_output=True, check=False)
            spent, cpu = time.perf_counter() - start, cpu_seconds() - cpu
            rows.append((name, number(spent), number(cpu), f"{spent / cold:.2f}"))
    return Table(
        f"Start-up: `ipad-jax train --config {config}`, {size}x{size}, to the first step; other commands",
        ("start", "s", "CPU s", "of the cold one"),
        tuple(rows),
    )


def wait_for_output(words: Sequence[str]) -> None:
    """One start of a command on a terminal, ended at the first thing it shows.

    Raises:
      ChildProcessError: that is an error, or nothing at all.
    """
    screen, terminal = pty.openpty()
    try:
        with subprocess.Popen([*COMMAND, *words], stdout=terminal, stderr=terminal) as process:
            os.close(terminal)
            try:
                shown = os.read(screen, 4096).decode()
            except OSError:  # its end, on Linux
                shown = ""
            process.kill()
    finally:
        os.close(screen)
    if not shown or shown.startswith("ipad-jax"):
        raise ChildProcessError(f"{' '.join(words)} showed: {shown or 'nothing'}")


def seconds_to_first_step(config: str, size: int, root: Path, workdir: Path) -> float:
    """One start of the command, ended after one step.

    Raises:
      ChildProcessError: it failed; with the end of what it said.
    """
    leaves = {
        "data.builder": "video_folder",
        "data.name": SCENE,
        "data.data_dir": root / "data",
        "data.size": size,
        "total_steps": 1,
        "log_every": 1,
        "eval_every": 0,
        "data.holdout_share": 0.0,  # nothing to calibrate on: the process ends after its step
    }
    command = [*COMMAND, "train", "--config", config]
    command += [f"--config.{name}={value}" for name, value in leaves.items()]
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(root / "cache")}
    log, metrics = root / f"{workdir.name}.log", workdir / "metrics.jsonl"
    with log.open("w") as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            [*command, "--workdir", str(workdir)],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
        )
        while not (metrics.exists() and metrics.stat().st_size) and process.poll() is None:
            time.sleep(0.02)
        spent = time.perf_counter() - start
        process.wait()  # it saves: not counted
    if not (metrics.exists() and metrics.stat().st_size):
        raise ChildProcessError(f"{' '.join(command)} made no step:\n{log.read_text()[-2000:]}")
    return spent
