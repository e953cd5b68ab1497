"""One cycle of a machine as a template, and the cheapest way of footage through it, round and round.

Dynamic alignment to an average: as dynamic time warping barycentres (Petitjean 2011), here with paths
that go round a circle.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

MIN_PLACES, MAX_PLACES = 24, 128  # of the template; two a sample, so that the speed can be followed
MAX_CYCLE_SAMPLES = 128  # longer cycles are thinned out in time
FIT_SAMPLES = 12_000  # that a template is fitted on at most; all footage then runs through it
NUM_FITS = 8  # rounds of path and mean
SPEED_SPREAD = 0.35  # of the normal speed: what costs a path as much as a usual residual
PAUSE_COST = 1.5  # most that a step of any speed costs, so that the machine may stand
FIT_STRENGTH = 4.0  # weight of the pictures against the speed in a path's cost


@dataclass(frozen=True)
class Fit:
    """A template fitted to a candidate length.

    thinning: frames a sample; template: [places, d]; noise: usual squared distance from it; speed:
    places a sample; weight: [d] of the directions, by how well they repeat.
    """

    thinning: int
    template: np.ndarray
    noise: float
    speed: float
    weight: np.ndarray
    explained: float


def fit_template(videos: Sequence[np.ndarray], similar: np.ndarray, length: int) -> Fit:
    """Fits a template of `length` frames, and measures what it explains of cycles left out."""
    # The neighbours too: a cycle need not be a whole number of frames.
    weight = similar[length - 1 : length + 2].max(axis=0) / np.maximum(similar[0], 1e-12)
    weight = np.sqrt(np.clip(weight, 0, 1)).astype(np.float32)
    thinning = -(-length // MAX_CYCLE_SAMPLES)
    samples = [thin(video * weight, thinning) for video in videos]
    samples = _sections(samples, FIT_SAMPLES, round(8 * length / thinning))
    places = int(np.clip(round(2 * length / thinning), MIN_PLACES, MAX_PLACES))
    speed = places * thinning / length
    template = _first_template(samples, length / thinning, places)
    everything = np.concatenate(samples)
    noise = float(_squared_distance(everything, template).min(axis=1).mean())
    place = turn = np.zeros(len(everything), np.int64)
    for _ in range(NUM_FITS):
        path = np.concatenate([cheapest_path(video, template, noise, speed) for video in samples])
        place, turn = path % places, path // places
        template = _means(everything, place, template)
        noise = float(((everything - template[place]) ** 2).sum(-1).mean())
    # Cycles alternate between two halves; each is foretold by a template of the other.
    odd = turn % 2 == 1
    left, total = 0.0, 0.0
    ahead = max(1, round(length / thinning / 4))
    ends = np.cumsum([len(video) for video in samples])
    for half in (odd, ~odd):
        if not half.any() or half.all():
            continue
        rest = everything[~half]
        usual = rest.mean(axis=0)
        other = _means(rest, place[~half], np.broadcast_to(usual, template.shape))
        for video, of_half in zip(samples, np.split(half, ends)):
            judged = of_half[ahead:]
            then = cheapest_path(video, other, noise, speed)[: len(judged)] + round(ahead * speed)
            seen = video[ahead:][judged]
            left += float(((seen - other[then[judged] % places]) ** 2).sum())
            total += float(((seen - usual) ** 2).sum())
    explained = 1 - left / total if total else -1.0
    return Fit(thinning, template, noise, speed, weight, explained)


def thin(video: np.ndarray, thinning: int) -> np.ndarray:
    """Means of `thinning` frames each; the last may be of fewer."""
    starts = np.arange(0, len(video), thinning)
    counts = np.diff(np.append(starts, len(video)))
    return np.add.reduceat(video, starts, axis=0) / counts[:, None].astype(np.float32)


def _sections(samples: list[np.ndarray], limit: int, length: int) -> list[np.ndarray]:
    """At most about `limit` samples: sections of `length`, evenly spread, where there are more."""
    if sum(map(len, samples)) <= limit:
        return samples
    cut = [video[at : at + length] for video in samples for at in range(0, len(video), length)]
    cut = [section for section in cut if len(section) == length] or cut
    return _spread(cut, max(1, limit // length))


def _spread(items: list[Any], count: int) -> list[Any]:
    """At most `count` of them, evenly spread over the list."""
    return [items[i] for i in sorted({round(i) for i in np.linspace(0, len(items) - 1, count)})]


def _first_template(samples: list[np.ndarray], length: float, places: int) -> np.ndarray:
    """[places, d] The stretch of one cycle's length that the footage is nearest to on average."""
    span = round(length)
    longest = sorted(samples, key=len)[-4:]
    starts = [(v, at) for v in longest for at in range(0, len(v) - span + 1, max(1, span // 4))]
    everything = np.concatenate(samples)
    sample = everything[:: max(1, len(everything) // 2000)]

    def distance(stretch: np.ndarray) -> float:
        return float(_squared_distance(sample, stretch).min(axis=1).mean())

    video, at = min(
        _spread(starts, 24), key=lambda start: distance(start[0][start[1] : start[1] + span])
    )
    stretch = video[at : at + span]
    at = np.arange(places) * (len(stretch) / places)
    low = np.floor(at).astype(int)
    share = (at - low)[:, None].astype(np.float32)
    return stretch[low] * (1 - share) + stretch[(low + 1) % len(stretch)] * share


def _squared_distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[n, d], [m, d] -> [n, m]."""
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None]
    return np.maximum(squares - 2 * a @ b.T, 0)


def cheapest_path(
    video: np.ndarray, template: np.ndarray, noise: float, speed: float
) -> np.ndarray:
    """The cheapest way of a video through the template, int64 [n] places, rising, going round.

    A step costs the picture's squared distance in units of the usual one, and (a - speed)^2 / 2 s^2 for
    `a` places at once, at most `PAUSE_COST`.
    """
    steps = np.arange(int(np.ceil(2.5 * speed)) + 1)
    deviation = (steps - speed) / (SPEED_SPREAD * speed + 0.3)  # 0.3: places are whole
    cost_of_step = np.minimum(deviation**2 / 2, PAUSE_COST).astype(np.float32)
    seen = _squared_distance(video, template) * np.float32(FIT_STRENGTH / (2 * max(noise, 1e-12)))
    places = len(template)
    source = (np.arange(places)[None] - steps[:, None]) % places
    columns = np.arange(places)
    taken = np.zeros((len(video), places), np.uint8)
    cost = seen[0].copy()
    for t in range(1, len(video)):
        ways = cost[source] + cost_of_step[:, None]
        choice = ways.argmin(axis=0)
        taken[t] = choice
        cost = ways[choice, columns] + seen[t]
        cost -= cost.min()  # float32 keeps its digits over any length
    path = np.zeros(len(video), np.int64)
    place = int(cost.argmin())
    for t in range(len(video) - 1, 0, -1):
        path[t] = taken[t, place]
        place = (place - int(taken[t, place])) % places
    path[0] = place
    return np.cumsum(path)


def _means(samples: np.ndarray, place: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Mean of the samples at each place, smoothed a little; `before` where hardly any came by."""
    total = 0.1 * before.astype(np.float64)
    np.add.at(total, place, samples)
    count = 0.1 + np.bincount(place, minlength=len(before))
    near = ((0, 0.5), (-1, 0.25), (1, 0.25))
    smooth = np.sum([share * np.roll(total, shift, axis=0) for shift, share in near], axis=0)
    weight = np.sum([share * np.roll(count, shift) for shift, share in near], axis=0)
    return (smooth / weight[:, None]).astype(np.float32)
