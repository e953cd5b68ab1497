"""kill -9 again and again; the run must end as if nothing had happened.

  python tests/survival/kill_nine.py --kills 20 --during-save 5

One run of the big toy is left alone. Another is killed `--kills` times, `--during-save` of them
when the folder of checkpoints shows an unfinished save, the others at random moments. After each
kill what lies in the folder says where it landed (not what was aimed at), and the next start must
begin with the batch of the last complete checkpoint + 1. In the end both runs must hold the same
bits: every array of the model and of the optimizer, and the loss of every step. The first start
fills the compilation cache; no later one may compile the step again.

Exit status: 0 all of it held; 1 with the first thing that did not.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from etils import epath
from orbax.checkpoint import v1 as ocp

from ipad_jax.training.checkpoints import DIGESTS, complete_steps, verify
from ipad_jax.training.logs import read_metrics

DRIVER = Path(__file__).parent / "big_toy.py"
PATIENCE_S = 1200.0  # a start that takes longer, on however loaded a machine, hangs
TRAINING_S = 1.5  # a random moment lies so long after compiling, or (one in four) before its end


class Leftover(NamedTuple):
    """A folder of checkpoints that is not complete."""

    name: str
    inode: int


class Run:
    """One run folder and the processes that work in it."""

    def __init__(self, root: Path, name: str, steps: int, every: int, state_mb: float):
        self.workdir = root / name
        self.folder = epath.Path(self.workdir) / "checkpoints"
        self.journal_path = root / f"{name}.journal"
        self.log_path = root / f"{name}.log"
        self.command = [sys.executable, str(DRIVER), "--workdir", str(self.workdir)]
        self.command += ["--steps", str(steps), "--every", str(every), "--state-mb", str(state_mb)]
        self.environment = os.environ | {
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": str(root / "cache"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "0",  # as a user's run
        }

    def start(self) -> subprocess.Popen:
        with self.log_path.open("a") as log:
            return subprocess.Popen(
                self.command, env=self.environment, stdout=log, stderr=subprocess.STDOUT
            )

    def finish(self) -> None:
        """Starts it and lets it end."""
        status = self.start().wait(PATIENCE_S)
        check(status == 0, f"exit status {status}; see {self.log_path}")

    def journal(self, key: str) -> list[int]:
        """What the starts so far wrote down under `key`."""
        if not self.journal_path.exists():
            return []
        rows = [json.loads(line) for line in self.journal_path.read_text().splitlines()]
        return [row[key] for row in rows if key in row]

    def complete(self) -> list[int]:
        return complete_steps(self.folder)

    def unfinished(self) -> set[Leftover]:
        """Saves that are not whole: Orbax's temporary folders, and steps without digests."""
        found = set()
        for path in Path(self.folder).iterdir() if self.folder.exists() else ():
            try:
                if not (path / DIGESTS).exists():
                    found.add(Leftover(path.name, path.stat().st_ino))
            except FileNotFoundError:  # renamed or removed in between
                continue
        return found

    def arrays(self, step: int) -> dict[str, np.ndarray]:
        """Everything a checkpoint holds, by name."""
        verify(self.folder, step)
        parts = ocp.load_checkpointables(self.folder / str(step))
        names = ("model", "training")
        return {f"{p}.{n}": np.asarray(x) for p in names for n, x in parts[p].items()}


def check(holds: bool, otherwise: str) -> None:
    """Ends the script, or the test, where something does not hold."""
    if not holds:
        raise AssertionError(otherwise)


def wait_for(what: str, process: subprocess.Popen, holds, seconds: float = PATIENCE_S) -> None:
    """Polls until `holds()`; an end of the process or of the patience is an error."""
    end = time.monotonic() + seconds
    while not holds():
        check(process.poll() is None, f"the run ended by itself before {what}: give more --steps")
        check(time.monotonic() < end, f"{what} did not come in {seconds:.0f} s")
        time.sleep(0.01)


def kill_once(run: Run, during_save: bool, rng: random.Random, start_s: float) -> tuple[str, float]:
    """Starts the run and kills it.

    Returns:
      Where the kill landed, and the seconds from the start to the second batch (0 if not reached).
    """
    before, starts = run.unfinished(), len(run.journal("first_step"))
    process = run.start()
    try:
        took = wait_for_moment(run, process, during_save, rng, start_s)
        check(process.poll() is None, "the run ended by itself: give more --steps")
    finally:
        process.kill()
        process.wait()
    return where(run, before, len(run.journal("first_step")) > starts), took


