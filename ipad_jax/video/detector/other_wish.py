"""Thresholds for another rate of false alarms, from the scores that a calibration rests on. No model runs.

A person looks at what each rate would mean (`wish_table`: thresholds, normal footage above them, known
faults below them) and takes one (`take_wish`), which becomes a calibration of its own.
"""

import json
import math
import os
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from ipad_jax.evaluation.alarm_rule import QUIET_S
from ipad_jax.evaluation.events import merged, true_intervals
from ipad_jax.evaluation.report.thumbnail import MOST, thumbnail
from ipad_jax.input.frames import FrameSource
from ipad_jax.input.split import open_split
from ipad_jax.run.files import check_name, write_atomic
from ipad_jax.run.provenance import mismatch
from ipad_jax.training.checkpoint_files import choose_step, weights_folder
from ipad_jax.video.detector.calibration_files import (
    CALIBRATION,
    FOOTAGE,
    FRESH,
    FRESH_SCORES,
    Fresh,
    fit_fresh,
    scores_in_force,
)
from ipad_jax.video.detector.fresh_calibration import with_wish
from ipad_jax.video.scores.calibration import Calibration, fuse
from ipad_jax.video.scores.frame_scores import FrameScores
from ipad_jax.video.scores.normal_units import followed_by_video, unit_maxima

RATES = tuple(float(f"{10 ** (k / 8):.3g}") for k in range(-16, 25))  # an hour: 0.01 to 1000


def take_wish(
    workdir: str | os.PathLike[str], config: ConfigDict, *, name: str, step: int | None = None
) -> tuple[epath.Path, Calibration]:
    """Fits the calibration in force for another wish and saves it under another name, in force from now on.

    Args:
      workdir: run folder.
      config: of the run, with the wish in its `eval` section.
      name: of the new calibration.
      step: checkpoint; the newest by default.

    Returns:
      Where it lies, and the calibration.

    Raises:
      ValueError: the run has no scores of normal footage, or the name is taken.
    """
    base = _base(workdir, config, step)
    folder = epath.Path(workdir) / FRESH / check_name(name, "name")
    if folder.exists():
        raise ValueError(f"{folder} exists: take another --name for this wish.")
    calibration = fit_fresh(config, base.scores, base.listed)
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    listed = [{**entry, "added": now} for entry in base.listed]
    folder.mkdir(parents=True)
    base.scores.save(folder / FRESH_SCORES)
    write_atomic(folder / FOOTAGE, (json.dumps(listed, indent=2) + "\n").encode())
    calibration.save(folder / CALIBRATION)
    return folder, calibration


def wish_table(
    workdir: str | os.PathLike[str], config: ConfigDict, step: int | None = None
) -> dict[str, Any]:
    """What each rate of `RATES` would mean, for a page that draws it.

    Args: as of `take_wish`.

    Returns:
      {"calibration": name, "minutes", "unit_s", "another_recording",
      "wishes": [{"per_hour", "threshold", "sustained", "extrapolated", "above": normal units above a
      threshold}], "normal", "normal_sustained": highest scores of the units, "faults": [{"video", "kind",
      "start_s", "end_s", "score", "sustained", "picture": a JPEG in base64 of its worst frame}] of the
      evaluated test split}. What is never reached is None, as is a picture where the dataset is gone.
    """
    base = _base(workdir, config, step)
    fitted = fit_fresh(config, base.scores, base.listed)
    silent = replace(fitted.rule, threshold=math.inf, sustained=math.inf)
    score = fuse(base.scores, fitted)
    followed = followed_by_video(score, base.scores, silent)
    single, _, basis = unit_maxima(score, base.scores)
    sustained, _, _ = unit_maxima(followed.sustained, base.scores, basis.unit_s)
    wishes = []
    for per_hour in RATES:
        found = fit_fresh(with_wish(config, per_hour), base.scores, base.listed)
        rule = found.rule
        above = max(int((single > rule.threshold).sum()), int((sustained > rule.sustained).sum()))
        wishes.append(
            {
                "per_hour": per_hour,
                "threshold": _finite(rule.threshold),
                "sustained": _finite(rule.sustained),
                "extrapolated": found.extrapolated,
                "above": above,
            }
        )
    return {
        "calibration": base.name or "held_out",
        "minutes": basis.minutes,
        "unit_s": basis.unit_s,
        "another_recording": fitted.basis.another_recording,
        "wishes": wishes,
        "normal": [round(float(score), 4) for score in single],
        "normal_sustained": [round(float(score), 4) for score in sustained],
        "faults": _faults(workdir, config, fitted, base.scores),
    }


def _base(workdir: str | os.PathLike[str], config: ConfigDict, step: int | None) -> Fresh:
    """The scores of the calibration in force."""
    step = choose_step(weights_folder(workdir) / "checkpoints", step)
    base = None if step is None else scores_in_force(workdir, config, step)
    if base is None:
        raise ValueError(
            f"{workdir} has no scores of normal footage: train it to its end, or pass --video."
        )
    return base


def _faults(
    workdir: str | os.PathLike[str], config: ConfigDict, fitted: Calibration, normal: FrameScores
) -> list[dict[str, Any]]:
    """Faulty stretches of the evaluated test split with their highest scores; [] without an evaluation."""
    path = epath.Path(workdir) / "eval" / "strict" / "scores.npz"
    if not path.exists():
        return []
    scores = FrameScores.load(path)
    if mismatch(scores.made_with, normal.made_with):
        return []  # of another checkpoint: its scores say nothing about these thresholds
    silent = replace(fitted.rule, threshold=math.inf, sustained=math.inf)
    score = fuse(scores, fitted)
    followed = followed_by_video(score, scores, silent)
    source = _test_split(config)
    found: list[dict[str, Any]] = []
    for video, name in enumerate(scores.video_names):
        rows = np.flatnonzero(scores.video == video)
        runs = true_intervals(scores.label[rows], scores.frame[rows])
        for start, stop in merged(
            runs, QUIET_S * scores.fps[video]
        ):  # as the evaluation counts them
            at = rows[(scores.frame[rows] >= start) & (scores.frame[rows] < stop)]
            kind = int(scores.kind[at[0]])
            picture = None
            if source is not None and len(found) < MOST:
                peak = at[int(np.argmax(np.nan_to_num(score[at], nan=-np.inf)))]
                picture = thumbnail(source.frames(video, [int(scores.frame[peak])])[0])
            found.append(
                {
                    "video": name,
                    "kind": scores.kinds[kind] if kind > 0 else "fault",
                    "start_s": float(scores.time_s[at[0]]),
                    "end_s": float(scores.time_s[at[-1]]),
                    "score": _highest(score[at]),
                    "sustained": _highest(followed.sustained[at]),
                    "picture": picture,
                }
            )
    return found


def _test_split(config: ConfigDict) -> FrameSource | None:
    """The test split that a run was evaluated on; None where it is no longer there, or another one."""
    try:
        return open_split(config, "test")
    except (FileNotFoundError, ValueError):
        return None


def _highest(scores: np.ndarray) -> float | None:
    known = scores[np.isfinite(scores)]
    return round(float(known.max()), 4) if len(known) else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
