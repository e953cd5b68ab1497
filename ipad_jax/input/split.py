"""Which frames a model is fitted on, and which normal ones are held out to calibrate it."""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ml_collections import ConfigDict

from ipad_jax.input.frames import FrameSource, Video, dataset_dir, open_source
from ipad_jax.input.scenes import open_scenes, scene_names

BLOCK_CLIPS = 4  # clips that a held-out block is long, at least; our choice


@dataclass(frozen=True)
class Segment:
    """Frames start <= frame < stop of one video; `video` is an index into the source's videos."""

    video: int
    start: int
    stop: int

    @property
    def length(self) -> int:
        """Number of frames."""
        return self.stop - self.start


def open_split(config: ConfigDict, split: str, cache_mb: float = 0) -> FrameSource:
    """The split "train" or "test" of the dataset a config names, or of several (`data.name=S01+S02`).

    Raises:
      FileNotFoundError: it is not prepared; names the command.
      ValueError: it is not the one with `data.fingerprint`, which a run was trained on.
    """
    data = config.data
    paths = {
        scene: dataset_dir(
            data.data_dir, data.builder, scene, data.size, data.quality, data.variant
        )
        for scene in scene_names(data.name)
    }
    if len(paths) == 1:
        source = open_source(paths[data.name], split, cache_mb=cache_mb)
    else:
        source = open_scenes(paths, split, cache_mb=cache_mb)
    trained_on = data.get("fingerprint", "")
    if trained_on and source.fingerprint != trained_on:
        raise ValueError(
            f"{source.path} is not the dataset that this run was trained on: it was prepared anew from other "
            f"footage (fingerprint {source.fingerprint}, the run's is {trained_on}). Prepare the old footage "
            "again, or prepare the new one under a name of its own (`--name`) and train on it, or judge the "
            "run on it with `ipad-jax evaluate --config.data.name=NAME`."
        )
    return source


def training_parts(config: ConfigDict, source: FrameSource) -> tuple[list[Segment], list[Segment]]:
    """Footage of the training split to fit a config's model on, and to calibrate it on.

    Of several scenes each is divided by itself, as it would be alone. `data.train_share` then takes some
    of the videos to fit; what calibrates does not depend on it.

    Raises:
      ValueError: one of them is asked for and has no clip; a share outside (0, 1].
    """
    data = config.data
    fitted, held = [], []
    for first, videos in _scenes(source.videos):
        # A run of before the leaf was trained on all but the tails.
        blocks = data.get("holdout_blocks", 0)
        fit, hold = hold_out(videos, data.holdout_share, data.holdout_min, data.clip_len, blocks)
        fit = take_share(fit, data.get("train_share", 1.0))
        scene = f", scene {videos[0].scene}" if videos and videos[0].scene else ""
        for segments, purpose in ((fit, "train on"), *([(hold, "calibrate on")] if hold else [])):
            longest = max((s.length for s in segments), default=0)
            if longest < data.clip_len:
                raise ValueError(
                    f"{source.path}{scene}: no clip of data.clip_len={data.clip_len} frames to "
                    f"{purpose}: {len(segments)} videos, the longest of {longest} frames. Record "
                    "longer ones, or lower data.clip_len"
                    + (", or set data.holdout_share=0 and go without a threshold." if hold else ".")
                )
        fitted += [dataclasses.replace(s, video=s.video + first) for s in fit]
        held += [dataclasses.replace(s, video=s.video + first) for s in hold]
    return fitted, held


