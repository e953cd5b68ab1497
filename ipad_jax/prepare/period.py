"""The machine's cycle in footage that nobody cut into cycles: length, boundaries, each frame's phase.

From small grey pictures alone, in NumPy, of videos of any length:

1. What changes: each picture's logarithm less its local mean (light that rises and falls, over the whole
   picture or a part, drops out), projected on the directions in which the footage varies most.
2. How long: the peaks of the footage's correlation with itself some frames later are candidates.
3. Where: for each candidate a template of one cycle is fitted. Every video runs through it, round and
   round, by the cheapest path (dynamic programming) that may be faster, slower or stand still; the
   template becomes the mean of the frames along the paths, and so on, a few times.
4. Whether: the share of the footage's change that the phase foretells a quarter of a cycle ahead, in
   cycles the template was NOT fitted on. By waiting and racing any footage can be run through any
   template; but then nothing tells where it will be next.

Phase is the share of a usual cycle's time that has gone; it stands still where the machine does. It
begins where the machine is stillest. Steps 3 and 4 are in period_template.py.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ipad_jax.prepare.period_template import Fit, cheapest_path, fit_template, thin

SIDE_PX = 32  # of the grey pictures
DARK = 16.0  # grey levels added before the logarithm, so that noise in the dark stays small
BLUR_PX = 1.6  # standard deviation: a camera shakes by less, machines move by more
LOCAL_PX = 15  # side of the box whose mean is taken off
NUM_DIRECTIONS = 24  # that the changes are projected on
BASIS_PICTURES = 2000  # that the directions are found in, and that are held as floats at once
MAX_CANDIDATES = 5  # cycle lengths tried by alignment
MIN_PEAK = 0.05  # by how much a peak of the correlation stands above the dip before it
MIN_CYCLE_FRAMES = 8  # a shorter one is no cycle that a clip of 16 frames could tell phases of
MIN_EXPLAINED = (
    0.35  # share of the change; our choice, on the lift (performance/cycle.py) and real footage
)
# The same where the length is roughly known: 48 drawn random ways reached at most 0.11, Ped2 0.00, rendered
# machines with small moving parts 0.14 and more.
MIN_EXPLAINED_ABOUT = 0.12
ABOUT = 0.25  # share by which the length may differ from what is known of it
MIN_CYCLES = 3  # whole ones
MAX_SPREAD = 0.35  # of the cycles' lengths
SIMPLER = 0.1  # explained share that a longer cycle must add over a shorter one


class NoCycleError(ValueError):
    """The footage has no cycle that can be found; the text says what was tried."""


@dataclass(frozen=True)
class Cycles:
    """The cycle of some videos.

    Attributes:
      cycle_frames: median length of a whole cycle, in frames.
      phase: float32 [n] in [0, 1) of each video; NaN where the video was given none.
      cycle: int32 [n] number of the cycle in each video, from 0.
      lengths: float64 [k] frames of each whole cycle.
      explained: share of the footage's change that the phase foretells a quarter of a cycle ahead, in
        cycles that the template was not fitted on; at most 1, below 0 where it foretells nothing.
    """

    cycle_frames: float
    phase: list[np.ndarray]
    cycle: list[np.ndarray]
    lengths: np.ndarray
    explained: float

    @property
    def spread(self) -> float:
        """How much the lengths differ: standard deviation, from the median distance, over the median."""
        if not len(self.lengths):
            return float("nan")
        away = np.median(np.abs(self.lengths - self.cycle_frames))
        return float(1.4826 * away / self.cycle_frames)


def small_grey(frame: np.ndarray) -> np.ndarray:
    """uint8 [h, w, 3] of any size to uint8 [SIDE_PX, SIDE_PX] grey."""
    small = cv2.resize(frame, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)


def find_cycles(pictures: Sequence[np.ndarray], about: float | None = None) -> Cycles:
    """Length, boundaries and phase of the cycle that some videos of one machine share.

    Args:
      pictures: of each video uint8 [n, SIDE_PX, SIDE_PX], grey, in order and evenly spaced in time; none
        empty.
      about: what is known of its length, in frames: only lengths within `ABOUT` of it are tried, and
        `MIN_EXPLAINED_ABOUT` is enough, since no multiple can be meant. None: nothing is known.

    Returns:
      The cycle. It is the shortest that explains the footage: a machine that makes two pieces alike in a
      cycle has one a piece.

    Raises:
      NoCycleError: there is none that can be trusted.
    """
    longest = max(map(len, pictures), default=0)
    if longest < 2 * MIN_CYCLE_FRAMES:
        raise NoCycleError(
            f"the longest video has {longest} frames; at least {2 * MIN_CYCLE_FRAMES} are needed"
        )
    videos = directions(pictures)
    similar = self_similarity(videos)
    candidates = peaks(similar) if about is None else _near(similar, about)
    if not candidates:
        raise NoCycleError("nothing repeats: the footage is as unlike itself at every distance")
    enough = MIN_EXPLAINED if about is None else MIN_EXPLAINED_ABOUT
    tried = [_cycles_of(videos, fit_template(videos, similar, length)) for length in candidates]
    good = [found for found in tried if not _problem(found, enough)]
    if not good:
        raise NoCycleError(_problem(max(tried, key=lambda found: found.explained), enough))
    best = max(found.explained for found in good)
    return next(found for found in good if found.explained >= best - SIMPLER)


def _near(similar: np.ndarray, about: float) -> list[int]:
    """The length within `ABOUT` of a known one at which the footage is most like itself.

    Raises:
      NoCycleError: the footage is too short for such a cycle.
    """
    low, high = (
        max(MIN_CYCLE_FRAMES, math.ceil(about * (1 - ABOUT))),
        math.floor(about * (1 + ABOUT)),
    )
    high = min(high, len(similar) - 2)
    if low > high:
        raise NoCycleError(
            f"a cycle of about {about:.0f} frames: the longest video must hold two, and a cycle at least "
            f"{MIN_CYCLE_FRAMES} frames; it has {2 * (len(similar) - 1)}"
        )
    return [low + int(similar[low : high + 1].sum(axis=1).argmax())]


def _problem(found: Cycles, enough: float) -> str:
    """Why a cycle cannot be trusted; "" if it can."""
    about = f"the best candidate is a cycle of about {found.cycle_frames:.0f} frames"
    if found.explained < enough:
        return (
            f"{about}, but it foretells {max(found.explained, 0):.0%} of what changes in the pictures, "
            f"less than the {enough:.0%} needed"
        )
    if len(found.lengths) < MIN_CYCLES:
        return f"{about}, of which {len(found.lengths)} are whole; at least {MIN_CYCLES} are needed"
    if found.spread > MAX_SPREAD:
        return (
            f"{about}, but their lengths differ by {found.spread:.0%}, more than {MAX_SPREAD:.0%}"
        )
    return ""


def directions(pictures: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What changes in each video: float32 [n, d], zero on average over the video."""
    every = max(1, sum(map(len, pictures)) // BASIS_PICTURES)
    sample = [_without_light(video[::every]) for video in pictures]
    basis = _largest_directions(
        np.concatenate([part - part.mean(axis=0) for part in sample]), NUM_DIRECTIONS
    )
    videos = []
    for video in pictures:
        chunks = [video[at : at + BASIS_PICTURES] for at in range(0, len(video), BASIS_PICTURES)]
        video = np.concatenate([_without_light(chunk) @ basis for chunk in chunks])
        videos.append(video - video.mean(axis=0))
    return videos


def _largest_directions(sample: np.ndarray, count: int) -> np.ndarray:
    """[n, d] -> [d, count]: orthonormal directions of largest variance, by subspace iteration."""
    start = np.random.default_rng(0).standard_normal((sample.shape[1], count + 8))
    basis, _ = np.linalg.qr(start.astype(np.float32))
    for _ in range(6):
        basis, _ = np.linalg.qr(sample.T @ (sample @ basis))
    # within the subspace, largest first
    _, turn = np.linalg.eigh((sample @ basis).T @ (sample @ basis))
    return (basis @ turn[:, ::-1][:, :count]).astype(np.float32)


def _without_light(pictures: np.ndarray) -> np.ndarray:
    """Logarithm less its local mean, float32 [n, pixels]: light that scales a region leaves it as it is."""
    out = np.empty((len(pictures), SIDE_PX * SIDE_PX), np.float32)
    for row, picture in enumerate(pictures):
        value = np.log(cv2.GaussianBlur(picture.astype(np.float32), (0, 0), BLUR_PX) + DARK)
        out[row] = (value - cv2.blur(value, (LOCAL_PX, LOCAL_PX))).reshape(-1)
    return out


def self_similarity(videos: Sequence[np.ndarray]) -> np.ndarray:
    """Correlation of each direction with itself some frames later.

    Args:
      videos: [n, d] each.

    Returns:
      float64 [lags, d]: sum over frames and videos of the products, for lags up to half the longest video,
      divided by what it would be if the frames were alike in all directions; so the sum over d lies
      in [-1, 1].
    """
    lags = max(len(video) for video in videos) // 2 + 1
    product = np.zeros((lags, videos[0].shape[1]))
    before, after = np.zeros(lags), np.zeros(lags)
    for video in videos:
        n, reach = len(video), min(lags, len(video))
        size = 1 << (2 * n - 1).bit_length()
        spectrum = np.fft.rfft(video.astype(np.float64), size, axis=0)
        product[:reach] += np.fft.irfft(np.abs(spectrum) ** 2, size, axis=0)[:reach]
        total = np.concatenate([[0.0], np.cumsum((video.astype(np.float64) ** 2).sum(axis=1))])
        lag = np.arange(reach)
        before[:reach] += total[n - lag]
        after[:reach] += total[n] - total[lag]
    return product / np.maximum(np.sqrt(before * after), 1e-12)[:, None]


def peaks(similar: np.ndarray) -> list[int]:
    """Candidate cycle lengths in frames, rising: where the correlation has high peaks."""
    curve = similar.sum(axis=1)
    width = 1 + 2 * (len(curve) // 400)
    curve = np.convolve(np.pad(curve, width // 2, mode="edge"), np.ones(width) / width, "valid")
    dip = np.minimum.accumulate(curve)
    found = [
        lag
        for lag in range(MIN_CYCLE_FRAMES, len(curve) - 1)
        if curve[lag - 1] < curve[lag] >= curve[lag + 1] and curve[lag] - dip[lag] > MIN_PEAK
    ]
    # A peak beside a higher one is its shoulder.
    kept: list[int] = []
    for lag in sorted(found, key=lambda lag: -curve[lag]):
        if all(abs(lag - other) > 0.15 * max(lag, other) for other in kept):
            kept.append(lag)
    if not kept:
        return []
    # A steady machine is as like itself after many cycles as after one: short ones first.
    high = [lag for lag in kept if curve[lag] > curve[kept[0]] / 2]
    return sorted({kept[0], *sorted(high)[: MAX_CANDIDATES - 1]})


def _cycles_of(videos: Sequence[np.ndarray], fit: Fit) -> Cycles:
    """Runs all footage through the template; places become phases."""
    turns = []  # of each video, float64 [n] cycles gone, by place
    places = len(fit.template)
    for video in videos:
        path = cheapest_path(
            thin(video * fit.weight, fit.thinning), fit.template, fit.noise, fit.speed
        )
        width = 1 + 2 * max(1, round(places / fit.speed / 40))
        smooth = np.convolve(np.pad(path, width // 2, mode="edge"), np.ones(width) / width, "valid")
        middle = np.arange(len(path)) * fit.thinning + (fit.thinning - 1) / 2
        turns.append(_interpolate(np.arange(len(video)), middle, smooth / places))
    phase_at = _usual_phase(turns, places)
    origin = _stillest(fit.template, phase_at)
    phases, cycles, lengths = [], [], []
    for turn in turns:
        whole = np.floor(turn)
        place = np.interp((turn - whole) * places, np.arange(places + 1), phase_at)
        gone = whole + place - origin
        gone -= np.floor(gone[0])
        cycle = np.floor(gone)
        phases.append(np.minimum((gone - cycle).astype(np.float32), np.nextafter(np.float32(1), 0)))
        cycles.append(cycle.astype(np.int32))
        lengths.append(np.diff(_crossings(gone, np.arange(1, int(cycle[-1]) + 1))))
    lengths = np.concatenate(lengths)
    usual = float(np.median(lengths)) if len(lengths) else places / fit.speed * fit.thinning
    return Cycles(usual, phases, cycles, lengths, fit.explained)


def _interpolate(at: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Linear, and before the first and after the last point at the speed beside it."""
    out = np.interp(at, x, y)
    if len(x) > 1:
        out = np.where(at < x[0], y[0] + (at - x[0]) * (y[1] - y[0]) / (x[1] - x[0]), out)
        out = np.where(at > x[-1], y[-1] + (at - x[-1]) * (y[-1] - y[-2]) / (x[-1] - x[-2]), out)
    return out


def _crossings(turn: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Times, in frames, at which never falling `turn` reaches the levels."""
    after = np.clip(np.searchsorted(turn, levels), 1, len(turn) - 1)
    step = np.maximum(turn[after] - turn[after - 1], 1e-9)
    return after - 1 + np.clip((levels - turn[after - 1]) / step, 0, 1)


def _usual_phase(turns: Sequence[np.ndarray], places: int) -> np.ndarray:
    """Share of a cycle's time gone at each place, float64 [places + 1] from 0 to 1: the median cycle's.

    Cycles with a pause are few, so the median does not know of them.
    """
    shares = []
    levels = np.arange(places + 1) / places
    for turn in turns:
        first, last = int(np.ceil(turn[0])), int(np.floor(turn[-1]))
        for number in range(first, last):
            time = _crossings(turn, number + levels)
            shares.append((time - time[0]) / max(time[-1] - time[0], 1e-9))
    if not shares:
        return levels
    share = np.maximum.accumulate(np.median(shares, axis=0))
    return share / share[-1]


def _stillest(template: np.ndarray, phase_at: np.ndarray) -> float:
    """Phase around which the template changes least, over a twentieth of the cycle."""
    change = np.sqrt(((np.roll(template, -1, axis=0) - template) ** 2).sum(axis=1))
    reach = max(1, len(template) // 40)
    around = sum(np.roll(change, shift) for shift in range(-reach, reach + 1))
    return float(phase_at[int(np.argmin(around))])
