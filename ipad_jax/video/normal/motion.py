"""Motion: how much each place of the picture changes over several lags, against normal cycles, both ways.

Beyond the paper. A machine that stands still, lags or runs ahead looks normal in every single frame, and a
phase that is predicted from the frames goes along with it; over several lags it changes too little or too
much. What is normal depends on the moment of the cycle, so:

    1. The frame now is compared with those `LAGS` frames ago, as small pictures, from which light and the
       camera's shake are taken out (small_picture.py): the absolute difference of each pixel, averaged over
       cells of `CELL_PX` pixels: the changes.
    2. The normal frames nearest in phase are the candidates (all of them where there is no phase).
    3. The score is the mean over lags of the largest distance between a cell's change and the candidate's,
       for the candidate where that is least: one normal moment must fit everywhere.

Causal, without a delay of its own; a lag that reaches before the video's start is left out. Within a fault
that lasts, nothing here adapts; but a machine that stands where it often rests changes as little as it
should, and only the period error can say that it should have gone on.

Where footage has no cycle, a cell's usual change is any that was ever seen there with the rest, and what
passes too fast is hardly unusual: `FastestPlace` is a component of its own for it.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ipad_jax.video.normal.frames import (
    TRAIL_FRAMES,
    check_phases,
    nearest_in_phase,
    without_edge,
)
from ipad_jax.video.normal.small_picture import SmallPictures

LAGS = (1, 2, 4, 8, 16)  # frames
CELL_PX = 8  # pixels of the small picture, side of a cell; our choice
FAST_BOX_PX = 3  # the same of `FastestPlace`'s box; chosen on the tuning scenes
SHARE = 0.04  # of the normal frames, those nearest in phase; chosen on the tuning scenes
MAX_FRAMES = 2000  # normal frames kept; 3 MB at 64x64


def change(picture: np.ndarray, earlier: np.ndarray) -> np.ndarray:
    """How far the pixels of each cell are from an earlier picture's on average.

    Args:
      picture, earlier: small pictures, uint8 [h, w, 3].

    Returns:
      float32 [cells] in [0, 1].
    """
    height, width = picture.shape[:2]
    size = (max(1, round(width / CELL_PX)), max(1, round(height / CELL_PX)))
    apart = cv2.absdiff(picture, earlier).mean(axis=2, dtype=np.float32) / 255
    return cv2.resize(apart, size, interpolation=cv2.INTER_AREA).reshape(-1)


class MotionStream:
    """Changes of a video's frames as they come; keeps as many of them as the longest lag."""

    def __init__(self) -> None:
        self._earlier: deque[np.ndarray] = deque(maxlen=max(LAGS))  # the newest last

    def add(self, picture: np.ndarray) -> np.ndarray:
        """Takes the next small picture; gives its changes.

        Args:
          picture: uint8 [h, w, 3].

        Returns:
          float32 [lags, cells], a lag that reaches before the first frame NaN.
        """
        out = np.full((len(LAGS), change(picture, picture).size), np.nan, np.float32)
        for row, lag in enumerate(LAGS):
            if lag <= len(self._earlier):
                out[row] = change(picture, self._earlier[-lag])
        self._earlier.append(picture)
        return out


class FastestPlace:
    """Largest change of any place from one frame to the next, for footage without a cycle.

    The absolute difference of two small pictures, light and the camera's shake taken out, averaged over a box
    of `FAST_BOX_PX`; its maximum away from the edge; the median of that over the last `TRAIL_FRAMES` frames,
    since a knock against the camera is over sooner. Causal.
    """

    def __init__(self) -> None:
        self._earlier: np.ndarray | None = None
        self._last: deque[float] = deque(maxlen=TRAIL_FRAMES)

    def add(self, picture: np.ndarray) -> float:
        """Takes the next small picture, uint8 [h, w, 3]; a change in [0, 1], NaN for a video's first."""
        earlier, self._earlier = self._earlier, picture
        if earlier is None:
            return float("nan")
        apart = cv2.absdiff(picture, earlier).mean(axis=2, dtype=np.float32) / 255
        pooled = cv2.blur(apart, (FAST_BOX_PX, FAST_BOX_PX))
        self._last.append(float(without_edge(pooled).max()))
        return float(np.median(self._last))


def changes_at(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Changes of a frame, float32 [lags, cells].

    Args:
      pictures: small pictures of the frame and of those `LAGS` before it.
    """
    now, *earlier = pictures
    return np.stack([change(now, picture) for picture in earlier])


@dataclass(frozen=True)
class NormalMotion:
    """Changes of normal frames and their phases; `score` compares a frame's with them.

    Attributes:
      changes: float32 [n, lags, cells], all known.
      phase: float32 [n] in [0, 1), or NaN throughout where the footage has no cycle.
      view: makes the small pictures that changes are taken from.
    """

    changes: np.ndarray
    phase: np.ndarray
    view: SmallPictures

    def __post_init__(self) -> None:
        count = len(self.changes)
        if not count or self.changes.ndim != 3 or self.changes.shape[1] != len(LAGS):
            raise ValueError(
                f"changes are {self.changes.shape}, expected [n, {len(LAGS)} lags, cells], n at least 1."
            )
        check_phases(self.phase, count)

    @property
    def has_phase(self) -> bool:
        """Whether the footage has a cycle."""
        return bool(np.isfinite(self.phase[0]))

    def score(self, changes: np.ndarray, phase: float) -> float:
        """How far a frame's changes are from those of the normal moment that fits best.

        Args:
          changes: [lags, cells] of one frame, from `MotionStream.add`.
          phase: of the frame, in [0, 1); NaN = unknown.

        Returns:
          A distance in [0, 1]; NaN for a video's first frame, and where the footage has a cycle and the
          phase is unknown.

        Raises:
          ValueError: changes of pictures of another size.
        """
        if changes.shape != self.changes.shape[1:]:
            raise ValueError(
                f"changes are {changes.shape}, expected [lags, cells] = {self.changes.shape[1:]}."
            )
        known = np.isfinite(changes[:, 0])
        if not known.any() or (self.has_phase and not np.isfinite(phase)):
            return float("nan")
        chosen = nearest_in_phase(self.phase, phase, SHARE) if self.has_phase else slice(None)
        away = np.abs(self.changes[chosen][:, known] - changes[known])
        return float(away.max(axis=2).mean(axis=1).min())
