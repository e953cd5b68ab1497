"""From the frames of a video to final rows of raw components: the one way that frames are scored.

Calibration, evaluation and detection all come through here, so what one computes is what the others compute.
Causal and constant in memory: a frame is forgotten when its row is handed out.
"""

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
from ml_collections import ConfigDict

from ipad_jax.video.normal.frames import Trail
from ipad_jax.video.normal.motion import FastestPlace, MotionStream
from ipad_jax.video.normal.phase_tracking import PhaseTracker
from ipad_jax.video.normal.renewed import RenewedFrames
from ipad_jax.video.normal.stored import Normal
from ipad_jax.video.scores.aggregate import FrameAggregator, FrameRows
from ipad_jax.video.scores.frame_difference import FrameDifference

Predicted = dict[str, np.ndarray]  # what `ClipTask.predict_fn` gives, of one clip
Key = TypeVar("Key")


@dataclass(frozen=True)
class Pictures:
    """What the model saw and made of one frame.

    Attributes:
      frame: uint8 [h, w, 3] RGB, as the model saw it.
      reconstruction: uint8 [h, w, 3] RGB.
      error: float32 [h', w'], of the frame's shape but perhaps smaller: locally pooled absolute error in
        [0, 1] or, where that is what counts, the distance from normal frames or features.
    """

    frame: np.ndarray
    reconstruction: np.ndarray
    error: np.ndarray


class PredictsClips(Protocol):
    """What the detector needs of a model: `predictor.Predictor`, or a stand-in."""

    normal: Normal
    unscored: int  # frames at a clip's start that it only predicts others from

    def scores(self, clip: np.ndarray) -> Predicted: ...

    def phases(self, clip: np.ndarray) -> Predicted: ...

    def both(self, clip: np.ndarray) -> Predicted: ...


class ScoredRows(NamedTuple):
    """Final rows with all their components.

    Attributes:
      rows: the rows.
      pictures: of each, where they were asked for.
      compared: small picture and phase of each, as compared with normal frames, and the distance; empty
        without those.
    """

    rows: FrameRows
    pictures: list[Pictures | None]
    compared: list[tuple[np.ndarray, float, np.ndarray]]


@dataclass
class _Open:
    """What is held of a frame until its row is final."""

    frame: np.ndarray
    reconstruction: np.ndarray | None = None
    error: np.ndarray | None = None


def make_aggregator(
    config: ConfigDict, cycle_frames: float | None, start: int = 0
) -> FrameAggregator:
    """The aggregator that a config asks for; `start` is the segment's first frame."""
    return FrameAggregator(
        clip_len=config.data.clip_len,
        stride=config.eval.stride,
        cycle_frames=cycle_frames,
        window=config.eval.window,
        spacing=config.eval.spacing,
        start=start,
    )


