"""From a table of frame scores to numbers, and to what a person reads of them; no model, no data.

A pure function of the table, the config's `eval` section and the calibration, so a protocol can be
changed without predicting again.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from ipad_jax.evaluation import ranking
from ipad_jax.evaluation.alarm_rule import Event
from ipad_jax.evaluation.events import event_metrics
from ipad_jax.evaluation.intervals import auc_interval
from ipad_jax.evaluation.report.data import Row
from ipad_jax.evaluation.summary import ScoredFrames, summarise, to_json
from ipad_jax.evaluation.tail import CONFIDENCE
from ipad_jax.run.config import config_hash
from ipad_jax.run.files import write_atomic
from ipad_jax.run.provenance import MadeWith
from ipad_jax.run.table import Table, screen_width
from ipad_jax.video.evaluation.cycle_ends import cycle_ends
from ipad_jax.video.scores.calibration import Calibration, fuse, standardise
from ipad_jax.video.scores.components import SIGN
from ipad_jax.video.scores.frame_scores import FrameScores
from ipad_jax.video.scores.protocols import Judged, judge

# The table's rows beside the fused score: what each component says alone. Orientation: higher is worse.
MAIN_ROW = {"strict": "the score: components fused", "paper": "the score: paper's protocol"}
COMPONENT_ROWS = {
    "psnr_mean": "reconstruction, frame mean (PSNR)",
    "psnr_centre": "reconstruction, frame mean, centre frame only",
    "pooled_mean": "reconstruction, locally pooled",
    "pooled_centre": "reconstruction, locally pooled, centre frame only",
    "period_error": "period error",
    "fitted_period_error": "period error, speed fitted",
    "nearest": "nearest normal frame, locally pooled",
    "motion": "motion over several lags, against normal cycles",
    "fastest": "largest change of any place, frame to frame",
    "features": "nearest prototype of frozen ImageNet features",
    "deformation": "deformation, locally pooled",
    "diff_mean": "frame difference, frame mean",
    "diff_pooled": "frame difference, locally pooled",
}
PERIOD_ERRORS = ("period_error", "fitted_period_error")
UNTRAINED = ("diff_mean", "diff_pooled")
NO_THRESHOLD = "Protocol paper has no threshold, so no alarms are counted"


@dataclass(frozen=True)
class Evaluation:
    """What one evaluation found; `metrics` is what metrics.json holds."""

    folder: epath.Path
    judged: Judged
    calibration: Calibration | None
    rows: tuple[Row, ...]
    metrics: dict[str, Any]
    notes: tuple[str, ...] = ()  # what a person should know, such as videos that were left out

    def summary(self) -> str:
        """The numbers, for a terminal."""
        return summary_text(self)

    @property
    def threshold(self) -> float | None:
        """Alarm above it; None without a calibration."""
        return None if self.calibration is None else self.calibration.threshold

    @property
    def bound(self) -> float:
        """Share of normal units that may raise an alarm, at most, NaN without a calibration."""
        return math.nan if self.calibration is None else self.calibration.bound

    @property
    def made_with(self) -> MadeWith:
        """Dataset, checkpoint and leaves behind the scores."""
        return self.judged.scores.made_with


def rows_of(
    judged: Judged,
    calibration: Calibration | None,
    weights: Mapping[str, float],
    seed: int,
) -> list[Row]:
    """The score, the score without the period error, and each component alone, on the same frames.

    A component that lacks some of them (centre-frame rows at stride > 1, the first frame of a
    difference) is judged on those it has, and its row says how many. Those that need no training stay
    raw, as in the ROC: where a frame stands in a clip means nothing to them.

    Args:
      judged: the frames that count.
      calibration: standardises each component by its place in the clip; None leaves all raw.
      weights: of the fused score.
      seed: of the bootstrap.
    """
    scores = judged.scores
    columns: dict[str, tuple[str, np.ndarray]] = {
        "score": (MAIN_ROW[judged.protocol], judged.score)
    }
    used = {k: w for k, w in weights.items() if w and calibration and k in calibration.components}
    kept = {k: w for k, w in used.items() if k not in PERIOD_ERRORS}
    if calibration and kept and len(kept) < len(used):
        values = fuse(scores, calibration, kept)
        columns["score_without_period"] = ("the same without the period error", values)
    for name, text in COMPONENT_ROWS.items():
        if name not in scores.components:
            continue
        if calibration and name in calibration.components and name not in UNTRAINED:
            values = standardise(name, scores, calibration)
        else:
            values = SIGN.get(name, 1.0) * scores.components[name].astype(np.float64)
        columns[name] = (text, values)
    return [
        _row(name, text, values, scores, seed)
        for name, (text, values) in columns.items()
        if np.isfinite(values).any()
    ]


def _row(name: str, text: str, values: np.ndarray, scores: FrameScores, seed: int) -> Row:
    known = np.isfinite(values)
    part, values = scores.select(known), values[known]
    interval = auc_interval(values, part.label, part.video, seed=seed)
    metrics = {
        "auc_micro": ranking.auc_micro(values, part.label),
        "auc_interval": [interval.low, interval.high],
        "auc_macro": ranking.auc_macro(values, part.label, part.video).mean,
        "average_precision": ranking.average_precision(values, part.label),
        "by_kind": ranking.by_kind(values, part.label, part.kind, part.video, part.kinds),
        "num_frames": len(values),
    }
    return Row(text, metrics, is_main=name == "score", is_untrained=name in UNTRAINED)


def measure(
    folder: epath.Path,
    config: ConfigDict,
    scores: FrameScores,
    calibration: Calibration | None,
) -> Evaluation:
    """Scores by protocol and measures; a pure function of the table, but for the two files it writes.

    Args:
      folder: eval/<name>/ of the run; gets metrics.json.
      config: of the run with the `eval` section in force.
      scores: the whole test split.
      calibration: of the run, None if it held out nothing.

    Raises:
      ValueError: no frame has both a score and a label; says what was left out and why.
    """
    weights = config.eval.components.to_dict()
    judged = judge(
        scores,
        config.eval.protocol,
        calibration=calibration,
        period_weight=config.eval.paper_period_weight,
        mislabelled=scores.mislabelled,
    )
    calibrated = calibration if judged.protocol == "strict" else None
    kept = judged.scores
    if not len(kept):
        raise ValueError(f"No frame can be judged; left out: {left_out_text(judged.left_out)}.")
    metrics = summarise(
        ScoredFrames(
            judged.score,
            kept.label,
            kept.video,
            kept.frame,
            kept.fps,
            kind=kept.kind if len(kept.kinds) > 1 else None,
            kinds=kept.kinds,
        ),
        protocol=judged.protocol,
        threshold=calibrated.threshold if calibrated else None,
        events=judged.events if calibrated else None,
        false_positive_bound=calibrated.bound if calibrated else None,
        seed=config.seed,
        left_out=judged.left_out,
        extra={
            "config_hash": config_hash(config),
            "checkpoint_step": scores.checkpoint_step,
            "made_with": scores.made_with,
            "deviations": deviations(judged, config.eval.paper_period_weight),
            "calibration": _basis(calibrated),
            "cycle_ends": _cycle_ends(judged, calibrated, config.data.clip_len),
            "always_on": _always_on(kept) if calibrated else {},
        },
    )
    rows = tuple(rows_of(judged, calibrated, weights, config.seed))
    metrics["rows"] = {row.name: dict(row.metrics) for row in rows}
    write_atomic(folder / "metrics.json", to_json(metrics).encode())
    return Evaluation(folder, judged, calibration, rows, metrics)


def _basis(calibration: Calibration | None) -> dict[str, Any]:
    """What the threshold rests on; {} without one."""
    if calibration is None:
        return {}
    rule, basis = calibration.rule, calibration.basis
    return asdict(basis) | {
        "false_alarms_per_hour": calibration.wish.false_alarms_per_hour,
        "confidence": CONFIDENCE,
        "false_positive_bound": calibration.bound,
        "threshold_interval": [calibration.single.low, calibration.single.high],
        "sustained_threshold": rule.sustained,
        "sustained_s": rule.sustained_s,
        "extrapolated": calibration.extrapolated,
        "minutes_needed": calibration.minutes_needed,
    }


def _cycle_ends(judged: Judged, calibration: Calibration | None, clip_len: int) -> dict[str, int]:
    """Alarms at the ends of cycles, see cycle_ends.py; {} without a threshold or cycles."""
    kept = judged.scores
    if calibration is None or not (kept.cycle >= 0).any():
        return {}
    above = in_events(judged)
    return cycle_ends(above, kept.label, kept.video, kept.cycle, clip_len // 2)._asdict()


def _always_on(scores: FrameScores) -> dict[str, float]:
    """What an alarm that is on throughout every video would have: the trivial answer beside ours."""
    events = {
        video: [Event(int(frames[0]), int(frames[-1]) + 1, int(frames[0]), math.inf)]
        for video in np.unique(scores.video).tolist()
        if len(frames := scores.frame[scores.video == video])
    }
    found = event_metrics(events, scores.label, scores.video, scores.frame, scores.fps)
    shown = ("normal_time_in_alarm", "false_alarms_per_hour", "event_recall")
    return {name: getattr(found, name) for name in shown}


def in_events(judged: Judged) -> np.ndarray:
    """Whether each judged frame lies in an alarm; bool [n]."""
    rows, inside = judged.scores, np.zeros(len(judged.score), bool)
    for video, events in judged.events.items():
        at = rows.video == video
        for event in events:
            inside |= at & (rows.frame >= event.start) & (rows.frame < event.stop)
    return inside


def deviations(judged: Judged, period_weight: float) -> list[str]:
    """In what a protocol `paper` that was asked for differs from the paper's."""
    if judged.protocol != "paper":
        return []
    found = []
    if judged.scores.stride != 1:
        found.append(
            f"protocol paper at stride {judged.scores.stride}, not the paper's 1: only frames in the "
            "middle of a clip are judged"
        )
    if period_weight:
        found.append(
            f"protocol paper with the period error added at weight {period_weight:g}, which the paper "
            "does not say"
        )
    return found


