"""The detector as a stream: frames in, one final row a frame out, causally and in constant memory.

Frames are scored by stream.py, as in `evaluate`. A row is handed out once no later frame can change it,
`delay_frames` after its frame.
"""

import copy
import dataclasses
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from ml_collections import ConfigDict

from ipad_jax.evaluation.alarm_rule import AlarmRule, AlarmStream, Event, Verdict
from ipad_jax.input.frames import height_width
from ipad_jax.input.live import as_stored
from ipad_jax.run.cluster import num_cores
from ipad_jax.run.progress import Report
from ipad_jax.run.provenance import MadeWith
from ipad_jax.training.checkpoints import restore_for_inference
from ipad_jax.video.detector.calibration_files import HELD_OUT, calibration_in_force, calibration_of
from ipad_jax.video.detector.footage import Footage, footage_of
from ipad_jax.video.detector.predictor import Predictor, load_predictor, score_segments
from ipad_jax.video.detector.stream import (
    FrameScorer,
    Pictures,
    PredictsClips,
    ScoredRows,
    make_aggregator,
    predict_ahead,
)
from ipad_jax.video.normal.renewed import RenewedFrames
from ipad_jax.video.scores.aggregate import RECONSTRUCTED, FrameRows
from ipad_jax.video.scores.calibration import Calibration, fuse, standardise

UNCALIBRATED_SCORE = "pooled_mean"  # what stands for the score without a calibration; in [0, 1]


@dataclass(frozen=True)
class FrameScore:
    """The final row of one frame.

    Attributes:
      frame: index, counted from 0.
      time_s: frame / fps.
      score: anomaly score; NaN where the frame is unscored (a video shorter than a clip).
      alarm: whether the frame belongs to an alarm; False without a threshold.
      sustained: running median of the score; NaN where there is none.
      components: raw components by name, NaN where unscored.
      shares: what each component adds to the score; empty without a calibration.
      event: the alarm that is on, as far as it has come; None: none.
      over: the alarm that ended before this frame.
      pictures: where asked for; None otherwise, or for a frame that no clip saw.
    """

    frame: int
    time_s: float
    score: float
    alarm: bool
    components: dict[str, float]
    sustained: float = math.nan
    shares: dict[str, float] = field(default_factory=dict)
    event: Event | None = None
    over: Event | None = None
    pictures: Pictures | None = None


