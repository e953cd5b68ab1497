"""`ipad-jax detect`: marks faults in any video, folder of frames or camera, frame by frame.

Causal and in constant memory: what is written about a frame never changes, whatever comes after. Rows
are flushed as they come, so a killed process leaves a readable scores.csv.
"""

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from ipad_jax.data_builders.timing import resample, same_rate
from ipad_jax.input.live import FrameFolder, VideoSource, open_camera, open_video, videos_in
from ipad_jax.run.compile_cache import enable_compile_cache
from ipad_jax.run.interrupt import Interrupt
from ipad_jax.run.progress import frame_progress
from ipad_jax.run.stopwatch import INTERRUPTED
from ipad_jax.video.detector.detector import UNCALIBRATED_SCORE, Detector, FrameScore, load
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
) -> Record:
    """Runs the detector over one source and writes what it finds; Ctrl-C ends it in good order.

    Args:
      detector: from `load`.
      source: file, folder or camera.
      folder: where the results go.
      fps_given: whether a person vouches for the source's rate.
      side_by_side: also write the video.
      batch_size: clips at once; live sources take 1.

    Returns:
      The record, its files closed.
    """
    if isinstance(source, FrameFolder):
        source.bit_depth = detector.footage.bit_depth
    frames, fps, note = frames_at_rate(source, detector, fps_given)
    detector = detector.at_rate(fps)
    if note:
        print(f"{source.name}: {note}")
    total = None
    if source.num_frames and source.fps:
        total = round(source.num_frames * detector.fps / source.fps)
    if source.live:
        detector.warm_up(pictures=side_by_side)
    with ExitStack() as stack:
        interrupt = stack.enter_context(Interrupt())
        record = stack.enter_context(Record(folder, source.name, detector, side_by_side))
        progress = None if source.live else stack.enter_context(frame_progress("detecting"))
        rows = detector.stream(
            _until(frames, interrupt),
            batch_size=1 if source.live else batch_size,
            pictures=side_by_side,
            prepare=detector.prepare_file if isinstance(source, FrameFolder) else None,
        )
        live = _LiveReport(detector, source)
        for row in rows:
            alarm = record.add(row)
            if progress:
                progress(record.num_frames, total or record.num_frames)
            else:
                live.tell(row, alarm, record.open_alarm)
        record.interrupted = interrupt.received
    return record


class _LiveReport:
    """What a person beside a camera reads: alarms as they begin and end, problems, a sign of life."""

    def __init__(self, detector: Detector, source: VideoSource):
        self._detector, self._source = detector, source
        self._problem, self._alarm_start = "", -1
        self._last_s = time.monotonic()

    def tell(self, row: FrameScore, over: Alarm | None, on: Alarm | None) -> None:
        """Prints what is new: an alarm that is over with this row, one that is on."""
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
            print("\n".join(lines), flush=True)


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


def make_parser() -> argparse.ArgumentParser:
    """Parser of `ipad-jax detect`."""
    parser = argparse.ArgumentParser("ipad-jax detect", description=__doc__)
    parser.add_argument("--workdir", required=True, help="run folder made by `ipad-jax train`")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--video", metavar="PATH", help="video file, folder of numbered frames, or folder of videos"
    )
    what.add_argument("--camera", metavar="N_OR_RTSP", help="camera number or rtsp:// address")
    parser.add_argument(
        "--threshold",
        type=float,
        help="alarm above it (default: calibrated); in spreads of normal footage, or where a run has no "
        "calibration the pooled error from 0 to 1",
    )
    parser.add_argument(
        "--out", type=Path, help="folder for results (default: WORKDIR/detect/NAME)"
    )
    parser.add_argument("--stride", type=int, help="frames between clips (default: the config's)")
    parser.add_argument(
        "--fps",
        type=float,
        help="the source's true rate, where it states none or a wrong one: the file's own times then do "
        "not count (frames are picked to the training's rate by themselves)",
    )
    parser.add_argument("--step", type=int, help="checkpoint (default: the newest)")
    parser.add_argument("--batch-size", type=int, help="clips at once (default: the config's)")
    parser.add_argument(
        "--side-by-side",
        action=argparse.BooleanOptionalAction,
        help="write the video of frame, reconstruction and heat map (default: for files, not cameras)",
    )
    return parser


def main(argv: list[str]) -> int:
    """The command; see `ipad-jax detect --help`."""
    args = make_parser().parse_args(argv)
    if args.fps is not None and not 0 < args.fps <= 1000:
        raise ValueError(f"--fps {args.fps} must be above 0 and at most 1000.")
    if "://" in args.workdir and args.out is None:
        raise ValueError(f"--workdir {args.workdir} is remote; say with --out where results go.")
    # Sources first: a wrong path is told before a model is loaded.
    sources: list[VideoSource]
    if args.camera is not None:
        sources = [open_camera(args.camera, args.fps)]
    else:
        paths = videos_in(args.video)
        sources = [open_video(path, args.fps) for path in paths]
        if len({source.name for source in sources}) < len(sources):  # a.mp4 beside a.avi
            for source, path in zip(sources, paths):
                source.name = path.name
    enable_compile_cache()
    with frame_progress("calibrating") as progress:
        detector = load(
            args.workdir,
            step=args.step,
            threshold=args.threshold,
            stride=args.stride,
            progress=progress,
        )
    if detector.threshold is None:
        print(
            "no alarms: the run held out no normal footage, so it has no threshold; pass --threshold to "
            "mark events"
        )
    else:
        print(detector.threshold_statement())
    delay = detector.delay_frames
    print(f"a frame is judged {delay} frames ({delay / detector.fps:.1f} s) after it is seen")
    out = args.out or Path(args.workdir) / "detect"
    problems = 0
    for source in sources:
        folder = out if args.out and len(sources) == 1 else out / source.name
        try:
            record = detect(
                detector,
                source,
                folder,
                fps_given=args.fps is not None,
                side_by_side=not source.live if args.side_by_side is None else args.side_by_side,
                batch_size=args.batch_size or detector.config.eval.batch_size,
            )
        except ValueError as error:  # of this source; the others may be well
            print(f"ipad-jax detect: {error}", file=sys.stderr, flush=True)
            problems += 1
            continue
        print(summary(record, source), flush=True)
        if record.interrupted:
            return INTERRUPTED[record.interrupted]
        problems += bool(source.problem) or not record.num_frames
    return 1 if problems else 0
