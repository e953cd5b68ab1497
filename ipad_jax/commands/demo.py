"""The whole system on a rendered machine, in at most six minutes on two cores; --image: in two, on images;
--object: an object seen from any side.

Renders one machine of the factory, trains once, calibrates on held-out normal cycles, evaluates, and
writes a report. Each of the four steps prints where it is; the last line says how long all took.
"""

import argparse
import time
from pathlib import Path
from typing import Any

from ipad_jax.commands import prepare
from ipad_jax.commands.next_step import detection, print_next
from ipad_jax.commands.parsing import UsageError, new_parser

# The score was chosen on the lift and on this machine, both with seed 101, which the demo does not use.
SCENE = "arm_synthetic"
PARTS = "plate"  # likewise: tuned on other seeds
TOY = "cat"  # likewise: tuned on the hound
TOY_SIZE, TOY_VIEWS = 128, (120, 10, 5)  # pixels; training, good and each kind of defective views
TOY_STEPS = 2000
TRAIN_SECONDS = 150  # what six minutes leave after rendering, compiling, scoring and the report


def overrides(scene: str, data_dir: str, seconds: float) -> dict[str, object]:
    """Leaves of the config `factory` that the demo changes."""
    return {
        "data.name": scene,
        "data.data_dir": data_dir,
        "max_seconds": seconds,
        "eval_every": 0,
        # its half minute of held-out footage cannot say what is rarer
        "eval.false_alarms_per_hour": 60.0,
    }


def make_parser() -> argparse.ArgumentParser:
    """Parser of `ipad-jax demo`."""
    parser = new_parser(
        "demo",
        __doc__,
        "[--workdir DIR] [--image | --object] [--scene SCENE] [--seconds S]",
        "ipad-jax demo --workdir demo_run",
    )
    parser.add_argument(
        "--workdir",
        default="demo_run",
        metavar="DIR",
        help="folder of the dataset and the run (default: %(default)s)",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--image", action="store_true", help="inspect images of rendered parts instead of a machine"
    )
    what.add_argument(
        "--object", action="store_true", help="inspect a rendered toy, photographed from any side"
    )
    parser.add_argument(
        "--scene",
        help=f"a factory scene (default: {SCENE}), with --image a set of parts ({PARTS}), with --object a "
        f"toy ({TOY})",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=TRAIN_SECONDS,
        metavar="S",
        help="of training (default: %(default)s)",
    )
    return parser


class Stages:
    """Prints each of the four steps as it begins, with the time since the first."""

    def __init__(self) -> None:
        self._start, self._count = time.monotonic(), 0

    def begin(self, text: str) -> None:
        """Begins the next step."""
        self._count += 1
        print(f"[{self._count}/4, {self.seconds:3.0f} s] {text}", flush=True)

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._start


def run(args: argparse.Namespace) -> int:
    """Prepares, trains, evaluates."""
    if args.image:
        return _run_images(Path(args.workdir), PARTS if args.scene is None else args.scene)
    if args.object:
        return _run_object(
            Path(args.workdir), TOY if args.scene is None else args.scene, args.seconds
        )
    args.scene = SCENE if args.scene is None else args.scene
    data_dir, workdir = Path(args.workdir) / "data", Path(args.workdir) / args.scene
    print(f"dataset in {data_dir}, run in {workdir}; about {180 + args.seconds:.0f} s on two cores")
    stages = Stages()
    stages.begin(
        f"rendering {args.scene}: normal cycles to train on, normal and faulty ones to test"
    )
    status = prepare.main(
        ["factory", "--scene", args.scene, "--size", "64", "--data-dir", str(data_dir)]
    )
    if status:
        return status
    from ipad_jax.run.compile_cache import enable_compile_cache
    from ipad_jax.run.config import load_config
    from ipad_jax.run.progress import frame_progress
    from ipad_jax.run.stopwatch import INTERRUPTED
    from ipad_jax.training.loop import train
    from ipad_jax.video.evaluation import evaluate

    stages.begin(f"training on normal cycles for {args.seconds:.0f} s")
    enable_compile_cache()
    config = load_config("factory", overrides(args.scene, str(data_dir), args.seconds))
    summary = train(config, str(workdir))
    if summary.reason in INTERRUPTED:
        return INTERRUPTED[summary.reason]
    stages.begin("calibrating on held-out normal cycles, scoring the test videos")
    evaluation = evaluate(workdir, stages=frame_progress)
    return _finish(stages, evaluation, workdir, "video")


