"""Hours of footage of rendered machines, scored: what the alarm's table (alarm_table.py) is made of.

    ROOT/<scene>/run/                      trained once
                /pieces/<purpose>_<NN>.npz scores of 2.5 minutes of footage each (FrameScores)
                /pieces/<purpose>_<NN>_renewed.npz of slow change: the same, frames renewed

The footage is of other minutes than the training's, of the same machine: pieces, speed, knocks and light of
its own in each. What is there is not made again: machines and hours may be added, and folders of several
computers merge by copying.
"""

import copy
import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from ipad_jax.data_builders.factory import scene as scene_lib
from ipad_jax.data_builders.factory.faults import KINDS, VARIANTS
from ipad_jax.data_builders.factory.write import CYCLE_FRAMES, FPS, Video, make_video
from ipad_jax.evaluation.alarm_rule import AlarmStream
from ipad_jax.input.frames import height_width
from ipad_jax.run.config import load_config
from ipad_jax.run.provenance import MadeWith, made_with, mismatch
from ipad_jax.run.stopwatch import INTERRUPTED
from ipad_jax.training.loop import train
from ipad_jax.video.detector.calibration_files import fit
from ipad_jax.video.detector.detector import Detector, load
from ipad_jax.video.normal.renewed import VERSION, RenewedFrames
from ipad_jax.video.scores.frame_scores import PREDICTION_LEAVES, FrameScores

PIECE_S = 150.0
FAULT_EVERY = 4  # cycles
CALIBRATE_S, FAULTY_S = 1200.0, 600.0  # of each machine, at most
# With `Plan.drift`: two hours in which light, camera and speed change slowly, told in 15 minutes of footage,
# and faults at their end. All of it is eight times as fast, so frames are renewed after an eighth of the
# minutes. The size of the change is our choice.
DRIFT_H, DRIFTING_PIECES, DRIFTED_PIECES = 2.0, 6, 2
FASTER = DRIFT_H * 3600 / (DRIFTING_PIECES * PIECE_S)
DRIFT_CAMERA, DRIFT_SUN = (0.5, 0.5), (15.0, -8.0)  # degrees of azimuth and elevation
DRIFT_SPEED = 0.06  # share by which cycles grow longer
PURPOSES = {  # numbers of their random generators
    "calibrate": 501,
    "normal": 502,
    "faulty": 503,
    "drifting": 504,
    "drifted": 505,
}
DRIFT = ("drifting", "drifted")
WITH_FAULTS = ("faulty", "drifted")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What is watched, and how it is trained.

    Attributes:
      root: folder of the table.
      scenes: rendered machines, <device>_<look>.
      seed: of the machines and of their training's videos.
      hours: normal footage of each that judges; calibration and faults are shorter in proportion.
      overrides: leaves of every training.
      tiny: the smallest network.
      drift: whether footage that changes slowly is watched too.
    """

    root: epath.Path
    scenes: tuple[str, ...]
    seed: int
    hours: float
    overrides: Mapping[str, object]
    tiny: bool = False
    drift: bool = False

    @property
    def purposes(self) -> tuple[str, ...]:
        """What footage is for, of `PURPOSES`."""
        return tuple(PURPOSES)[: None if self.drift else 3]

    def pieces(self, purpose: str) -> int:
        """Number of pieces of footage; one at least."""
        if purpose in DRIFT:
            return DRIFTING_PIECES if purpose == "drifting" else DRIFTED_PIECES
        normal_s = 3600 * self.hours
        seconds = {
            "calibrate": min(CALIBRATE_S, normal_s),
            "normal": normal_s,
            "faulty": min(FAULTY_S, normal_s / 2),
        }[purpose]
        return max(1, round(seconds / PIECE_S))

    def config(self, scene: str) -> ConfigDict:
        """Config of a machine's training."""
        variant = f"seed{self.seed}" if self.seed else ""
        leaves = {"data.name": scene, "data.variant": variant, "eval_every": 0}
        spec = "factory:tiny" if self.tiny else "factory"
        return load_config(spec, {**leaves, **self.overrides})

    def path(self, scene: str, purpose: str, number: int, *, renewed: bool = False) -> epath.Path:
        """File of a piece's scores; of footage that changes slowly also of those with frames renewed."""
        name = f"{purpose}_{number:02d}" + "_renewed" * renewed
        return self.root / scene / "pieces" / f"{name}.npz"

    def paths(self, scene: str, purpose: str) -> list[epath.Path]:
        """Files of a purpose's pieces, both where there are two."""
        ways = (False, True) if purpose in DRIFT else (False,)
        numbers = range(self.pieces(purpose))
        return [self.path(scene, purpose, n, renewed=way) for n in numbers for way in ways]


