"""Learning from marks: what a person said is normal no longer raises an alarm. Trains nothing.

Events marked normal are added to what frames are compared with (fitted.npz), as far as their footage is still
there, and with their scores to the calibration in force, which becomes calibrations/learnt/. Its thresholds
are above theirs. Events marked fault must still raise an alarm afterwards, else nothing is written.

Before a step every file that it replaces is copied beside itself (fitted.1.npz, scores.1.npz, ...); `undo`
brings the newest copies back. Where the footage is gone (a camera's), an event's scores are those of
scores.csv.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from ipad_jax.evaluation.alarm_rule import follow
from ipad_jax.run import undo as steps
from ipad_jax.run.files import write_atomic
from ipad_jax.run.marks import FAULT, NORMAL
from ipad_jax.run.provenance import made_with, mismatch
from ipad_jax.training.fitted import FILE, derived_folders, save_fitted, stored_fitted
from ipad_jax.video.clip_task import make_clip_task
from ipad_jax.video.detector.calibration_files import (
    CALIBRATION,
    FOOTAGE,
    FRESH,
    FRESH_SCORES,
    Fresh,
    fit_fresh,
    scores_in_force,
    stored_fresh,
)
from ipad_jax.video.detector.detector import Detector
from ipad_jax.video.detector.fresh_calibration import with_wish
from ipad_jax.video.detector.marks import Mark
from ipad_jax.video.detector.rescored import Rescored, recorded, rescored, sampled
from ipad_jax.video.normal.learnt import extended
from ipad_jax.video.normal.stored import normal_of
from ipad_jax.video.scores.calibration import Calibration, fuse
from ipad_jax.video.scores.frame_scores import PREDICTION_LEAVES, FrameScores

LEARNT = "learnt"  # the calibration's name


@dataclass(frozen=True)
class Judged:
    """An event after learning: whether it raises an alarm, and whether that could be seen on its footage."""

    mark: Mark
    alarm: bool
    on_footage: bool

    def describe(self) -> str:
        """Where it is, for a person."""
        of = Path(self.mark.source.path).name or str(self.mark.folder)
        return f"{of} {self.mark.start_s:.1f} to {self.mark.end_s:.1f} s"


@dataclass(frozen=True)
class Learnt:
    """What was learnt.

    Attributes:
      folder: of the calibration.
      calibration: now in force.
      before: until now.
      normal: events marked normal that are new.
      faults: all events marked fault.
      num_frames: added to what frames are compared with.
    """

    folder: epath.Path
    calibration: Calibration
    before: Calibration
    normal: tuple[Judged, ...]
    faults: tuple[Judged, ...]
    num_frames: int

    def summary(self) -> str:
        """For a person."""
        quiet = sum(not judged.alarm for judged in self.normal)
        heard = sum(judged.alarm for judged in self.faults)
        lines = [
            f"{len(self.normal)} events marked normal are learnt, {quiet} of them raise no alarm any more; "
            f"{self.num_frames} of their frames are now among those that frames are compared with"
        ]
        lines += [f"still an alarm: {j.describe()}" for j in self.normal if j.alarm]
        if self.faults:
            lines.append(f"{heard} of {len(self.faults)} events marked fault are alarms as before")
            lines += [f"NO ALARM ANY MORE: {j.describe()}" for j in self.faults if not j.alarm]
        if without := [j for j in (*self.normal, *self.faults) if not j.on_footage]:
            lines.append(
                f"{len(without)} of all these have no footage any more and count by their scores.csv alone"
            )
        old, new = self.before.rule, self.calibration.rule
        lines.append(
            f"alarm above {new.threshold:.2f} for a frame (before {old.threshold:.2f}), {new.sustained:.2f} "
            f"for its median (before {old.sustained:.2f})"
        )
        lines.append(f"written to {self.folder}, which is in force; --undo goes back one step")
        return "\n".join(lines)


def learn(
    workdir: str | os.PathLike[str],
    detector: Detector,
    config: ConfigDict,
    marks: Sequence[Mark],
    *,
    force: bool = False,
) -> Learnt:
    """Adds events marked normal to a run's normal footage and calibration.

    Args:
      workdir: run folder.
      detector: of its checkpoint, with the calibration in force.
      config: of the run.
      marks: that count, of any detections of this run.
      force: also where a fault would be lost.

    Raises:
      FileNotFoundError: neither the footage of an event nor its scores are there.
      ValueError: nothing new is marked normal, the run has no calibration, or a fault would be lost;
        nothing is then written.
    """
    if detector.calibration is None:
        raise ValueError(f"{workdir} has no calibration; make one with `ipad-jax calibrate`.")
    config = with_wish(config, detector.calibration.wish.false_alarms_per_hour)
    base = _base(workdir, config, detector.step)
    known = {entry["sha256"] for entry in base.listed}
    new = [m for m in marks if m.mark == NORMAL and m.key not in known]
    if not new:
        raise ValueError(
            "no event marked normal is new: mark some with `ipad-jax review --workdir "
            f"{workdir} --events FILE --mark 1=normal`."
        )
    faults = [m for m in marks if m.mark == FAULT]
    normal, task = detector.predictor.normal, make_clip_task(config)
    fitted = stored_fitted(workdir, config, task, detector.step)
    num_frames, path, arrays, made = 0, None, {}, {}
    if fitted is not None:
        path, arrays, made = fitted
        samples = sampled(detector, config, new, others=marks)
        arrays, num_frames = extended(arrays, normal, samples), len(samples)
        normal = normal_of(config, arrays)
    again = rescored(detector, config, normal, [*new, *faults])
    again |= {m.key: recorded(detector, m) for m in (*new, *faults) if m.key not in again}
    scores, listed = _with_events(base, new, again, detector, config, marks)
    calibration = fit_fresh(config, scores, listed)
    judged = {key: _judge(one, calibration) for key, one in again.items()}
    lost = [judged[m.key].describe() for m in faults if not judged[m.key].alarm]
    if lost and not force:
        raise ValueError(
            f"{len(lost)} events marked fault would raise no alarm any more: {'; '.join(lost)}. Nothing was "
            "learnt. Mark fewer events normal (those that look like them), or pass --force."
        )
    folder = epath.Path(workdir) / FRESH / LEARNT
    folder.mkdir(parents=True, exist_ok=True)
    lasting, of_learnt = _places(epath.Path(workdir))
    steps.copy_for_undo([*lasting, *of_learnt])
    if path is not None and num_frames:
        save_fitted(path, arrays, made)
    scores.save(folder / FRESH_SCORES)
    write_atomic(folder / FOOTAGE, (json.dumps(listed, indent=2) + "\n").encode())
    calibration.save(folder / CALIBRATION)
    return Learnt(
        folder,
        calibration,
        detector.calibration,
        tuple(judged[m.key] for m in new),
        tuple(judged[m.key] for m in faults),
        num_frames,
    )


def undo(workdir: str | os.PathLike[str]) -> int:
    """Brings back what was there before the newest step; as `run.undo.undo`."""
    return steps.undo(workdir, *_places(epath.Path(workdir)))


def _base(workdir: str | os.PathLike[str], config: ConfigDict, step: int) -> Fresh:
    """Scores of the calibration in force, and with them all events that were learnt before."""
    base = scores_in_force(workdir, config, step)
    if base is None:
        raise ValueError(
            f"{workdir} has a calibration without its scores; run `ipad-jax calibrate` first."
        )
    listed, held = stored_fresh(epath.Path(workdir) / FRESH / LEARNT)
    if held is None:
        return base
    if different := mismatch(held.made_with, made_with(config, PREDICTION_LEAVES, step)):
        raise ValueError(
            f"what was learnt goes with other scores ({different}): delete {FRESH}/{LEARNT} of the run to "
            "learn the marked events anew."
        )
    if base.name == LEARNT:
        return base
    # Another calibration was made since: it takes what was learnt along.
    events = [entry for entry in listed if "marked" in entry]
    names = {entry["marked"] for entry in events}
    numbers = [i for i, name in enumerate(held.video_names) if name in names]
    kept = held.select(np.isin(held.video, numbers))
    return Fresh(base.name, _joined([base.scores, kept]), [*base.listed, *events])


def _joined(parts: Sequence[FrameScores]) -> FrameScores:
    """Tables in one; all have the first one's kinds of fault, of which none occurs."""
    first = parts[0]
    same = {"kinds": first.kinds, "mislabelled": first.mislabelled}
    return FrameScores.concat([first, *(_replace(part, **same) for part in parts[1:])])