def take_share(segments: Sequence[Segment], share: float) -> list[Segment]:
    """All segments of some videos, spread evenly over the list: the same every time, whatever the seed.

    Args:
      segments: footage to fit.
      share: part of the videos to keep, in (0, 1]; at least one is kept.

    Raises:
      ValueError: a share outside (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError(f"data.train_share={share} must be above 0 and at most 1.")
    videos = list(dict.fromkeys(segment.video for segment in segments))
    count = min(len(videos), max(1, round(share * len(videos))))
    taken = {videos[i] for i in _spread(len(videos), count)}
    return [segment for segment in segments if segment.video in taken]


def describe_share(config: ConfigDict, source: FrameSource) -> str:
    """A line that counts and names the videos that `data.train_share` takes; "" where it takes all."""
    share = config.data.get("train_share", 1.0)
    if share == 1:
        return ""
    whole = config.copy_and_resolve_references()
    with whole.unlocked():
        whole.data.train_share = 1.0
    all_of_them, taken = (training_parts(c, source)[0] for c in (whole, config))
    videos, chosen = (list(dict.fromkeys(s.video for s in part)) for part in (all_of_them, taken))
    names = ", ".join(source.videos[video].name for video in chosen[:10])
    more = f" and {len(chosen) - 10} more" if len(chosen) > 10 else ""
    return (
        f"data.train_share={share:g}: {len(chosen)} of {len(videos)} training videos, "
        f"{sum(s.length for s in taken):,} of {sum(s.length for s in all_of_them):,} frames: {names}{more}"
    )


def _scenes(videos: Sequence[Video]) -> Iterator[tuple[int, list[Video]]]:
    """The videos of each scene with the index of the first; once with none where there are none."""
    first = 0
    for _, group in itertools.groupby(videos, lambda video: video.scene):
        part = list(group)
        yield first, part
        first += len(part)
    if not videos:
        yield 0, []


def _spread(number: int, count: int) -> list[int]:
    """`count` indices spread evenly over a list of `number`."""
    return [int((i + 0.5) * number / count) for i in range(count)]


def whole_videos(videos: Sequence[Video]) -> list[Segment]:
    """Every video from its first to its last frame."""
    return [Segment(index, 0, video.length) for index, video in enumerate(videos)]


def hold_out(
    videos: Sequence[Video],
    share: float = 0.2,
    minimum: int = 5,
    clip_len: int = 16,
    blocks: int = 0,
) -> tuple[list[Segment], list[Segment]]:
    """Divides normal videos into those to fit and those to calibrate on.

    With at least 2 * minimum videos, whole ones are held out, spread evenly over the list (they are
    often recorded in order, and light drifts). With fewer, parts of each video are (`_blocks`, `_tail`),
    and frames beside them are used by neither, so that no clip touches both.

    Args:
      videos: the training videos.
      share: part to hold out, in [0, 1); 0 holds out none.
      minimum: fewest whole videos worth calibrating on; at least 1, however small the share.
      clip_len: frames of a clip.
      blocks: parts of each video, at most; 0 takes its tail, and a third is then no bound.

    Returns:
      (train segments, calibration segments), both in the videos' order.

    Raises:
      ValueError: share outside [0, 1), minimum below 1, blocks below 0, or every video too short to
        give up a part.
    """
    if not 0 <= share < 1:
        raise ValueError(f"holdout_share={share} must be at least 0 and below 1.")
    if minimum < 1:
        raise ValueError(
            f"holdout_min={minimum} must be at least 1; holdout_share=0 holds none out."
        )
    if blocks < 0:
        raise ValueError(f"holdout_blocks={blocks} must be 0 (the tail) or more.")
    whole = whole_videos(videos)
    if share == 0:
        return whole, []
    if len(videos) >= 2 * minimum:
        count = min(max(minimum, round(share * len(videos))), len(videos) - minimum)
        held = set(_spread(len(videos), count))
        return [s for s in whole if s.video not in held], [s for s in whole if s.video in held]
    train, calibration = [], []
    for segment, video in zip(whole, videos):
        if blocks:
            held, gap = _blocks(video, share, clip_len, blocks)
        else:
            held, gap = _tail(video.length, max(round(share * video.length), clip_len), clip_len)
        starts = [0, *(stop + gap for _, stop in held)]
        stops = [*(start - gap for start, _ in held), video.length]
        train += [Segment(segment.video, a, b) for a, b in zip(starts, stops) if a < b]
        calibration += [Segment(segment.video, *part) for part in held]
    if videos and not calibration:
        raise ValueError(
            f"None of the {len(videos)} training videos is long enough to hold out a part: each "
            f"needs {(6 if blocks else 3) * clip_len} frames (data.clip_len={clip_len}), the longest has "
            f"{max(v.length for v in videos)}. Record longer ones, or set data.holdout_share=0 and "
            f"go without a calibrated threshold."
        )
    return train, calibration


def _blocks(
    video: Video, share: float, clip_len: int, most: int
) -> tuple[list[tuple[int, int]], int]:
    """Held-out parts (start, stop) of a video, each in the middle of its stretch, and the gap beside them.

    Parts and gaps are a third of the video, at most. The gap is a cycle where it is known and longer than a
    clip; a part is as long as both its gaps and `BLOCK_CLIPS` clips, at least. A video too short for
    that has fewer parts, then gaps of a clip, then a tail, then none.
    """
    third = video.length // 3
    cycle = math.ceil(video.cycle_frames or 0)
    for gap in (max(clip_len, cycle), clip_len):
        for count in range(most, 0, -1):
            length = min(round(share * video.length), third - 2 * count * gap) // count
            if length >= max(2 * gap, BLOCK_CLIPS * clip_len):
                middles = _spread(video.length, count)
                return [(m - length // 2, m - length // 2 + length) for m in middles], gap
    tail = min(max(round(share * video.length), clip_len), third - clip_len)
    return _tail(video.length, tail, clip_len) if tail >= clip_len else ([], clip_len)


def _tail(length: int, tail: int, clip_len: int) -> tuple[list[tuple[int, int]], int]:
    """The last `tail` frames, where a clip is left before the gap; and the gap, a clip."""
    fits = length - tail - clip_len >= clip_len
    return [(length - tail, length)] if fits else [], clip_len
