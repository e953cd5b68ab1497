"""Scoring: from what the model said about each frame to one anomaly score a frame, by protocol.

`paper` (IPAD 5.1 and the published evaluation): PSNR of the centre frame, min-max over the whole
scene, all folders; it needs the whole test set at once, so it is no detector. `strict`: each
component calibrated on held-out normal footage, no min-max, folders whose labels disagree left
out; the same score runs live.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ipad_jax.evaluation.alarm_rule import Event, follow
from ipad_jax.video.scores.calibration import Calibration, fuse
from ipad_jax.video.scores.frame_scores import FrameScores

PROTOCOLS = ("paper", "strict")


@dataclass(frozen=True)
class Judged:
    """The frames that count, with one score each, and what was left out.

    Attributes:
      scores: the rows that count: label known, scored, folder not excluded.
      score: float64 [n], one for each of them; for "strict" less its slow change, if that is followed.
      protocol: "paper" or "strict".
      left_out: {"unlabelled": frames, "unscored": frames, "mislabelled_frames": frames,
        "mislabelled_videos": names}; a frame is counted once, in this order: folder, label, score.
      events: alarms by video, at the calibration's rule; empty without one.
    """

    scores: FrameScores
    score: np.ndarray
    protocol: str
    left_out: dict
    events: dict[int, list[Event]] = field(default_factory=dict)


def min_max(values: np.ndarray) -> np.ndarray:
    """Values moved to [0, 1] over everything given; NaN kept; all equal gives 0."""
    finite = np.isfinite(values)
    if not finite.any():
        return np.full(values.shape, np.nan)
    low, high = values[finite].min(), values[finite].max()
    return (values - low) / (high - low if high > low else 1.0)


def paper_score(scores: FrameScores, period_weight: float = 0.0) -> np.ndarray:
    """1 - min-max(PSNR of the centre frame), plus `period_weight` times the min-max period error.

    The paper does not say how the period error joins the reconstruction; a weight of 0 is the
    published evaluation. A frame without a period error gets none added. Higher is more anomalous;
    NaN where unscored.
    """
    score = 1.0 - min_max(scores.components["psnr_centre"].astype(np.float64))
    if period_weight:
        period = min_max(scores.components["period_error"].astype(np.float64))
        score = score + period_weight * np.where(np.isfinite(period), period, 0.0)
    return score


def judge(
    scores: FrameScores,
    protocol: str,
    *,
    calibration: Calibration | None = None,
    weights: Mapping[str, float] | None = None,
    period_weight: float = 0.0,
    mislabelled: Sequence[str] = (),
) -> Judged:
    """Score a test split by a protocol and leave out what cannot be judged.

    Args:
      scores: the whole split.
      protocol: "paper" or "strict".
      calibration: for "strict".
      weights: for "strict", others than the calibration's (its threshold then does not apply).
      period_weight: for "paper".
      mislabelled: names of folders whose label count disagrees; "strict" leaves them out, "paper"
        keeps them (label i belongs to frame i).

    Raises:
      ValueError: unknown protocol, or "strict" without a calibration.
    """
    events: dict[int, list[Event]] = {}
    if protocol == "paper":
        score = paper_score(scores, period_weight)
        excluded: set[str] = set()
    elif protocol == "strict":
        if calibration is None:
            raise ValueError(
                'Protocol "strict" needs a calibration on held-out normal footage; this run has '
                'none (data.holdout_share = 0?). Use "paper", or train with a hold-out.'
            )
        if calibration.stride != scores.stride:
            raise ValueError(
                f"The calibration was fitted at stride {calibration.stride}, the scores are at "
                f"stride {scores.stride}; calibrate again at the stride of the evaluation."
            )
        score = fuse(scores, calibration, weights)
        for video in np.unique(scores.video) if weights is None else ():
            at = np.flatnonzero(scores.video == video)
            found = follow(score[at], scores.frame[at], calibration.rule, scores.fps[video])
            events[int(video)] = found.events
        excluded = set(mislabelled)
    else:
        raise ValueError(f"protocol={protocol!r} is unknown; the choices are {PROTOCOLS}.")
    bad_video = np.array([name in excluded for name in scores.video_names], bool)
    bad = bad_video[scores.video]
    unlabelled = ~bad & (scores.label < 0)
    unscored = ~bad & ~unlabelled & ~np.isfinite(score)
    keep = ~(bad | unlabelled | unscored)
    left_out = {
        "unlabelled": int(unlabelled.sum()),
        "unscored": int(unscored.sum()),
        "mislabelled_frames": int(bad.sum()),
        "mislabelled_videos": sorted(excluded & set(scores.video_names)),
    }
    return Judged(scores.select(keep), score[keep], protocol, left_out, events)
