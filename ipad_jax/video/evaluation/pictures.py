"""Frames of the test videos with their reconstructions and maps, for the page and its videos."""

from collections.abc import Sequence

import numpy as np
from ml_collections import ConfigDict

from ipad_jax.input.clips import clip_starts
from ipad_jax.input.frames import FrameSource
from ipad_jax.video.detector.predictor import Predictor
from ipad_jax.video.normal.frames import Comparison
from ipad_jax.video.scores.frame_scores import FrameScores


class Pictures:
    """Reconstruction and map of single frames, each from the clip it stands nearest the middle of.

    The map is the reconstruction's locally pooled error or, with `normal`, the distance from the
    nearest normal frames or prototypes at the phases that `scores` holds.
    """

    def __init__(
        self,
        predictor: Predictor,
        config: ConfigDict,
        source: FrameSource,
        normal: Comparison | None,
        scores: FrameScores,
    ):
        self.predictor, self.source, self.normal = predictor, source, normal
        self._phases = {
            (scores.video_names[video], frame): phase
            for video, frame, phase in zip(
                scores.video.tolist(), scores.frame.tolist(), scores.best_phase.tolist()
            )
        }
        self.clip_len, self.batch_size = config.data.clip_len, config.eval.batch_size
        self.unscored = predictor.unscored

    def of(self, video: int, frames: Sequence[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Frames uint8 [k, h, w, 3], reconstructions the same, error maps float32 [k, h, w]."""
        length, half = self.source.videos[video].length, (self.clip_len + self.unscored) // 2
        starts = [min(max(f - half, 0), length - self.clip_len) for f in frames]
        return self._run(video, list(zip(starts, [f - s for f, s in zip(frames, starts)])))

    def stretch(
        self, video: int, start: int, stop: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The same for all frames from `start` up to `stop`, at least a clip; one clip serves many."""
        where: dict[int, tuple[int, int]] = {}
        step = self.clip_len - self.unscored
        for first in (start + clip_starts(stop - start, self.clip_len, step)).tolist():
            for place in range(self.clip_len):
                where.setdefault(first + place, (first, place))
        return self._run(video, [where[f] for f in range(start, stop)])

    def _run(self, video: int, places: list[tuple[int, int]]):
        """Pictures at (first frame of the clip, place in it)."""
        starts = sorted({start for start, _ in places})
        frames, reconstructions, errors = {}, {}, {}
        for i in range(0, len(starts), self.batch_size):
            chunk = starts[i : i + self.batch_size]
            padded = chunk + chunk[-1:] * (self.batch_size - len(chunk))  # one shape, one compile
            clips = np.stack([self.source.clip(video, s, self.clip_len)[0] for s in padded])
            made = self.predictor.pictures(clips)
            for row, start in enumerate(chunk):
                frames[start] = clips[row]
                reconstructions[start] = made["reconstruction"][row]
                errors[start] = made["error"][row]
        if self.normal is not None:
            name = self.source.videos[video].name
            errors = {
                start: [
                    self.normal.distance(
                        self.normal.picture(frame),
                        self._phases.get((name, start + place), np.nan),
                    )
                    for place, frame in enumerate(clip)
                ]
                for start, clip in frames.items()
            }
        stack = [np.stack([d[s][p] for s, p in places]) for d in (frames, reconstructions, errors)]
        return stack[0], stack[1], stack[2]


def kinds_of(scores: FrameScores, at: np.ndarray) -> list[str]:
    """Names of the fault kinds in some rows, the normal one left out."""
    return [scores.kinds[k] for k in np.unique(scores.kind[at]) if k > 0]


def source_video(source: FrameSource, name: str) -> int:
    return next(i for i, video in enumerate(source.videos) if video.name == name)