class FrameScorer:
    """Scores the frames of one video, or of one segment of it, in order.

    `clips` cuts the clips that the model must see; `add` takes what it made of each, in order; `close` ends
    the video. The last two give the rows that became final.
    """

    def __init__(
        self,
        config: ConfigDict,
        normal: Normal,
        cycle_frames: float | None,
        pool: ThreadPoolExecutor,
        *,
        start: int = 0,
        pictures: bool = False,
        mapped: str = "",
        renewed: RenewedFrames | None = None,
    ):
        """Prepares for a video.

        Args:
          config: of the run; `data.clip_len` and the `eval` section count.
          normal: what frames are compared with.
          cycle_frames: of a usual cycle; None where there is none.
          pool: threads that compare.
          start: number of the first frame.
          pictures: whether rows come with pictures; predictions must then hold them.
          mapped: component whose map takes the place of the reconstruction's error in them.
          renewed: frames that are compared with beside the normal ones.
        """
        self._clip_len, self._stride = config.data.clip_len, config.eval.stride
        self._aggregator = make_aggregator(config, cycle_frames, start)
        self._normal, self._pool = normal, pool
        self._pictures, self._mapped = pictures, mapped
        self._start = self._next = start  # number of the next frame
        self._open: dict[int, _Open] = {}
        self._difference = FrameDifference(config.eval.pool_px)
        self._motion, self._fastest = MotionStream(), FastestPlace()
        self._trails = {name: Trail() for name in normal.maps}
        self._renewed = renewed
        self._tracker = None
        if normal.phases is not None and cycle_frames:
            self._tracker = PhaseTracker(normal.phases, cycle_frames)
        for part in normal.maps.values():
            part.warm_up()

    def clips(self, frames: Iterable[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
        """(first frame, clip [t, h, w, 3]) at every stride; the last one ends with the video."""
        window: deque[np.ndarray] = deque(maxlen=self._clip_len)
        for frame in frames:
            window.append(frame)
            self._open[self._next] = _Open(frame)
            self._next += 1
            first = self._next - self._clip_len
            if first >= self._start and (first - self._start) % self._stride == 0:
                yield first, np.stack(window)
        first = self._next - self._clip_len
        if first > self._start and (first - self._start) % self._stride:
            yield first, np.stack(window)

    def add(self, first_frame: int, predicted: Predicted) -> ScoredRows:
        """Takes the predictions of the next clip; the rows that became final, often none."""
        rows = self._aggregator.add(
            first_frame,
            predicted.get("mse"),
            predicted.get("pooled"),
            float(predicted["phase"]),
            predicted.get("deformation"),
        )
        if self._pictures:
            self._show(first_frame, predicted)
        return self._finish(rows)

    def close(self) -> ScoredRows:
        """The rows that are left at the video's end."""
        return self._finish(self._aggregator.close(self._next))

    def _show(self, first_frame: int, predicted: Predicted) -> None:
        """Gives open frames their pictures, from the latest clip that has them past its middle."""
        for place in range(self._clip_len):
            held = self._open.get(first_frame + place)
            if np.isnan(predicted["mse"][place]):
                continue  # only there to predict others from
            if held and (place >= self._clip_len // 2 or held.reconstruction is None):
                held.reconstruction = predicted["reconstruction"][place]
                held.error = predicted["error"][place]

    def _finish(self, rows: FrameRows) -> ScoredRows:
        """Adds what stands beside the model: components that need the frames and at most the phase."""
        held = [self._open.pop(int(frame)) for frame in rows.frame]
        frames, normal = [h.frame for h in held], self._normal
        found: dict[str, list[float]] = {
            name: [math.nan] * len(held)
            for name in ("tracked_phase", "nearest", "features", "motion", "fastest")
        }
        pairs = [self._difference.add(frame) for frame in frames]
        found["diff_mean"], found["diff_pooled"] = ([pair[i] for pair in pairs] for i in (0, 1))
        # One small picture a frame and size: nearest frame, phase and motion share it.
        views = {part.view.side: part.view for part in (normal.frames, normal.motion) if part}
        small = {side: list(self._pool.map(view, frames)) for side, view in views.items()}
        phases = rows.components["phase"].tolist()
        if self._tracker is not None and normal.frames is not None:
            phases = list(map(self._tracker.add, small[normal.frames.view.side], phases))
            found["tracked_phase"] = phases
        seen, maps = {}, {}
        if normal.frames is not None:
            seen["nearest"] = small[normal.frames.view.side]
        if normal.features is not None:
            seen["features"] = list(self._pool.map(normal.features.picture, frames))
        for name, part in normal.maps.items():
            if name == "nearest" and self._renewed is not None:
                more = map(self._renewed.near, phases)
                maps[name] = list(self._pool.map(part.distance, seen[name], phases, more))
            else:
                maps[name] = list(self._pool.map(part.distance, seen[name], phases))
            found[name] = [self._trails[name].add(float(m.max())) for m in maps[name]]
            if name == self._mapped:
                for h, m in zip(held, maps[name]):
                    h.error = h.error if h.error is None else m
        if normal.motion is not None:
            moving = small[normal.motion.view.side]
            changes = [self._motion.add(picture) for picture in moving]
            found["motion"] = list(self._pool.map(normal.motion.score, changes, phases))
            if not normal.motion.has_phase:
                found["fastest"] = [self._fastest.add(picture) for picture in moving]
        columns = {name: np.array(values, np.float32) for name, values in found.items()}
        complete = FrameRows(rows.frame, rows.position, {**rows.components, **columns})
        compared = list(zip(seen.get("nearest", ()), phases, maps.get("nearest", ())))
        return ScoredRows(complete, [_pictures(h) for h in held], compared)


def _pictures(held: _Open) -> Pictures | None:
    if held.reconstruction is None or held.error is None:
        return None
    return Pictures(held.frame, held.reconstruction, held.error)


def predict_ahead(
    clips: Iterable[tuple[Key, np.ndarray]],
    predict: Callable[[np.ndarray], Predicted],
    batch_size: int,
) -> Iterator[tuple[Key, Predicted]]:
    """Predictions clip by clip, from batches of constant size, so that the model compiles once.

    With batches the host reads the next one while the device works; a single clip comes at once.

    Args:
      clips: what a clip is called, and the clip [t, h, w, 3].
      predict: of a batch of clips.
      batch_size: clips; the last batch is filled up with its last clip.
    """
    stream = iter(clips)
    batches = iter(lambda: list(itertools.islice(stream, batch_size)), [])

    def run(batch: list[tuple[Key, np.ndarray]]) -> list[tuple[Key, Predicted]]:
        padded = batch + batch[-1:] * (batch_size - len(batch))
        predicted = predict(np.stack([clip for _, clip in padded]))
        return [
            (key, {name: values[row] for name, values in predicted.items()})
            for row, (key, _) in enumerate(batch)
        ]

    if batch_size == 1:
        for batch in batches:
            yield from run(batch)
        return
    with ThreadPoolExecutor(1) as pool:
        running = None
        for batch in batches:
            following = pool.submit(run, batch)
            if running:
                yield from running.result()
            running = following
        if running:
            yield from running.result()
