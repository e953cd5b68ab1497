"""Methods compared over scenes and training seeds, so that "better" has a meaning.

A table's number is a mean over scenes of a mean over seeds of a micro AUC. Its interval resamples test
videos and seeds together: videos because frames of one hang together, seeds because another training
of the same model scores otherwise. A difference is taken on the frames that both methods judge, with
the same draws for both; where its interval excludes zero, one is better on these scenes. Scenes are
not resampled: nothing is said about machines that are not in the table.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ipad_jax.evaluation.intervals import (
    Interval,
    can_resample,
    pair_table,
    percentile_interval,
    resample_counts,
    weighted_auc,
)


@dataclass(frozen=True)
class Judgement:
    """What one training says of the frames of a scene's test split.

    Attributes:
      score: float [n] higher is more anomalous; no NaN.
      label: [n] 0 or 1.
      video: [n] names or numbers that mean the same video in every judgement of the scene.
      frame: int [n] index in the video; (video, frame) occurs once.
      kind: [n] names of the fault kinds, "normal" where there is none; None = unknown.
    """

    score: np.ndarray
    label: np.ndarray
    video: np.ndarray
    frame: np.ndarray
    kind: np.ndarray | None = None

    def select(self, keep: np.ndarray) -> "Judgement":
        """The frames at a mask or indices."""
        kind = None if self.kind is None else self.kind[keep]
        return Judgement(
            self.score[keep], self.label[keep], self.video[keep], self.frame[keep], kind
        )

    def of_kind(self, kind: str) -> "Judgement":
        """The frames of one fault kind and all normal ones; none if kinds are unknown."""
        if self.kind is None:
            return self.select(np.zeros(len(self.label), bool))
        return self.select((self.label == 0) | (self.kind == kind))


Scenes = Sequence[Sequence[Judgement]]  # one entry a scene, in it one a seed


def on_common_frames(judgements: Sequence[Judgement]) -> list[Judgement]:
    """The frames that all of them judge, in one order.

    Raises:
      ValueError: a frame is normal in one and anomalous in another, or stands twice in one.
    """
    keys = []
    for judgement in judgements:
        pairs = list(zip(judgement.video.tolist(), judgement.frame.tolist()))
        found = {pair: row for row, pair in enumerate(pairs)}
        if len(found) < len(pairs):
            raise ValueError(f"{len(pairs) - len(found)} frames stand twice in one judgement.")
        keys.append(found)
    common = sorted(set(keys[0]).intersection(*keys[1:]))
    chosen = [
        judgement.select(np.array([found[pair] for pair in common], int))
        for judgement, found in zip(judgements, keys)
    ]
    for other in chosen[1:]:
        if not np.array_equal(other.label, chosen[0].label):
            count = int((other.label != chosen[0].label).sum())
            raise ValueError(
                f"{count} frames are normal in one judgement and anomalous in another: they were not "
                "made on the same dataset."
            )
    return chosen


def mean_interval(
    scenes: Scenes, *, seed: int = 0, num_resamples: int = 2000, level: float = 0.95
) -> Interval:
    """Mean over scenes of the mean over seeds of the micro AUC, with its interval.

    Args:
      scenes: a judgement for each seed, for each scene; their numbers of seeds may differ.
      seed: of the draws; same seed, same interval.
      num_resamples: draws.
      level: coverage aimed at.

    Returns:
      The interval. A scene without both classes in the data, or in a draw, is left out of that mean (it
      happens to single fault kinds); NaN where no scene has both. With one seed only videos vary. The
      ends are NaN where a scene has too few videos to draw from (`intervals.can_resample`).
    """
    values = [_aucs(runs, index, seed, num_resamples) for index, runs in enumerate(scenes)]
    found = _interval(values, scenes, seed, level)
    low, high = np.clip([found.low, found.high], 0.0, 1.0)  # widening may lead past the ends
    return dataclasses.replace(found, low=float(low), high=float(high))


def difference_interval(
    first: Scenes, second: Scenes, *, seed: int = 0, num_resamples: int = 2000, level: float = 0.95
) -> Interval:
    """The same of the first method's AUC less the second's, paired.

    Args:
      first, second: the same scenes, in each the same seeds; each scene is judged on the frames that
        all its judgements share.
      seed, num_resamples, level: as in `mean_interval`.

    Raises:
      ValueError: they have not the same number of scenes or seeds.
    """
    shapes = [[len(runs) for runs in scenes] for scenes in (first, second)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"Seeds of each scene: {shapes[0]} and {shapes[1]}; pair equal ones.")
    values, shared = [], []
    for index, (a, b) in enumerate(zip(first, second)):
        both = on_common_frames([*a, *b])
        aucs = _aucs(both, index, seed, num_resamples)
        values.append(aucs[: len(a)] - aucs[len(a) :])
        shared.append(both)
    return _interval(values, shared, seed, level)


def scene_differences(first: Scenes, second: Scenes) -> np.ndarray:
    """AUC of the first less the second in each scene, mean over seeds: float64 [scenes]."""
    found = []
    for a, b in zip(first, second):
        values = _aucs(on_common_frames([*a, *b]), 0, 0, 0)[:, 0]
        found.append(values[: len(a)].mean() - values[len(a) :].mean())
    return np.array(found)


def _aucs(runs: Sequence[Judgement], index: int, seed: int, num_resamples: int) -> np.ndarray:
    """Micro AUC of each seed on all videos and on each draw of them: [seeds, 1 + draws]."""
    runs = on_common_frames(runs)
    num_videos = len(np.unique(runs[0].video))
    everything = np.ones((1, num_videos))
    if not num_videos:
        return np.full((len(runs), 1 + num_resamples), np.nan)
    counts = everything
    if num_resamples:
        # every scene has draws of its own, and any two methods the same
        drawn = resample_counts(num_videos, num_resamples, _stream(seed, index))
        counts = np.concatenate([everything, drawn])
    tables = [pair_table(run.score, run.label, run.video) for run in runs]
    return np.stack([weighted_auc(counts, *table) for table in tables])


def _interval(values: Sequence[np.ndarray], scenes: Scenes, seed: int, level: float) -> Interval:
    """Interval of the mean over scenes of values [seeds, 1 + draws], seeds drawn too."""
    sizes = [len(np.unique(runs[0].video)) if runs else 0 for runs in scenes]
    table = np.stack(
        [
            _draw_seeds(scene_values, num_videos, [_stream(seed, index), 1])
            for index, (scene_values, num_videos) in enumerate(zip(values, sizes))
        ]
    )
    known = np.isfinite(table)
    if not all(_draws_differ(runs[0]) for runs, has in zip(scenes, known[:, 0]) if has):
        known[:, 1:] = False
    means = np.full(table.shape[1], np.nan)
    total = np.where(known, table, 0.0).sum(axis=0)
    np.divide(total, known.sum(axis=0), out=means, where=known.any(axis=0))
    return percentile_interval(means[1:], float(means[0]), sum(sizes), level)


def _draws_differ(of_scene: Judgement) -> bool:
    """Whether a scene has the videos for an interval."""
    names, index = np.unique(of_scene.video, return_inverse=True)
    anomalous = np.bincount(index, of_scene.label, minlength=len(names))
    return can_resample(anomalous, np.bincount(index, minlength=len(names)) - anomalous)


def _draw_seeds(values: np.ndarray, num_videos: int, stream: list[int]) -> np.ndarray:
    """Means over seeds that are drawn anew for each column: [seeds, 1 + draws] -> [1 + draws].

    Among n units drawn from themselves the variance is (n - 1) / n of the true one, which matters for 3
    seeds and 12 videos: both deviations are widened by its root.
    """
    num_seeds, columns = values.shape
    mean = values.mean(axis=0)
    drawn = mean.copy()
    if num_videos > 1:
        drawn = mean[0] + (mean - mean[0]) * np.sqrt(num_videos / (num_videos - 1))
    if num_seeds > 1:
        chosen = np.random.default_rng(stream).integers(num_seeds, size=(num_seeds, columns))
        of_draw = np.take_along_axis(values, chosen, axis=0).mean(axis=0)
        drawn += (of_draw - mean) * np.sqrt(num_seeds / (num_seeds - 1))
    drawn[0] = mean[0]  # the data itself
    return drawn


def _stream(seed: int, index: int) -> int:
    """A number for the draws of one scene."""
    return 1000 * seed + index
