"""Calibration: what normal looks like, from normal footage the model was not fitted on.

Location and scale of each component, their weighted sum (the fused score), and the alarm rule whose two
thresholds keep false alarms below a wished rate. No anomaly is ever needed.
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from ipad_jax.evaluation.alarm_rule import AlarmRule
from ipad_jax.evaluation.tail import CONFIDENCE, Tail, tail_threshold, units_needed
from ipad_jax.run.files import write_atomic
from ipad_jax.run.provenance import MadeWith
from ipad_jax.video.scores.components import (
    MAPPED,
    NOT_SCORES,
    Scored,
    Statistics,
    check_weights,
    describe,
    in_spreads,
    varies,
    weighted_sum,
)
from ipad_jax.video.scores.frame_scores import FrameScores
from ipad_jax.video.scores.normal_units import Basis, followed_by_video, unit_maxima

FORMAT = 9  # 9: slow change is followed in the scores, not by the rule
# Of the distance between the usual score and that of frames a person said are normal, by which a threshold is
# above them: the same event scores a little differently with another batch size, start or day. Our choice.
HEADROOM = 0.05
# A threshold is extrapolated to so many times the distance between the usual and the highest score of
# normal footage, at most: a higher one rests on nothing and finds nothing. Our choice; then no wish is
# promised.
REACH = 3.0


class Wish(NamedTuple):
    """What a person wants of the alarm.

    Attributes:
      false_alarms_per_hour: that normal footage may raise, at most.
      sustained_s: seconds of the running median with a threshold of its own; 0: none.
    """

    false_alarms_per_hour: float = 1.0
    sustained_s: float = 1.0


DEFAULT_WISH = Wish()


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
      single, sustained: what the wish needs of each threshold, which is beyond the rule's own where
        that is held back by `REACH`; None where there is no sustained rule.
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
        if not any(varies(normal.components[name]) for name in statistics):
            raise ValueError(
                f"Every frame of the calibration footage has the same {', '.join(sorted(statistics))}: it "
                "was not read rightly, or the camera hangs. Look at it with `ipad-jax validate video_folder "
                "--source DIR --full`."
            )
        parts = {name: in_spreads(name, normal, found) for name, found in statistics.items()}
        fused = weighted_sum(parts, weights)
        scored = fused[np.isfinite(fused)]
        level = float(np.median(scored))
        silent = AlarmRule(math.inf, sustained_s=wish.sustained_s, level=level)
        followed = followed_by_video(fused, normal, silent)
        single_maxima, group, basis = unit_maxima(fused, normal)
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
                threshold=_within_reach(single, level),
                sustained=math.inf if sustained is None else _within_reach(sustained, level),
            ),
            wish=wish,
            single=single,
            sustained=sustained,
            basis=replace(basis, days=days, another_recording=another_recording),
            made_with=normal.made_with if made_with is None else made_with,
        )

    def above(self, normal: FrameScores) -> "Calibration":
        """The same with thresholds so high that these scores raise no alarm, `HEADROOM` included."""
        score = fuse(normal, self)
        found = followed_by_video(score, normal, self.rule)

        def raised(threshold: float, scores: np.ndarray) -> float:
            known = scores[np.isfinite(scores)]
            if not len(known) or known.max() <= self.rule.level:
                return threshold
            return max(
                threshold, float(known.max()) + HEADROOM * (float(known.max()) - self.rule.level)
            )

        sustained = self.rule.sustained
        if self.sustained is not None:
            sustained = raised(sustained, found.sustained)
        single = raised(self.rule.threshold, score)
        return replace(self, rule=replace(self.rule, threshold=single, sustained=sustained))

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
        """Share of normal units that may raise an alarm, at most, at `CONFIDENCE`; 1 without a promise."""
        if not self.promises:
            return 1.0
        return min(1.0, self.wish.false_alarms_per_hour * self.basis.unit_s / 3600)

    @property
    def promises(self) -> bool:
        """Whether the thresholds are as high as the wish needs."""
        enough = self.rule.threshold >= self.single.threshold
        return enough and (
            self.sustained is None or self.rule.sustained >= self.sustained.threshold
        )

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
        basis, rate, rule = self.basis, self.wish.false_alarms_per_hour, self.rule
        second = ""
        if self.sustained is not None:
            second = f", {rule.sustained:.2f} for its median over {rule.sustained_s:g} s"
        dates = f", of {' and '.join(basis.days)}" if basis.days else ""
        few = f" in {len(basis.files)} videos" if len(basis.files) > 1 else ""
        footage = f"the {basis.minutes:.1f} minutes of normal footage{few}{dates}"
        alarms = f"{rate:g} false alarm{'s' * (rate != 1)} an hour"
        lines = [f"Alarm above {rule.threshold:.2f} for a frame{second}:"]
        if not self.promises:
            lines.append(
                f"{REACH:g} times as far from the usual score as {footage} came, and no promise: so little "
                f"cannot show {alarms}; {self.minutes_needed:.0f} minutes would."
            )
        else:
            lines.append(
                f"with {100 * CONFIDENCE:.0f} % confidence at most {alarms} on footage like {footage} that "
                "it rests on."
            )
        if self.promises and self.extrapolated:
            single = self.single
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
        basis, found = self.basis, []
        if self.extrapolated:
            found.append(
                f"the thresholds are {'extrapolated' if self.promises else 'a guess'} from "
                f"{basis.minutes:.1f} minutes of normal footage, where {self.minutes_needed:.0f} would show "
                "the wished rate"
            )
        if not basis.another_recording:
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


def _within_reach(tail: Tail, level: float) -> float:
    """A tail's threshold, held back by `REACH` where it lies beyond what its units can show."""
    if not tail.extrapolated:
        return tail.threshold
    return min(tail.threshold, level + REACH * max(tail.largest - level, 0.0))


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


def standardise(name: str, scores: Scored, calibration: Calibration) -> np.ndarray:
    """One component in units of its normal spread, upwards = anomalous; float64 [n], NaN kept."""
    return in_spreads(name, scores, calibration.components[name])


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
    return weighted_sum({name: standardise(name, scores, calibration) for name in used}, weights)