def summary_text(evaluation: Evaluation) -> str:
    """The numbers as a person reads them."""
    metrics, rows = evaluation.metrics, evaluation.rows
    kinds = sorted({kind for row in rows for kind in row.metrics["by_kind"]})
    lines = [
        f"protocol {metrics['protocol']}, checkpoint {metrics['checkpoint_step']}: "
        f"{metrics['num_videos']} videos, {metrics['num_frames']:,} frames, "
        f"{metrics['num_anomalous']:,} anomalous",
        auc_text(metrics),
    ]
    if math.isfinite(metrics["threshold"]):
        lines.append(f"at the threshold: {alarm_text(metrics)}")
        if trivial := trivial_text(metrics, rows):
            lines.append(f"beside it, what needs no model: {trivial}")
        if evaluation.calibration:
            lines.append(evaluation.calibration.statement())
        if ends := metrics["cycle_ends"]:
            lines.append(
                f"ends of cycles in normal footage: {ends['alarmed']} of {ends['ends']} above the "
                f"threshold (elsewhere {ends['others_alarmed']} of {ends['others']} stretches as long)"
            )
    else:
        lines.append(NO_THRESHOLD)
    lines += [f"deviation: {text}" for text in metrics["deviations"]]
    if left := left_out_text(metrics["left_out"]):
        lines.append(f"frames left out: {left}")
    cells = []
    for row in rows:
        aucs = [row.metrics["by_kind"].get(kind, {}).get("auc") for kind in kinds]
        notes = ["no training"] if row.is_untrained else []
        if row.metrics["num_frames"] < metrics["num_frames"]:
            notes.append(f"on {row.metrics['num_frames']:,} frames")
        shown = map(_percent, (row.metrics["auc_micro"], *aucs))
        cells.append((row.name, *shown, ", ".join(notes)))
    heads = ("frame AUC (micro)", "all", *kinds, "")
    table = Table("", heads, tuple(cells), left=(0, len(heads) - 1))
    return "\n".join([*lines, "", table.text(screen_width())])


