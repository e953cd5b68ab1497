"""Hours of footage of rendered machines, scored: what the alarm's table (alarm_table.py) is made of.

    ROOT/<scene>/run/                      trained once
                /pieces/<purpose>_<NN>.npz scores of 2.5 minutes of footage each (FrameScores)
                /pieces/<purpose>_<NN>_drift<X>.npz the same with `eval.drift_per_hour` X, and beside it
                                       ..._level.npy, what the piece after it goes on from

The footage is of other minutes than the training's, of the same machine: pieces, speed, knocks and light of
its own in each. What is there is not made again: machines and hours may be added, and folders of several
computers merge by copying.
"""

import copy
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from ipad_jax.data_builders.factory import scene as scene_lib
from ipad_jax.data_builders.factory.faults import KINDS, VARIANTS
from ipad_jax.data_builders.factory.write import CYCLE_FRAMES, FPS, Video, make_video
from ipad_jax.input.frames import height_width
from ipad_jax.run.config import load_config, override_eval
from ipad_jax.run.files import write_atomic
from ipad_jax.run.provenance import MadeWith, made_with, mismatch
from ipad_jax.run.stopwatch import INTERRUPTED
from ipad_jax.training.loop import train
from ipad_jax.video.detector.detector import Detector, load
from ipad_jax.video.normal.slow_change import SlowChange
from ipad_jax.video.scores.frame_scores import PREDICTION_LEAVES, FrameScores

PIECE_S = 150.0
FAULT_EVERY = 4  # cycles
CALIBRATE_S, FAULTY_S = 1200.0, 600.0  # of each machine, at most
# With `Plan.drift`: two hours in which light, camera and speed change slowly, of which every fourth piece is
# rendered, and faults at their end: one footage for what follows slow change, at four times the speed. The
# size of the change is our choice.
DRIFT_H, DRIFTING_PIECES, DRIFTED_PIECES = 2.0, 12, 2
DRIFT_CAMERA, DRIFT_SUN = (0.5, 0.5), (15.0, -8.0)  # degrees of azimuth and elevation
DRIFT_SPEED = 0.06  # share by which cycles grow longer
FOLLOWED = (0.0, 20.0)  # `eval.drift_per_hour` of its rows
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

    def at(self, scene: str, drift_per_hour: float | None = None) -> ConfigDict:
        """The same config with another `eval.drift_per_hour`; None: its own."""
        config = self.config(scene)
        if drift_per_hour is None:
            return config
        return override_eval(config, {"drift_per_hour": drift_per_hour})

    def speeds(self, scene: str, purpose: str) -> tuple[float, ...]:
        """The values of `eval.drift_per_hour` that a purpose's footage is scored with."""
        own = () if purpose in DRIFT else (self.config(scene).eval.drift_per_hour,)
        more = FOLLOWED if self.drift and purpose in (*DRIFT, "calibrate") else ()
        return tuple(dict.fromkeys((*own, *more)))

    def path(
        self, scene: str, purpose: str, number: int, drift_per_hour: float | None = None
    ) -> epath.Path:
        """File of a piece's scores with an `eval.drift_per_hour`; None: the config's own."""
        name = f"{purpose}_{number:02d}"
        if drift_per_hour not in (None, self.config(scene).eval.drift_per_hour):
            name += f"_drift{drift_per_hour:g}"
        return self.root / scene / "pieces" / f"{name}.npz"


