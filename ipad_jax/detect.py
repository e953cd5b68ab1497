"""`ipad-jax detect`: marks faults in any video, folder of frames or camera, frame by frame.

Causal and in constant memory: what is written about a frame never changes, whatever comes after. Rows
are flushed as they come, so a killed process leaves a readable scores.csv.
"""

import argparse
import csv
import math
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from ipad_jax.compile_cache import enable_compile_cache
from ipad_jax.detector import UNCALIBRATED_SCORE, Detector, FrameScore, load_detector
from ipad_jax.input.video_file import (
    FrameFolder,
    VideoSource,
    open_camera,
    open_video,
    resample,
    same_rate,
    videos_in,
)
from ipad_jax.interrupt import Interrupt
from ipad_jax.metrics.events import Event, EventFinder
from ipad_jax.progress import frame_progress
from ipad_jax.report.data import Curve
from ipad_jax.report.heatmap import heat_range
from ipad_jax.report.plots import LIGHT, save_png, score_curve
from ipad_jax.report.side_by_side import SideBySideWriter
from ipad_jax.video.aggregate import COMPONENTS

CSV_COMPONENTS = (*COMPONENTS, "diff_mean", "diff_pooled")
TIMELINE_POINTS = 4000  # stretches of time the plot tells apart; each keeps its highest score
VIDEO_FPS = 12.5  # pictures a second of the side-by-side video, about; VP9 takes 0.1 s for each
LIVE_REPORT_S = 60.0  # seconds between signs of life while a camera shows nothing
CAUSES = {"period_error": "timing of the cycle", "diff_mean": "movement", "diff_pooled": "movement"}
PICTURE = "look of the picture"


@dataclass(frozen=True)
class Alarm:
    """An event with what the model can say about it.

    Attributes:
      event: frames, peak and its score.
      cause: the component that adds most at the peak, in plain words; "" unknown.
      place: where in the picture the error is largest at the peak; "" unknown.
    """

    event: Event
    cause: str = ""
    place: str = ""


class AlarmFinder:
    """Events of a stream of rows, with cause and place of their peaks; constant memory."""

    def __init__(self, threshold: float, fps: float):
        self._finder = EventFinder(threshold, fps)
        self._said = ("", "")

    def add(self, row: FrameScore) -> Alarm | None:
        """Takes the next row; returns an alarm that is over."""
        said = self._said
        finished = self._finder.add(row.frame, row.score)
        if self._finder.open is not None and self._finder.open.peak == row.frame:
            self._said = (cause_of(row), place_of(row))
        return Alarm(finished, *said) if finished else None

    @property
    def open(self) -> Alarm | None:
        """The alarm that is on."""
        event = self._finder.open
        return Alarm(event, *self._said) if event else None

    def close(self) -> Alarm | None:
        """The alarm that was on when the stream ended."""
        finished = self._finder.close()
        return Alarm(finished, *self._said) if finished else None


def cause_of(row: FrameScore) -> str:
    """The component that adds most to a score, in plain words."""
    known = {name: share for name, share in row.shares.items() if math.isfinite(share)}
    if not known:
        return ""
    return CAUSES.get(max(known, key=known.__getitem__), PICTURE)


