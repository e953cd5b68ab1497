"""Clips of consecutive frames cut at read time: shuffled for training, in order for evaluation."""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from ipad_jax.input.batches import Batch, endless_batches
from ipad_jax.input.frames import FrameSource
from ipad_jax.input.split import Segment


def clip_starts(length: int, clip_len: int, stride: int = 1) -> np.ndarray:
    """First frames of clips that together cover `length` frames.

    Every stride-th frame; if the last clip stops short of the end, one more ends there.

    Returns:
      [n] int32, ascending; empty if length < clip_len.

    Raises:
      ValueError: stride outside 1..clip_len: frames between clips would never be seen.
    """
    if not 1 <= stride <= clip_len:
        raise ValueError(
            f"eval.stride={stride} must be in 1..{clip_len} (data.clip_len), or frames are lost."
        )
    last = length - clip_len
    if last < 0:
        return np.empty(0, np.int32)
    starts = np.arange(0, last + 1, stride, dtype=np.int32)
    return starts if starts[-1] == last else np.append(starts, np.int32(last))


def clip_index(
    segments: Sequence[Segment], clip_len: int, stride: int = 1
) -> tuple[np.ndarray, list[Segment]]:
    """All clips of some segments; none crosses a segment's end.

    Returns:
      [n, 2] int32 of (video, first frame), and the segments too short for one clip.
    """
    rows, skipped = [], []
    for segment in segments:
        starts = clip_starts(segment.length, clip_len, stride) + segment.start
        rows.append(np.stack([np.full_like(starts, segment.video), starts], axis=1))
        if not len(starts):
            skipped.append(segment)
    index = np.concatenate(rows) if rows else np.empty((0, 2))
    return index.astype(np.int32), skipped


def describe_skipped(source: FrameSource, skipped: Sequence[Segment], clip_len: int) -> str:
    """A line that counts and names the videos too short for one clip; "" if there are none."""
    if not skipped:
        return ""
    names = ", ".join(f"{source.videos[s.video].name} ({s.length})" for s in skipped[:10])
    more = f" and {len(skipped) - 10} more" if len(skipped) > 10 else ""
    return f"{len(skipped)} shorter than a clip of {clip_len} frames, not used: {names}{more}"


def train_batches(
    source: FrameSource,
    segments: Sequence[Segment],
    *,
    clip_len: int,
    batch_size: int,
    seed: int,
    first_step: int = 1,
    num_workers: int = 0,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[Batch]:
    """Endless shuffled batches; one pass over all stride-1 clips is an epoch of the paper.

    Args:
      source: the split's frames.
      segments: the parts of it to train on.
      clip_len: frames of a clip.
      batch_size: clips of a global batch, over all processes.
      seed: fixes the order; each epoch has its own.
      first_step: step of the first batch, counted from 1: a run resumed after step n passes n + 1.
      num_workers: processes that decode ahead; 0 uses threads of this one. A cached source needs
        none (nothing is left to decode) and gets none.
      process_index: which contiguous block of every global batch's rows to read.
      process_count: number of such blocks.

    Returns:
      Iterator of {"clip": [b, t, h, w, 3] uint8 RGB, "video": [b] int32, "first_frame": [b] int32,
      "phase": [b] float32 of the first frame, NaN unknown} with b = batch_size / process_count.

    Raises:
      ValueError: no clip at all, or a size, step or process number that cannot be.
      ChildProcessError: while iterating, when a worker was killed.
      OSError: while iterating, when a file of the dataset cannot be read.
    """
    index, skipped = clip_index(segments, clip_len)
    if not len(index):
        raise ValueError(
            f"{source.path}: no clip of {clip_len} frames in split {source.split!r}: "
            + (describe_skipped(source, skipped, clip_len) or "it holds no videos")
            + ". Record longer videos or lower data.clip_len."
        )
    return endless_batches(
        partial(_read, source, index, clip_len),
        len(index),
        batch_size=batch_size,
        seed=seed,
        first_step=first_step,
        num_workers=0 if source.is_cached else num_workers,
        process_index=process_index,
        process_count=process_count,
    )


def _read(source: FrameSource, index: np.ndarray, clip_len: int, chosen: np.ndarray) -> Batch:
    """The chosen clips of an index."""
    return read_clips(source, index[chosen], clip_len)


def read_clips(source: FrameSource, rows: np.ndarray, clip_len: int) -> Batch:
    """Reads the clips of some rows of `clip_index`, each decoded once."""
    clips, phases = zip(*(source.clip(int(v), int(f), clip_len) for v, f in rows))
    return {
        "clip": np.stack(clips),
        "video": np.ascontiguousarray(rows[:, 0], np.int32),
        "first_frame": np.ascontiguousarray(rows[:, 1], np.int32),
        "phase": np.array(phases, np.float32),
    }
