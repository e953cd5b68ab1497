"""Phase tracking: where in its cycle the machine is, from the period head and all frames so far.

Beyond the paper. The head sees one clip at a time: after a short training it errs by hundredths
of a cycle, and what is compared with normal frames of the wrong moment looks faulty. Two things are known
beside it: a machine goes on at about its usual speed, and a normal frame of the right moment looks most
like the frame at hand. A forward filter of a hidden Markov model (Rabiner 1989, sec. III-A) over `BINS`
phases puts the three together, frame by frame and causally:

    1. From frame to frame the phase goes on by the usual step, give or take `SPEED_SPREAD`; with probability
       `ANY_SPEED` by any speed from a stop to `MAX_SPEED` times the usual; with `ANYWHERE` to any phase.
    2. A phase is as likely as exp(-|its distance from the head's| / `HEAD_SPREAD`) ...
    3. ... times exp(-d / s): d is how far the frame is from the normal frames of that phase (root mean
       square difference of tiny pictures, mean of the `NEIGHBOURS` smallest), s twice the standard deviation
       of how much further normal frames are from those of their own phase than from the most alike.
    4. The tracked phase is the mean of the filter's distribution close to its maximum.

A machine that stands is tracked as standing, and one that lags as lagging: the distance from normal frames
then says how it looks, and motion and period error that it should have gone on.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ipad_jax.video.normal.small_picture import reduced
from ipad_jax.video.scores.period_error import circular_distance

BINS = 240  # phases told apart
TINY_PX = 16  # longest side of the pictures compared; our choice
REACH = 2.5  # bins either way, in which a normal frame speaks for a phase
NEIGHBOURS = 3  # of them that count, the most alike
MAX_CHECKED = 200  # normal frames that say how alike they are
HEAD_SPREAD = 0.02  # cycles; chosen on the tuning scenes
SPEED_SPREAD = 0.35  # of the usual speed, one standard deviation; our choice
ANY_SPEED, MAX_SPEED = 0.3, 2.0  # probability; times the usual speed; our choice
ANYWHERE = 0.001  # probability; our choice
AROUND_MODE = 4  # bins either way that the mean is taken over


@dataclass(frozen=True, eq=False)
class PhaseMap:
    """What the machine looks like at every phase.

    Attributes:
      pictures: uint8 [n, h, w, 3], small pictures of normal frames.
      phase: float32 [n] in [0, 1), all known.
      group: int32 [n], the video (or part of the only one) that a frame is from.
    """

    pictures: np.ndarray
    phase: np.ndarray
    group: np.ndarray

    def __post_init__(self) -> None:
        if not len(self.pictures) == len(self.phase) == len(self.group) > 0:
            raise ValueError(
                f"{len(self.pictures)} pictures, {len(self.phase)} phases and {len(self.group)} groups: "
                "expected as many of each, one at least."
            )
        if not np.isfinite(self.phase).all() or len(np.unique(self.group)) < 2:
            raise ValueError("phases can be tracked only by known phases, of two videos at least.")

    @cached_property
    def _normal(self) -> tuple[np.ndarray, np.ndarray]:
        """Tiny pictures, float32 [n, values], and the sum of their squares [n]."""
        tiny = np.stack([_tiny(picture) for picture in self.pictures])
        return tiny, np.einsum("nv,nv->n", tiny, tiny)

    @cached_property
    def _spread(self) -> float:
        """s of the module's text, from normal frames against those of other videos."""
        extra = []
        tiny, squares = self._normal
        for one in np.unique(self.group):
            others = self.group != one
            normal, near = (tiny[others], squares[others]), _near(self.phase[others])
            own = np.flatnonzero(self.group == one)
            step = -(-len(own) * len(np.unique(self.group)) // MAX_CHECKED)
            for at in own[:: max(1, step)]:
                away = _away(tiny[at], normal, near)
                extra.append(away[_bin_of(float(self.phase[at]))] - away.min())
        return 2 * float(np.std(extra)) + float(np.finfo(np.float32).eps)

    @cached_property
    def _near(self) -> np.ndarray:
        return _near(self.phase)

    def warm_up(self) -> None:
        """Computes what the first frame would wait for."""
        _ = self._normal, self._spread, self._near

    def log_likelihood(self, picture: np.ndarray) -> np.ndarray:
        """What a small picture, uint8 [h, w, 3], says of the phase: float64 [BINS], its largest value 0.

        Raises:
          ValueError: a picture of another size.
        """
        if picture.shape != self.pictures.shape[1:]:
            raise ValueError(f"picture is {picture.shape}, expected {self.pictures.shape[1:]}.")
        away = _away(_tiny(picture), self._normal, self._near)
        return (away.min() - away) / self._spread


class PhaseTracker:
    """The filter, for the frames of one video in order."""

    def __init__(self, phase_map: PhaseMap, cycle_frames: float):
        """Takes what the machine looks like, and the length of a usual cycle in frames.

        Raises:
          ValueError: the length is not positive.
        """
        if not cycle_frames > 0:
            raise ValueError(f"cycle_frames={cycle_frames} must be above 0.")
        phase_map.warm_up()
        self._map = phase_map
        self._advance = np.fft.rfft(_advance(BINS / cycle_frames))
        self._now: np.ndarray | None = None

    def add(self, picture: np.ndarray, head: float) -> float:
        """The phase of the next frame, in [0, 1).

        Args:
          picture: its small picture, uint8 [h, w, 3].
          head: the period head's phase, in [0, 1); NaN = unknown.

        Returns:
          NaN where the head's is: what is not scored stays so, but the filter goes on.
        """
        said = self._map.log_likelihood(picture)
        if np.isfinite(head):
            said = said - circular_distance(_middles(), head, 1.0) / HEAD_SPREAD
        before = np.full(BINS, 1 / BINS)
        if self._now is not None:
            moved = np.fft.irfft(np.fft.rfft(self._now) * self._advance, BINS)
            before = (1 - ANYWHERE) * np.maximum(moved, 0) + ANYWHERE / BINS
        now = before * np.exp(said - said.max())
        now /= now.sum()
        self._now = now
        if not np.isfinite(head):
            return np.nan
        mode = int(now.argmax())
        around = np.arange(-AROUND_MODE, AROUND_MODE + 1)
        weight = now[(mode + around) % BINS]
        phase = np.float32((mode + 0.5 + (weight @ around) / weight.sum()) / BINS)
        return float(phase % np.float32(1))


def _middles() -> np.ndarray:
    return (np.arange(BINS) + 0.5) / BINS


def _bin_of(phase: float) -> int:
    return int(phase * BINS) % BINS


def _tiny(picture: np.ndarray) -> np.ndarray:
    """uint8 [h, w, 3] -> float32 [values] in [0, 1]."""
    return reduced(picture, TINY_PX).reshape(-1).astype(np.float32) / 255


def _near(phases: np.ndarray) -> np.ndarray:
    """Indices of the frames that speak for each phase, int [BINS, m], filled up with -1; one at least."""
    away = circular_distance(phases[None], _middles()[:, None], 1.0)
    order = np.argsort(away, axis=1, kind="stable")
    inside = np.take_along_axis(away, order, axis=1) < REACH / BINS
    inside[:, 0] = True  # where no frame is near, the nearest speaks
    order = np.where(inside, order, -1)
    return order[:, : int(inside.sum(axis=1).max())]


def _away(tiny: np.ndarray, normal: tuple[np.ndarray, np.ndarray], near: np.ndarray) -> np.ndarray:
    """Root mean square difference from the most alike normal frames of each phase: float [BINS]."""
    normals, squares = normal
    # |a - b|^2 in one product, row by row: `@` spreads so small a one over threads, ten times the CPU time
    squared = squares - 2 * np.vecdot(normals, tiny) + tiny @ tiny
    difference = np.sqrt(np.maximum(squared, 0) / len(tiny))
    of_phase = np.append(difference, np.inf)[near]  # -1: none
    count = min(NEIGHBOURS, near.shape[1])
    least = np.partition(of_phase, count - 1, axis=1)[:, :count]
    known = np.isfinite(least)
    return np.where(known, least, 0).sum(axis=1) / known.sum(axis=1)


def _advance(step: float) -> np.ndarray:
    """Distribution of the bins that a frame goes on by, float64 [BINS]; `step` is the usual number."""
    speeds = np.linspace(0, MAX_SPEED, 201)
    usual = np.exp(-0.5 * ((speeds - 1) / SPEED_SPREAD) ** 2)
    weight = (1 - ANY_SPEED) * usual / usual.sum() + ANY_SPEED / len(speeds)
    bins = speeds * step
    below = np.floor(bins).astype(int)
    out = np.zeros(
        BINS
    )  # between two bins, both get a share: the mean stays right for the longest cycle
    np.add.at(out, below % BINS, weight * (below + 1 - bins))
    np.add.at(out, (below + 1) % BINS, weight * (bins - below))
    return out