def place_of(row: FrameScore) -> str:
    """Where in the picture the error is largest: one of nine fields."""
    if row.pictures is None:
        return ""
    error = row.pictures.error
    y, x = np.unravel_index(int(np.argmax(error)), error.shape)
    down = ("top", "middle", "bottom")[min(2, 3 * int(y) // error.shape[0])]
    across = ("left", "centre", "right")[min(2, 3 * int(x) // error.shape[1])]
    return "centre" if (down, across) == ("middle", "centre") else f"{down} {across}"


class Timeline:
    """The course of a score of any length in at most `TIMELINE_POINTS` stretches, each with its maximum."""

    def __init__(self, points: int = TIMELINE_POINTS):
        if points < 2 or points % 2:
            raise ValueError(f"points={points} must be even and at least 2.")
        self.points = points
        self._frames_each = 1
        self._highest = np.full(points, np.nan)
        self._num_frames = 0

    def add(self, score: float) -> None:
        """Takes the next frame's score; NaN is none."""
        if self._num_frames == self.points * self._frames_each:
            pairs = self._highest.reshape(-1, 2)
            self._highest = np.full(self.points, np.nan)
            self._highest[: self.points // 2] = np.fmax(pairs[:, 0], pairs[:, 1])
            self._frames_each *= 2
        place = self._num_frames // self._frames_each
        self._highest[place] = np.fmax(self._highest[place], score)
        self._num_frames += 1

    def curve(self, fps: float) -> tuple[np.ndarray, np.ndarray]:
        """(seconds at which each stretch starts, its highest score)."""
        used = -(-self._num_frames // self._frames_each)
        return np.arange(used) * self._frames_each / fps, self._highest[:used]


class Record:
    """Writes scores.csv, events.csv, timeline.png and, if wanted, side_by_side.webm as rows come."""

    def __init__(self, folder: Path, name: str, detector: Detector, pictures: bool):
        self.folder, self.name, self.detector = folder, name, detector
        self.num_frames = self.num_unscored = self.num_alarms = 0
        self.alarms: list[Alarm] = []
        self._pictures = pictures
        self._timeline = Timeline()
        self._stack = ExitStack()
        self._finder = None
        if detector.threshold is not None:
            self._finder = AlarmFinder(detector.threshold, detector.fps)

    def __enter__(self) -> "Record":
        self.folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            self._scores_file = self._open_csv(stack, "scores.csv")
            self._scores = csv.writer(self._scores_file)
            self._scores.writerow(["frame", "time_s", "score", "alarm", *CSV_COMPONENTS])
            if self._finder is not None:
                self._events_file = self._open_csv(stack, "events.csv")
                self._events = csv.writer(self._events_file)
                self._events.writerow(
                    ["start_s", "end_s", "peak_s", "peak_score", "strength", "cause", "place"]
                )
                self._events_file.flush()
            self._video = stack.enter_context(self._writer()) if self._pictures else None
            self._stack = stack.pop_all()
        return self

    def _open_csv(self, stack: ExitStack, name: str) -> IO[str]:
        return stack.enter_context((self.folder / name).open("w", newline=""))

    def _writer(self) -> SideBySideWriter:
        """The side-by-side video, on the calibration's scales."""
        detector, calibration = self.detector, self.detector.calibration
        heat, scores = (0.0, 0.3), (0.0, 0.5)
        if calibration is not None:
            scores = (-3.0, 10.0)
            if UNCALIBRATED_SCORE in calibration.components:
                usual = calibration.components[UNCALIBRATED_SCORE]
                heat = heat_range(usual.location, usual.scale)
        return SideBySideWriter(
            self.folder / "side_by_side.webm",
            detector.image_size,
            detector.fps,
            heat,
            threshold=detector.threshold,
            score_range=scores,
            every=max(1, round(detector.fps / VIDEO_FPS)),
            title=self.name,
        )

    def add(self, row: FrameScore) -> Alarm | None:
        """Writes a row; returns an alarm that is over with it."""
        self.num_frames += 1
        self.num_unscored += not math.isfinite(row.score)
        values = [row.components[name] for name in CSV_COMPONENTS]
        self._scores.writerow(
            [
                row.frame,
                f"{row.time_s:.3f}",
                number(row.score),
                int(row.alarm),
                *map(number, values),
            ]
        )
        self._scores_file.flush()
        self._timeline.add(row.score)
        alarm = self._finder.add(row) if self._finder else None
        if self._video is not None:
            self._write_picture(row)
        if alarm:
            self._write_alarm(alarm)
        return alarm

    def _write_picture(self, row: FrameScore) -> None:
        pictures = row.pictures
        if self._video is None or pictures is None:
            return
        on = self._finder is not None and self._finder.open is not None
        self._video.write(
            pictures.frame,
            pictures.reconstruction,
            pictures.error,
            time_s=row.time_s,
            score=row.score,
            alarm=on,
        )

    def _write_alarm(self, alarm: Alarm) -> None:
        event, fps = alarm.event, self.detector.fps
        self.num_alarms += 1
        if len(self.alarms) < 1000:  # for the summary; a camera may run for months
            self.alarms.append(alarm)
        self._events.writerow(
            [
                f"{event.start / fps:.3f}",
                f"{event.stop / fps:.3f}",
                f"{event.peak / fps:.3f}",
                number(event.peak_score),
                number(strength(event, self.detector.threshold)),
                alarm.cause,
                alarm.place,
            ]
        )
        self._events_file.flush()

    def finish(self) -> Alarm | None:
        """Ends the last alarm and draws the timeline; call before leaving the block."""
        alarm = self._finder.close() if self._finder else None
        if alarm:
            self._write_alarm(alarm)
        if self.num_frames:
            fps = self.detector.fps
            time_s, score = self._timeline.curve(fps)
            events = [(a.event.start / fps, a.event.stop / fps) for a in self.alarms]
            curve = Curve(self.name, time_s, score, events=events)
            figure = score_curve(curve, self.detector.threshold, palette=LIGHT)
            figure.set_size_inches(11, 3)
            figure.patch.set(alpha=1, facecolor=LIGHT.paper)
            save_png(figure, self.folder / "timeline.png")
        return alarm

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)


def number(value: float) -> str:
    """A number for a CSV file; empty where there is none."""
    return f"{value:.6g}" if math.isfinite(value) else ""


def strength(event: Event, threshold: float | None) -> float:
    """How far above: peak / threshold, NaN where the threshold is not positive."""
    return event.peak_score / threshold if threshold and threshold > 0 else math.nan


def clock(seconds: float) -> str:
    """75.25 -> '1:15.2'; hours where there are some."""
    tenths = math.floor(seconds * 10 + 1e-6)
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    text = f"{minutes}:{tenths / 10:04.1f}"
    return f"{hours}:{text:>07}" if hours else text


def describe_alarm(alarm: Alarm, detector: Detector) -> str:
    """One line on an alarm for a person."""
    event, fps = alarm.event, detector.fps
    ratio = strength(event, detector.threshold)
    strong = f"score {event.peak_score:.2f}"
    if math.isfinite(ratio):
        strong += f", {ratio:.1f} x threshold"
    said = ", ".join(part for part in (alarm.cause, alarm.place) if part)
    return (
        f"{clock(event.start / fps):>9} to {clock(event.stop / fps):>9}   peak {clock(event.peak / fps)}"
        f" ({strong})" + (f"   {said}" if said else "")
    )


def frames_at_rate(
    source: VideoSource, detector: Detector, fps_given: bool
) -> tuple[Iterator[np.ndarray], str]:
    """The source's frames at the training's rate, and what was done to them.

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
        return (frame for _, frame in source), ""
    if source.live and not fps_given:
        raise ValueError(
            f"{source.name} states {source.fps:g} frames a second, the detector was trained at "
            f"{wanted:g}. Set the camera to {wanted:g}, or pass --fps with the rate it truly delivers; "
            f"frames are then picked by it."
        )
    note = f"{source.fps:g} frames a second resampled to the training's {wanted:g}"
    return resample(source, wanted), note


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
      detector: from `load_detector`.
      source: file, folder or camera.
      folder: where the results go.
      fps_given: whether a person vouches for the source's rate.
      side_by_side: also write the video.
      batch_size: clips at once; live sources take 1.

    Returns:
      The record, its files closed.
    """
    frames, note = frames_at_rate(source, detector, fps_given)
    if note:
        print(f"{source.name}: {note}")
    prepare = detector.prepare
    if isinstance(source, FrameFolder) and detector.config.data.builder == "factory":
        # The factory's own JPEG files went into its dataset as they are.
        def prepare(frame: np.ndarray) -> np.ndarray:
            same = frame.shape[:2] == detector.image_size
            return frame if same else detector.prepare(frame)

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
            prepare=prepare,
        )
        live = _LiveReport(detector, source)
        for row in rows:
            alarm = record.add(row)
            if progress:
                progress(record.num_frames, total or record.num_frames)
            else:
                live.tell(row, alarm)
        record.finish()
    return record


class _LiveReport:
    """What a person beside a camera reads: alarms when they are over, problems, a sign of life."""

    def __init__(self, detector: Detector, source: VideoSource):
        self._detector, self._source = detector, source
        self._problem = ""
        self._last_s = time.monotonic()

    def tell(self, row: FrameScore, alarm: Alarm | None) -> None:
        """Prints what is new."""
        lines = []
        if alarm:
            lines.append(describe_alarm(alarm, self._detector))
        if bool(self._source.problem) != bool(self._problem):
            lines.append(
                f"{clock(row.time_s):>9}   " + (self._source.problem or "rate is right again")
            )
            self._problem = self._source.problem
        if not lines and time.monotonic() - self._last_s > LIVE_REPORT_S:
            lines.append(f"{clock(row.time_s):>9}   score {row.score:.2f}")
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
    if source.problem:
        lines.append(f"  WARNING: {source.problem}")
    files = sorted(p.name for p in record.folder.iterdir() if p.is_file())
    lines.append(f"  written to {record.folder}: {', '.join(files)}")
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
    parser.add_argument("--threshold", type=float, help="alarm above it (default: calibrated)")
    parser.add_argument(
        "--out", type=Path, help="folder for results (default: WORKDIR/detect/NAME)"
    )
    parser.add_argument("--stride", type=int, help="frames between clips (default: the config's)")
    parser.add_argument(
        "--fps", type=float, help="rate of the source, where it states none or lies"
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
        detector = load_detector(
            args.workdir,
            step=args.step,
            threshold=args.threshold,
            stride=args.stride,
            progress=progress,
        )
    if detector.calibration is not None and args.threshold is None:
        print(detector.calibration.statement())
    delay = detector.delay_frames
    print(f"a frame is judged {delay} frames ({delay / detector.fps:.1f} s) after it is seen")
    out = args.out or Path(args.workdir) / "detect"
    problems = 0
    for source in sources:
        folder = out if args.out and len(sources) == 1 else out / source.name
        record = detect(
            detector,
            source,
            folder,
            fps_given=args.fps is not None,
            side_by_side=not source.live if args.side_by_side is None else args.side_by_side,
            batch_size=args.batch_size or detector.config.eval.batch_size,
        )
        print(summary(record, source), flush=True)
        problems += bool(source.problem) or not record.num_frames
    return 1 if problems else 0