def auc_text(metrics: Mapping[str, Any]) -> str:
    """How well the scores rank, as far as the test frames can tell."""
    if not math.isfinite(metrics["auc_micro"]):
        only = "anomalous" if metrics["num_anomalous"] else "normal"
        return f"no frame AUC: all frames are {only}, and it compares normal with anomalous ones"
    ends = [_percent(end) for end in metrics["auc_interval"]]
    interval = "" if "–" in ends else f"; 95 % interval over videos {ends[0]} to {ends[1]}"
    text = f"frame AUC {_percent(metrics['auc_micro'])} micro (all frames{interval})"
    if math.isfinite(metrics["auc_macro"]):
        text += (
            f", {_percent(metrics['auc_macro'])} macro ({metrics['auc_macro_videos']} videos with "
            f"both classes, {metrics['auc_macro_skipped']} without skipped)"
        )
    return f"{text}, average precision {_percent(metrics['average_precision'])}"


def alarm_text(metrics: Mapping[str, Any]) -> str:
    """What the threshold does: false alarms where there is normal time, faults found where there are any."""
    parts = []
    if math.isfinite(metrics["false_alarms_per_hour"]):
        parts.append(f"{_percent(metrics['normal_time_in_alarm'])} of normal time in alarm")
        parts.append(false_alarms_text(metrics))
    if math.isfinite(metrics["event_recall"]):
        low, high = metrics["event_recall_interval"]
        parts.append(
            f"{_percent(metrics['event_recall'])} of faults found ({_percent(low)} to {_percent(high)})"
        )
    if math.isfinite(metrics["detection_delay_s"]):
        parts.append(f"half of them within {metrics['detection_delay_s']:.2f} s of their onset")
    if math.isfinite(metrics["event_coverage"]):
        parts.append(f"alarms cover {_percent(metrics['event_coverage'])} of the time of these")
    return ", ".join(parts)


