"""Pieces of normal footage whose highest scores an alarm's thresholds are made of."""

from dataclasses import dataclass

import numpy as np

from ipad_jax.evaluation.alarm_rule import AlarmRule, Followed, follow
from ipad_jax.evaluation.tail import MIN_TAIL
from ipad_jax.video.scores.frame_scores import FrameScores

# Seconds of a piece of footage, whose highest score is one of those that the tail is made of. Chosen on
# the tuning scenes: from ten minutes, pieces of 10 s are too few to tell how heavy the tail is.
UNIT_S = 1.0


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


def followed_by_video(fused: np.ndarray, scores: FrameScores, rule: AlarmRule) -> Followed:
    """The alarm rule over each video of a table; rows as they are, events of all videos in order."""
    sustained = np.full(len(fused), np.nan)
    alarm = np.zeros(len(fused), bool)
    events = []
    for video in np.unique(scores.video):
        at = np.flatnonzero(scores.video == video)
        found = follow(fused[at], scores.frame[at], rule, scores.fps[video])
        sustained[at], alarm[at] = found.sustained, found.alarm
        events += found.events
    return Followed(sustained, alarm, events)


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
