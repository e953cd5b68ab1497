"""Calibration: what normal looks like, from normal footage the model was not fitted on.

Location and scale of each component, their weighted sum (the fused score), and the alarm rule whose two
thresholds keep false alarms below a wished rate. No anomaly is ever needed.
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from etils import epath

from ipad_jax.evaluation.alarm_rule import AlarmRule, Followed, follow
from ipad_jax.evaluation.tail import CONFIDENCE, MIN_TAIL, Tail, tail_threshold, units_needed
from ipad_jax.run.files import write_atomic
from ipad_jax.run.provenance import MadeWith
from ipad_jax.video.scores.frame_scores import FrameScores

FORMAT = 7  # 7: an alarm rule for a wished rate in place of one threshold
MIN_CLASS_FRAMES = 30  # fewer give a median and MAD that wobble more than the positions differ
# Seconds of a piece of footage, whose highest score is one of those that the tail is made of. Chosen on
# the tuning scenes: from ten minutes, pieces of 10 s are too few to tell how heavy the tail is.
UNIT_S = 1.0
# Of the distance between the usual score and that of frames a person said are normal, by which a threshold is
# above them: the same event scores a little differently with another batch size, start or day. Our choice.
HEADROOM = 0.05
USUAL_REACH = 0.99  # quantile of normal scores; drift is counted in its distance from the median
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


class Wish(NamedTuple):
    """What a person wants of the alarm.

    Attributes:
      false_alarms_per_hour: that normal footage may raise, at most.
      sustained_s: seconds of the running median with a threshold of its own; 0: none.
      drift_per_hour: how fast the level of the score is followed upwards, in distances between the
        median and the 99 % quantile of normal scores; 0: not at all.
    """

    false_alarms_per_hour: float = 1.0
    sustained_s: float = 1.0
    drift_per_hour: float = 0.0


DEFAULT_WISH = Wish()


@dataclass(frozen=True)
class Basis:
    """The normal footage that a calibration rests on.

    Attributes:
      num_units, unit_s: pieces over which the maximum is taken, and the seconds of one.
      num_short_units: pieces under half the usual length, left out since their maximum says little.
      minutes: scored time.
      files: names of the videos.
      days: dates of recording, as far as the files tell them.
      another_recording: whether it was recorded apart from the training's footage.
    """

    num_units: int
    unit_s: float
    num_short_units: int
    minutes: float
    files: tuple[str, ...]
    days: tuple[str, ...] = ()
    another_recording: bool = False


@dataclass(frozen=True)
class Calibration:
    """What normal looks like, and from where on a score is an alarm.

    Attributes:
      components: statistics of each component that normal footage has values of.
      highest: largest standardised value of each on it.
      weights: weights of the fused score that the rule belongs to.
      dropped: weighted components that normal footage has no values of (no period head, no cycle).
      rule: thresholds of a frame's score and of its running median, and the rest.
      wish: what the thresholds were set for.
      single, sustained: how each threshold came about; None where there is no sustained rule.
      basis: the footage.
      made_with: what the scores this was fitted on were made with, and the leaves of the fit.
    """

    components: dict[str, Statistics]
    highest: dict[str, float]
    weights: dict[str, float]
    dropped: tuple[str, ...]
    rule: AlarmRule
    wish: Wish
    single: Tail
    sustained: Tail | None
    basis: Basis
    made_with: MadeWith = field(default_factory=dict)

    @classmethod
    def fit(
        cls,
        normal: FrameScores,
        weights: Mapping[str, float],
        wish: Wish = DEFAULT_WISH,
        made_with: MadeWith | None = None,
        *,
        days: tuple[str, ...] = (),
        another_recording: bool = False,
    ) -> "Calibration":
        """Fit on scores of held-out normal footage.

        Args:
          normal: no frame of it may be labelled anomalous.
          weights: weight of each component in the fused score, e.g. {"pooled_mean": 1,
            "period_error": 1}.
          wish: for the alarm; its false alarms are shared evenly between the two rules.
          made_with: of the calibration; that of the scores by default.
          days, another_recording: as of `Basis`.

        Raises:
          ValueError: anomalous frames, no scored frame, footage that never changes, unknown
            components, a wish out of range.

        Location and scale come from the same units as the thresholds. For a single component that
        changes nothing (standardising keeps the order); for several the promise is slightly
        optimistic at small n.
        """
        if (normal.label == 1).any():
            raise ValueError(
                f"{int((normal.label == 1).sum())} of {len(normal)} calibration frames are "
                "labelled anomalous; calibrate on normal footage only."
            )
        check_weights(weights, normal.components)
        check_wish(wish)
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
        parts = {name: _standardised(name, normal, found) for name, found in statistics.items()}
        fused = _fused(parts, weights)
        scored = fused[np.isfinite(fused)]
        level = float(np.median(scored))
        reach = float(np.quantile(scored, USUAL_REACH)) - level
        silent = AlarmRule(
            math.inf,
            sustained_s=wish.sustained_s,
            level=level,
            drift_per_hour=wish.drift_per_hour * reach,
        )
        followed = followed_by_video(fused, normal, silent)
        single_maxima, group, basis = unit_maxima(followed.score, normal)
        rules = 2 if wish.sustained_s else 1
        share = wish.false_alarms_per_hour * basis.unit_s / 3600 / rules
        single = tail_threshold(single_maxima, group, min(share, 0.5))
        sustained = None
        if wish.sustained_s:
            maxima, group, _ = unit_maxima(followed.sustained, normal, basis.unit_s)
            # footage shorter than the running median has none: then only single frames raise alarms
            sustained = tail_threshold(maxima, group, min(share, 0.5)) if len(maxima) else None
        return cls(
            components=statistics,
            highest={
                name: float(np.nanmax(values))
                for name, values in parts.items()
                if np.isfinite(values).any()
            },
            weights=dict(weights),
            dropped=dropped,
            rule=replace(
                silent,
                threshold=single.threshold,
                sustained=math.inf if sustained is None else sustained.threshold,
            ),
            wish=wish,
            single=single,
            sustained=sustained,
            basis=replace(basis, days=days, another_recording=another_recording),
            made_with=normal.made_with if made_with is None else made_with,
        )

    def above(self, normal: FrameScores) -> "Calibration":
        """The same with thresholds so high that these scores raise no alarm, `HEADROOM` included."""
        quiet = replace(self.rule, drift_per_hour=0.0)
        found = followed_by_video(fuse(normal, self), normal, quiet)

        def raised(tail: Tail, scores: np.ndarray) -> Tail:
            known = scores[np.isfinite(scores)]
            if not len(known) or known.max() <= self.rule.level:
                return tail
            needed = float(known.max()) + HEADROOM * (float(known.max()) - self.rule.level)
            return tail._replace(threshold=max(tail.threshold, needed))

        single = raised(self.single, found.score)
        sustained = None if self.sustained is None else raised(self.sustained, found.sustained)
        rule = replace(
            self.rule,
            threshold=single.threshold,
            sustained=math.inf if sustained is None else sustained.threshold,
        )
        return replace(self, rule=rule, single=single, sustained=sustained)

    @property
    def threshold(self) -> float:
        """Of the score of a single frame: alarm ABOVE it."""
        return self.rule.threshold

    @property
    def stride(self) -> int:
        """Frames between clips of the scores this was fitted on; scores of another do not fit."""
        return self.made_with.get("eval.stride", 1)

    @property
    def bound(self) -> float:
        """Share of normal units that may raise an alarm, at most, at `CONFIDENCE`."""
        return min(1.0, self.wish.false_alarms_per_hour * self.basis.unit_s / 3600)

    @property
    def extrapolated(self) -> bool:
        """Whether the footage is too short to show the wished rate, so that a threshold lies beyond it."""
        return self.single.extrapolated or bool(self.sustained and self.sustained.extrapolated)

    @property
    def minutes_needed(self) -> float:
        """Minutes of normal footage that support the wish without extrapolation."""
        rules = 1 if self.sustained is None else 2
        share = min(0.5, self.wish.false_alarms_per_hour * self.basis.unit_s / 3600 / rules)
        alike = max(t.alike for t in (self.single, self.sustained) if t is not None)
        return alike * units_needed(share) * self.basis.unit_s / 60

    @property
    def mapped(self) -> str:
        """The component whose map is shown as heat: the one with a map that weighs most in the score."""
        known = [name for name in MAPPED if name in self.components]
        return max(known, key=lambda name: self.weights.get(name, 0.0), default=MAPPED[-1])

    def statement(self) -> str:
        """In plain words, what the thresholds rest on and promise."""
        basis, rate = self.basis, self.wish.false_alarms_per_hour
        single, sustained = self.single, self.sustained
        second = ""
        if sustained is not None:
            second = f", {sustained.threshold:.2f} for its median over {self.rule.sustained_s:g} s"
        dates = f", of {' and '.join(basis.days)}" if basis.days else ""
        few = f" in {len(basis.files)} videos" if len(basis.files) > 1 else ""
        lines = [
            f"Alarm above {single.threshold:.2f} for a frame{second}: with {100 * CONFIDENCE:.0f} % "
            f"confidence at most {rate:g} false alarm{'s' * (rate != 1)} an hour on footage like the "
            f"{basis.minutes:.1f} minutes of normal footage{few}{dates} that it rests on."
        ]
        if self.extrapolated:
            lines.append(
                f"Extrapolated: so little footage cannot show so low a rate (90 % interval of the frame's "
                f"threshold {single.low:.2f} to {single.high:.2f}); {self.minutes_needed:.0f} minutes would."
            )
        if not basis.another_recording:
            lines.append(
                "It is of the same recording as the training, which promises nothing about tomorrow: "
                "record normal footage on another day and run `ipad-jax calibrate`."
            )
        if self.dropped:
            lines.append(f"Without {', '.join(self.dropped)}: no values.")
        return " ".join(lines)

    def provisional(self) -> str:
        """What to know before trusting the thresholds; "" where they rest on enough other footage."""
        found = []
        if self.extrapolated:
            found.append(
                f"the thresholds are extrapolated from {self.basis.minutes:.1f} minutes of normal footage, "
                f"where {self.minutes_needed:.0f} would show the wished rate"
            )
        if not self.basis.another_recording:
            found.append("they rest on the same recording as the training, not on another day")
        return "; ".join(found)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write calibration.json, whole or not at all."""
        content = {"format": FORMAT, **asdict(self)}
        for name in ("wish", "single", "sustained"):
            value = getattr(self, name)
            content[name] = None if value is None else value._asdict()
        text = json.dumps(_without_infinity(content), indent=2, allow_nan=False)
        write_atomic(path, text.encode())

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
            content["rule"] = AlarmRule(**{k: _number(v) for k, v in content["rule"].items()})
            content["wish"] = Wish(**content["wish"])
            for name in ("single", "sustained"):
                if content[name] is not None:
                    tail = {k: _number(v) for k, v in content[name].items()}
                    content[name] = Tail(**tail)
            basis = content["basis"]
            content["basis"] = Basis(
                **{**basis, "files": tuple(basis["files"]), "days": tuple(basis["days"])}
            )
            return cls(**content)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{path} is not a calibration of this version: {error}. Evaluate the run again."
            ) from error


