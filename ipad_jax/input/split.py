"""Which frames a model is fitted on, and which normal ones are held out to calibrate it."""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ml_collections import ConfigDict

from ipad_jax.input.frames import FrameSource, Video, dataset_dir, open_source
from ipad_jax.input.scenes import open_scenes, scene_names


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
        fit, hold = hold_out(videos, data.holdout_share, data.holdout_min, data.clip_len)
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
    """Whole segments, spread evenly over the list: the same ones every time, whatever the seed.

    Args:
      segments: footage to fit.
      share: part of their number to keep, in (0, 1]; at least one is kept.

    Raises:
      ValueError: a share outside (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError(f"data.train_share={share} must be above 0 and at most 1.")
    count = min(len(segments), max(1, round(share * len(segments))))
    return [segments[i] for i in _spread(len(segments), count)]


def describe_share(config: ConfigDict, source: FrameSource) -> str:
    """A line that counts and names the videos that `data.train_share` takes; "" where it takes all."""
    share = config.data.get("train_share", 1.0)
    if share == 1:
        return ""
    whole = config.copy_and_resolve_references()
    with whole.unlocked():
        whole.data.train_share = 1.0
    all_of_them, taken = (training_parts(c, source)[0] for c in (whole, config))
    names = ", ".join(source.videos[s.video].name for s in taken[:10])
    more = f" and {len(taken) - 10} more" if len(taken) > 10 else ""
    return (
        f"data.train_share={share:g}: {len(taken)} of {len(all_of_them)} training videos, "
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
    videos: Sequence[Video], share: float = 0.2, minimum: int = 5, clip_len: int = 16
) -> tuple[list[Segment], list[Segment]]:
    """Divides normal videos into those to fit and those to calibrate on.

    With at least 2 * minimum videos, whole ones are held out, spread evenly over the list (they are
    often recorded in order, and light drifts). With fewer, the tail of each video is held out, and
    one clip's length before it is used by neither, so that no clip touches both parts.

    Args:
      videos: the training videos.
      share: part to hold out, in [0, 1); 0 holds out none.
      minimum: fewest whole videos worth calibrating on; at least 1, however small the share.
      clip_len: frames of a clip.

    Returns:
      (train segments, calibration segments), both in the videos' order.

    Raises:
      ValueError: share outside [0, 1), minimum below 1, or every video too short to give up a tail.
    """
    if not 0 <= share < 1:
        raise ValueError(f"holdout_share={share} must be at least 0 and below 1.")
    if minimum < 1:
        raise ValueError(
            f"holdout_min={minimum} must be at least 1; holdout_share=0 holds none out."
        )
    whole = whole_videos(videos)
    if share == 0:
        return whole, []
    if len(videos) >= 2 * minimum:
        count = min(max(minimum, round(share * len(videos))), len(videos) - minimum)
        held = set(_spread(len(videos), count))
        return [s for s in whole if s.video not in held], [s for s in whole if s.video in held]
    train, calibration = [], []
    for segment in whole:
        tail = max(round(share * segment.length), clip_len)
        fitted = segment.length - tail - clip_len
        if fitted < clip_len:
            train.append(segment)
            continue
        train.append(Segment(segment.video, 0, fitted))
        calibration.append(Segment(segment.video, segment.length - tail, segment.stop))
    if videos and not calibration:
        raise ValueError(
            f"None of the {len(videos)} training videos is long enough to hold out a tail: each "
            f"needs {3 * clip_len} frames (clip_len={clip_len}), the longest has "
            f"{max(v.length for v in videos)}. Record longer ones, or set data.holdout_share=0 and "
            f"go without a calibrated threshold."
        )
    return train, calibration
