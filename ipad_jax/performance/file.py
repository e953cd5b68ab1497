"""What a video file takes to be judged: decoding, reduction, the score, and what `detect` writes.

Each row does what the one above it does and one thing more, on the same first frames and in turn, so that
the difference of two rows is the cost of the last step.
"""

import itertools
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ipad_jax.input.live import TimedFrame, VideoFile, open_video
from ipad_jax.performance.step import describe_machine
from ipad_jax.performance.timing import Timing, alternate, number
from ipad_jax.run.cluster import num_cores
from ipad_jax.run.table import Table
from ipad_jax.video.detector.alarm_log import Wanted
from ipad_jax.video.detector.detect import detect, frames_at_rate
from ipad_jax.video.detector.detector import load


def time_file(*, workdir: str, video: str, frames: int, batch: int, repeats: int) -> Table:
    """Frames a second of a file, step by step.

    Args:
      workdir: a trained run.
      video: a file of its machine.
      frames: of it, from its start, at most.
      batch: clips at once.
      repeats: counted rounds.

    Raises:
      ValueError: a folder, or fewer frames than a clip has.
    """
    detector = load(workdir)
    source = open_video(video)
    if not isinstance(source, VideoFile):
        raise ValueError(f"{video} is a folder of frames; give a video file: it is decoding too.")
    first = First(source, frames)
    count, clip_len = sum(1 for _ in first), detector.config.data.clip_len
    if count < clip_len:
        raise ValueError(
            f"{count} frames of {video} are fewer than a clip's {clip_len}: give a longer file or more "
            "--frames."
        )
    _, fps, note = frames_at_rate(first, detector)
    judge = detector.at_rate(fps)

    def resampled() -> Iterable[Any]:
        return frames_at_rate(first, detector)[0]

    def written(**options: Any) -> None:
        folder = Path(tempfile.mkdtemp())
        try:
            detect(detector, first, folder, batch_size=batch, **options)
        finally:
            shutil.rmtree(folder)

    timings = alternate(
        {
            "decoded": lambda: _exhaust(resampled()),
            "reduced": lambda: _exhaust(map(judge.prepare, resampled())),
            "scored": lambda: _exhaust(judge.stream(resampled(), batch_size=batch)),
            "`detect --clip-seconds 0`": lambda: written(wanted=Wanted(clip_s=0)),
            "`detect`": written,
            "`detect --side-by-side`": lambda: written(side_by_side=True),
        },
        repeats,
    )
    rows, before = [], Timing(0.0, 0.0)
    for name, timing in timings.items():
        each = 1000 * timing.cpu_seconds / count
        step = each - 1000 * before.cpu_seconds / count
        rates = count / timing.seconds, count / timing.cpu_seconds
        rows.append((name, *map(number, rates), number(each), f"{step:+.1f}"))
        before = timing
    width, height = source.info.size
    return Table(
        f"A file of {width}x{height} scored at "
        f"{judge.image_size[1]}x{judge.image_size[0]}, stride {judge.config.eval.stride} "
        f"({workdir}, {describe_machine()})",
        ("until", "frames/s", "a CPU second", "CPU ms a frame", "of the last step"),
        tuple(rows),
        (
            f"{count} frames{'; ' if note else ''}{note}; medians; CPU time of all threads; {num_cores()} "
            "cores, `taskset -c 0 ipad-jax bench file ...` takes one",
        ),
    )


class First:
    """The first frames of a file, as often as they are asked for; a `VideoSource`."""

    problem = note = ""

    def __init__(self, file: VideoFile, limit: int) -> None:
        self._file, self._limit = file, limit
        self.name: str = file.name
        self.fps: float | None = file.fps
        self.num_frames: int | None = min(limit, file.num_frames or limit)

    def __iter__(self) -> Iterator[TimedFrame]:
        return itertools.islice(self._file, self._limit)


def _exhaust(items: Iterable[Any]) -> None:
    for _ in items:
        pass