def _without_infinity(value: Any) -> Any:
    """JSON knows no infinity: a threshold that is never reached is "inf" there."""
    if isinstance(value, dict):
        return {key: _without_infinity(item) for key, item in value.items()}
    return "inf" if isinstance(value, float) and value == math.inf else value


def _number(value: Any) -> Any:
    return math.inf if value == "inf" else value


def check_wish(wish: Wish) -> None:
    """Refuse rates and lengths that make no alarm rule."""
    if not 0 < wish.false_alarms_per_hour < math.inf:
        raise ValueError(
            f"eval.false_alarms_per_hour={wish.false_alarms_per_hour} must be above 0, e.g. 1 or 0.1."
        )
    if not 0 <= wish.sustained_s <= 60:
        raise ValueError(
            f"eval.sustained_s={wish.sustained_s} must lie between 0 (off) and 60 seconds."
        )
    if not 0 <= wish.drift_per_hour < math.inf:
        raise ValueError(f"eval.drift_per_hour={wish.drift_per_hour} must be at least 0 (off).")


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
    return _standardised(name, scores, calibration.components[name])


def _standardised(name: str, scores: Scored, statistics: Statistics) -> np.ndarray:
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
    used = {k for k, w in weights.items() if w and k in calibration.components}
    if not used:
        raise ValueError(
            f"The calibration has none of {sorted(weights)}, only {sorted(calibration.components)}."
        )
    return _fused({name: standardise(name, scores, calibration) for name in used}, weights)


