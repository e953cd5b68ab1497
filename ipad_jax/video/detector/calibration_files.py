"""Calibration of a run: what held-out normal footage scores, and the threshold that follows.

It belongs to one dataset, one checkpoint and one way of scoring, all in its file; `evaluate` and `detect`
make it anew where none fits. The run folder holds the run's own; what an evaluation or a detection with
changed leaves of `eval` needs lies in a folder below eval/, and never replaces it.
"""

import contextlib
import dataclasses
import json
import os
from typing import Any, NamedTuple

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from ipad_jax.input.frames import FrameSource
from ipad_jax.input.split import open_split, training_parts, whole_videos
from ipad_jax.run.config import read_config
from ipad_jax.run.progress import Report
from ipad_jax.run.provenance import MadeWith, made_with, mismatch
from ipad_jax.training.fitted import derived_folders
from ipad_jax.video.detector.predictor import ScoreFn
from ipad_jax.video.normal.stored import LEARNT
from ipad_jax.video.scores.calibration import Calibration, Wish
from ipad_jax.video.scores.frame_scores import PREDICTION_LEAVES, FrameScores

# Leaves that change what is made of the predictions; the others change how a score is judged or shown.
JUDGING_LEAVES = (
    "eval.components",
    "eval.false_alarms_per_hour",
    "eval.sustained_s",
)
CALIBRATION, SCORES = "calibration.json", "calibration_scores.npz"
# calibrations/<name>/ holds those on footage recorded apart, see fresh_calibration.py
FRESH, FRESH_SCORES, FOOTAGE = "calibrations", "scores.npz", "footage.json"
APART = "calibrate/"  # begins the names of videos of the dataset's split of that name
HELD_OUT = "held_out"  # names the run's own calibration, on footage held out of training


class Fresh(NamedTuple):
    """A calibration's name, its scores, and what it lists of its footage."""

    name: str
    scores: FrameScores
    listed: list[dict[str, Any]]


