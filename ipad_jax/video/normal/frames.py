"""Nearest normal frame: how far a frame is from what the machine looked like at the same phase.

Beyond the paper. A reconstruction must be learned well before a small fault stands out of its own
error; a frame of the training footage at the same moment of the cycle shows what belongs there at
once. Prototypes by phase are what scored highest on IPAD's real scenes in unreviewed work; here they
are small pictures, so nothing has to be learned but the phase, which the period head gives.

    1. The normal frames nearest in phase are the candidates (all of them where there is no phase).
    2. A pixel's distance to a candidate is their absolute difference, mean over the channels.
    3. Distances are averaged over a box, the smallest over the candidates is kept: the map.
    4. Normal frames differ from each other too, more where parts move than where the hall stands still: each
       place of the map is standardised by the maps of normal frames against those of other videos. Its edge
       counts as usual: there a shaking camera shows what no other frame did.
    5. The map's maximum, so that a small fault counts as much as a large one; as a score, its mean over the
       last few frames, since a camera's knock is shorter than a fault.

Light and the camera's shake are taken out first (small_picture.py): without that, a pixel would have to be
compared with its candidate's neighbourhood, and faults of a pixel or two are lost.
"""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import cv2
import numpy as np

from ipad_jax.run.cluster import num_cores
from ipad_jax.video.normal.places import spread
from ipad_jax.video.normal.small_picture import SmallPictures
from ipad_jax.video.scores.period_error import circular_distance

BOX_PX = 5  # pixels of the small picture, side of the averaging box; our choice
MAX_FRAMES = 2000  # normal frames kept where the phase chooses among them; 25 MB at 64x64
MAX_WITHOUT_PHASE = 200  # kept where every one is compared
MAX_USUAL = 500  # normal frames that say how far normal frames lie apart
EDGE = 0.05  # of the picture's shorter side, all round, that does not count; our choice
SHARE = 0.04  # of the normal frames, those nearest in phase; chosen on the tuning scene
LEARNT = -1  # group of frames that were added later (learnt.py)
PARTS = 4  # of a single video's normal frames: each is compared with those of the others
TRAIL_FRAMES = 5  # frames whose largest distances are averaged, the latest last; our choice
GREY_LEVEL = 1 / 255  # added to their spread: what never changed may change by one
_PAD = BOX_PX // 2
_BORDER = ((_PAD, _PAD), (_PAD, _PAD), (0, 0))