def _fused(parts: Mapping[str, np.ndarray], weights: Mapping[str, float]) -> np.ndarray:
    used = {name: weight for name, weight in weights.items() if weight and name in parts}
    alone = set(used) <= set(OPTIONAL)
    fused = np.zeros(len(next(iter(parts.values()))))
    for name, weight in used.items():
        part = weight * parts[name]
        if name in OPTIONAL and not alone:
            part = np.where(np.isfinite(part), part, 0.0)
        fused += part
    return fused


def followed_by_video(fused: np.ndarray, scores: FrameScores, rule: AlarmRule) -> Followed:
    """The alarm rule over each video of a table; rows as they are, events of all videos in order."""
    columns = [np.full(len(fused), np.nan), np.full(len(fused), np.nan)]
    alarm = np.zeros(len(fused), bool)
    events = []
    for video in np.unique(scores.video):
        at = np.flatnonzero(scores.video == video)
        found = follow(fused[at], scores.frame[at], rule, scores.fps[video])
        columns[0][at], columns[1][at], alarm[at] = found.score, found.sustained, found.alarm
        events += found.events
    return Followed(columns[0], columns[1], alarm, events)


def unit_maxima(
    score: np.ndarray, normal: FrameScores, unit_s: float | None = None
) -> tuple[np.ndarray, np.ndarray, Basis]:
    """Largest score of each piece of normal footage.

    Pieces are seconds; frames where the footage has too few seconds to show a tail.

    Args:
      score: [n] of each frame, NaN = unscored.
      normal: the frames.
      unit_s: as `Basis.unit_s`; by default chosen so.

    Returns:
      (maxima [units], video of each, what they are). Pieces under half the median length are left out:
      a cut-off end says less than a whole piece.
    """
    at = np.flatnonzero(np.isfinite(score))
    video, frame = normal.video[at], normal.frame[at]
    fps, each = np.array(normal.fps, float), _frames_a_row(normal)
    rate = float(np.median(fps))
    first = np.full(len(fps), np.iinfo(np.int64).max)
    np.minimum.at(first, video, frame)
    minutes = len(at) * each / rate / 60
    if unit_s is None:
        unit_s = UNIT_S if 60 * minutes > MIN_TAIL * UNIT_S else each / rate
    length = np.maximum(1, np.round(unit_s * fps)).astype(np.int64)
    piece = np.stack([video.astype(np.int64), (frame - first[video]) // length[video]])
    keys, index, counts = np.unique(piece, axis=1, return_inverse=True, return_counts=True)
    maxima = np.full(len(counts), -np.inf)
    np.maximum.at(maxima, index.reshape(-1), score[at])
    whole = counts >= np.median(counts) / 2 if len(counts) else np.zeros(0, bool)
    files = tuple(normal.video_names[v] for v in np.unique(video))
    basis = Basis(int(whole.sum()), unit_s, int((~whole).sum()), minutes, files)
    return maxima[whole], keys[0][whole], basis


def _frames_a_row(normal: FrameScores) -> int:
    """Frames that a row stands for: more than 1 where only every n-th has one."""
    steps = np.diff(normal.frame)[np.diff(normal.video) == 0]
    return max(1, int(np.median(steps))) if len(steps) else 1
