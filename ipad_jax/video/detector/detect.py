"""A detector run over a video or a folder of frames: what is written, and what a person reads.

Causal and in constant memory: what is written about a frame never changes, whatever comes after. Rows
are flushed as they come, so a killed process leaves a readable scores.csv.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from ipad_jax.data_builders.timing import resample, same_rate
from ipad_jax.input.camera import Camera
from ipad_jax.input.live import FrameFolder, VideoFile, VideoSource
from ipad_jax.run.interrupt import Interrupt
from ipad_jax.video.detector.alarm_log import Wanted
from ipad_jax.video.detector.detector import UNCALIBRATED_SCORE, Detector
from ipad_jax.video.detector.marks import write_source
from ipad_jax.video.detector.record import Record
from ipad_jax.video.detector.wording import clock, describe_alarm


def frames_at_rate(
    source: VideoSource, detector: Detector
) -> tuple[Iterator[np.ndarray], float, str]:
    """The source's frames at the training's rate, their own rate, and what was done to them.

    The rate is the source's where it counts as the training's: times then stay right for hours.

    Raises:
      ValueError: the rate is unknown.
    """
    wanted = detector.fps
    if source.fps is None:
        raise ValueError(
            f"{source.name} has no frame rate of its own; pass --fps with the rate it was recorded at "
            f"(the detector was trained at {wanted:g})."
        )
    if same_rate(source.fps, wanted):
        # Leaves frames at even times as they are; those of uneven times keep their speed.
        return resample(source, source.fps), source.fps, ""
    note = f"{source.fps:g} frames a second resampled to the training's {wanted:g}"
    return resample(source, wanted), wanted, note


def detect(
    detector: Detector,
    source: VideoSource,
    folder: Path,
    *,
    side_by_side: bool = False,
    wanted: Wanted | None = None,
    batch_size: int = 1,
    progress: Callable[[int, int], None] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Record:
    """Runs the detector over one source and writes what it finds; Ctrl-C ends it in good order.

    Args:
      detector: from `load`.
      source: file or folder.
      folder: where the results go.
      side_by_side: also write the video of all of it.
      wanted: of alarms; by default a picture and a clip each.
      batch_size: clips at once.
      progress: called with (frames done, frames in all).
      say: called with what a person should read before it starts.

    Returns:
      The record, its files closed.
    """
    if isinstance(source, FrameFolder):
        source.bit_depth = detector.footage.bit_depth
    frames, fps, note = frames_at_rate(source, detector)
    detector = detector.at_rate(fps)
    if note:
        say(f"{source.name}: {note}")
    started_s = source.started_s if isinstance(source, VideoFile) else None
    total = None
    if source.num_frames and source.fps:
        total = round(source.num_frames * detector.fps / source.fps)
    with ExitStack() as stack:
        interrupt = stack.enter_context(Interrupt())
        record = Record(folder, source.name, detector, side_by_side, wanted or Wanted())
        record = stack.enter_context(record)
        if detector.threshold is not None and isinstance(source, VideoFile | FrameFolder):
            write_source(folder, source)
        rows = detector.stream(
            _seen(frames, record, interrupt),
            batch_size=batch_size,
            pictures=record.takes_pictures,
            prepare=detector.prepare_file if isinstance(source, FrameFolder) else None,
        )
        for row in rows:
            record.add(row, None if started_s is None else started_s + row.time_s)
            if progress:
                progress(record.num_frames, total or record.num_frames)
        record.interrupted = interrupt.received
    return record


def _seen(
    frames: Iterable[np.ndarray], record: Record, interrupt: Interrupt
) -> Iterator[np.ndarray]:
    """Frames until Ctrl-C or SIGTERM: rows in progress are then finished, files closed."""
    for number, frame in enumerate(frames):
        if interrupt.received:
            return
        record.see(number, frame)
        yield frame


def summary(record: Record, source: VideoSource | Camera) -> str:
    """What was found, for a person."""
    live = isinstance(source, Camera)
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
        rest = "" if live else ": the rest is unseen"
        lines.append(f"  interrupted at {clock(seconds)} ({record.interrupted}){rest}")
    if record.num_gaps:
        lines.append(f"  {record.num_gaps} gaps without pictures; scores.csv has a row for each")
    if record.num_lost:
        lines.append(f"  WARNING: the disk was full, {record.num_lost:,} rows could not be written")
    if record.num_left_out:
        lines.append(f"  {record.num_left_out} pictures or clips were left out: no room or no time")
    if source.problem:
        lines.append(f"  WARNING: {source.problem}")
    if not live and source.note:
        lines.append(f"  note: {source.note}")
    replaced = ", in place of earlier results" if record.replaced else ""
    lines.append(f"  written to {record.folder}{replaced}: {', '.join(record.written)}")
    return "\n".join(lines)