class Detector:
    """A trained model that marks faults in a stream of frames.

    Attributes:
      fps: rate of the footage it was trained on; frames must come at this rate.
      delay_frames: frames that must follow a frame before its row is final, at most.
      calibration: what normal looks like; None if the run held out no normal footage.
      rule: when scores are an alarm; None = no alarms.
    """

    def __init__(
        self,
        predictor: PredictsClips,
        config: ConfigDict,
        footage: Footage,
        calibration: Calibration | None = None,
        threshold: float | None = None,
        step: int = -1,
    ):
        """Takes a restored run; `load` is the short way.

        Args:
          predictor: the model.
          config: of the run; the `data` and `eval` sections count.
          footage: rate and cycle of the training footage.
          calibration: of this run at this stride.
          threshold: instead of the calibration's.
          step: of the checkpoint; -1 unknown.
        """
        self.step = step
        self.predictor, self.config, self.footage = predictor, config, footage
        self.calibration = calibration
        self.rule: AlarmRule | None = None
        if threshold is not None:
            self.rule = AlarmRule(threshold)
        elif calibration is not None:
            self.rule = calibration.rule
        self.image_size = height_width(config.data.size)
        self.delay_frames = make_aggregator(config, footage.cycle_frames).delay_frames

    def at_rate(self, fps: float) -> "Detector":
        """The same detector with another clock, for footage whose rate differs by next to nothing."""
        other = copy.copy(self)
        other.footage = dataclasses.replace(self.footage, fps=fps)
        return other

    @property
    def threshold(self) -> float | None:
        """Alarm when the score of a frame is above it; None = no alarms."""
        return None if self.rule is None else self.rule.threshold

    @property
    def bound(self) -> float:
        """Share of normal units that may raise an alarm, at most, see `Calibration.bound`; NaN: unknown."""
        known = self.calibration is not None and self.rule == self.calibration.rule
        return self.calibration.bound if known and self.calibration else math.nan

    @property
    def made_with(self) -> MadeWith:
        """Dataset, checkpoint and leaves behind its calibration; empty without one."""
        return {} if self.calibration is None else self.calibration.made_with

    @property
    def fps(self) -> float:
        """Frames a second that the stream must have."""
        return self.footage.fps

    def threshold_statement(self) -> str:
        """What the threshold rests on, or for one set by hand what it is a threshold of."""
        calibration, threshold = self.calibration, self.threshold
        if threshold is None:
            return ""
        if calibration is None:
            return (
                f"Threshold {threshold:g} of {UNCALIBRATED_SCORE}, the largest locally pooled absolute "
                f"error, from 0 to 1: the run has no calibration."
            )
        if self.rule == calibration.rule:
            return calibration.statement()
        weights = " + ".join(
            f"{weight:g} {name}"
            for name, weight in calibration.weights.items()
            if weight and name in calibration.components
        )
        return (
            f"Threshold {threshold:g} of the score {weights}, each in spreads (1.48 MAD) from its median "
            f"on normal footage, without a rule for longer ones; the calibration's is "
            f"{calibration.threshold:.2f}."
        )

    def stream(
        self,
        frames: Iterable[np.ndarray],
        *,
        batch_size: int = 1,
        pictures: bool = False,
        prepare: Callable[[np.ndarray], np.ndarray] | None = None,
        start: int = 0,
        alarms: AlarmStream | None = None,
        renewed: RenewedFrames | None = None,
    ) -> Iterator[FrameScore]:
        """Scores a stream of any length; each row is final when it comes.

        Args:
          frames: [h, w, 3] uint8 RGB of any size, `fps` of them a second.
          batch_size: clips predicted at once; more is faster, and later by (batch_size - 1) *
            stride frames. Memory does not depend on the stream's length.
          pictures: also hand out frame, reconstruction and error map, from the same forward pass.
          prepare: brings a frame to the model's size; by default what the dataset's builder does.
          start: number of the first frame.
          alarms, renewed: of an earlier stretch of the same footage, to go on from.

        Yields:
          One row a frame, in order.

        Raises:
          ValueError: something that is no such frame.
        """
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"batch_size={batch_size} must be a whole number, at least 1.")
        calibration = self.calibration
        if alarms is None and self.rule is not None:
            alarms = AlarmStream(self.rule, self.fps)
        renewed = renewed or self.renewed_frames()
        with ThreadPoolExecutor(num_cores()) as pool:
            scorer = FrameScorer(
                self.config,
                self.predictor.normal,
                self.footage.cycle_frames,
                pool,
                start=start,
                pictures=pictures,
                mapped="" if calibration is None else calibration.mapped,
                renewed=renewed,
            )
            clips = scorer.clips(map(prepare or self.prepare, frames))
            predict = self.predictor.both if pictures else self.predictor.scores
            for first_frame, predicted in predict_ahead(clips, predict, batch_size):
                yield from self._judged(scorer.add(first_frame, predicted), alarms, renewed)
            yield from self._judged(scorer.close(), alarms, renewed)

    def rows(
        self,
        frames: Iterable[np.ndarray],
        *,
        prepare: Callable[[np.ndarray], np.ndarray] | None = None,
        seen: Callable[[int], None] | None = None,
        weighted_only: bool = False,
        alarms: AlarmStream | None = None,
        renewed: RenewedFrames | None = None,
    ) -> FrameRows:
        """Raw components of every frame of some footage, in order.

        Args:
          frames: as of `stream`.
          prepare: as of `stream`.
          seen: called with the number of frames seen so far.
          weighted_only: rebuilds nothing where no component of `eval.components` needs it: components of
            the reconstruction are then NaN, the others as ever.
          alarms, renewed: as of `stream`; by default nothing is renewed and no alarm is asked for.
        """
        parts: list[FrameRows] = []

        def judged(scored: ScoredRows) -> None:
            parts.append(scored.rows)
            if renewed is not None:
                deque(self._judged(scored, alarms, renewed), maxlen=0)

        with ThreadPoolExecutor(num_cores()) as pool:
            scorer = FrameScorer(
                self.config,
                self.predictor.normal,
                self.footage.cycle_frames,
                pool,
                renewed=renewed,
            )
            clips = scorer.clips(map(prepare or self.prepare, frames))
            predict = self.predictor.scores
            if weighted_only and not self._needs_reconstruction:
                predict = self.predictor.phases
            for first, predicted in predict_ahead(clips, predict, self.config.eval.batch_size):
                judged(scorer.add(first, predicted))
                if seen:
                    seen(first + self.config.data.clip_len)
            judged(scorer.close())
        return FrameRows.concat([part for part in parts if len(part)])

    def _strength(self, distance: np.ndarray) -> np.ndarray | None:
        """Of each place [h, w] its score as a share of the lower threshold; None where it is not scored."""
        rule, calibration = self.rule, self.calibration
        if rule is None or calibration is None or "nearest" not in calibration.components:
            return None
        weight = calibration.weights.get("nearest", 0.0)
        lower = min(rule.threshold, rule.sustained)
        if min(weight, lower) <= 0:
            return None
        usual = calibration.components["nearest"]
        return weight * (distance - usual.location) / usual.scale / lower

    @property
    def _needs_reconstruction(self) -> bool:
        """Whether the score has a component of it, or clips begin with frames that it leaves out."""
        weights = self.config.eval.components
        return self.predictor.unscored > 0 or any(weights.get(name) for name in RECONSTRUCTED)

    def renewed_frames(self, faster: float = 1.0) -> RenewedFrames | None:
        """Takes up normal frames as the config asks for it; None: nothing to renew, or no alarm to go by.

        Args:
          faster: than life, of footage in which slow change is speeded up.
        """
        minutes, normal = self.config.eval.renew_minutes, self.predictor.normal.frames
        if not minutes or normal is None or self.rule is None:
            return None
        return RenewedFrames(normal, self.fps, minutes / faster)

    def warm_up(self, batch_size: int = 1, pictures: bool = False) -> None:
        """Compiles the model, so that a live source need not wait for it at its first clip."""
        clip = np.zeros((batch_size, self.config.data.clip_len, *self.image_size, 3), np.uint8)
        (self.predictor.both if pictures else self.predictor.scores)(clip)
        for part in self.predictor.normal.maps.values():
            part.largest(clip[0, 0], 0.0)
        self.predictor.normal.warm_up()

    def prepare(self, frame: np.ndarray) -> np.ndarray:
        """A frame as the training's dataset would have stored it.

        Raises:
          ValueError: it has other proportions than the training footage, or is no frame.
        """
        stored = as_stored(frame, self.image_size, self.config.data.quality)
        if frame.shape[:2] != self.image_size:
            self.footage.check_shape(frame)
        return stored

    def prepare_file(self, frame: np.ndarray) -> np.ndarray:
        """The same for a frame from a file of its own, which may have been stored as it is."""
        right_size = frame.shape[:2] == self.image_size
        return frame if self.footage.stored_as_is and right_size else self.prepare(frame)

    def _judged(
        self, scored: ScoredRows, alarms: AlarmStream | None, renewed: RenewedFrames | None
    ) -> Iterator[FrameScore]:
        """Final rows with their score and the alarm; their frames may be taken up."""
        rows, components = scored.rows, scored.rows.components
        if not len(rows):
            return
        shares: dict[str, np.ndarray] = {}
        if self.calibration is None:
            score = components[UNCALIBRATED_SCORE].astype(np.float64)
        else:
            score = fuse(rows, self.calibration)
            shares = {
                name: weight * standardise(name, rows, self.calibration)
                for name, weight in self.calibration.weights.items()
                if weight and name in self.calibration.components
            }
        for i, frame in enumerate(rows.frame.tolist()):
            verdict = Verdict(math.nan, False, None)
            if alarms is not None:
                verdict = alarms.add(frame, float(score[i]))
            if renewed is not None:
                on = alarms is None or alarms.open is not None
                picture, phase, distance = scored.compared[i]
                renewed.add(picture, phase, on, self._strength(distance) if on else None)
            yield FrameScore(
                frame=frame,
                time_s=frame / self.fps,
                score=float(score[i]),
                alarm=verdict.alarm,
                sustained=verdict.sustained,
                event=alarms.open if alarms is not None else None,
                over=verdict.over,
                components={name: float(values[i]) for name, values in components.items()},
                shares={name: float(values[i]) for name, values in shares.items()},
                pictures=scored.pictures[i],
            )