def _finish(stages: Stages, evaluation: Any, workdir: Path, family: str) -> int:
    """Prints the figures, where the page is, how long it took, and what to type next."""
    assert evaluation is not None  # one process
    stages.begin("done")
    print(f"\n{evaluation.summary()}")
    print(f"\nreport: {evaluation.folder / 'report.html'}  (open it in a browser)")
    print(f"took {stages.seconds:.0f} s")
    print_next(*detection(workdir, family))
    return 0


def _run_images(folder: Path, name: str) -> int:
    """Renders parts, fits the bank, sets its threshold, judges it."""
    data_dir, workdir = folder / "data", folder / name
    print(f"dataset in {data_dir}, run in {workdir}; about two minutes on two cores")
    stages = Stages()
    stages.begin(f"rendering {name}: good parts to learn from, good and defective ones to test")
    status = prepare.main(["parts", "--scene", name, "--data-dir", str(data_dir)])
    if status:
        return status
    from functools import partial

    from ipad_jax.image.detector import calibrate
    from ipad_jax.image.evaluation import evaluate
    from ipad_jax.run.compile_cache import enable_compile_cache
    from ipad_jax.run.config import load_config
    from ipad_jax.run.progress import frame_progress
    from ipad_jax.training.loop import train

    stages.begin("fitting a memory bank to good parts, setting its threshold on others")
    enable_compile_cache()
    config = load_config("bank:parts", {"data.name": name, "data.data_dir": str(data_dir)})
    train(config, str(workdir))
    with frame_progress("calibrating", "images") as progress:
        calibrate(workdir, progress=progress)
    stages.begin("judging the test images")
    evaluation = evaluate(workdir, stages=partial(frame_progress, unit="images"))
    return _finish(stages, evaluation, workdir, "image")


def _run_object(folder: Path, name: str, seconds: float) -> int:
    """Renders a toy from all around, learns it, sets its threshold, judges views from random sides."""
    from ipad_jax.data_builders.toys.animals import ANIMALS

    if name not in ANIMALS:
        raise UsageError(f"toys has no scene {name!r}; choose from {', '.join(ANIMALS)}.")
    data_dir, workdir = folder / "data", folder / name
    print(f"dataset in {data_dir}, run in {workdir}; about four minutes on two cores")
    stages = Stages()
    stages.begin(f"rendering {name}: good views to learn from, good and defective ones to test")
    from functools import partial

    from absl import logging

    from ipad_jax.data_builders.toys.toys_dataset_builder import Builder, ToysConfig
    from ipad_jax.pose.detector import calibrate
    from ipad_jax.pose.evaluation import evaluate
    from ipad_jax.prepare.build import prepare as build
    from ipad_jax.run.compile_cache import enable_compile_cache
    from ipad_jax.run.config import load_config
    from ipad_jax.run.progress import Bars, frame_progress
    from ipad_jax.run.stopwatch import INTERRUPTED
    from ipad_jax.training.loop import train

    logging.set_verbosity(logging.ERROR)  # TFDS warns of any size that is not predefined
    toy = ToysConfig(scene=name, size=TOY_SIZE, counts=TOY_VIEWS)
    with Bars(transient=False) as bars:
        build(Builder, toy, str(data_dir), bars=bars)
    stages.begin("learning its shape and colours, setting the threshold on views held out")
    enable_compile_cache()
    leaves = {"data.name": toy.name, "data.data_dir": str(data_dir), "data.size": TOY_SIZE}
    budget = {"total_steps": TOY_STEPS, "max_seconds": seconds, "eval_every": 0}
    summary = train(load_config("omnipose", leaves | budget), str(workdir))
    if summary.reason in INTERRUPTED:
        return INTERRUPTED[summary.reason]
    with frame_progress("calibrating", "images") as progress:
        calibrate(workdir, progress=progress)
    stages.begin("finding the pose of each test view, judging it")
    evaluation = evaluate(workdir, stages=partial(frame_progress, unit="images"))
    return _finish(stages, evaluation, workdir, "pose")


def main(argv: list[str]) -> int:
    """The command; see `ipad-jax demo --help`."""
    return run(make_parser().parse_args(argv))