def trivial_text(metrics: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """The best that costs nothing: an alarm that never ends, and scores without training."""
    on, parts = metrics["always_on"], []
    always = f"an alarm that is always on has {_percent(on['normal_time_in_alarm'])} of normal time in alarm"
    if math.isfinite(on["event_recall"]):
        always += f" and finds {_percent(on['event_recall'])} of faults"
    if math.isfinite(on["normal_time_in_alarm"]):
        parts.append(always)
    aucs = {row.name: row.metrics["auc_micro"] for row in rows if row.is_untrained}
    aucs = {name: auc for name, auc in aucs.items() if math.isfinite(auc)}
    if aucs:
        name = max(aucs, key=lambda name: aucs[name])
        parts.append(f"{name} has frame AUC {_percent(aucs[name])}")
    return "; ".join(parts)


def false_alarms_text(metrics: Mapping[str, Any]) -> str:
    """False alarms as the interval that the normal time of the test supports."""
    low, high = metrics["false_alarms_interval"]
    count, minutes = metrics["num_false_alarms"], 60 * metrics["normal_hours"]
    if not count:
        return (
            f"no false alarm in {minutes:.1f} minutes of it, which means at most {high:.1f} false alarms "
            "an hour of it (95 %)"
        )
    return f"{low:.1f} to {high:.1f} false alarms an hour of it (95 %; {count} in {minutes:.1f} minutes)"


def left_out_text(out: Mapping[str, Any]) -> str:
    """Frames that were not judged, by reason; "" if there are none."""
    left = [f"{out[k]:,} {k}" for k in ("unlabelled", "unscored") if out[k]]
    if out["mislabelled_videos"]:
        names = ", ".join(out["mislabelled_videos"])
        left.append(f"{out['mislabelled_frames']:,} in mislabelled folders {names}")
    return "; ".join(left)


def _percent(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{100 * value:.1f} %"
