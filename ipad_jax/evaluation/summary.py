"""metrics.json: one dict with stable names, the same for every method and protocol."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ipad_jax.evaluation import ranking
from ipad_jax.evaluation.alarm_rule import Event
from ipad_jax.evaluation.events import EventMetrics, event_metrics
from ipad_jax.evaluation.intervals import auc_interval
from ipad_jax.evaluation.rates import rate_interval, share_interval

MACRO_RULE = "mean over videos that hold both classes; videos of one class are skipped and counted"


@dataclass(frozen=True)
class ScoredFrames:
    """Frames of one split with a score and a known label, [n] each.

    Attributes:
      score: float, higher is more anomalous; no NaN.
      label: 0 or 1; frames of unknown label are left out before.
      video, frame: int, where each row belongs.
      fps: frames a second of each video, indexed by `video`.
      kind: int, index into the fault names `kinds`, -1 unknown; None if no kinds are known.
    """

    score: np.ndarray
    label: np.ndarray
    video: np.ndarray
    frame: np.ndarray
    fps: Sequence[float]
    kind: np.ndarray | None = None
    kinds: tuple[str, ...] = ("normal",)


def summarise(
    frames: ScoredFrames,
    *,
    protocol: str,
    threshold: float | None = None,
    events: Mapping[int, Sequence[Event]] | None = None,
    false_positive_bound: float | None = None,
    seed: int = 0,
    left_out: Mapping[str, Any] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """All numbers of one evaluation, a dict ready for `to_json`.

    What cannot be computed is NaN here and null in the file.

    Args:
      protocol: "paper" or "strict".
      threshold: of the score of a frame; None: uncalibrated.
      events: alarms by video; None leaves the event metrics empty.
      false_positive_bound: from the calibration.
      seed: of the bootstrap over videos.
      left_out: counts of what was not judged, copied.
      extra: further entries such as config_hash, checkpoint_step; must not hide one of ours.
    """
    score, label = np.asarray(frames.score, np.float64), np.asarray(frames.label)
    video, frame = np.asarray(frames.video), np.asarray(frames.frame)
    macro = ranking.auc_macro(score, label, video)
    interval = auc_interval(score, label, video, seed=seed)
    micro = ranking.auc_micro(score, label)
    kinds_table = {}
    if frames.kind is not None:
        kinds_table = ranking.by_kind(score, label, np.asarray(frames.kind), video, frames.kinds)
    alarms: dict[str, Any] = dict.fromkeys(EventMetrics.__dataclass_fields__, math.nan)
    alarms |= dict.fromkeys(("false_alarms_interval", "event_recall_interval"), [math.nan] * 2)
    if events is not None:
        found = event_metrics(events, label, video, frame, frames.fps)
        alarms = asdict(found) | {
            "false_alarms_interval": list(rate_interval(found.num_false_calls, found.normal_hours)),
            "event_recall_interval": list(share_interval(found.num_detected, found.num_true)),
        }
    summary: dict[str, Any] = {
        "protocol": protocol,
        "auc_micro": micro,
        "auc_macro": macro.mean,
        "auc_macro_videos": macro.num_videos,
        "auc_macro_skipped": macro.num_skipped,
        "auc_macro_rule": MACRO_RULE,
        "auc_interval": [interval.low, interval.high],
        "eer": ranking.eer(score, label),
        "fpr_at_95_recall": ranking.fpr_at_recall(score, label, 0.95),
        "false_positive_bound": math.nan if false_positive_bound is None else false_positive_bound,
        "average_precision": ranking.average_precision(score, label),
        "num_videos": len(np.unique(video)),
        "num_frames": len(score),
        "num_anomalous": int((label == 1).sum()),
        "by_kind": kinds_table,
        "threshold": math.nan if threshold is None else threshold,
        **alarms,
        "left_out": dict(left_out or {}),
        "seed": seed,
    }
    clash = sorted(set(extra or {}) & set(summary) - {"seed"})
    if clash:
        raise ValueError(f"extra entries {clash} would hide metrics of the same name.")
    return summary | dict(extra or {})


def to_json(metrics: Mapping[str, Any]) -> str:
    """Strict JSON: NaN and infinities, which JSON lacks, become null."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(key): plain(item) for key, item in value.items()}
        if isinstance(value, (list, tuple, np.ndarray)):
            return [plain(item) for item in value]
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, float) and not math.isfinite(value):
            return None
        return value

    return json.dumps(plain(metrics), indent=2, allow_nan=False) + "\n"
