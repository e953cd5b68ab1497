"""Calibrations on normal footage recorded apart from the training's: another day, another shift.

    RUN/calibrations/<name>/scores.npz         raw scores of all its footage; more files add up
                           /calibration.json   thresholds and what they rest on
                           /footage.json       which files, by content, and when they were added

Nothing is trained and the model does not change. The newest that goes with the checkpoint is used.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from ipad_jax.data_builders.decoding import recorded_on
from ipad_jax.input.live import FrameFolder, VideoFile
from ipad_jax.run.files import check_name, write_atomic
from ipad_jax.run.progress import Report
from ipad_jax.run.provenance import made_with, mismatch
from ipad_jax.video.detector.calibration_files import (
    CALIBRATION,
    FOOTAGE,
    FRESH,
    FRESH_SCORES,
    fit_fresh,
    stored_fresh,
)
from ipad_jax.video.detector.detect import frames_at_rate
from ipad_jax.video.detector.detector import Detector
from ipad_jax.video.scores.calibration import Calibration, fuse
from ipad_jax.video.scores.frame_scores import PREDICTION_LEAVES, FrameScores
from ipad_jax.video.scores.normal_units import followed_by_video


@dataclass(frozen=True)
class Recalibrated:
    """What new normal footage made of a run's calibration.

    Attributes:
      folder: where it lies.
      calibration: the new one.
      before: the one in force until then; None without.
      old_alarms: alarms that the one before would have raised on the footage just added.
      old_alarm_s: seconds of it in alarm.
      added_s: seconds of it.
      known: names of files that were there already and count once.
    """

    folder: epath.Path
    calibration: Calibration
    before: Calibration | None
    old_alarms: int
    old_alarm_s: float
    added_s: float
    known: tuple[str, ...]

    def summary(self) -> str:
        """For a person."""
        new, before = self.calibration, self.before
        lines = [new.statement()]
        if before is not None:
            lines.append(
                f"before: above {before.threshold:.2f} for a frame, {before.rule.sustained:.2f} for its "
                f"median; at these, the {self.added_s / 60:.1f} minutes added would have raised "
                f"{self.old_alarms} alarm{'s' * (self.old_alarms != 1)}, {self.old_alarm_s:.1f} s in all"
            )
        if self.known:
            lines.append(f"counted once, since they were there already: {', '.join(self.known)}")
        lines.append(f"written to {self.folder}; `detect` and `evaluate` use it from now on")
        return "\n".join(lines)


def calibrate_on(
    workdir: str | os.PathLike[str],
    detector: Detector,
    sources: Sequence[VideoFile | FrameFolder],
    *,
    name: str,
    config: ConfigDict,
    progress: Report | None = None,
) -> Recalibrated:
    """Sets or extends a calibration on normal footage.

    Args:
      workdir: run folder.
      detector: of its checkpoint, with the calibration in force until now.
      sources: files or folders of frames, all normal.
      name: of the calibration; one that exists is extended.
      config: of the run, with the wish in its `eval` section.
      progress: called with frames done and in all of each source.

    Raises:
      ValueError: a source that cannot be read to its end, footage shorter than a clip, or a calibration of
        that name made with another checkpoint.
    """
    folder = epath.Path(workdir) / FRESH / check_name(name, "name")
    made = made_with(config, PREDICTION_LEAVES, detector.step)
    listed, held = stored_fresh(folder)
    if held is not None and (different := mismatch(held.made_with, made)):
        raise ValueError(
            f"{folder} was made differently ({different}): take another --name for this footage."
        )
    known = {entry["sha256"] for entry in listed}
    added: list[FrameScores] = []
    twice: list[str] = []
    for source in sources:
        digest = _digest(source)
        if digest in known:
            twice.append(source.name)
            continue
        known.add(digest)
        scores = _score(detector, config, source, made, f"{name}-{len(listed)}", progress)
        if source.problem:
            raise ValueError(
                f"{source.name}: {source.problem} Nothing was added to the calibration."
            )
        added.append(scores)
        listed.append(
            {
                "name": source.name,
                "sha256": digest,
                "recorded": recorded_on(source.path),
                "minutes": round(len(scores) / scores.fps[0] / 60, 3),
                "added": datetime.now(UTC).isoformat(timespec="milliseconds"),
            }
        )
    if not added:
        raise ValueError(
            f"all {len(twice)} files are in the calibration {name!r} already: {', '.join(twice)}."
        )
    fresh = FrameScores.concat(added)
    scores = fresh if held is None else FrameScores.concat([held, fresh])
    calibration = fit_fresh(config, scores, listed)
    folder.mkdir(parents=True, exist_ok=True)
    scores.save(folder / FRESH_SCORES)
    write_atomic(folder / FOOTAGE, (json.dumps(listed, indent=2) + "\n").encode())
    calibration.save(folder / CALIBRATION)
    alarms, alarm_s = 0, 0.0
    if detector.calibration is not None:
        old = detector.calibration
        found = followed_by_video(fuse(fresh, old), fresh, old.rule)
        alarms, alarm_s = len(found.events), float(found.alarm.sum()) / fresh.fps[0]
    return Recalibrated(
        folder,
        calibration,
        detector.calibration,
        alarms,
        alarm_s,
        len(fresh) / fresh.fps[0],
        tuple(twice),
    )


def _digest(source: VideoFile | FrameFolder) -> str:
    """SHA-256 of a source's bytes; of its files' bytes in order for a folder of frames."""
    digest = hashlib.sha256()
    paths = source.files if isinstance(source, FrameFolder) else [source.path]
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _score(
    detector: Detector,
    config: ConfigDict,
    source: VideoFile | FrameFolder,
    made: dict[str, Any],
    name: str,
    progress: Report | None,
) -> FrameScores:
    """Raw scores of every frame of a source."""
    if isinstance(source, FrameFolder):
        source.bit_depth = detector.footage.bit_depth
    prepare = detector.prepare_file if isinstance(source, FrameFolder) else detector.prepare
    frames, fps, _ = frames_at_rate(source, detector)
    total = round(source.num_frames * fps / (source.fps or fps)) if source.num_frames else 0

    def seen(count: int) -> None:
        if progress:
            progress(min(count, total or count), total or count + 1)

    rows = detector.rows(frames, prepare=prepare, seen=seen)
    if len(rows) < config.data.clip_len:
        raise ValueError(
            f"{source.name} has {len(rows)} frames, fewer than a clip of {config.data.clip_len}."
        )
    zero = np.zeros(len(rows), np.int8)
    return FrameScores.from_rows(
        rows, name=name, fps=fps, label=zero, kind=zero, cycle=zero - 1, made_with=made
    )


def with_wish(config: ConfigDict, per_hour: float) -> ConfigDict:
    """A config with another rate of false alarms wished for."""
    config = ConfigDict(config.to_dict())
    config.eval.false_alarms_per_hour = per_hour
    return config