def calibration_of(
    workdir: str | os.PathLike[str],
    config: ConfigDict,
    score: ScoreFn,
    step: int,
    progress: Report | None = None,
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
        source = open_split(config, "calibrate")
        held, prefix = whole_videos(source.videos), APART
        if not held:
            source, prefix = open_split(config, "train"), ""
            held = training_parts(config, source)[1]
        if not held:
            return None
        scores = with_cycles(score(config, source, held, progress), source)
        names = tuple(prefix + name for name in scores.video_names)
        made = without_learnt(scores.made_with)
        scores = dataclasses.replace(scores, video_names=names, made_with=made)
    calibration = fit(config, scores)
    folder.mkdir(parents=True, exist_ok=True)
    scores.save(folder / SCORES)
    calibration.save(folder / CALIBRATION)
    return calibration


def calibration_in_force(
    workdir: str | os.PathLike[str], config: ConfigDict, step: int, name: str = ""
) -> Calibration | None:
    """The newest calibration on other footage that goes with a checkpoint; None without one.

    Args:
      workdir: run folder.
      config: of the run, with the `eval` section in force. Where its wish or components are not the
        run's own, the calibration is fitted with them.
      step: checkpoint.
      name: this one; HELD_OUT: none of them.

    Raises:
      ValueError: the named one is not there or does not go with the checkpoint; names those that do.
    """
    found = None if name == HELD_OUT else newest_fresh(workdir, config, step, name)
    if found is None:
        return None
    own = read_config(workdir)
    asked = (wish_of(config), config.eval.components.to_dict())
    if asked == (wish_of(own), own.eval.components.to_dict()):
        # one of an earlier version is made anew of its scores
        with contextlib.suppress(ValueError):
            return Calibration.load(epath.Path(workdir) / FRESH / found.name / CALIBRATION)
    return fit_fresh(config, found.scores, found.listed)


def newest_fresh(
    workdir: str | os.PathLike[str], config: ConfigDict, step: int, name: str = ""
) -> Fresh | None:
    """The newest calibration on other footage that goes with a checkpoint; args as `calibration_in_force`."""
    made = made_with(config, PREDICTION_LEAVES, step)
    fitting: list[tuple[str, Fresh]] = []
    problems = []
    root = epath.Path(workdir) / FRESH
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        listed, scores = stored_fresh(folder)
        if scores is None or (name and folder.name != name):
            continue
        if different := mismatch(scores.made_with, made):
            problems.append(f"{folder.name}: {different}")
        else:
            newest = max(entry["added"] for entry in listed)
            fitting.append((newest, Fresh(folder.name, scores, listed)))
    if not fitting:
        if name:
            reason = "; ".join(problems) or f"there is no {root / name}"
            raise ValueError(
                f"no calibration {name!r} for checkpoint {step}: {reason}. Make it with `ipad-jax calibrate "
                f"--workdir {workdir} --name {name} --video ...`, or take --calibration {HELD_OUT}."
            )
        return None
    return max(fitting, key=lambda pair: pair[0])[1]


def fit_fresh(config: ConfigDict, scores: FrameScores, listed: list[dict[str, Any]]) -> Calibration:
    """A calibration on footage that is listed; what a person marked normal in it raises no alarm."""
    days = tuple(sorted({entry["recorded"] for entry in listed if entry["recorded"]}))
    apart = not any(entry.get("held_out") for entry in listed)
    calibration = fit(config, scores, days=days, another_recording=apart)
    marked = {entry["marked"] for entry in listed if "marked" in entry}
    numbers = [i for i, name in enumerate(scores.video_names) if name in marked]
    return calibration.above(scores.select(np.isin(scores.video, numbers)))


def scores_in_force(workdir: str | os.PathLike[str], config: ConfigDict, step: int) -> Fresh | None:
    """The scores that the calibration in force rests on; None where none are saved.

    Those of the run's own calibration are listed as one piece of footage.
    """
    if found := newest_fresh(workdir, config, step):
        return found
    for folder in derived_folders(epath.Path(workdir)):
        if scores := saved_scores(folder, config, step):
            apart = all(name.startswith(APART) for name in scores.video_names)
            minutes = sum(np.sum(scores.video == i) / fps / 60 for i, fps in enumerate(scores.fps))
            entry = {
                "name": APART.rstrip("/") if apart else HELD_OUT,
                "sha256": "",
                "recorded": "",
                "minutes": round(float(minutes), 3),
                "added": "",
                "held_out": not apart,
            }
            return Fresh("", scores, [entry])
    return None


def stored_fresh(folder: epath.Path) -> tuple[list[dict[str, Any]], FrameScores | None]:
    """What a calibration's folder holds; ([], None) where there is none yet."""
    if not (folder / FRESH_SCORES).exists():
        return [], None
    try:
        return json.loads((folder / FOOTAGE).read_text()), FrameScores.load(folder / FRESH_SCORES)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{folder} is damaged ({error}); delete it and calibrate again, or take another --name."
        ) from error


def calibration_made_with(config: ConfigDict, step: int) -> MadeWith:
    """What a calibration depends on."""
    return made_with(config, (*PREDICTION_LEAVES, *JUDGING_LEAVES), step)


def without_learnt(made: MadeWith) -> MadeWith:
    """The same for a calibration, which goes with a run before and after `ipad-jax learn`.

    Frames that are learnt only bring normal footage nearer, and learning takes its scores along as they are.
    """
    return {name: value for name, value in made.items() if name != LEARNT}


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


def fit(config: ConfigDict, scores: FrameScores, **basis: Any) -> Calibration:
    """Fits a calibration with the config's components and wish; `basis` as of `Calibration.fit`."""
    made = scores.made_with | made_with(config, JUDGING_LEAVES)
    made["dataset"] = scores.made_with.get("dataset", "")
    apart = all(name.startswith(APART) for name in scores.video_names)
    basis = {"another_recording": apart} | basis
    weights = config.eval.components.to_dict()
    return Calibration.fit(scores, weights, wish_of(config), made, **basis)


def wish_of(config: ConfigDict) -> Wish:
    """What the config's `eval` section wants of the alarm."""
    section = config.eval
    return Wish(section.false_alarms_per_hour, section.sustained_s)


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
        if not (different := mismatch(normal.made_with, without_learnt(scores.made_with))):
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