def plan_text(plan: Plan, own: Sequence[str]) -> str:
    """What would be done, before it is."""
    lines = [f"alarms of {len(plan.scenes)} machines, in {plan.root}", ""]
    for scene in plan.scenes:
        states = []
        for purpose in plan.purposes:
            count = plan.pieces(purpose)
            speeds = plan.speeds(scene, purpose)
            done = sum(
                all(plan.path(scene, purpose, number, speed).exists() for speed in speeds)
                for number in range(count)
            )
            states.append(f"{done} of {count} {purpose}")
        other = "" if scene in own else " (another computer's)"
        lines.append(f"  {scene}: {', '.join(states)}{other}")
    seconds = sum(plan.pieces(purpose) for purpose in plan.purposes) * PIECE_S
    return "\n".join(
        [
            *lines,
            "",
            f"pieces of {PIECE_S / 60:g} minutes, {seconds / 60:.0f} minutes of each machine; at 64x64 a "
            "core renders and scores about as fast as the footage plays",
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

    def missing(purpose: str, number: int) -> list[float]:
        return [
            speed
            for speed in plan.speeds(scene, purpose)
            if not _is_there(
                plan.path(scene, purpose, number, speed),
                made_with(plan.at(scene, speed), PREDICTION_LEAVES, detector.step),
            )
        ]

    todo = [
        (purpose, number, speeds)
        for purpose in plan.purposes
        for number in range(plan.pieces(purpose))
        if (speeds := missing(purpose, number))
    ]
    for done, (purpose, number, speeds) in enumerate(todo):
        say(f"  {scene}: {purpose} footage, piece {number + 1} ({done} of {len(todo)} done)")
        video = piece(scene, plan.seed, purpose, number, height_width(config.data.size))
        for speed in speeds:
            _watch_piece(plan, scene, purpose, number, speed, video, detector)
    return 0


def _watch_piece(
    plan: Plan,
    scene: str,
    purpose: str,
    number: int,
    speed: float,
    video: Video,
    detector: Detector,
) -> None:
    """Scores a piece with an `eval.drift_per_hour`; those of the drift are one footage."""
    path = plan.path(scene, purpose, number, speed)
    path.parent.mkdir(parents=True, exist_ok=True)
    slow_change = None
    if purpose in DRIFT and speed:
        level = None
        if number or purpose == "drifted":
            before = (purpose, number - 1) if number else ("drifting", DRIFTING_PIECES - 1)
            level = np.load(_level_file(plan.path(scene, *before, speed)))
        faster = DRIFT_H * 3600 / (DRIFTING_PIECES * PIECE_S)
        slow_change = SlowChange(speed * faster, FPS, level)
    config = plan.at(scene, speed)
    made = made_with(config, PREDICTION_LEAVES, detector.step)
    following = copy.copy(detector)
    following.config = override_eval(detector.config, {"drift_per_hour": speed})
    scores = _score(following, video, f"{purpose}_{number:02d}", made, slow_change)
    if slow_change is not None:
        buffer = io.BytesIO()
        np.save(buffer, slow_change.level)
        write_atomic(_level_file(path), buffer.getvalue())
    scores.save(path)


def _level_file(path: epath.Path) -> epath.Path:
    return path.parent / f"{path.stem}_level.npy"


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
    drift = drift_of(purpose, number)
    longer = 1 + DRIFT_SPEED * drift
    u = scene_lib.cycle_times(
        rng, start, cycles / longer, CYCLE_FRAMES * longer, scene_lib.SPEED_SPREAD
    )
    cycles = int(u[-1] - u[0])
    planned = []
    if purpose in WITH_FAULTS:
        for cycle in range(FAULT_EVERY - 1, cycles - FAULT_EVERY + 1, FAULT_EVERY):
            kind = KINDS[1 + int(rng.integers(len(KINDS) - 1))]
            planned.append((cycle, kind, str(rng.choice(VARIANTS[kind]))))
    drifted = _drifted(scene_lib.new_scene(device, look, seed), drift)
    return make_video(drifted, u, planned, size, rng, chunk=16)


def drift_of(purpose: str, number: int) -> float:
    """How far a piece's light, camera and speed have drifted, from 0 to 1."""
    if purpose == "drifting":
        return number / (DRIFTING_PIECES - 1)
    return float(purpose == "drifted")


def _drifted(scene: scene_lib.Scene, drift: float) -> scene_lib.Scene:
    """A scene whose sun has wandered and whose camera has sagged."""
    camera = scene.camera.copy()
    camera[4:6] += drift * np.deg2rad(DRIFT_CAMERA)
    return replace(scene, camera=camera, sun=scene.sun + drift * np.deg2rad(DRIFT_SUN))


def _is_there(path: epath.Path, made: Mapping[str, object]) -> bool:
    try:
        return not mismatch(FrameScores.load(path).made_with, made)
    except (FileNotFoundError, ValueError):
        return False


def _score(
    detector: Detector, video: Video, name: str, made: MadeWith, slow_change: SlowChange | None
) -> FrameScores:
    return FrameScores.from_rows(
        detector.rows(video.frames, slow_change=slow_change),
        name=name,
        fps=FPS,
        label=(video.kind > 0).astype(np.int8),
        kind=video.kind,
        cycle=video.cycle,
        kinds=KINDS,
        made_with=made,
    )


def stored(
    plan: Plan, scene: str, purpose: str, drift_per_hour: float | None = None
) -> FrameScores | None:
    """The scores of a purpose's pieces that are there, see `Plan.path`; None without any."""
    numbers = range(plan.pieces(purpose))
    paths = [plan.path(scene, purpose, number, drift_per_hour) for number in numbers]
    found = [FrameScores.load(path) for path in paths if path.exists()]
    return FrameScores.concat(found) if found else None
