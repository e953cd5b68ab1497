"""Calibration: what normal looks like, from normal footage the model was not fitted on.

Location and scale of each component, their weighted sum (the fused score), and a threshold with the
false-positive bound that the number of independent normal cycles supports. No anomaly is ever
needed.
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Protocol

import numpy as np
from etils import epath

from ipad_jax.evaluation import false_alarms
from ipad_jax.run.files import write_atomic
from ipad_jax.run.provenance import MadeWith
from ipad_jax.video.scores.frame_scores import FrameScores

FORMAT = 6  # 6: what it was made with, the dataset included
MIN_CLASS_FRAMES = 30  # fewer give a median and MAD that wobble more than the positions differ
UNIT_S = 10  # seconds of a piece where no cycle is known; our choice
STRETCH = f"{UNIT_S} s stretch"
# 1.4826 MAD estimates a normal distribution's standard deviation.
MAD_TO_SIGMA = 1.4826
# A component that hardly varies over little normal footage (a still picture; the quantised output
# of a small model) would get a scale near zero, and any change of it would drown the other
# components. The floor is the larger of 1 % of the component's size and the smallest step worth
# telling apart, in its own unit.
RELATIVE_FLOOR = 0.01
ABSOLUTE_FLOOR = {
    "psnr_centre": 0.1,  # dB
    "psnr_mean": 0.1,
    "pooled_centre": 0.5 / 255,  # half a grey level
    "pooled_mean": 0.5 / 255,
    "diff_mean": 0.1 / 255,
    "diff_pooled": 0.5 / 255,
    "period_error": 0.5,  # half a phase class
    "fitted_period_error": 0.5,
    "motion": 0.5 / 255,
    "nearest": 0.1,  # deviations of normal frames
    "features": 0.01,  # features are of size 1
    "deformation": 0.02,  # pixels
}
# Which way is anomalous: a high PSNR is a good reconstruction.
SIGN = {"psnr_centre": -1.0, "psnr_mean": -1.0}
NOT_SCORES = ("phase", "tracked_phase")
# Those that are the maximum of a map, which heat maps can show.
MAPPED = ("nearest", "features", "pooled_mean")
# By nature missing on single frames (near the end of a short video; the first): there it adds nothing.
OPTIONAL = ("period_error", "fitted_period_error", "motion")


class Scored(Protocol):
    """What can be fused: FrameScores, or the FrameRows of a live stream."""

    @property
    def position(self) -> np.ndarray: ...

    @property
    def components(self) -> dict[str, np.ndarray]: ...


@dataclass(frozen=True)
class Statistics:
    """Location and scale of one component: pooled, and by position where it has enough frames."""

    location: float
    scale: float
    num_frames: int
    by_position: dict[int, tuple[float, float]]


@dataclass(frozen=True)
class Calibration:
    """What normal looks like, and from where on a score is an alarm.

    Attributes:
      components: statistics of each component that normal footage has values of.
      weights: weights of the fused score that `threshold` belongs to.
      dropped: weighted components that normal footage has no values of (no period head, no cycle).
      threshold: alarm when the fused score is ABOVE it.
      alpha: share of normal units that may reach above the threshold, as asked for.
      unit: "cycle", "10 s stretch" or "video": over what the maximum is taken, the pieces of the
        bound; stretches of one video are less independent than the bound assumes.
      num_units: how many of them the threshold rests on.
      num_short_units: pieces under half the usual length, left out since their maximum says little.
      false_positive_bound: upper bound, at 95 % confidence, of the share of normal units with an
        alarm.
      made_with: what the scores this was fitted on were made with, and `FIT_LEAVES`.
    """

    components: dict[str, Statistics]
    weights: dict[str, float]
    dropped: tuple[str, ...]
    threshold: float
    alpha: float
    unit: str
    num_units: int
    num_short_units: int
    false_positive_bound: float
    made_with: MadeWith = field(default_factory=dict)

    @classmethod
    def fit(
        cls,
        normal: FrameScores,
        weights: Mapping[str, float],
        alpha: float = 0.05,
        made_with: MadeWith | None = None,
    ) -> "Calibration":
        """Fit on scores of held-out normal footage.

        Args:
          normal: no frame of it may be labelled anomalous.
          weights: weight of each component in the fused score, e.g. {"pooled_mean": 1,
            "period_error": 1}.
          alpha: share of normal units that may raise an alarm, in (0, 1).
          made_with: of the calibration; that of the scores by default.

        Returns:
          The calibration, with the threshold of `false_alarms.threshold`.

        Raises:
          ValueError: anomalous frames, no scored frame, unknown components, alpha outside (0, 1).

        Location and scale come from the same units as the threshold. For a single component that
        changes nothing (standardising keeps the order); for several the bound is slightly
        optimistic at small n.
        """
        if (normal.label == 1).any():
            raise ValueError(
                f"{int((normal.label == 1).sum())} of {len(normal)} calibration frames are "
                "labelled anomalous; calibrate on normal footage only."
            )
        check_weights(weights, normal.components)
        statistics = {
            name: describe(name, values, normal.position, classes=normal.stride > 1)
            for name, values in normal.components.items()
            if name not in NOT_SCORES and np.isfinite(values).any()
        }
        used = {name for name, weight in weights.items() if weight}
        dropped = tuple(sorted(used - statistics.keys()))
        if not used - set(dropped):
            raise ValueError(
                f"No calibration frame has a value of {sorted(used)}: the calibration footage is "
                "empty or its videos are shorter than a clip."
            )
        if not any(_varies(normal.components[name]) for name in statistics):
            raise ValueError(
                f"Every frame of the calibration footage has the same {', '.join(sorted(statistics))}: it "
                "was not read rightly, or the camera hangs. Look at it with `ipad-jax validate video_folder "
                "--source DIR --full`."
            )
        draft = cls(
            components=statistics,
            weights=dict(weights),
            dropped=dropped,
            threshold=math.nan,
            alpha=alpha,
            unit="",
            num_units=0,
            num_short_units=0,
            false_positive_bound=math.nan,
            made_with=normal.made_with if made_with is None else made_with,
        )
        fused = fuse(normal, draft)
        maxima, unit, num_short = unit_maxima(fused, normal)
        threshold, bound, _ = false_alarms.threshold(maxima, alpha, unit)
        return cls(
            **{
                **draft.__dict__,
                "threshold": threshold,
                "unit": unit,
                "num_units": len(maxima),
                "num_short_units": num_short,
                "false_positive_bound": bound,
            }
        )

    @property
    def stride(self) -> int:
        """Frames between clips of the scores this was fitted on; scores of another do not fit."""
        return self.made_with.get("eval.stride", 1)

    @property
    def bound(self) -> float:
        """The false-positive bound by its short name, as all results carry it."""
        return self.false_positive_bound

    @property
    def mapped(self) -> str:
        """The component whose map is shown as heat: the one with a map that weighs most in the score."""
        known = [name for name in MAPPED if name in self.components]
        return max(known, key=lambda name: self.weights.get(name, 0.0), default=MAPPED[-1])

    def statement(self) -> str:
        """In plain words, what the threshold rests on."""
        dropped = f" Without {', '.join(self.dropped)}: no values." if self.dropped else ""
        basis = false_alarms.statement(
            self.threshold,
            self.num_units,
            self.alpha,
            self.unit,
            unit_seconds=self._unit_seconds,
        )
        return basis + dropped

    def provisional(self) -> str:
        """Where the threshold rests on too few units: that, and how many would be enough; else ""."""
        return false_alarms.provisional(
            self.num_units, self.alpha, self.unit, unit_seconds=self._unit_seconds
        )

    @property
    def _unit_seconds(self) -> float | None:
        return UNIT_S if self.unit == STRETCH else None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write calibration.json, whole or not at all."""
        content = {"format": FORMAT, **asdict(self)}
        write_atomic(path, json.dumps(content, indent=2, allow_nan=False).encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Calibration":
        """Read what `save` wrote.

        Raises:
          FileNotFoundError: no such file.
          ValueError: not a calibration, or of another version.
        """
        if not epath.Path(path).is_file():
            raise FileNotFoundError(
                f"No calibration at {path}: the run held out no normal footage "
                "(data.holdout_share = 0), or was never evaluated. Pass --threshold to go without."
            )
        try:
            content = json.loads(epath.Path(path).read_text())
            found = content.pop("format")
            if found != FORMAT:
                raise ValueError(f"format {found}, expected {FORMAT}")
            content["dropped"] = tuple(content["dropped"])
            content["components"] = {
                name: Statistics(
                    **{
                        **value,
                        "by_position": {int(k): tuple(v) for k, v in value["by_position"].items()},
                    }
                )
                for name, value in content["components"].items()
            }
            return cls(**content)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{path} is not a calibration of this version: {error}. Evaluate the run again."
            ) from error


