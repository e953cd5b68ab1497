"""Which frames a model is fitted on, and which normal ones are held out to calibrate it."""

from collections.abc import Sequence
from dataclasses import dataclass

from ml_collections import ConfigDict

from ipad_jax.input.source import FrameSource, Video, dataset_dir, open_source


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
    """The split "train" or "test" of the dataset a config names.

    Raises:
      FileNotFoundError: it is not prepared; names the command.
    """
    data = config.data
    path = dataset_dir(
        data.data_dir, data.builder, data.scene, data.size, data.quality, data.variant
    )
    return open_source(path, split, cache_mb=cache_mb)


def training_parts(config: ConfigDict, source: FrameSource) -> tuple[list[Segment], list[Segment]]:
    """Footage of the training split to fit a config's model on, and to calibrate it on.

    Raises:
      ValueError: one of them is asked for and has no clip.
    """
    data = config.data
    fitted, held = hold_out(source.videos, data.holdout_share, data.holdout_min, data.clip_len)
    for segments, purpose in ((fitted, "train on"), *([(held, "calibrate on")] if held else [])):
        longest = max((s.length for s in segments), default=0)
        if longest < data.clip_len:
            raise ValueError(
                f"{source.path}: no clip of data.clip_len={data.clip_len} frames to {purpose}: "
                f"{len(segments)} videos, the longest of {longest} frames. Record longer ones, or "
                "lower data.clip_len"
                + (", or set data.holdout_share=0 and go without a threshold." if held else ".")
            )
    return fitted, held


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
      minimum: fewest whole videos worth calibrating on.
      clip_len: frames of a clip.

    Returns:
      (train segments, calibration segments), both in the videos' order.

    Raises:
      ValueError: share outside [0, 1), or every video too short to give up a tail.
    """
    if not 0 <= share < 1:
        raise ValueError(f"holdout_share={share} must be at least 0 and below 1.")
    whole = whole_videos(videos)
    if share == 0:
        return whole, []
    if len(videos) >= 2 * minimum:
        count = min(max(minimum, round(share * len(videos))), len(videos) - minimum)
        held = {int((i + 0.5) * len(videos) / count) for i in range(count)}
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
