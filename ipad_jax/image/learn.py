"""Learning from marks: images that a person said are normal no longer raise an alarm. Trains nothing.

A method with `update` (the bank) takes their features in; images that the threshold rests on are then scored
anew, as far as they are there. The threshold lies above the scores of all images marked normal. Images marked
fault must still raise an alarm afterwards, else nothing is written. Files that are replaced are copied first.
"""

import dataclasses
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from etils import epath

from ipad_jax.image.calibration import FILE, FRESH, Calibration, GoodImage
from ipad_jax.image.detector import Detector
from ipad_jax.image.fresh_calibration import save_fresh
from ipad_jax.image.marks import Mark, digest
from ipad_jax.image.scorer import Scorer
from ipad_jax.image.task import Updates
from ipad_jax.run import undo as steps
from ipad_jax.run.marks import FAULT, NORMAL
from ipad_jax.run.progress import Report
from ipad_jax.training.fitted import FILE as FITTED
from ipad_jax.training.fitted import derived_folders, save_fitted, stored_fitted

LEARNT = "learnt"  # the calibration's name


@dataclass(frozen=True)
class Learnt:
    """What was learnt.

    Attributes:
      folder: of the calibration.
      calibration: now in force.
      before: until now.
      normal: images marked normal that are new.
      faults: all images marked fault, with their scores now.
      taken_in: whether the method took the normal ones in.
      num_rescored: images behind the threshold that were scored anew.
    """

    folder: epath.Path
    calibration: Calibration
    before: Calibration
    normal: tuple[GoodImage, ...]
    faults: tuple[GoodImage, ...]
    taken_in: bool
    num_rescored: int

    def summary(self) -> str:
        """For a person."""
        lines = [
            f"{len(self.normal)} images marked normal are learnt and raise no alarm any more"
            + ("; the method compares with their features from now on" if self.taken_in else "")
        ]
        total = len(self.calibration.scores)
        if self.taken_in and self.num_rescored < total:
            lines.append(
                f"{total - self.num_rescored} of the {total} images that the threshold rests on are not "
                "here: their scores are those from before"
            )
        if self.faults:
            lost = [f for f in self.faults if f.score <= self.calibration.threshold]
            lines.append(
                f"{len(self.faults) - len(lost)} of {len(self.faults)} images marked fault are alarms"
            )
            lines += [f"NO ALARM ANY MORE: {fault.name}" for fault in lost]
        lines.append(
            f"alarm above {self.calibration.threshold:.3g} (before {self.before.threshold:.3g})"
        )
        lines.append(f"written to {self.folder}, which is in force; --undo goes back one step")
        return "\n".join(lines)


def learn(
    workdir: str | os.PathLike[str],
    detector: Detector,
    marks: Sequence[Mark],
    *,
    force: bool = False,
    progress: Report | None = None,
) -> Learnt:
    """Adds images marked normal to what a run knows as normal.

    Args:
      workdir: run folder.
      detector: of its checkpoint, with the calibration in force.
      marks: that count, of any detections of this run.
      force: also where a fault would be lost.
      progress: called with (images done, images in all) while they are scored anew.

    Raises:
      FileNotFoundError: a marked image is no longer there.
      ValueError: nothing new is marked normal, the run has no calibration, a marked image is not
        inspected, or a fault would be lost; nothing is then written.
    """
    before = detector.calibration
    if before is None:
        raise ValueError(f"{workdir} has no calibration; make one with `ipad-jax calibrate`.")
    known = _learnt_before(workdir, detector)
    new = [m for m in marks if m.mark == NORMAL and m.sha256 not in {k.sha256 for k in known}]
    if not new:
        raise ValueError(
            "no image marked normal is new: mark some with `ipad-jax review --workdir "
            f"{workdir} --events FILE --mark 1=normal`."
        )
    faults = [m for m in marks if m.mark == FAULT]
    wrong = {m.sha256 for m in faults}  # marked normal once
    known = [k for k in known if k.sha256 not in wrong]
    scorer = detector.scorer
    task: Any = scorer.task
    updates = scorer.task if isinstance(scorer.task, Updates) else None
    stored = stored_fitted(workdir, detector.config, task, detector.step)
    taken_in = updates is not None and stored is not None
    arrays = scorer.arrays
    if updates is not None and taken_in:
        images = (_read(detector, m) for m in new)
        pictures = [(task.views.cut(image), image.shape[:2]) for image in images]
        arrays = updates.update(scorer.model, arrays, pictures)
        scorer = task.make_scorer(scorer.model, arrays)
        before_scores, num_rescored = _rescored(detector, scorer, before, progress)
        known = [k._replace(score=_score_again(detector, scorer, k)) for k in known]
    else:
        before_scores, num_rescored = before.scores, 0
    normal = tuple(_listed(detector, scorer, m) for m in new)
    found = tuple(_listed(detector, scorer, m) for m in faults)
    images = tuple(i._replace(score=float(s)) for i, s in zip(before.images, before_scores))
    calibration = dataclasses.replace(
        before, scores=before_scores, images=images, marked=(*known, *normal)
    )
    lost = [fault.name for fault in found if fault.score <= calibration.threshold]
    if lost and not force:
        raise ValueError(
            f"{len(lost)} images marked fault would raise no alarm any more: {', '.join(lost)}. Nothing was "
            "learnt. Mark fewer images normal (those that look like them), or pass --force."
        )
    folder = epath.Path(workdir) / FRESH / LEARNT
    lasting, made = _places(epath.Path(workdir))
    steps.copy_for_undo([*lasting, *made])
    if taken_in and stored is not None:
        save_fitted(stored[0], arrays, stored[2])
    save_fresh(folder, calibration)
    return Learnt(folder, calibration, before, normal, found, taken_in, num_rescored)