def _replace(scores: FrameScores, **changes: Any) -> FrameScores:
    return FrameScores(**{**vars(scores), **changes})


def _with_events(
    base: Fresh,
    new: Sequence[Mark],
    again: dict[str, Rescored],
    detector: Detector,
    config: ConfigDict,
    marks: Sequence[Mark],
) -> tuple[FrameScores, list[dict[str, Any]]]:
    """The scores with those of new events, and the list of footage with them."""
    made = made_with(config, PREDICTION_LEAVES, detector.step)
    parts, listed = [base.scores], list(base.listed)
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    for mark in new:
        one, name = again[mark.key], f"marked-{mark.key}"
        rows = one.event_rows(config.eval.sustained_s, marks)
        parts.append(FrameScores.from_rows(rows, name=name, fps=one.fps, made_with=made))
        listed.append(
            {
                "name": f"{Path(mark.source.path).name or mark.folder.name} at {mark.start_s:.1f} s",
                "marked": name,
                "sha256": mark.key,
                "recorded": "",
                "minutes": round(len(rows) / one.fps / 60, 3),
                "added": now,
            }
        )
    return _joined(parts), listed


def _judge(one: Rescored, calibration: Calibration) -> Judged:
    """Whether an alarm is on within the event; one that began before and lasts counts for a fault only."""
    found = follow(fuse(one.rows, calibration), one.rows.frame, calibration.rule, one.fps)
    start, stop = one.start, one.stop
    own = [e for e in found.events if e.start < stop and e.stop > start]
    if one.mark.mark == NORMAL:
        own = [e for e in own if e.start >= start]
    return Judged(one.mark, bool(own), one.on_footage)


def _places(run: epath.Path) -> tuple[list[epath.Path], list[epath.Path]]:
    """Files that a step replaces, and those that it makes."""
    learnt = run / FRESH / LEARNT
    return (
        [folder / FILE for folder in derived_folders(run)],
        [learnt / name for name in (FRESH_SCORES, FOOTAGE, CALIBRATION)],
    )