def plan_text(plan: Plan, own: Sequence[str]) -> str:
    """What would be done, before it is."""
    lines = [f"alarms of {len(plan.scenes)} machines, in {plan.root}", ""]
    for scene in plan.scenes:
        states = []
        for purpose in plan.purposes:
            count, paths = plan.pieces(purpose), plan.paths(scene, purpose)
            done = sum(path.exists() for path in paths) * count // len(paths)
            states.append(f"{done} of {count} {purpose}")
        other = "" if scene in own else " (another computer's)"
        lines.append(f"  {scene}: {', '.join(states)}{other}")
    seconds = sum(plan.pieces(purpose) for purpose in plan.purposes) * PIECE_S
    return "\n".join(
        [
            *lines,
            "",
            f"pieces of {PIECE_S / 60:g} minutes, {seconds / 60:.0f} minutes of each machine; at 64x64 a "
            "core renders and scores three to six times as fast as the footage plays",
        ]
    )


def watch(plan: Plan, scene: str, say: Say) -> int:
    """Trains a machine's network, renders the pieces that are not there and scores them.

    Returns:
      0; 143 or 130 where a signal stopped the training, which is saved.
    """
    config = plan.config(scene)
    run = plan.root / scene / "run"
    summary = train(config, str(run))
    if summary.reason in INTERRUPTED:
        return INTERRUPTED[summary.reason]
    detector = load(run)
    made = made_with(config, PREDICTION_LEAVES, detector.step)

    todo = [
        (purpose, number)
        for purpose in plan.purposes
        if purpose not in DRIFT
        for number in range(plan.pieces(purpose))
        if not _is_there(plan.path(scene, purpose, number), made)
    ]
    for done, (purpose, number) in enumerate(todo):
        say(f"  {scene}: {purpose} footage, piece {number + 1} ({done} of {len(todo)} done)")
        video = piece(scene, plan.seed, purpose, number, height_width(config.data.size))
        path = plan.path(scene, purpose, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        _score(detector, video, path, made)
    if plan.drift:
        _watch_drift(plan, scene, detector, made, say)
    return 0


def _watch_drift(plan: Plan, scene: str, detector: Detector, made: MadeWith, say: Say) -> None:
    """Scores the footage that changes slowly, one video, without renewed frames and with."""
    config, calibrate = plan.config(scene), stored(plan, scene, "calibrate")
    assert calibrate is not None
    detector = copy.copy(detector)
    detector.calibration = fit(config, calibrate, another_recording=True)
    detector.rule = rule = detector.calibration.rule
    alarms, renewed = AlarmStream(rule, FPS), detector.renewed_frames(FASTER)
    # alarms decide what is renewed
    by = {
        "eval.renew_minutes": config.eval.renew_minutes,
        "renewed": VERSION,
        "rule": dataclasses.astuple(rule),
    }
    made_renewed = json.loads(json.dumps({**made, **by}))
    todo = [(purpose, number) for purpose in DRIFT for number in range(plan.pieces(purpose))]
    there = [_is_there(plan.path(scene, *one), made) for one in todo]
    if all(there) and all(
        _is_there(plan.path(scene, *one, renewed=True), made_renewed) for one in todo
    ):
        return
    for done, (purpose, number) in enumerate(todo):
        say(f"  {scene}: {purpose} footage, piece {number + 1} ({done} of {len(todo)} done)")
        video = piece(scene, plan.seed, purpose, number, height_width(config.data.size))
        path = plan.path(scene, purpose, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not there[done]:
            _score(detector, video, path, made)
        path = plan.path(scene, purpose, number, renewed=True)
        _score(detector, video, path, made_renewed, alarms, renewed)
        alarms.close()


def piece(scene: str, seed: int, purpose: str, number: int, size: tuple[int, int]) -> Video:
    """`PIECE_S` seconds of a machine; those `WITH_FAULTS` have one of any kind in every fourth cycle.

    Args:
      scene: <device>_<look>.
      seed: of the machine.
      purpose: one of `PURPOSES`.
      number: of the piece; each has random numbers of its own.
      size: (height, width).
    """
    device, look = scene.rsplit("_", 1)
    rng = scene_lib.generator(seed, device, look, PURPOSES[purpose], number)
    cycles = PIECE_S * FPS / CYCLE_FRAMES
    start = float(rng.uniform(0, 1))
    first, last = drift_of(purpose, number)
    longer = 1 + DRIFT_SPEED * (first + last) / 2
    u = scene_lib.cycle_times(
        rng, start, cycles / longer, CYCLE_FRAMES * longer, scene_lib.SPEED_SPREAD
    )
    cycles = int(u[-1] - u[0])
    planned = []
    if purpose in WITH_FAULTS:
        for cycle in range(FAULT_EVERY - 1, cycles - FAULT_EVERY + 1, FAULT_EVERY):
            kind = KINDS[1 + int(rng.integers(len(KINDS) - 1))]
            planned.append((cycle, kind, str(rng.choice(VARIANTS[kind]))))
    # light frame by frame; the camera, which hardly counts, piece by piece
    drifting = _drifted(scene_lib.new_scene(device, look, seed), first, last, len(u))
    return make_video(drifting, u, planned, size, rng, chunk=16)


def drift_of(purpose: str, number: int) -> tuple[float, float]:
    """How far light, camera and speed have drifted as a piece begins and ends, from 0 to 1."""
    if purpose == "drifting":
        return number / DRIFTING_PIECES, (number + 1) / DRIFTING_PIECES
    at = float(purpose == "drifted")
    return at, at


def _drifted(scene: scene_lib.Scene, first: float, last: float, frames: int) -> scene_lib.Scene:
    """A scene whose sun wanders and whose camera sags; its sun is [2, frames]."""
    camera = scene.camera.copy()
    camera[4:6] += (first + last) / 2 * np.deg2rad(DRIFT_CAMERA)
    wander = np.linspace(first, last, frames) * np.deg2rad(DRIFT_SUN)[:, None]
    return replace(scene, camera=camera, sun=scene.sun[:, None] + wander)


def _is_there(path: epath.Path, made: Mapping[str, object]) -> bool:
    try:
        return not mismatch(FrameScores.load(path).made_with, made)
    except (FileNotFoundError, ValueError):
        return False


def _score(
    detector: Detector,
    video: Video,
    path: epath.Path,
    made: MadeWith,
    alarms: AlarmStream | None = None,
    renewed: RenewedFrames | None = None,
) -> None:
    """Scores a piece, with frames renewed where they are given, and saves it."""
    FrameScores.from_rows(
        detector.rows(video.frames, weighted_only=True, alarms=alarms, renewed=renewed),
        name=path.stem,
        fps=FPS,
        label=(video.kind > 0).astype(np.int8),
        kind=video.kind,
        cycle=video.cycle,
        kinds=KINDS,
        made_with=made,
    ).save(path)


def stored(plan: Plan, scene: str, purpose: str, *, renewed: bool = False) -> FrameScores | None:
    """The scores of a purpose's pieces that are there, see `Plan.path`; None without any."""
    numbers = range(plan.pieces(purpose))
    paths = [plan.path(scene, purpose, number, renewed=renewed) for number in numbers]
    found = [FrameScores.load(path) for path in paths if path.exists()]
    return FrameScores.concat(found) if found else None
