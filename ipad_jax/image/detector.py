"""The detector of images: `load` a run, `inspect` an image; `calibrate` sets its threshold."""

import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from ipad_jax.data_builders.photos import read_photo
from ipad_jax.image.calibration import Calibration, calibration_of
from ipad_jax.image.inspection import Inspection
from ipad_jax.image.scorer import Scored, Scorer, load_scorer
from ipad_jax.image.task import BIT_DEPTH
from ipad_jax.run.progress import Report
from ipad_jax.run.provenance import MadeWith, made_with
from ipad_jax.training.checkpoints import restore_for_inference

SEEKS_FOCAL = "pose.omnipose"


class Detector:
    """A fitted method that judges images.

    Attributes:
      scorer: gives maps and scores.
      config: of the run.
      calibration: what good images score; None if the run held out none.
      threshold: alarm above it; None = no alarms.
      step: of the checkpoint.
    """

    def __init__(
        self,
        scorer: Scorer,
        config: ConfigDict,
        step: int,
        calibration: Calibration | None = None,
        threshold: float | None = None,
    ):
        """Takes a restored run; `load` is the short way."""
        self.scorer, self.config, self.calibration = scorer, config, calibration
        self.step = step
        if threshold is None and calibration is not None:
            threshold = calibration.threshold
        self.threshold = threshold

    @property
    def heat(self) -> tuple[float, float] | None:
        """Colour scale of maps; None without a calibration."""
        return None if self.calibration is None else self.calibration.heat

    @property
    def bit_depth(self) -> int | None:
        """Bits that 16-bit images of the dataset use; None where it has none."""
        if BIT_DEPTH in self.scorer.arrays:
            return int(self.scorer.arrays[BIT_DEPTH]) or None
        # fitted before 0.3.0 had it there
        return None if self.calibration is None else self.calibration.bit_depth

    @property
    def bound(self) -> float:
        """Upper bound, at 95 % confidence, of the share of good images with an alarm; NaN: unknown."""
        if self.calibration is None or self.threshold != self.calibration.threshold:
            return math.nan
        return self.calibration.bound

    @property
    def made_with(self) -> MadeWith:
        """Dataset, checkpoint and leaves behind its maps."""
        return made_with(self.config, self.scorer.task.prediction_leaves, self.step)

    def threshold_statement(self) -> str:
        """What the threshold rests on."""
        if self.threshold is None:
            return ""
        if self.calibration is None:
            return f"Threshold {self.threshold:g}, given by hand: the run has no calibration."
        if self.threshold == self.calibration.threshold:
            return self.calibration.statement()
        own = self.calibration.threshold
        return f"Threshold {self.threshold:g}, given by hand; the calibration's is {own:.3g}."

    def inspect(self, image: np.ndarray) -> Inspection:
        """Judges an image, uint8 [h, w, 3] RGB of any size; see `Inspection.inspected`.

        Raises:
          ValueError: an array of another kind.
        """
        return next(self.inspect_all([image]))

    def inspect_all(self, images: Iterable[np.ndarray]) -> Iterator[Inspection]:
        """As `inspect`, of many, in order; `eval.batch_size` of them go through the network at once."""
        for found in self.scorer.photos(images):
            yield self._judged(found)

    def inspect_again(self, image: np.ndarray, found: Any) -> Inspection:
        """As `inspect`, of a prepared image whose `Inspection.found` is known: no pose is searched again."""
        return self._judged(self.scorer.again(image, found))

    def _judged(self, found: Scored) -> Inspection:
        if not found.inspected:
            return Inspection(math.nan, False, np.full_like(found.map, np.nan), found.found)
        alarm = self.threshold is not None and found.score > self.threshold
        return Inspection(found.score, alarm, found.map, found.found)

    def reference(self, image: np.ndarray, found: Inspection) -> np.ndarray | None:
        """What an image was compared with, a rendering or a reconstruction, uint8; None of most methods.

        None of an image that was not inspected.
        """
        if not found.inspected:
            return None
        return self.scorer.reference(image, found.found)

    def read(self, path: str | os.PathLike[str]) -> np.ndarray:
        """An image file as the dataset's were read: upright, RGB, 16 bits by the dataset's own depth."""
        return read_photo(Path(path), self.bit_depth)


def load(
    workdir: str | os.PathLike[str],
    *,
    step: int | None = None,
    threshold: float | None = None,
    false_alarms: float | None = None,
    batch_size: int | None = None,
    calibration: str = "",
    seek_focal: bool = False,
    progress: Report | None = None,
) -> Detector:
    """The detector of a trained run.

    Args:
      workdir: run folder, fitted and calibrated or with its dataset at hand.
      step: checkpoint; the newest by default.
      threshold: instead of the calibration's.
      false_alarms: share of good images that may raise an alarm, instead of `eval.false_alarm_share`.
      batch_size: images at once, instead of `eval.batch_size`.
      calibration: name of one made after training, or "held_out"; the newest by default.
      seek_focal: the images are of a camera or zoom of another focal length than the training views'.
      progress: called while calibrating.

    Raises:
      FileNotFoundError: no run, checkpoint, or dataset where one is needed.
      ValueError: a share that the held-out images are too few to support, or outside (0, 1); a method that
        seeks no focal length.
    """
    config, _, model, step = restore_for_inference(workdir, step)
    config = ConfigDict(config.to_dict())
    if false_alarms is not None:
        config.eval.false_alarm_share = float(false_alarms)
    if batch_size is not None:
        config.eval.batch_size = batch_size
    if seek_focal:
        if config.task != SEEKS_FOCAL:
            raise ValueError(
                f"{workdir} is a run of {config.task}, which seeks no focal length: {SEEKS_FOCAL} does."
            )
        config.eval.seek_focal = True
    scorer = load_scorer(workdir, config, model, step)
    found = calibration_of(workdir, config, scorer, step, progress, calibration=calibration)
    return Detector(scorer, config, step, found, threshold)


def calibrate(
    workdir: str | os.PathLike[str], *, step: int | None = None, progress: Report | None = None
) -> Calibration | None:
    """Fits what a method fits, and sets the threshold on held-out good images; None if there are none."""
    config, _, model, step = restore_for_inference(workdir, step)
    scorer = load_scorer(workdir, config, model, step)
    return calibration_of(workdir, config, scorer, step, progress)
