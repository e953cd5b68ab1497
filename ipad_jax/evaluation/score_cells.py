"""Pixel scores of any number of images in bounded memory: a sparse histogram over float32 bits.

A score becomes a 32-bit integer of the same order. A cell is one such integer, so that equal scores
and they alone share a cell, until the cells no longer fit; then the lowest bit is dropped from all,
and again. The number of bits dropped depends on the scores alone, not on their order or on how they
were dealt out to processes, and cells of the same width add.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Cells:
    """A sparse histogram: `keys` rising uint32 [c], `counts` int64 [c], `weights` float64 [c]."""

    keys: np.ndarray
    counts: np.ndarray
    weights: np.ndarray

    def __len__(self) -> int:
        return len(self.keys)


def order_keys(scores: np.ndarray) -> np.ndarray:
    """uint32 of the same shape and order as float32 `scores`, which hold no NaN."""
    bits = (scores + np.float32(0)).view(np.uint32)  # + 0: -0.0 and 0.0 are one score
    # IEEE 754: positive floats are ordered as their bits are; negative ones the other way round
    return bits ^ (-(bits >> 31) | np.uint32(1 << 31))


def cells_of(keys: np.ndarray, weights: np.ndarray, bits: int) -> Cells:
    """Histogram of single scores: `keys` rising [n], `weights` [n], `bits` dropped from each key."""
    return _merge_equal(keys >> np.uint32(bits), np.ones(len(keys), np.int64), weights)


def add(parts: Sequence[Cells]) -> Cells:
    """Sum of histograms from whose keys the same number of bits is dropped."""
    parts = [part for part in parts if len(part)] or list(parts[:1])
    if len(parts) == 1:
        return parts[0]
    keys = np.concatenate([part.keys for part in parts])
    order = np.argsort(keys, kind="stable")  # merges rising runs in linear time
    counts = np.concatenate([part.counts for part in parts])[order]
    weights = np.concatenate([part.weights for part in parts])[order]
    return _merge_equal(keys[order], counts, weights)


def drop_bits(cells: Cells, bits: int) -> Cells:
    """The same histogram with `bits` more low bits dropped from its keys."""
    return _merge_equal(cells.keys >> np.uint32(bits), cells.counts, cells.weights)


def condense(keys: np.ndarray, weights: np.ndarray, num_cells: int) -> Cells:
    """At most `num_cells` runs of equal length of rising `keys` [n], each at its middle key."""
    bounds = np.unique(np.arange(num_cells + 1) * len(keys) // num_cells)
    starts = bounds[:-1]
    middle = keys[(starts + bounds[1:] - 1) // 2]
    return Cells(middle, np.diff(bounds), _sums(weights, starts))


def _merge_equal(keys: np.ndarray, counts: np.ndarray, weights: np.ndarray) -> Cells:
    """One cell for each run of equal keys (rising)."""
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])[: len(keys)])
    return Cells(keys[starts], _sums(counts, starts), _sums(weights, starts))


def _sums(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Sums of the runs that begin at `starts`; reduceat refuses an empty array."""
    return np.add.reduceat(values, starts) if len(starts) else values[:0]
