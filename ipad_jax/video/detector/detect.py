"""A detector run over a video, a folder of frames or a camera: what is written, and what a person reads.

Causal and in constant memory: what is written about a frame never changes, whatever comes after. Rows
are flushed as they come, so a killed process leaves a readable scores.csv.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from ipad_jax.data_builders.timing import resample, same_rate
from ipad_jax.input.live import FrameFolder, VideoSource
from ipad_jax.run.interrupt import Interrupt
from ipad_jax.video.detector.detector import UNCALIBRATED_SCORE, Detector, FrameScore
from ipad_jax.video.detector.record import (
    Alarm,
    Record,
    clock,
    describe_alarm,
    describe_open_alarm,
)

LIVE_REPORT_S = 60.0  # seconds between signs of life while a camera shows nothing


def frames_at_rate(
    source: VideoSource, detector: Detector, fps_given: bool
) -> tuple[Iterator[np.ndarray], float, str]:
    """The source's frames at the training's rate, their own rate, and what was done to them.

    The rate is the source's where it counts as the training's: times then stay right for hours.

    Raises:
      ValueError: the rate is unknown, or another one and the source is live.
    """
    wanted = detector.fps
    if source.fps is None:
        raise ValueError(
            f"{source.name} has no frame rate of its own; pass --fps with the rate it was recorded at "
            f"(the detector was trained at {wanted:g})."
        )
    if same_rate(source.fps, wanted):
        if source.live:
            return (frame for _, frame in source), source.fps, ""
        # Leaves frames at even times as they are; those of uneven times keep their speed.
        return resample(source, source.fps), source.fps, ""
    if source.live and not fps_given:
        raise ValueError(
            f"{source.name} states {source.fps:g} frames a second, the detector was trained at "
            f"{wanted:g}. Set the camera to {wanted:g}, or pass --fps with the rate it truly delivers; "
            f"frames are then picked by it."
        )
    note = f"{source.fps:g} frames a second resampled to the training's {wanted:g}"
    return resample(source, wanted), wanted, note


def detect(
    detector: Detector,
    source: VideoSource,
    folder: Path,
    *,
    fps_given: bool = False,
    side_by_side: bool = True,
    batch_size: int = 1,
    progress: Callable[[int, int], None] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Record:
    """Runs the detector over one source and writes what it finds; Ctrl-C ends it in good order.

    Args:
      detector: from `load`.
      source: file, folder or camera.
      folder: where the results go.
      fps_given: whether a person vouches for the source's rate.
      side_by_side: also write the video.
      batch_size: clips at once; live sources take 1.
      progress: called with (frames done, frames in all) of a source that is not live.
      say: called with what a person beside a camera should read, as it happens.

    Returns:
      The record, its files closed.
    """
    if isinstance(source, FrameFolder):
        source.bit_depth = detector.footage.bit_depth
    frames, fps, note = frames_at_rate(source, detector, fps_given)
    detector = detector.at_rate(fps)
    if note:
        say(f"{source.name}: {note}")
    total = None
    if source.num_frames and source.fps:
        total = round(source.num_frames * detector.fps / source.fps)
    if source.live:
        detector.warm_up(pictures=side_by_side)
    with ExitStack() as stack:
        interrupt = stack.enter_context(Interrupt())
        record = stack.enter_context(Record(folder, source.name, detector, side_by_side))
        rows = detector.stream(
            _until(frames, interrupt),
            batch_size=1 if source.live else batch_size,
            pictures=side_by_side,
            prepare=detector.prepare_file if isinstance(source, FrameFolder) else None,
        )
        live = _LiveReport(detector, source, say)
        for row in rows:
            alarm = record.add(row)
            if source.live:
                live.tell(row, alarm, record.open_alarm)
            elif progress:
                progress(record.num_frames, total or record.num_frames)
        record.interrupted = interrupt.received
    return record


class _LiveReport:
    """What a person beside a camera reads: alarms as they begin and end, problems, a sign of life."""

    def __init__(self, detector: Detector, source: VideoSource, say: Callable[[str], None]):
        self._detector, self._source, self._say = detector, source, say
        self._problem, self._alarm_start = "", -1
        self._last_s = time.monotonic()

    def tell(self, row: FrameScore, over: Alarm | None, on: Alarm | None) -> None:
        """Says what is new: an alarm that is over with this row, one that is on."""
        lines = []
        if over:
            lines.append(describe_alarm(over, self._detector))
        if on and on.event.start != self._alarm_start:
            self._alarm_start = on.event.start
            lines.append(f"{clock(row.time_s):>9}   " + describe_open_alarm(on, self._detector))
        if bool(self._source.problem) != bool(self._problem):
            lines.append(
                f"{clock(row.time_s):>9}   " + (self._source.problem or "rate is right again")
            )
            self._problem = self._source.problem
        if not lines and time.monotonic() - self._last_s > LIVE_REPORT_S:
            alarm = f"   {describe_open_alarm(on, self._detector)}" if on else ""
            lines.append(f"{clock(row.time_s):>9}   score {row.score:.2f}{alarm}")
        if lines:
            self._last_s = time.monotonic()
            self._say("\n".join(lines))


def _until(frames: Iterable[np.ndarray], interrupt: Interrupt) -> Iterator[np.ndarray]:
    """Frames until Ctrl-C or SIGTERM: rows in progress are then finished, files closed."""
    for frame in frames:
        if interrupt.received:
            return
        yield frame


def summary(record: Record, source: VideoSource) -> str:
    """What was found, for a person."""
    detector = record.detector
    seconds = record.num_frames / detector.fps
    lines = [
        f"{source.name}: {record.num_frames:,} frames, {clock(seconds)} at {detector.fps:g} fps"
    ]
    if record.num_unscored == record.num_frames:
        lines.append(
            f"  nothing scored: shorter than a clip of {detector.config.data.clip_len} frames"
        )
    elif detector.threshold is None:
        lines.append(
            "  no events: the run has no calibration (it held out no normal footage). The scores are "
            f"written ({UNCALIBRATED_SCORE}); pass --threshold to mark events."
        )
    elif not record.num_alarms:
        lines.append(f"  no alarm: no score above {detector.threshold:.3g}")
    else:
        lines.append(f"  {record.num_alarms} alarm{'s' * (record.num_alarms > 1)}:")
        lines += [f"  {describe_alarm(alarm, detector)}" for alarm in record.alarms[:50]]
        if record.num_alarms > 50:
            lines.append(f"  ... and {record.num_alarms - 50} more in events.csv")
    if record.interrupted:
        rest = "" if source.live else ": the rest is unseen"
        lines.append(f"  interrupted at {clock(seconds)} ({record.interrupted}){rest}")
    if source.problem:
        lines.append(f"  WARNING: {source.problem}")
    if source.note:
        lines.append(f"  note: {source.note}")
    replaced = ", in place of earlier results" if record.replaced else ""
    lines.append(f"  written to {record.folder}{replaced}: {', '.join(record.written)}")
    return "\n".join(lines)
