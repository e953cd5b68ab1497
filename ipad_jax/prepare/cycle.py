"""`prepare video_folder --cycle auto[:SECONDS]`: looks for the machine's cycle in the training footage.

The videos are streamed once as small grey pictures, a kilobyte a frame; the dataset is built afterwards
from a second reading, with the phases that were found.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from ipad_jax.data_builders.timing import Timing
from ipad_jax.data_builders.video_folder.video_folder_dataset_builder import (
    MeasuredCycle,
    read_source,
)
from ipad_jax.prepare.period import Cycles, NoCycleError, find_cycles, small_grey
from ipad_jax.run.progress import Bars

# A cycle that the phase explains less well may be a multiple of the true one: on rendered machines with
# small moving parts multiples came out at 0.41 to 0.55 (`ipad-jax bench cycle`). Our choice, above them.
LOW_CONFIDENCE = 0.6


def measure_cycle(source: Path, fps: float | None, cycle: str, bars: Bars) -> MeasuredCycle:
    """Finds the cycle of the training videos of a folder of footage.

    Args:
      source: folder in either layout of `video_folder`.
      fps: as for the dataset: rate of frame folders, or to resample video files to; None as recorded.
      cycle: "auto", or "auto:SECONDS" where its length is about known.
      bars: shows progress.

    Raises:
      FileNotFoundError or data_builders.files.DataError: the footage cannot be read.
      ValueError: there is no cycle; says what to do instead.
    """
    train, _, _ = read_source(source, fps, None)
    if not train:
        raise ValueError(f"{source}: no training footage, so there is no cycle to look for.")
    pictures = []
    bar = bars.add("look for the cycle", sum(map(len, train)))
    for video in train:
        small = []
        for picture in _small_pictures(video):
            small.append(picture)
            bar.advance()
        pictures.append(np.stack(small))
    rate = train[0].fps
    seconds = cycle.removeprefix("auto").removeprefix(":")
    try:
        found = find_cycles(pictures, float(seconds) * rate if seconds else None)
    except NoCycleError as error:
        known = "" if seconds else "--cycle auto:SECONDS if you know about how long it is, "
        raise ValueError(
            f"--cycle {cycle} found no cycle in the {len(train)} training videos: {error}. If the machine "
            f"has one, give it: {known}--cycle SECONDS where every file starts at a cycle's start, or "
            f"--cycle folder where each training folder is one cycle (at {rate:g} frames a second, a video "
            f"must hold at least two). Else leave --cycle away: the phase is then out of the model."
        ) from error
    timings = {
        video.name: Timing(found.cycle_frames, phase, cycle)
        for video, phase, cycle in zip(train, found.phase, found.cycle)
    }
    return MeasuredCycle(found.cycle_frames, timings, describe(found, rate, bool(seconds)))


def describe(found: Cycles, fps: float, is_known: bool = False) -> str:
    """What was found, how far it can be trusted, and what to do about it."""
    low, high = np.quantile(found.lengths, [0.05, 0.95]) / fps
    check = "check this length against the machine"
    if found.explained < LOW_CONFIDENCE and not is_known:
        check = "LOW CONFIDENCE: this may be a multiple of the true cycle; " + check
    return (
        f"found a cycle of {found.cycle_frames / fps:.3g} s ({found.cycle_frames:.1f} frames) in the "
        f"training videos: {len(found.lengths)} whole cycles, most of {low:.3g} to {high:.3g} s; confidence "
        f"{found.explained:.2f} (share of the pictures' change that the phase foretells in cycles left out); "
        f"{check}; if it is wrong, prepare again with --overwrite and --cycle auto:SECONDS (about so long) "
        f"or --cycle SECONDS (every file then starts at a cycle's start), or without --cycle"
    )


def _small_pictures(video: Any) -> Iterator[np.ndarray]:
    """The frames of a video as small grey pictures; of folders several are decoded at once."""
    if not video.random_access:
        for frame in video.frames():
            yield small_grey(frame.load())
        return
    with ThreadPoolExecutor() as pool:
        yield from pool.map(lambda frame: small_grey(frame.load()), video.frames())
