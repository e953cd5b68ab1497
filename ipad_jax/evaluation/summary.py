"""metrics.json: one dict with stable names, the same for every method and protocol."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from ipad_jax.evaluation import ranking
from ipad_jax.evaluation.events import EventMetrics, event_metrics
from ipad_jax.evaluation.intervals import auc_interval
from ipad_jax.evaluation.rates import rate_interval, share_interval

MACRO_RULE = "mean over videos that hold both classes; videos of one class are skipped and counted"


def summarise(
    score: np.ndarray,
    label: np.ndarray,
    video: np.ndarray,
    frame: np.ndarray,
    fps: Sequence[float],
    *,
    protocol: str,
    kind: np.ndarray | None = None,
    kinds: tuple[str, ...] = ("normal",),
    threshold: float | None = None,
    false_positive_bound: float | None = None,
    seed: int = 0,
    num_resamples: int = 2000,
    left_out: Mapping[str, Any] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """All numbers of one evaluation.

    Args:
      score: float [n], higher is more anomalous; no NaN.
      label: int [n], 0 or 1; frames of unknown label are left out before.
      video, frame: int [n] where each row belongs.
      fps: frames a second of each video, indexed by `video`.
      protocol: "paper" or "strict".
      kind, kinds: index into the names of the fault kinds, -1 unknown; None = no kinds known.
      threshold: alarm above it; None (uncalibrated) leaves the event metrics empty.
      false_positive_bound: from the calibration.
      seed, num_resamples: of the bootstrap over videos.
      left_out: counts of what was not judged, copied.
      extra: further entries such as config_hash, checkpoint_step; must not hide one of ours.

    Returns:
      A dict ready for `to_json`; what cannot be computed is NaN there and null in the file.
      `auc_scene_mean` always is: a table holds one scene, and only `scene_mean` joins several.
    """
    score, label = np.asarray(score, np.float64), np.asarray(label)
    video, frame = np.asarray(video), np.asarray(frame)
    macro = ranking.auc_macro(score, label, video)
    interval = auc_interval(score, label, video, seed=seed, num_resamples=num_resamples)
    micro = ranking.auc_micro(score, label)
    kinds_table = (
        {} if kind is None else ranking.by_kind(score, label, np.asarray(kind), video, kinds)
    )
    events: dict[str, Any] = dict.fromkeys(EventMetrics.__dataclass_fields__, math.nan)
    events |= dict.fromkeys(("false_alarms_interval", "event_recall_interval"), [math.nan] * 2)
    if threshold is not None and math.isfinite(threshold):
        found = event_metrics(score, label, video, frame, np.asarray(fps), threshold)
        events = asdict(found) | {
            "false_alarms_interval": list(
                rate_interval(found.num_false_alarms, found.normal_hours)
            ),
            "event_recall_interval": list(share_interval(found.num_detected, found.num_true)),
        }
    summary: dict[str, Any] = {
        "protocol": protocol,
        "auc_micro": micro,
        "auc_macro": macro.mean,
        "auc_macro_videos": macro.num_videos,
        "auc_macro_skipped": macro.num_skipped,
        "auc_macro_rule": MACRO_RULE,
        "auc_scene_mean": math.nan,
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
        **events,
        "left_out": dict(left_out or {}),
        "seed": seed,
    }
    clash = sorted(set(extra or {}) & set(summary) - {"seed"})
    if clash:
        raise ValueError(f"extra entries {clash} would hide metrics of the same name.")
    return summary | dict(extra or {})


def scene_mean(scenes: Mapping[str, Mapping[str, Any]]) -> float:
    """`auc_scene_mean`, the paper's Avg.: the mean of the scenes' micro AUCs.

    Args:
      scenes: name of each scene -> its metrics, as `summarise` or metrics.json gives them.

    Raises:
      ValueError: no scene, one without an AUC, or scenes judged by different protocols.
    """
    if not scenes:
        raise ValueError("No scenes to average.")
    aucs = {s: math.nan if m["auc_micro"] is None else m["auc_micro"] for s, m in scenes.items()}
    if without := [scene for scene, auc in aucs.items() if math.isnan(auc)]:
        raise ValueError(f"No frame AUC of {', '.join(without)}: test frames of one class only.")
    if len(protocols := {m["protocol"] for m in scenes.values()}) > 1:
        raise ValueError(f"Scenes judged by protocols {sorted(protocols)}: judge all by one.")
    return float(np.mean(list(aucs.values())))


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
