"""Alarms at the end of a cycle: footage that runs on must not raise one there by itself."""

from typing import NamedTuple

import numpy as np


class CycleEnds(NamedTuple):
    """Stretches of normal footage, with the end of a cycle in their middle and without one.

    Attributes:
      ends: ends of cycles with nothing but normal frames around them.
      alarmed: those with a frame above the threshold.
      others: stretches as long, of normal frames of one cycle.
      others_alarmed: those with a frame above the threshold: what to expect anywhere.
    """

    ends: int
    alarmed: int
    others: int
    others_alarmed: int


def cycle_ends(
    above: np.ndarray, label: np.ndarray, video: np.ndarray, cycle: np.ndarray, reach: int
) -> CycleEnds:
    """Counts them.

    Args:
      above: bool [n], the score is above the threshold; frames of a video lie together, in order.
      label: int [n], 0 = normal.
      video: int [n].
      cycle: int [n], number of the cycle, -1 = unknown.
      reach: frames before and from an end on that count as its surroundings.
    """
    usable = (label == 0) & (cycle >= 0)
    ends = alarmed = others = others_alarmed = 0
    for number in np.unique(video):
        at = np.flatnonzero(video == number)
        taken = ~usable[at]
        hot, cycles = above[at], cycle[at]
        for end in np.flatnonzero(np.diff(cycles) != 0) + 1:
            around = slice(end - reach, end + reach)
            if end < reach or end + reach > len(at) or not usable[at][around].all():
                continue
            ends, alarmed = ends + 1, alarmed + bool(hot[around].any())
            taken[around] = True
        start = 0
        while start + 2 * reach <= len(at):
            part = slice(start, start + 2 * reach)
            if taken[part].any() or len(set(cycles[part])) > 1:
                start += 1
                continue
            others, others_alarmed = others + 1, others_alarmed + bool(hot[part].any())
            start += 2 * reach
    return CycleEnds(ends, alarmed, others, others_alarmed)