def _varies(values: np.ndarray) -> bool:
    """Whether known values differ; those of a single frame may not."""
    known = values[np.isfinite(values)]
    return len(known) < 2 or float(np.ptp(known)) > 0


def check_weights(weights: Mapping[str, float], components: Mapping[str, np.ndarray]) -> None:
    """Refuse weights that name nothing, are all zero or not numbers."""
    unknown = sorted(set(weights) - set(components) | set(weights) & set(NOT_SCORES))
    if unknown:
        choices = sorted(set(components) - set(NOT_SCORES))
        raise ValueError(
            f"No component {unknown} in the scores; the choices are {choices}. "
            "Name only those in eval.components, or evaluate again without --scores."
        )
    if not any(weights.values()) or not all(map(math.isfinite, weights.values())):
        raise ValueError(f"weights={dict(weights)} need at least one number other than 0.")


def describe(name: str, values: np.ndarray, position: np.ndarray, classes: bool) -> Statistics:
    """Robust location and scale of one component.

    Args:
      name: its name, for the floor of its scale.
      values: [n], NaN left out.
      position: [n] place in the clip.
      classes: also for each place with at least `MIN_CLASS_FRAMES` values.
    """
    floor = ABSOLUTE_FLOOR.get(name, 0.0)

    def robust(sample: np.ndarray) -> tuple[float, float]:
        location = float(np.median(sample))
        spread = MAD_TO_SIGMA * float(np.median(np.abs(sample - location)))
        return location, max(spread, floor, RELATIVE_FLOOR * abs(location), 1e-12)

    finite = np.isfinite(values)
    values, position = values[finite].astype(np.float64), position[finite]
    by_position = {}
    if classes:
        for place in np.unique(position):
            sample = values[position == place]
            if len(sample) >= MIN_CLASS_FRAMES:
                by_position[int(place)] = robust(sample)
    return Statistics(*robust(values), num_frames=len(values), by_position=by_position)


