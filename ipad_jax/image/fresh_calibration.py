"""Thresholds set after training: on good images of another day, or for another share of false alarms.

    RUN/calibrations/<name>/calibration.npz   scores, images by content, threshold; more images add up

Nothing is trained. The newest that goes with the checkpoint is in force.
"""

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from etils import epath

from ipad_jax.image.calibration import FILE, FRESH, Calibration, GoodImage
from ipad_jax.image.detector import Detector
from ipad_jax.image.marks import digest
from ipad_jax.run.files import check_name
from ipad_jax.run.progress import Report
from ipad_jax.run.provenance import mismatch

# Of good images; what a person chooses among.
SHARES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)


@dataclass(frozen=True)
class Recalibrated:
    """What new good images made of a run's calibration.

    Attributes:
      folder: where it lies.
      calibration: the new one.
      before: the one in force until then; None without.
      added: scores of the images just added.
      known: names of images that were there already and count once.
      doubtful: of those whose verdict has a note that it cannot be trusted, and that are not counted.
    """

    folder: epath.Path
    calibration: Calibration
    before: Calibration | None
    added: tuple[float, ...]
    known: tuple[str, ...]
    doubtful: tuple[str, ...] = ()

    def summary(self) -> str:
        """For a person."""
        lines = [self.calibration.statement()]
        if self.before is not None:
            alarms = sum(score > self.before.threshold for score in self.added)
            lines.append(
                f"before: above {self.before.threshold:.3g}; at that, {alarms} of the {len(self.added)} "
                "images added would have raised an alarm"
            )
        if self.known:
            lines.append(f"counted once, since they were there already: {', '.join(self.known)}")
        if self.doubtful:
            lines.append(
                f"not counted, since the verdict cannot be trusted: {', '.join(self.doubtful)}"
            )
        lines.append(f"written to {self.folder}; `detect` and `evaluate` use it from now on")
        return "\n".join(lines)


def calibrate_on(
    workdir: str | os.PathLike[str],
    detector: Detector,
    files: Sequence[tuple[str, Path]],
    *,
    name: str,
    false_alarms: float | None = None,
    progress: Report | None = None,
) -> Recalibrated:
    """Sets or extends a calibration on good images.

    Args:
      workdir: run folder.
      detector: of its checkpoint, with the calibration in force until now.
      files: names and paths of images, all good.
      name: of the calibration; one that exists is extended.
      false_alarms: share of good images that may raise an alarm; by default that of the calibration that is
        extended, else `eval.false_alarm_share`.
      progress: called with (images done, images in all).

    Raises:
      ValueError: an image that cannot be read, no new one, or a calibration of that name made with another
        checkpoint or of other images; nothing is then written.
    """
    folder = epath.Path(workdir) / FRESH / check_name(name, "name")
    held = Calibration.load(folder / FILE) if (folder / FILE).exists() else None
    if held is not None:
        if different := mismatch(held.made_with, detector.made_with):
            raise ValueError(
                f"{folder} was made differently ({different}): take another --name for these images."
            )
        if not held.images:
            raise ValueError(
                f"{folder} rests on the images held out of training: take another --name for these."
            )
    known = {image.sha256 for image in (held.images if held else ())}
    added: list[GoodImage] = []
    twice: list[str] = []
    doubtful: list[str] = []
    for number, (image_name, path) in enumerate(files, 1):
        content = digest(path)
        if content in known:
            twice.append(image_name)
            continue
        known.add(content)
        found = detector.inspect(detector.read(path))
        if found.note:
            doubtful.append(f"{image_name} ({found.note})")
        else:
            added.append(GoodImage(image_name, str(path.resolve()), content, found.score))
        if progress:
            progress(number, len(files))
    if not added and doubtful:
        raise ValueError(
            f"no new image can be counted: {', '.join(doubtful)}. Take others, as the training images were."
        )
    if not added:
        raise ValueError(f"all {len(twice)} images are in the calibration {name!r} already.")
    before = detector.calibration
    images = (*(held.images if held else ()), *added)
    share = detector.config.eval.false_alarm_share if held is None else held.alpha
    calibration = Calibration(
        np.array([image.score for image in images]),
        share if false_alarms is None else false_alarms,
        detector.made_with,
        detector.bit_depth,
        images,
        held.marked if held else (),
        doubtful=len(doubtful) + (held.doubtful if held else 0),
    )
    save_fresh(folder, calibration)
    scores = tuple(image.score for image in added)
    return Recalibrated(folder, calibration, before, scores, tuple(twice), tuple(doubtful))


def take_wish(
    workdir: str | os.PathLike[str], detector: Detector, *, name: str, false_alarms: float
) -> Recalibrated:
    """The calibration in force for another share of false alarms, saved under a name of its own.

    Args: as of `calibrate_on`.

    Raises:
      ValueError: the run has no calibration, or the name is taken.
    """
    if detector.calibration is None:
        raise ValueError(
            f"{workdir} has no calibration: give good images, `ipad-jax calibrate --images`."
        )
    folder = epath.Path(workdir) / FRESH / check_name(name, "name")
    if folder.exists():
        raise ValueError(f"{folder} exists: take another --name for this wish.")
    calibration = dataclasses.replace(detector.calibration, alpha=false_alarms)
    save_fresh(folder, calibration)
    return Recalibrated(folder, calibration, detector.calibration, (), ())


def wish_table(calibration: Calibration) -> dict[str, Any]:
    """The thresholds of many shares of false alarms, and the scores of good images that they rest on.

    Returns:
      For JSON: `normal` (scores, ascending), `share` and `threshold` in force, and `wishes`, each with share,
      threshold, `bound` (of good images at most, at 95 % confidence) and `above` (how many of these are).
    """
    wishes = []
    for share in SHARES:
        one = dataclasses.replace(calibration, alpha=share)
        above = int((calibration.scores > one.threshold).sum())
        wishes.append(
            {"share": share, "threshold": one.threshold, "bound": one.bound, "above": above}
        )
    return {
        "normal": sorted(calibration.scores.tolist()),
        "share": calibration.alpha,
        "threshold": calibration.threshold,
        "wishes": wishes,
    }


def save_fresh(folder: epath.Path, calibration: Calibration) -> None:
    """Writes a calibration as the newest."""
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    folder.mkdir(parents=True, exist_ok=True)
    dataclasses.replace(calibration, made_utc=now).save(folder / FILE)
