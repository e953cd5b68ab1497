"""Calibration of a run: what held-out normal footage scores, and the threshold that follows.

It belongs to one checkpoint and one way of scoring, so both are kept beside it; `evaluate` and `detect`
make it anew when either has changed. The run folder holds the run's own; what an evaluation or a
detection with changed leaves of `eval` needs lies in a folder below eval/, and never replaces it.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from ipad_jax.input.frames import FrameSource
from ipad_jax.input.split import open_split, training_parts
from ipad_jax.run.config import leaves, read_config
from ipad_jax.run.files import write_atomic
from ipad_jax.video.detector.predictor import Predictor, Progress, predict_segments
from ipad_jax.video.scores.calibration import FORMAT, Calibration
from ipad_jax.video.scores.frame_scores import PREDICTION_LEAVES, FrameScores

# Leaves of `eval` that change what is made of the predictions; the others change how a score is judged
# or shown.
FIT_LEAVES = ("components", "alpha")
CALIBRATION, SCORES, KEY = "calibration.json", "calibration_scores.npz", "calibration_key.json"


def scoring_key(config: ConfigDict, step: int) -> dict[str, Any]:
    """What a calibration depends on: format, checkpoint and the leaves that change scores."""
    wanted = (*PREDICTION_LEAVES, *FIT_LEAVES)
    chosen = {k: v for k, v in leaves(config.eval).items() if k.split(".")[0] in wanted}
    return {"format": FORMAT, "checkpoint_step": step, **chosen}


def calibrate(
    workdir: str | os.PathLike[str],
    config: ConfigDict,
    predictor: Predictor,
    step: int,
    progress: Progress | None = None,
    name: str = "",
) -> Calibration | None:
    """The calibration of a way of scoring: from its file, else from saved scores, else made and saved.

    Files are looked for in the run folder and in all evaluations below it.

    Args:
      workdir: run folder; gets calibration.json, calibration_scores.npz and calibration_key.json if
        this is the run's own `eval` section, else a folder below eval/ does.
      config: of the run, with the `eval` section in force.
      predictor: the restored model.
      step: its checkpoint.
      progress: told how many frames are done.
      name: of that folder; made of stride and step where it is "".

    Returns:
      None if the run held out no normal footage.

    Raises:
      FileNotFoundError: new scores are needed, and the dataset is not here.
    """
    run, key = epath.Path(workdir), scoring_key(config, step)
    evaluations = sorted(path for path in (run / "eval").glob("*") if path.is_dir())
    places = [run, *evaluations]  # whatever an evaluation was called
    if found := next((place for place in places if is_current(place, key)), None):
        return Calibration.load(found / CALIBRATION)
    folder = run
    if not _is_own(run, key):
        folder = run / "eval" / (name or f"stride{config.eval.stride}_step{step}")
    scores = next((s for place in places if (s := saved_scores(place, key))), None)
    if scores is None:
        source = open_split(config, "train")
        held = training_parts(config, source)[1]
        if not held:
            return None
        scores = predict_segments(predictor, config, source, held, progress)
        scores = dataclasses.replace(with_cycles(scores, source), checkpoint_step=step)
    calibration = fit(config, scores)
    folder.mkdir(parents=True, exist_ok=True)
    # Without the key the files count as none: a stop between two writes leaves no wrong pair behind.
    (folder / KEY).unlink(missing_ok=True)
    scores.save(folder / SCORES)
    calibration.save(folder / CALIBRATION)
    write_atomic(folder / KEY, json.dumps(key, indent=2).encode())
    return calibration


def is_current(folder: epath.Path, key: Mapping[str, Any]) -> bool:
    """Whether a folder holds a whole calibration made with this key."""
    try:
        return _read_key(folder) == key and bool(Calibration.load(folder / CALIBRATION))
    except (FileNotFoundError, ValueError):
        return False


def saved_scores(folder: epath.Path, key: Mapping[str, Any]) -> FrameScores | None:
    """A folder's calibration scores, if the key's predictions would be the same."""

    def predictions(of: Mapping[str, Any]) -> dict[str, Any]:
        return {name: of.get(name) for name in ("checkpoint_step", *PREDICTION_LEAVES)}

    if predictions(_read_key(folder)) != predictions(key):
        return None
    try:
        scores = FrameScores.load(folder / SCORES)
    except (FileNotFoundError, ValueError):
        return None
    return scores if scores.checkpoint_step == key["checkpoint_step"] else None


def with_cycles(scores: FrameScores, source: FrameSource) -> FrameScores:
    """Numbers cycles where only their length is known, counted from the start of each video."""
    length_of = {video.name: video.cycle_frames for video in source.videos}
    lengths = np.array([length_of[name] or np.nan for name in scores.video_names], float)
    length = lengths[scores.video]
    unknown = (scores.cycle < 0) & np.isfinite(length)
    cycle = scores.cycle.copy()
    cycle[unknown] = scores.frame[unknown] // length[unknown]
    return dataclasses.replace(scores, cycle=cycle)


def fit(config: ConfigDict, scores: FrameScores) -> Calibration:
    """Fits a calibration with the config's components and share of alarms."""
    return Calibration.fit(scores, config.eval.components.to_dict(), config.eval.alpha)


def fit_for(
    config: ConfigDict, scores: FrameScores, *folders: str | os.PathLike[str]
) -> Calibration | None:
    """A calibration from the first saved scores that go with a table; None if none are saved.

    Raises:
      ValueError: those that are saved are of another checkpoint, or made with other leaves.
    """
    found = []
    wanted = scores.made_with
    for folder in folders:
        path = epath.Path(folder) / SCORES
        if not path.exists():
            continue
        try:
            normal = FrameScores.load(path)
        except ValueError as error:  # of an earlier version, or damaged: another folder's may do
            found.append(str(error).rstrip("."))
            continue
        has = normal.made_with
        if all(has.get(name, value) == value for name, value in wanted.items()):
            return fit(config, normal)
        found.append(f"{path} with {_pairs(has)}")
    if found:
        raise ValueError(
            f"the scores were made with {_pairs(wanted)}, but {'; '.join(found)}. "
            "Evaluate again without --scores."
        )
    return None


def _is_own(run: epath.Path, key: Mapping[str, Any]) -> bool:
    """Whether a key is that of the run's own `eval` section, and of no older checkpoint than its file's."""
    step = key["checkpoint_step"]
    newest = _read_key(run).get("checkpoint_step", -1) <= step
    return newest and scoring_key(read_config(run), step) == key


def _pairs(values: Mapping[str, Any]) -> str:
    """'stride 4, window 5'."""
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _read_key(folder: epath.Path) -> dict[str, Any]:
    """The key a folder's calibration was made with; {} where there is none."""
    try:
        found = json.loads((folder / KEY).read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
