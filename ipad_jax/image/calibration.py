"""What good images score that a method was not fitted on, and the threshold that follows.

It belongs to one dataset, one checkpoint and one way of making maps, all in its file. The run folder holds
the run's own; those of an evaluation with other leaves lie in its folder. calibrations/NAME/ holds those that
`ipad-jax calibrate` and `learn` make (fresh_calibration.py, learn.py); the newest of them is in force.
"""

import dataclasses
import io
import json
import os
from typing import Any, NamedTuple, Self

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from ipad_jax.evaluation import false_alarms
from ipad_jax.evaluation.report.heatmap import heat_range
from ipad_jax.image.scorer import Scorer
from ipad_jax.input.images import open_images
from ipad_jax.run.config import read_config
from ipad_jax.run.files import write_atomic
from ipad_jax.run.progress import Report
from ipad_jax.run.provenance import MadeWith, made_with, mismatch
from ipad_jax.training.fitted import derived_folders

FILE = "calibration.npz"
UNIT = "image"
FRESH = "calibrations"  # folder of those made after training
HELD_OUT = "held_out"  # names the run's own, on images held out of training


class GoodImage(NamedTuple):
    """A good image that came after training: its name, absolute path, SHA-256 and score."""

    name: str
    path: str
    sha256: str
    score: float


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Scores of held-out good images, and what follows from them.

    Attributes:
      scores: float64 [n].
      alpha: share of good images that may raise an alarm.
      made_with: dataset, checkpoint and leaves behind the scores.
      bit_depth: bits that 16-bit images of the dataset use; None where it has none.
      images: those behind `scores`, where they came after training.
      marked: images that a person marked normal: none of them is above the threshold.
      made_utc: when `calibrate` or `learn` made it; "" of the run's own.
      doubtful: number of good images that are not among `scores`, since the method doubts its verdict
        on them (`Inspection.note`): the pose of an object that was not found.
    """

    scores: np.ndarray
    alpha: float
    made_with: MadeWith
    bit_depth: int | None = None
    images: tuple[GoodImage, ...] = ()
    marked: tuple[GoodImage, ...] = ()
    made_utc: str = ""
    doubtful: int = 0

    @property
    def _found(self) -> false_alarms.Threshold:
        return false_alarms.threshold(self.scores, self.alpha, UNIT)

    @property
    def threshold(self) -> float:
        """Alarm above it."""
        return max(self._found.threshold, *(image.score for image in self.marked), -np.inf)

    @property
    def bound(self) -> float:
        """Share of good images that may raise an alarm, at most, at 95 % confidence."""
        return self._found.bound

    def statement(self) -> str:
        """What the threshold rests on."""
        found, threshold = self._found, self.threshold
        doubt = (
            f" Not counted: {self.doubtful} of {self.doubtful + len(self.scores)} images, on which "
            "the verdict has a note that it cannot be trusted."
            if self.doubtful
            else ""
        )
        if threshold == found.threshold:
            return found.statement + doubt
        return (
            f"{found.statement}{doubt} Raised to {threshold:.3g}, the highest score of "
            f"{len(self.marked)} images marked normal."
        )

    @property
    def heat(self) -> tuple[float, float]:
        """Colour scale of maps: where colour begins and is full, the same for all images."""
        middle = float(np.median(self.scores))
        return heat_range(middle, 1.4826 * float(np.median(np.abs(self.scores - middle))))

    def save(self, path: epath.Path) -> None:
        """Writes the file, whole or not at all."""
        header = {k: v for k, v in vars(self).items() if k != "scores"}
        buffer = io.BytesIO()
        np.savez(buffer, scores=self.scores, header=np.array(json.dumps(header)))
        write_atomic(path, buffer.getvalue())

    @classmethod
    def load(cls, path: epath.Path) -> Self:
        """Reads what `save` wrote.

        Raises:
          FileNotFoundError: it is not there.
          ValueError: it is damaged.
        """
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
                header = json.loads(str(stored["header"]))
                for name in ("images", "marked"):
                    header[name] = tuple(GoodImage(*entry) for entry in header.get(name, ()))
                return cls(stored["scores"], **header)
        except FileNotFoundError:
            raise
        except Exception as error:
            raise ValueError(f"{path} is damaged ({error}); delete it and run again.") from error


def calibration_of(
    workdir: str | os.PathLike[str],
    config: ConfigDict,
    scorer: Scorer,
    step: int,
    progress: Report | None = None,
    name: str = "",
    calibration: str = "",
) -> Calibration | None:
    """The calibration of a way of making maps: the newest made after training, else the run's own.

    The run's own is read from its file, else made and saved.

    Args:
      workdir: run folder.
      config: of the run, with the `eval` section in force; its false_alarm_share is applied to saved
        scores.
      scorer: of this config.
      step: of the checkpoint.
      progress: called with (images done, images in all).
      name: of the folder below eval/ for what is not the run's own.
      calibration: this one of those made after training; HELD_OUT: the run's own.

    Returns:
      None if the run held out no good images.

    Raises:
      FileNotFoundError: new scores are needed, and the dataset is not here.
      ValueError: the named calibration is not there or was made differently.
    """
    run, wanted = epath.Path(workdir), made_with(config, scorer.task.prediction_leaves, step)
    if calibration != HELD_OUT and (found := newest_fresh(run, wanted, calibration)):
        share = config.eval.false_alarm_share
        own = read_config(workdir).eval.false_alarm_share
        return found if share == own else dataclasses.replace(found, alpha=share)
    for folder in derived_folders(run):
        if (folder / FILE).exists():
            saved = Calibration.load(folder / FILE)
            if saved.made_with == wanted:
                return dataclasses.replace(saved, alpha=config.eval.false_alarm_share)
    source = open_images(config, "train")
    held = scorer.task.indices[1]
    if not held:
        return None
    found = []
    for scored in scorer.held_out(source.image(index) for index in held):
        found.append((scored.score, bool(getattr(scored.found, "note", ""))))
        if progress:
            progress(len(found), len(held))
    # where it doubts all, as an object hardly learned, the threshold is as doubtful as they are
    sure = [score for score, doubted in found if not doubted] or [score for score, _ in found]
    made = Calibration(
        np.array(sure),
        config.eval.false_alarm_share,
        wanted,
        source.metadata.get("bit_depth"),
        doubtful=len(found) - len(sure),
    )
    folder = run
    if (run / FILE).exists() and _is_other(Calibration.load(run / FILE).made_with, wanted):
        folder = run / "eval" / (name or f"step{step}")
        folder.mkdir(parents=True, exist_ok=True)
    made.save(folder / FILE)
    return made


def newest_fresh(run: epath.Path, wanted: MadeWith, name: str = "") -> Calibration | None:
    """The newest calibration made after training that goes with a way of making maps; None without one.

    Args:
      run: folder.
      wanted: what the maps are made with.
      name: this one.

    Raises:
      ValueError: the named one is not there or was made differently.
    """
    root, fitting, problem = run / FRESH, [], ""
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        if not (folder / FILE).exists() or (name and folder.name != name):
            continue
        saved = Calibration.load(folder / FILE)
        problem = mismatch(saved.made_with, wanted)
        if not problem:
            fitting.append(saved)
    if name and not fitting:
        raise ValueError(
            f"no calibration {name!r} for this run: {problem or f'there is no {root / name}'}. Make it with "
            f"`ipad-jax calibrate --workdir {run} --name {name} --images FOLDER`, or take {HELD_OUT}."
        )
    return max(fitting, key=lambda saved: saved.made_utc, default=None)


def _is_other(made: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Whether a file differs in more than an earlier checkpoint, so that it must stay."""
    step, newer = made.get("checkpoint_step", -1), wanted.get("checkpoint_step", -1)
    return step > newer or {**made, "checkpoint_step": newer} != wanted
