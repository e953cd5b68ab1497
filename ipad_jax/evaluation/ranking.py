"""How well scores rank anomalous frames above normal ones; no threshold.

Micro pools all frames of the split, macro is the mean over videos: the two are often confused, and
differ. A metric that needs both classes is NaN where one is missing. Scores: higher is more
anomalous. No function takes a NaN score or an unknown label: leave such frames out first, and say
how many.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import average_precision_score, roc_curve


@dataclass(frozen=True)
class Macro:
    """Mean over videos; videos with one class only have no AUC and are skipped."""

    mean: float
    num_videos: int
    num_skipped: int
    by_video: dict[int, float]


def check(score: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as 1-D arrays, float64 and bool; refuse NaN, unknown labels and unequal lengths."""
    score, label = np.asarray(score, np.float64), np.asarray(label)
    if score.ndim != 1 or score.shape != label.shape:
        raise ValueError(
            f"score has shape {score.shape}, label {label.shape}; expected equal 1-D ones."
        )
    if not np.isfinite(score).all():
        raise ValueError(
            f"{int((~np.isfinite(score)).sum())} of {len(score)} scores are NaN or infinite; "
            "leave unscored frames out first."
        )
    if not np.isin(label, (0, 1)).all():
        raise ValueError(
            f"Labels must be 0 or 1, got {np.unique(label)}; leave out frames of label -1 first."
        )
    return score, label.astype(bool)


def auc_micro(score: np.ndarray, label: np.ndarray) -> float:
    """Area under the ROC curve over all frames: the chance that an anomalous frame outranks a
    normal one.

    Args:
      score: [n] higher is more anomalous.
      label: [n] 0 or 1.

    Returns:
      In [0, 1]; ties count half; NaN with one class only.
    """
    score, label = check(score, label)
    positive, negative = score[label], np.sort(score[~label])
    if not len(positive) or not len(negative):
        return float("nan")
    return float(num_outranked(positive, negative).sum() / len(positive) / len(negative))


def num_outranked(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """How many of `negative` (rising) each of `positive` is above, ties half: float64 [n]."""
    below = np.searchsorted(negative, positive, side="left")
    return (below + np.searchsorted(negative, positive, side="right")) / 2


def rightness_by_video(score: np.ndarray, label: np.ndarray, video: np.ndarray) -> dict[int, float]:
    """How rightly each video's frames stand among all frames of the other class, as the micro AUC counts it.

    A frame's rightness is the share of the other class's frames, of all videos, that it ranks on the right
    side of, ties half: its mean over either class is the micro AUC. A video's is the mean over the classes
    in it of their frames' means.

    Args:
      score, label, video: as in `auc_macro`.

    Returns:
      Video -> in [0, 1]. Where all frames are of one class, video -> its highest score, of normal frames
      negated: higher is better there too.
    """
    score, label = check(score, label)
    names = np.unique(video).tolist()
    if label.all() or not label.any():
        sign = 1.0 if label.any() else -1.0
        return {v: sign * float(score[video == v].max()) for v in names}
    positive, negative = np.sort(score[label]), np.sort(score[~label])
    right = np.where(
        label,
        num_outranked(score, negative) / len(negative),
        1 - num_outranked(score, positive) / len(positive),
    )
    classes = [label, ~label]
    return {
        v: float(np.mean([right[at].mean() for c in classes if (at := c & (video == v)).any()]))
        for v in names
    }


def auc_macro(score: np.ndarray, label: np.ndarray, video: np.ndarray) -> Macro:
    """Mean of the AUC of each video that holds both classes.

    Args:
      score, label: as in `auc_micro`.
      video: int [n] which video a frame belongs to.
    """
    score, label = check(score, label)
    by_video = {
        int(v): auc_micro(score[video == v], label[video == v].astype(int))
        for v in np.unique(video)
    }
    used = {v: auc for v, auc in by_video.items() if np.isfinite(auc)}
    mean = float(np.mean(list(used.values()))) if used else float("nan")
    return Macro(mean, len(used), len(by_video) - len(used), used)


def roc(score: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(false-positive rate, true-positive rate) at every distinct score, from (0, 0) to (1, 1)."""
    score, label = check(score, label)
    if label.all() or not label.any():
        return np.array([np.nan]), np.array([np.nan])
    fpr, tpr, _ = roc_curve(label, score, drop_intermediate=False)
    return fpr, tpr


def eer(score: np.ndarray, label: np.ndarray) -> float:
    """Equal error rate: misses as frequent as false positives, linear between points."""
    fpr, tpr = roc(score, label)
    if np.isnan(fpr).any():
        return float("nan")
    gap = fpr - (1 - tpr)  # rises from -1 to 1
    after = int(np.argmax(gap >= 0))
    before = max(after - 1, 0)
    step = gap[after] - gap[before]
    share = -gap[before] / step if step else 0.0
    return float(fpr[before] + share * (fpr[after] - fpr[before]))


def fpr_at_recall(score: np.ndarray, label: np.ndarray, recall: float = 0.95) -> float:
    """Smallest false-positive rate of a threshold that finds `recall` of the anomalous frames."""
    if not 0 < recall <= 1:
        raise ValueError(f"recall={recall} must lie in (0, 1].")
    fpr, tpr = roc(score, label)
    if np.isnan(fpr).any():
        return float("nan")
    # 1e-12: recall * n of them must count although 0.95 * 20 / 20 is not exactly 0.95
    return float(fpr[tpr >= recall - 1e-12].min())


def average_precision(score: np.ndarray, label: np.ndarray) -> float:
    """Mean precision over the recall steps (no interpolation); NaN with one class only."""
    score, label = check(score, label)
    if label.all() or not label.any():
        return float("nan")
    return float(average_precision_score(label, score))


def by_kind(
    score: np.ndarray,
    label: np.ndarray,
    kind: np.ndarray,
    video: np.ndarray,
    kinds: tuple[str, ...],
) -> dict[str, dict]:
    """AUC of the frames of each fault kind against ALL normal frames.

    Args:
      score, label, video: as in `auc_macro`.
      kind: int [n] index into `kinds`, -1 unknown; anomalous frames of unknown kind are in no row.
      kinds: names; kinds[0] is "normal".

    Returns:
      {name: {"auc", "num_frames", "num_videos"}} for the kinds that occur.
    """
    score, label = check(score, label)
    table = {}
    for index in range(1, len(kinds)):
        of_kind = label & (kind == index)
        if not of_kind.any():
            continue
        used = of_kind | ~label
        table[kinds[index]] = {
            "auc": auc_micro(score[used], of_kind[used].astype(int)),
            "num_frames": int(of_kind.sum()),
            "num_videos": len(np.unique(np.asarray(video)[of_kind])),
        }
    return table