def standardise(name: str, scores: Scored, calibration: Calibration) -> np.ndarray:
    """One component in units of its normal spread, upwards = anomalous; float64 [n], NaN kept."""
    statistics = calibration.components[name]
    values = scores.components[name].astype(np.float64)
    location = np.full(values.shape, statistics.location)
    scale = np.full(values.shape, statistics.scale)
    for place, (place_location, place_scale) in statistics.by_position.items():
        at = scores.position == place
        location[at], scale[at] = place_location, place_scale
    return SIGN.get(name, 1.0) * (values - location) / scale


def fuse(
    scores: Scored, calibration: Calibration, weights: Mapping[str, float] | None = None
) -> np.ndarray:
    """Anomaly score of each frame: the weighted sum of its standardised components.

    Args:
      scores: a table of frames, or rows of a live stream.
      calibration: of the same run.
      weights: others than the calibration's own; then its threshold does not apply.

    Returns:
      float64 [n]. A component without any calibration value drops out (`Calibration.dropped`). A
      frame that lacks a period error gets none added; one that lacks another component is unscored
      (NaN).
    """
    weights = calibration.weights if weights is None else weights
    check_weights(weights, scores.components)
    used = {k: w for k, w in weights.items() if w and k in calibration.components}
    if not used:
        raise ValueError(
            f"The calibration has none of {sorted(weights)}, only {sorted(calibration.components)}."
        )
    alone = set(used) <= set(OPTIONAL)
    fused = np.zeros(len(scores.position))
    for name, weight in used.items():
        part = weight * standardise(name, scores, calibration)
        if name in OPTIONAL and not alone:
            part = np.where(np.isfinite(part), part, 0.0)
        fused += part
    return fused


def unit_maxima(fused: np.ndarray, normal: FrameScores) -> tuple[np.ndarray, str, int]:
    """Largest fused score of each independent piece of normal footage.

    Returns:
      (maxima [n], unit, pieces left out because they are under half the median length: the cut-off
      end of a cycle says less than a whole one). Units are cycles if every scored frame has a
      number, else stretches of `UNIT_S`, else, where no video is longer than one, videos.
    """
    scored = np.isfinite(fused)
    fused, video = fused[scored], normal.video[scored]
    if (normal.cycle[scored] >= 0).all():
        unit, number = "cycle", normal.cycle[scored]
    else:
        length = np.maximum(1, np.round(UNIT_S * np.array(normal.fps))).astype(int)[video]
        first = np.full(len(normal.fps), np.iinfo(np.int32).max)
        np.minimum.at(first, video, normal.frame[scored])
        number = (normal.frame[scored] - first[video]) // length
        unit = STRETCH if number.any() else "video"
    piece = np.stack([video, number])
    _, index, counts = np.unique(piece, axis=1, return_inverse=True, return_counts=True)
    maxima = np.full(len(counts), -np.inf)
    np.maximum.at(maxima, index.reshape(-1), fused)
    whole = counts >= np.median(counts) / 2
    return maxima[whole], unit, int((~whole).sum())