def load(
    workdir: str | os.PathLike[str],
    *,
    step: int | None = None,
    threshold: float | None = None,
    stride: int | None = None,
    calibration: str = "",
    progress: Report | None = None,
) -> Detector:
    """The detector of a trained run, calibrated first where it is not.

    Args:
      workdir: run folder.
      step: a given checkpoint; the newest by default.
      threshold: instead of the calibration's.
      stride: frames between clips, instead of the config's.
      calibration: name of one made on other footage (`calibrate_on`), or "held_out"; the newest by
        default, and the run's own where there is none.
      progress: called with the frames done, if the run must first be calibrated.

    Raises:
      FileNotFoundError: no run there, or nothing says how its footage was recorded.
      ValueError: a number out of its range.
    """
    if threshold is not None and not math.isfinite(threshold):
        raise ValueError(f"threshold={threshold} must be a number.")
    config, _, model, step = restore_for_inference(workdir, step)
    config = ConfigDict(config.to_dict())
    if stride is not None:
        config.eval.stride = stride
    footage = footage_of(workdir, config)
    predictor = load_predictor(workdir, config, model, step)
    found = calibration_in_force(workdir, config, step, calibration)
    if found is None:
        found = _calibration(workdir, config, predictor, step, progress)
    return Detector(predictor, config, footage, found, threshold, step)


def calibrate(
    workdir: str | os.PathLike[str],
    *,
    step: int | None = None,
    progress: Report | None = None,
) -> Calibration | None:
    """Sets a run's threshold on its held-out normal footage, so that `load` needs no dataset from then on.

    Args: as of `load`.

    Returns:
      None if the run held out no normal footage.

    Raises: as `load`.
    """
    return load(workdir, step=step, calibration=HELD_OUT, progress=progress).calibration


def _calibration(
    workdir: str | os.PathLike[str],
    config: ConfigDict,
    predictor: Predictor,
    step: int,
    progress: Report | None,
) -> Calibration | None:
    """The run's calibration, made anew where it lacks this one; None if it held out no normal footage."""
    try:
        score = partial(score_segments, predictor, step)
        return calibration_of(workdir, config, score, step, progress)
    except FileNotFoundError as error:
        if not config.data.holdout_share:
            return None
        raise FileNotFoundError(
            f"{workdir} has no calibration of checkpoint {step} at stride {config.eval.stride}, and the "
            "dataset to make it is not here. Take the checkpoint and stride it was evaluated with, or run "
            f"`ipad-jax evaluate` where the dataset is and copy the run folder. ({error})"
        ) from error