def undo(workdir: str | os.PathLike[str]) -> int:
    """Brings back what was there before the newest step; as `run.undo.undo`."""
    return steps.undo(workdir, *_places(epath.Path(workdir)))


def _places(run: epath.Path) -> tuple[list[epath.Path], list[epath.Path]]:
    """Files that a step replaces, and those that it makes."""
    return [folder / FITTED for folder in derived_folders(run)], [run / FRESH / LEARNT / FILE]


def _learnt_before(workdir: str | os.PathLike[str], detector: Detector) -> list[GoodImage]:
    """Images marked normal that were learnt; another calibration made since takes them along."""
    path = epath.Path(workdir) / FRESH / LEARNT / FILE
    saved = Calibration.load(path) if path.exists() else None
    of_run = saved is not None and saved.made_with == detector.made_with
    return list(saved.marked) if saved is not None and of_run else []


def _read(detector: Detector, mark: Mark) -> np.ndarray:
    """A marked image, which must be the one that was marked."""
    path = Path(mark.path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}, marked {mark.mark}, is no longer there: put it back, or mark it unsure."
        )
    if digest(path) != mark.sha256:
        raise ValueError(f"{path} is another image than the one that was marked: judge it again.")
    return detector.read(path)


def _listed(detector: Detector, scorer: Scorer, mark: Mark) -> GoodImage:
    (found,) = scorer.photos([_read(detector, mark)])
    if not found.inspected:
        raise ValueError(
            f"{mark.path}, marked {mark.mark}, is not inspected, so its score says nothing: mark it unsure."
        )
    return GoodImage(mark.image, mark.path, mark.sha256, found.score)


def _is_there(image: GoodImage) -> bool:
    return Path(image.path).is_file() and digest(Path(image.path)) == image.sha256


def _score_again(detector: Detector, scorer: Scorer, image: GoodImage) -> float:
    """Score of an image that was learnt before, its old one where it is gone."""
    if not _is_there(image):
        return image.score
    (found,) = scorer.photos([detector.read(Path(image.path))])
    return found.score


def _rescored(
    detector: Detector, scorer: Scorer, before: Calibration, progress: Report | None
) -> tuple[np.ndarray, int]:
    """Scores of the images behind a threshold, with other arrays, and how many of them could be read."""
    scores = before.scores.copy()
    readers = _readers(detector, before)
    judge = scorer.photos if before.images else scorer.scored
    found = judge(read() for read in readers.values())
    for done, (place, scored) in enumerate(zip(readers, found), 1):
        scores[place] = scored.score
        if progress:
            progress(done, len(readers))
    return scores, len(readers)


def _readers(detector: Detector, before: Calibration) -> dict[int, Callable[[], np.ndarray]]:
    """What reads each image behind a threshold that is there, by its place among the scores."""
    if before.images:
        paths = {place: Path(i.path) for place, i in enumerate(before.images) if _is_there(i)}
        return {place: partial(detector.read, path) for place, path in paths.items()}
    task = detector.scorer.task
    try:
        held = task.indices[1]
    except (FileNotFoundError, ValueError):  # not here, or prepared anew from others
        return {}
    if len(held) != len(before.scores):
        return {}
    return {place: partial(task.source.image, index) for place, index in enumerate(held)}