def wait_for_moment(
    run: Run, process: subprocess.Popen, during_save: bool, rng: random.Random, start_s: float
) -> float:
    """Waits for the moment of a kill; gives the seconds to the second batch (0 if not reached)."""
    began, before, compiled = time.monotonic(), run.unfinished(), len(run.journal("cache_hits"))
    took = 0.0

    def is_training() -> bool:
        return len(run.journal("cache_hits")) > compiled

    if not during_save and rng.random() < 0.25:
        end = began + rng.uniform(0.0, start_s)
        wait_for("its moment", process, lambda: time.monotonic() >= end or is_training())
    else:
        wait_for("the second batch", process, is_training)
        took = time.monotonic() - began
    if during_save:
        saves = rng.randrange(3)  # let some pass
        for _ in range(saves):
            wait_for("a save", process, lambda: run.unfinished() - before)
            wait_for("its end", process, lambda: not run.unfinished() - before)
        wait_for("a save", process, lambda: run.unfinished() - before)
        time.sleep(rng.uniform(0.0, 0.25))  # the writing, the digests, the removal of an old one
    elif took:
        time.sleep(rng.uniform(0.0, TRAINING_S))
    return took


def where(run: Run, before: set[Leftover], trained: bool) -> str:
    """What the folder says of the moment of a kill; `before` is what lay there at the start."""
    if not trained:
        return "starting"
    newest = max(run.complete(), default=0)
    new = {left.name for left in run.unfinished() - before}
    if any("tmp" in name for name in new):
        return "save: files being written"
    if any(name.isdecimal() and int(name) > newest for name in new):
        return "save: written, no digests yet"
    if new:
        return "save: complete, an old one being removed"
    return "between saves"


def same(straight: Run, killed: Run, steps: int) -> int:
    """Checks that both runs ended alike; gives the number of arrays compared."""
    check(killed.complete()[-1] == straight.complete()[-1] == steps, "not at the last step")
    left, right = straight.arrays(steps), killed.arrays(steps)
    check(left.keys() == right.keys(), "the checkpoints name other arrays")
    for name in left:
        check(np.array_equal(left[name], right[name]), f"{name} differs")
    losses = [
        [(row["step"], row["loss"]) for row in read_metrics(run.workdir)]
        for run in (straight, killed)
    ]
    check(losses[0] == losses[1], "metrics.jsonl differs")
    check([step for step, _ in losses[0]] == list(range(1, steps + 1)), "steps are missing")
    return len(left)


def survive(
    root: Path, kills: int, during_save: int, steps: int, every: int, state_mb: float, seed: int
) -> list[str]:
    """The whole experiment in an empty folder; gives where each kill landed.

    Raises:
      AssertionError: something did not hold.
    """
    rng = random.Random(seed)
    straight = Run(root, "straight", steps, every, state_mb)
    straight.finish()
    start_s = 5.0
    print(f"left alone: {steps} steps, a checkpoint of {state_mb:g} MB every {every}", flush=True)
    killed = Run(root, "killed", steps, every, state_mb)
    landed: list[str] = []
    expected = 1
    in_save = 0
    while len(landed) < kills:
        todo = kills - len(landed)
        aim = during_save - in_save >= todo or (during_save > in_save and rng.random() < 0.5)
        starts = len(killed.journal("first_step"))
        place, took = kill_once(killed, aim, rng, start_s)
        start_s = took or start_s
        began_at = killed.journal("first_step")[starts:]
        check(began_at in ([], [expected]), f"began at {began_at}, not at {expected}")
        for step in killed.complete():
            verify(killed.folder, step)  # whatever looks complete must be whole
        expected = max(killed.complete(), default=0) + 1
        landed.append(place)
        in_save += place.startswith("save: ") and "removed" not in place
        print(
            f"kill {len(landed):2}: {place:42} began at step {began_at or '-'}, "
            f"complete {killed.complete()}, next must begin at {expected}",
            flush=True,
        )
    starts = len(killed.journal("first_step"))
    killed.finish()
    check(killed.journal("first_step")[starts:] == [expected], "the last start began elsewhere")
    arrays = same(straight, killed, steps)
    rest = killed.unfinished()
    check(not rest, f"left in the folder: {rest}")
    compiled = list((root / "cache").glob("jit_train_step-*-cache"))
    check(len(compiled) == 1, f"the step was compiled {len(compiled)} times")
    check(straight.journal("cache_hits") == [0], "the cache was not empty")
    check(min(killed.journal("cache_hits")) > 0, "no hit of the compilation cache")
    check(in_save >= during_save, f"{in_save} kills landed in a save, not {during_save}")
    starts = len(killed.journal("cache_hits")) + 1
    print(
        f"{kills} kills, {in_save} of them while a save was unfinished; {arrays} arrays and "
        f"{steps} losses equal bit for bit; the step was compiled once for {starts} starts"
    )
    return landed


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--during-save", type=int, default=8, help="at least so many of them")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--every", type=int, default=20, help="steps between checkpoints")
    parser.add_argument("--state-mb", type=float, default=25.0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as root:
        try:
            survive(Path(root), **vars(args))
        except AssertionError as error:
            print(f"kill_nine: {error}", file=sys.stderr)
            for log in sorted(Path(root).glob("*.log")):
                print(f"--- {log.name}\n" + "\n".join(log.read_text().splitlines()[-15:]))
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
