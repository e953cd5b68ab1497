"""Components of the score in units of their normal spread, and their weighted sum."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

MIN_CLASS_FRAMES = 30  # fewer give a median and MAD that wobble more than the positions differ
# 1.4826 MAD estimates a normal distribution's standard deviation.
MAD_TO_SIGMA = 1.4826
# A component that hardly varies over little normal footage (a still picture; the quantised output
# of a small model) would get a scale near zero, and any change of it would drown the other
# components. The floor is the larger of 1 % of the component's size and the smallest step worth
# telling apart, in its own unit.
RELATIVE_FLOOR = 0.01
ABSOLUTE_FLOOR = {
    "psnr_centre": 0.1,  # dB
    "psnr_mean": 0.1,
    "pooled_centre": 0.5 / 255,  # half a grey level
    "pooled_mean": 0.5 / 255,
    "diff_mean": 0.1 / 255,
    "diff_pooled": 0.5 / 255,
    "period_error": 0.5,  # half a phase class
    "fitted_period_error": 0.5,
    "motion": 0.5 / 255,
    "fastest": 0.5 / 255,
    "nearest": 0.1,  # deviations of normal frames
    "features": 0.01,  # features are of size 1
    "deformation": 0.02,  # pixels
}
# Which way is anomalous: a high PSNR is a good reconstruction.
SIGN = {"psnr_centre": -1.0, "psnr_mean": -1.0}
NOT_SCORES = ("phase", "tracked_phase")
# Those that are the maximum of a map, which heat maps can show.
MAPPED = ("nearest", "features", "pooled_mean")
# By nature missing on single frames (near the end of a short video; the first): there it adds nothing.
OPTIONAL = ("period_error", "fitted_period_error", "motion", "fastest")
# These count in the score only as far as they exceed what is usual: up to the speed that normal footage
# reaches somewhere in the picture it says nothing of a fault, and much above it.
BEYOND = ("fastest",)
# Quantile of normal footage that is still usual. Chosen: 0.9 costs machines a point of frame AUC
# (docs/results.md, "Footage without a cycle").
USUAL = 0.99


class Scored(Protocol):
    """What can be fused: FrameScores, or the FrameRows of a live stream."""

    @property
    def position(self) -> np.ndarray: ...

    @property
    def components(self) -> dict[str, np.ndarray]: ...


@dataclass(frozen=True)
class Statistics:
    """Location and scale of one component: pooled, and by position where it has enough frames.

    `usual` is that of those in `BEYOND`, in scales above the location; None for the others.
    """

    location: float
    scale: float
    num_frames: int
    by_position: dict[int, tuple[float, float]]
    usual: float | None = None


def check_weights(weights: Mapping[str, float], components: Mapping[str, np.ndarray]) -> None:
    """Refuse weights that name nothing, are all zero or not numbers."""
    unknown = sorted(set(weights) - set(components) | set(weights) & set(NOT_SCORES))
    if unknown:
        choices = sorted(set(components) - set(NOT_SCORES))
        raise ValueError(
            f"No component {unknown} in the scores; the choices are {choices}. "
            "Name only those in eval.components, or evaluate again without --scores."
        )
    if not any(weights.values()) or not all(map(math.isfinite, weights.values())):
        raise ValueError(f"weights={dict(weights)} need at least one number other than 0.")


def describe(name: str, values: np.ndarray, position: np.ndarray, classes: bool) -> Statistics:
    """Robust location and scale of one component.

    Args:
      name: its name, for the floor of its scale.
      values: [n], NaN left out.
      position: [n] place in the clip.
      classes: also for each place with at least `MIN_CLASS_FRAMES` values; never for those in `BEYOND`,
        which know no clips.
    """
    floor = ABSOLUTE_FLOOR.get(name, 0.0)

    def robust(sample: np.ndarray) -> tuple[float, float]:
        location = float(np.median(sample))
        spread = MAD_TO_SIGMA * float(np.median(np.abs(sample - location)))
        return location, max(spread, floor, RELATIVE_FLOOR * abs(location), 1e-12)

    finite = np.isfinite(values)
    values, position = values[finite].astype(np.float64), position[finite]
    by_position = {}
    if classes and name not in BEYOND:
        for place in np.unique(position):
            sample = values[position == place]
            if len(sample) >= MIN_CLASS_FRAMES:
                by_position[int(place)] = robust(sample)
    location, scale = robust(values)
    usual = None
    if name in BEYOND:
        usual = float(np.quantile(SIGN.get(name, 1.0) * (values - location) / scale, USUAL))
    return Statistics(location, scale, len(values), by_position, usual)


def varies(values: np.ndarray) -> bool:
    """Whether known values differ; those of a single frame may not."""
    known = values[np.isfinite(values)]
    return len(known) < 2 or float(np.ptp(known)) > 0


def in_spreads(name: str, scores: Scored, statistics: Statistics) -> np.ndarray:
    """One component in units of its normal spread, upwards = anomalous; float64 [n], NaN kept.

    Those in `BEYOND` are 0 up to what is usual, and count from there.
    """
    values = scores.components[name].astype(np.float64)
    location = np.full(values.shape, statistics.location)
    scale = np.full(values.shape, statistics.scale)
    for place, (place_location, place_scale) in statistics.by_position.items():
        at = scores.position == place
        location[at], scale[at] = place_location, place_scale
    spreads = SIGN.get(name, 1.0) * (values - location) / scale
    return spreads if statistics.usual is None else np.maximum(spreads - statistics.usual, 0.0)


def weighted_sum(parts: Mapping[str, np.ndarray], weights: Mapping[str, float]) -> np.ndarray:
    """Standardised components [n] by name, added; an optional one adds nothing where it is missing."""
    used = {name: weight for name, weight in weights.items() if weight and name in parts}
    alone = set(used) <= set(OPTIONAL)
    fused = np.zeros(len(next(iter(parts.values()))))
    for name, weight in used.items():
        part = weight * parts[name]
        if name in OPTIONAL and not alone:
            part = np.where(np.isfinite(part), part, 0.0)
        fused += part
    return fused
