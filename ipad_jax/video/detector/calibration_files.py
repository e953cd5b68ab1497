"""Calibration of a run: what held-out normal footage scores, and the threshold that follows.

It belongs to one dataset, one checkpoint and one way of scoring, all in its file; `evaluate` and `detect`
make it anew where none fits. The run folder holds the run's own; what an evaluation or a detection with
changed leaves of `eval` needs lies in a folder below eval/, and never replaces it.
"""

import dataclasses
import os

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from ipad_jax.input.frames import FrameSource
from ipad_jax.input.split import open_split, training_parts
from ipad_jax.run.config import read_config
from ipad_jax.run.provenance import MadeWith, made_with, mismatch
from ipad_jax.training.fitted import derived_folders
from ipad_jax.video.detector.predictor import Progress, ScoreFn
from ipad_jax.video.scores.calibration import Calibration, Wish
from ipad_jax.video.scores.frame_scores import PREDICTION_LEAVES, FrameScores

# Leaves that change what is made of the predictions; the others change how a score is judged or shown.
JUDGING_LEAVES = (
    "eval.components",
    "eval.false_alarms_per_hour",
    "eval.sustained_s",
    "eval.drift_per_hour",
)
CALIBRATION, SCORES = "calibration.json", "calibration_scores.npz"


def calibration_of(
    workdir: str | os.PathLike[str],
    config: ConfigDict,
    score: ScoreFn,
    step: int,
    progress: Progress | None = None,
    name: str = "",
) -> Calibration | None:
    """The calibration of a way of scoring: from its file, else from saved scores, else made and saved.

    Files are looked for in the run folder and in all evaluations below it.

    Args:
      workdir: run folder; gets calibration.json and calibration_scores.npz if this is the run's own
        `eval` section, else a folder below eval/ does.
      config: of the run, with the `eval` section in force.
      score: scores segments with the checkpoint.
      step: of the checkpoint.
      progress: called with how many frames are done.
      name: of that folder; made of stride and step where it is "".

    Returns:
      None if the run held out no normal footage.

    Raises:
      FileNotFoundError: new scores are needed, and the dataset is not here.
    """
    run, wanted = epath.Path(workdir), calibration_made_with(config, step)
    places = derived_folders(run)
    if found := next((place for place in places if is_current(place, wanted)), None):
        return Calibration.load(found / CALIBRATION)
    folder = run
    if not _is_own(run, wanted):
        folder = run / "eval" / (name or f"stride{config.eval.stride}_step{step}")
    scores = next((s for place in places if (s := saved_scores(place, config, step))), None)
    if scores is None:
        source = open_split(config, "train")
        held = training_parts(config, source)[1]
        if not held:
            return None
        scores = with_cycles(score(config, source, held, progress), source)
    calibration = fit(config, scores)
    folder.mkdir(parents=True, exist_ok=True)
    scores.save(folder / SCORES)
    calibration.save(folder / CALIBRATION)
    return calibration


def calibration_made_with(config: ConfigDict, step: int) -> MadeWith:
    """What a calibration depends on."""
    return made_with(config, (*PREDICTION_LEAVES, *JUDGING_LEAVES), step)


def is_current(folder: epath.Path, wanted: MadeWith) -> bool:
    """Whether a folder holds a calibration that was made with this."""
    try:
        return Calibration.load(folder / CALIBRATION).made_with == wanted
    except (FileNotFoundError, ValueError):
        return False


def saved_scores(folder: epath.Path, config: ConfigDict, step: int) -> FrameScores | None:
    """A folder's calibration scores, if predictions with this config would be the same."""
    try:
        scores = FrameScores.load(folder / SCORES)
    except (FileNotFoundError, ValueError):
        return None
    return scores if scores.made_with == made_with(config, PREDICTION_LEAVES, step) else None


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
    """Fits a calibration with the config's components and wish."""
    made = scores.made_with | made_with(config, JUDGING_LEAVES)
    made["dataset"] = scores.made_with.get("dataset", "")
    return Calibration.fit(scores, config.eval.components.to_dict(), wish_of(config), made)


def wish_of(config: ConfigDict) -> Wish:
    """What the config's `eval` section wants of the alarm."""
    section = config.eval
    return Wish(section.false_alarms_per_hour, section.sustained_s, section.drift_per_hour)


def fit_for(
    config: ConfigDict, scores: FrameScores, *folders: str | os.PathLike[str]
) -> Calibration | None:
    """A calibration from the first saved scores that go with a table; None if none are saved.

    Raises:
      ValueError: those that are saved are of another checkpoint, or made with other leaves.
    """
    problems = []
    for folder in folders:
        path = epath.Path(folder) / SCORES
        if not path.exists():
            continue
        try:
            normal = FrameScores.load(path)
        except ValueError as error:  # of an earlier version, or damaged: another folder's may do
            problems.append(str(error).rstrip("."))
            continue
        if not (different := mismatch(normal.made_with, scores.made_with)):
            return fit(config, normal)
        problems.append(f"in {path} {different}")
    if problems:
        raise ValueError(
            f"no calibration goes with these scores: {'; '.join(problems)}. Evaluate again without --scores."
        )
    return None


def _is_own(run: epath.Path, wanted: MadeWith) -> bool:
    """Whether this is the run's own `eval` section, and no older checkpoint than its file's."""
    step = wanted["checkpoint_step"]
    try:
        newest = Calibration.load(run / CALIBRATION).made_with.get("checkpoint_step", -1)
    except (FileNotFoundError, ValueError):
        newest = -1
    return newest <= step and calibration_made_with(read_config(run), step) == wanted