@dataclass(frozen=True)
class NormalFrames:
    """Small normal pictures and their phases; `distance` compares a frame with them.

    Attributes:
      pictures: uint8 [n, h, w, 3], as `view` makes them.
      phase: float32 [n] in [0, 1), or NaN throughout where the footage has no cycle.
      view: makes frames comparable with them.
      group: int32 [n], the video (or part of the only one) that a frame is from, or `LEARNT`; None: maps
        are not standardised.
      share: part of the frames that are candidates, those nearest in phase.
    """

    pictures: np.ndarray
    phase: np.ndarray
    view: SmallPictures
    group: np.ndarray | None = None
    share: float = SHARE

    def __post_init__(self) -> None:
        count = len(self.pictures)
        if not count or self.pictures.ndim != 4 or self.pictures.dtype != np.uint8:
            raise ValueError(
                f"pictures are {self.pictures.dtype} {self.pictures.shape}, expected uint8 "
                "[n, h, w, 3] with at least one."
            )
        check_phases(self.phase, count)
        if self.group is not None and (
            self.group.shape != (count,) or len(np.unique(self.group[self.group != LEARNT])) < 2
        ):
            raise ValueError(
                f"{count} pictures have groups {self.group.shape}, expected one each, two at least."
            )
        if not 0 < self.share <= 1:
            raise ValueError(f"share={self.share} must be above 0 and at most 1.")

    @cached_property
    def _padded(self) -> np.ndarray:
        """The pictures as `padded` makes them."""
        return padded(self.pictures)

    @cached_property
    def usual(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and spread of normal frames' maps against other videos' frames: two float32 [h, w].

        The spread is the standard deviation and a grey level. Frames that were added later do not count.
        """
        group = self.group
        assert group is not None
        own = np.flatnonzero(group != LEARNT)

        def left_out(at: int) -> np.ndarray:
            others = np.flatnonzero((group != group[at]) & (group != LEARNT))
            chosen = self._candidates(self.phase[at], others)
            return _map(self.pictures[at], self._padded[:, chosen])

        _ = self._padded  # once, before the threads ask for them
        with ThreadPoolExecutor(num_cores()) as pool:
            maps = np.stack(list(pool.map(left_out, own[spread(len(own), MAX_USUAL)])))
        return maps.mean(axis=0), maps.std(axis=0) + np.float32(GREY_LEVEL)

    @property
    def has_phase(self) -> bool:
        """Whether the footage has a cycle."""
        return bool(np.isfinite(self.phase[0]))

    def distance(
        self, picture: np.ndarray, phase: float, renewed: np.ndarray | None = None
    ) -> np.ndarray:
        """How far each place is from the nearest normal frame's.

        Args:
          picture: uint8 [h, w, 3], from `picture`.
          phase: of the frame, in [0, 1); NaN = unknown.
          renewed: more candidates, as `padded` makes them (renewed.py).

        Returns:
          float32 [h, w], of the picture as the view has shifted it: above the usual distance there, in its
          standard deviations; without groups the distance itself, in [0, 1]. 0 at the edge; NaN throughout
          if the footage has a cycle and the phase is unknown.

        Raises:
          ValueError: a picture of another size.
        """
        if picture.shape != self.pictures.shape[1:]:
            raise ValueError(f"picture is {picture.shape}, expected {self.pictures.shape[1:]}.")
        if self.has_phase and not np.isfinite(phase):
            return np.full(picture.shape[:2], np.nan, np.float32)
        found = _map(picture, self._padded[:, self._candidates(phase, np.arange(len(self.phase)))])
        if renewed is not None:
            found = np.minimum(found, _map(picture, renewed))
        if self.group is not None:
            mean, deviation = self.usual
            found = (found - mean) / deviation
        return without_edge(found)

    def picture(self, frame: np.ndarray) -> np.ndarray:
        """A frame, uint8 [h, w, 3] of any size, as `distance` takes it."""
        return self.view(frame)

    def warm_up(self) -> None:
        """Computes what the first frame would wait for."""
        if self.group is not None:
            _ = self.usual

    def largest(self, frame: np.ndarray, phase: float) -> float:
        """The largest distance in a whole frame, uint8 [h, w, 3] of any size; NaN as in `distance`."""
        return float(self.distance(self.picture(frame), phase).max())

    def _candidates(self, phase: float, among: np.ndarray) -> np.ndarray:
        """Those of some frames' indices that are nearest in phase; all without one."""
        if not self.has_phase:
            return among
        return among[nearest_in_phase(self.phase[among], phase, self.share)]


def _map(picture: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Smallest pooled distance from `padded` frames at each place: float32 [h, w] in [0, 1]."""
    seen = padded(picture[None])
    apart = np.maximum(seen, normal) - np.minimum(seen, normal)
    # whole numbers: three channels of 255 over the box stay below 2^16
    total = apart[0].astype(np.uint16) + apart[1] + apart[2]
    tall = total.reshape(-1, total.shape[-1])
    sums = cv2.boxFilter(tall, cv2.CV_16U, (BOX_PX, BOX_PX), normalize=False)
    least = sums.reshape(total.shape).min(axis=0)[_PAD:-_PAD, _PAD:-_PAD]
    return least / np.float32(BOX_PX**2 * 3 * 255)


def padded(pictures: np.ndarray) -> np.ndarray:
    """Pictures uint8 [n, h, w, 3] with a border around each: uint8 [3, n, h + 2 pad, w + 2 pad].

    NumPy compares whole channels four times as fast as pixels.
    """
    # stacked into one tall picture later: the border keeps the box from reaching the neighbour
    with_border = np.pad(pictures, ((0, 0), *_BORDER), mode="edge")
    return np.ascontiguousarray(np.moveaxis(with_border, -1, 0))


def without_border(pictures: np.ndarray) -> np.ndarray:
    """What `padded` was given."""
    return np.moveaxis(pictures[..., _PAD:-_PAD, _PAD:-_PAD], 0, -1)


def check_phases(phase: np.ndarray, count: int) -> None:
    """Raises ValueError unless `count` normal frames have a phase each, or NaN each."""
    if phase.shape != (count,):
        raise ValueError(f"{count} normal frames have {phase.shape} phases, expected one each.")
    known = np.isfinite(phase)
    if known.any() and not known.all():
        raise ValueError(f"{int((~known).sum())} of {count} normal frames have no phase.")


def nearest_in_phase(phases: np.ndarray, phase: float, share: float) -> np.ndarray:
    """Indices of the share of `phases`, float32 [n], that is nearest to one; at least one index."""
    away = circular_distance(phases, phase, 1.0)
    return np.argsort(away, kind="stable")[: max(1, round(share * len(away)))]


def without_edge(distance: np.ndarray) -> np.ndarray:
    """A map [h, w] with 0 at its edge: there a shaking camera shows what no other frame did."""
    edge = max(1, round(EDGE * min(distance.shape)))
    inner = (slice(edge, -edge), slice(edge, -edge))
    result = np.zeros_like(distance)
    result[inner] = distance[inner]
    return result


def groups_of(videos: Sequence[int]) -> np.ndarray:
    """Each frame's video or, where all are from one, its part of it: int32 [n]."""
    if len(set(videos)) > 1:
        return np.array(videos, np.int32)
    return (np.arange(len(videos)) * PARTS // len(videos)).astype(np.int32)


class Trail:
    """Mean over the last `TRAIL_FRAMES` of a video's largest distances, frame by frame."""

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=TRAIL_FRAMES)

    def add(self, largest: float) -> float:
        """The score of the next frame; NaN where its own distance is, and such ones are left out."""
        if not np.isfinite(largest):
            return np.nan
        self._last.append(largest)
        return float(np.mean(self._last))


class Comparison(Protocol):
    """What frames are compared with: `NormalFrames`, or features.Prototypes."""

    def picture(self, frame: np.ndarray) -> np.ndarray:
        """A frame as `distance` takes it."""
        ...

    def distance(self, picture: np.ndarray, phase: float) -> np.ndarray:
        """The map of a picture."""
        ...

    def largest(self, frame: np.ndarray, phase: float) -> float:
        """The largest distance in a frame."""
        ...

    def warm_up(self) -> None:
        """Computes what the first frame would wait for, and several threads would all compute."""
        ...
