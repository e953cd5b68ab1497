"""`ipad-jax demo`: the whole system on a rendered machine, in at most six minutes on two cores.

Renders one device of the factory, trains once, calibrates on held-out normal cycles, evaluates,
writes the report and prints a short table. The score was chosen on the lift and on this machine, both
with seed 101, which the demo does not use.
"""

import argparse
import time
from pathlib import Path

from ipad_jax.commands import prepare
from ipad_jax.run.compile_cache import enable_compile_cache
from ipad_jax.run.config import load_config
from ipad_jax.run.progress import frame_progress
from ipad_jax.run.stopwatch import INTERRUPTED
from ipad_jax.training.loop import train
from ipad_jax.video.evaluation import evaluate
from ipad_jax.video.evaluation.measure import summary_text

SCENE = "arm_synthetic"
TRAIN_SECONDS = 150  # what six minutes leave after rendering, compiling, scoring and the report


def overrides(scene: str, data_dir: str, seconds: float) -> dict[str, object]:
    """Leaves of the config `factory` that the demo changes."""
    return {"data.name": scene, "data.data_dir": data_dir, "max_seconds": seconds, "eval_every": 0}


def main(argv: list[str]) -> int:
    """The command; see `ipad-jax demo --help`."""
    parser = argparse.ArgumentParser("ipad-jax demo", description=__doc__)
    parser.add_argument("--workdir", default="demo_run", help="folder of the dataset and the run")
    parser.add_argument("--scene", default=SCENE, help="a factory scene (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=TRAIN_SECONDS, help="of training")
    args = parser.parse_args(argv)
    data_dir, run = Path(args.workdir) / "data", Path(args.workdir) / args.scene
    start = time.monotonic()

    def stage(number: int, text: str) -> None:
        print(f"[{number}/4, {time.monotonic() - start:3.0f} s] {text}", flush=True)

    stage(1, f"rendering {args.scene}: normal cycles to train on, normal and faulty ones to test")
    status = prepare.main(
        ["factory", "--scene", args.scene, "--size", "64", "--data-dir", str(data_dir)]
    )
    if status:
        return status
    stage(2, f"training on normal cycles for {args.seconds:.0f} s")
    enable_compile_cache()
    config = load_config("factory", overrides(args.scene, str(data_dir), args.seconds))
    summary = train(config, str(run))
    if summary.reason in INTERRUPTED:
        return INTERRUPTED[summary.reason]
    stage(3, "calibrating on held-out normal cycles, scoring the test videos, writing the report")
    evaluation = evaluate(run, stages=frame_progress)
    assert evaluation is not None  # one process
    stage(4, "done")
    print()
    print(summary_text(evaluation))
    print(f"\nreport: {evaluation.folder / 'report.html'}  (open it in a browser)")
    print(f"took {time.monotonic() - start:.0f} s")
    return 0
