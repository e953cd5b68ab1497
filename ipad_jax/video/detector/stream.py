"""What a stream of frames keeps open: clips that are being filled, frames whose rows are not final.

Constant in memory: a frame is forgotten when its row is handed out.
"""

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from ipad_jax.video.normal.features import Prototypes
from ipad_jax.video.normal.frames import Comparison, NormalFrames, Trail
from ipad_jax.video.normal.motion import MotionStream, NormalMotion
from ipad_jax.video.normal.phase_tracking import PhaseMap, PhaseTracker
from ipad_jax.video.scores.frame_difference import FrameDifference


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
    """What the detector needs of a model: `predict.Predictor`, or a stand-in."""

    normal: NormalFrames | None
    prototypes: Prototypes | None
    motion: NormalMotion | None
    phase_map: PhaseMap | None

    def scores(self, clip: np.ndarray) -> dict[str, np.ndarray]: ...

    def both(self, clip: np.ndarray) -> dict[str, np.ndarray]: ...


@dataclass
class Kept:
    """What is kept of a frame until its row is final."""

    difference: tuple[float, float]
    compared: dict[str, np.ndarray] = field(default_factory=dict)  # by component
    changes: np.ndarray | None = None
    frame: np.ndarray | None = None
    reconstruction: np.ndarray | None = None
    error: np.ndarray | None = None

    def pictures(self) -> Pictures | None:
        if self.frame is None or self.reconstruction is None or self.error is None:
            return None
        return Pictures(self.frame, self.reconstruction, self.error)


class OpenFrames:
    """Cuts clips from a stream, and keeps what belongs to frames whose rows are not final."""

    def __init__(
        self,
        clip_len: int,
        pool_px: int,
        pictures: bool,
        predictor: PredictsClips,
        cycle_frames: float | None,
    ):
        self.clip_len = clip_len
        self.motion = predictor.motion
        self._with: dict[str, Comparison | None] = {
            "nearest": predictor.normal,
            "features": predictor.prototypes,
        }
        self.num_frames = 0
        self._pictures = pictures
        self._difference = FrameDifference(pool_px)
        self._motion = MotionStream()
        self._normal, self._tracker = predictor.normal, None
        if predictor.normal is not None and predictor.phase_map is not None and cycle_frames:
            self._tracker = PhaseTracker(predictor.phase_map, cycle_frames)
        self.tracks = self._tracker is not None
        self._kept: dict[int, Kept] = {}
        self._trails = {name: Trail() for name in self._with}

    def clips(self, frames: Iterable[np.ndarray], stride: int) -> Iterator[tuple[int, np.ndarray]]:
        """(first frame, clip [t, h, w, 3]) as `clip_starts` orders them; the last ends with the stream."""
        window: deque[np.ndarray] = deque(maxlen=self.clip_len)
        for number, frame in enumerate(frames):
            window.append(frame)
            kept = Kept(self._difference.add(frame), frame=frame if self._pictures else None)
            for name, normal in self._with.items():
                if normal is not None:
                    kept.compared[name] = normal.picture(frame)
            if self.motion is not None:
                alike = self._normal is not None and self._normal.view.side == self.motion.view.side
                small = kept.compared["nearest"] if alike else self.motion.view(frame)
                kept.changes = self._motion.add(small)
            self._kept[number] = kept
            self.num_frames = number + 1
            first_frame = self.num_frames - self.clip_len
            if first_frame >= 0 and first_frame % stride == 0:
                yield first_frame, np.stack(window)
        first_frame = self.num_frames - self.clip_len
        if first_frame > 0 and first_frame % stride:
            yield first_frame, np.stack(window)

    def show(self, first_frame: int, predicted: dict[str, np.ndarray]) -> None:
        """Gives open frames their pictures, from the latest clip that has them past its middle."""
        if not self._pictures:
            return
        for place in range(self.clip_len):
            kept = self._kept.get(first_frame + place)
            if np.isnan(predicted["mse"][place]):
                continue  # only there to predict others from
            if kept and (place >= self.clip_len // 2 or kept.reconstruction is None):
                kept.reconstruction = predicted["reconstruction"][place]
                kept.error = predicted["error"][place]

    def tracked_phase(self, kept: Kept, head: float) -> float:
        """A frame's phase, NaN where nothing tracks it; frames come in order."""
        if self._tracker is None:
            return math.nan
        return self._tracker.add(kept.compared["nearest"], head)

    def compare(self, name: str, kept: Kept, phase: float, shown: str) -> float:
        """Distance of a frame from the nearest normal ones, NaN where there are none to compare with.

        Args:
          name: component, "nearest" or "features".
          kept: the frame's belongings; frames come in order.
          phase: of the frame.
          shown: the component whose map takes the place of the reconstruction's error.
        """
        normal = self._with[name]
        if normal is None:
            return math.nan
        distance = normal.distance(kept.compared[name], phase)
        if shown == name and kept.error is not None:
            kept.error = distance
        return self._trails[name].add(float(distance.max()))

    def motion_score(self, kept: Kept, phase: float) -> float:
        """Distance of a frame's motion from the normal one, NaN where there is none to compare with."""
        if self.motion is None or kept.changes is None:
            return math.nan
        return self.motion.score(kept.changes, phase)

    def take(self, frame: int) -> Kept:
        """Hands out a frame's belongings and forgets them."""
        return self._kept.pop(frame)


def predict_ahead(
    clips: Iterable[tuple[int, np.ndarray]],
    predict: Callable[[np.ndarray], dict[str, np.ndarray]],
    batch_size: int,
) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Predictions clip by clip, from batches of constant size, so that the model compiles once.

    With batches the host reads the next one while the device works; a single clip comes at once.
    """
    stream = iter(clips)
    batches = iter(lambda: list(itertools.islice(stream, batch_size)), [])

    def run(batch: list[tuple[int, np.ndarray]]) -> list[tuple[int, dict[str, np.ndarray]]]:
        padded = batch + batch[-1:] * (batch_size - len(batch))
        predicted = predict(np.stack([clip for _, clip in padded]))
        return [
            (first_frame, {name: values[row] for name, values in predicted.items()})
            for row, (first_frame, _) in enumerate(batch)
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
