"""A detector beside a camera, for weeks: gaps are survived and written down, nothing is overwritten.

Where pictures stop, what is temporal ends with them: an alarm that is on, clips, motion, the phase of a
cycle. The stretch after the gap starts anew, its frames numbered as if the camera had gone on. Normal frames
that were taken up (normal/renewed.py) are kept across gaps and, in a file beside the folders of the starts,
from one start of the program to the next.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from ipad_jax.data_builders.timing import resample, same_rate
from ipad_jax.evaluation.alarm_rule import AlarmStream
from ipad_jax.input.camera import Camera, Gap, Shot
from ipad_jax.run.interrupt import Interrupt
from ipad_jax.video.detector.alarm_log import Wanted
from ipad_jax.video.detector.alarms import Alarm
from ipad_jax.video.detector.detector import Detector, FrameScore
from ipad_jax.video.detector.health import Health, tell_systemd
from ipad_jax.video.detector.notify import Notifier
from ipad_jax.video.detector.record import Record
from ipad_jax.video.detector.renewed_file import RenewedFile
from ipad_jax.video.detector.wording import describe_alarm, describe_open_alarm, utc

LIVE_REPORT_S = 60.0  # seconds between signs of life while a camera shows nothing


def start_folder(parent: Path) -> Path:
    """A new folder of this start, named by its UTC."""
    name = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    for number in range(1, 1000):
        folder = parent / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue
    raise FileExistsError(f"{parent} has a thousand folders of one second.")


def watch(
    detector: Detector,
    camera: Camera,
    parent: Path,
    *,
    fps_given: bool = False,
    side_by_side: bool = False,
    wanted: Wanted | None = None,
    notifiers: Sequence[Notifier] = (),
    health_file: Path | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Record:
    """Runs the detector beside a camera until Ctrl-C, SIGTERM or the camera gives up.

    Args:
      detector: from `load`.
      camera: from `open_camera`.
      parent: of the folder of this start, where the results go.
      fps_given: whether a person vouches for the camera's rate.
      side_by_side: also write the video of all of it.
      wanted: of alarms; by default a picture and a clip each.
      notifiers: that are told of alarms; only their counts are read here.
      health_file: written once a second, see `Health`; None: none.
      say: called with what a person beside the camera should read, as it happens.

    Returns:
      The record, its files closed.

    Raises:
      ValueError: the camera states no rate, or another one than the training's; its pictures have other
        proportions from the start.
    """
    with ExitStack() as stack:
        record = Record(
            start_folder(parent), camera.name, detector, side_by_side, wanted or Wanted(), live=True
        )
        stack.enter_context(record)
        say(f"{camera.name}: results go to {record.folder}")
        report = _Report(detector, camera, record, notifiers, health_file, say)
        report.health.tick(now=True)
        detector.warm_up(pictures=record.takes_pictures)
        tell_systemd("READY=1")
        interrupt = stack.enter_context(Interrupt())
        events = stack.enter_context(closing(camera.events()))
        renewed = RenewedFile.of(detector, parent, report.say)
        _Watch(detector, camera, record, events, interrupt, fps_given, report, renewed).run()
        if renewed is not None:
            renewed.save()
        record.interrupted = interrupt.received
        report.ended()
    return record


class _Watch:
    """The state of a watch."""

    def __init__(
        self,
        detector: Detector,
        camera: Camera,
        record: Record,
        events: Iterator[Shot | Gap | None],
        interrupt: Interrupt,
        fps_given: bool,
        report: "_Report",
        renewed: RenewedFile | None,
    ):
        self._detector, self._camera, self._record = detector, camera, record
        self._events, self._interrupt, self._fps_given = events, interrupt, fps_given
        self._report = report
        self._alarms = None if detector.rule is None else AlarmStream(detector.rule, detector.fps)
        self._renewed = renewed
        self._start_s: float | None = None  # of `time.monotonic`; frame 0
        self._number = 0  # of the next frame
        self._times: deque[float] = deque()  # UTC of the frames whose row is not yet there
        self._gap: Gap | None = None
        self._shape: tuple[int, ...] = ()  # of pictures that fit

    def run(self) -> None:
        """Stretch by stretch."""
        while (shot := self._wait()) is not None:
            self._begin(shot)
            rows = self._detector.stream(
                self._frames(shot),
                pictures=self._record.takes_pictures,
                start=self._number,
                alarms=self._alarms,
                renewed=None if self._renewed is None else self._renewed.frames,
            )
            for row in rows:
                self._number = row.frame + 1
                utc_s = self._times.popleft()
                alarm = self._record.add(row, utc_s)
                self._report.tell(row, utc_s, alarm)
                if self._renewed is not None:
                    self._renewed.tick()
                    self._report.taken_up(self._renewed.frames.num_taken, utc_s)
            if self._alarms is not None:
                self._alarms.close()
            if alarm := self._record.end_alarm():
                self._report.over(alarm)
            if self._gap is not None:
                self._write_gap(self._gap)

    def _wait(self) -> Shot | None:
        """The first picture of a stretch; None at the end."""
        while (event := self._event()) is not None:
            if isinstance(event, Shot) and (reason := self._misfit(event)):
                event = Gap(reason, event.at_s)
            if isinstance(event, Shot):
                return event
            if self._gap is None:
                self._gap = event
                self._write_gap(event)
        return None

    def _begin(self, shot: Shot) -> None:
        """Numbers what is to come."""
        if self._start_s is None:
            self._start_s = shot.at_s
        elapsed = round((shot.at_s - self._start_s) * self._detector.fps)
        self._number = max(self._number, elapsed)
        self._times.clear()
        if self._gap is not None:
            lasted_s, self._gap = shot.at_s - self._gap.since_s, None
            note = f"pictures again after {lasted_s:.1f} s"
            self._record.add_gap(self._number / self._detector.fps, shot.utc_s, note)
            self._report.say(note)

    def _write_gap(self, gap: Gap) -> None:
        if self._start_s is None:
            self._start_s = gap.since_s
        utc_s = gap.since_s + time.time() - time.monotonic()
        time_s = max(gap.since_s - self._start_s, self._number / self._detector.fps)
        self._record.num_gaps += 1
        self._record.add_gap(time_s, utc_s, f"gap: {gap.reason}")
        self._report.say(f"no picture since {utc(utc_s)}: {gap.reason}")

    def _frames(self, first: Shot) -> Iterator[np.ndarray]:
        """The frames of a stretch, at the training's rate."""
        shots, fps, wanted = self._shots(first), self._camera.fps, self._detector.fps
        if fps and not same_rate(fps, wanted):
            shots = resample(((i / fps, shot) for i, shot in enumerate(shots)), wanted)
        for number, shot in enumerate(shots, self._number):
            self._times.append(shot.utc_s)
            self._record.see(number, shot.image)
            yield shot.image

    def _shots(self, first: Shot) -> Iterator[Shot]:
        """Pictures until a gap."""
        event: Shot | Gap | None = first
        while isinstance(event, Shot):
            if reason := self._misfit(event):
                event = Gap(reason, event.at_s)
                break
            self._report.seen_utc_s = event.utc_s
            yield event
            event = self._event()
        self._gap = event

    def _event(self) -> Shot | Gap | None:
        """The next picture or gap; None at the end."""
        for event in self._events:
            self._report.tick()
            if self._interrupt.received:
                return None
            if event is not None:
                return event
        return None

    def _misfit(self, shot: Shot) -> str:
        """Why a picture cannot be scored; "" it can."""
        if shot.image.shape == self._shape:
            return ""
        if not self._shape:
            self._check_rate()
        try:
            self._detector.footage.check_shape(shot.image)
        except ValueError as error:
            if not self._shape:
                raise
            return str(error)
        self._shape = shot.image.shape
        return ""

    def _check_rate(self) -> None:
        camera, wanted = self._camera, self._detector.fps
        if camera.fps is None:
            raise ValueError(
                f"{camera.name} states no frame rate; pass --fps with the rate it delivers (the "
                f"detector was trained at {wanted:g})."
            )
        if not same_rate(camera.fps, wanted):
            if not self._fps_given:
                raise ValueError(
                    f"{camera.name} states {camera.fps:g} frames a second, the detector was trained at "
                    f"{wanted:g}. Set the camera to {wanted:g}, or pass --fps with the rate it truly "
                    f"delivers; frames are then picked by it."
                )
            self._report.say(
                f"{camera.fps:g} frames a second resampled to the training's {wanted:g}"
            )


class _Report:
    """What a person beside a camera reads, and a supervisor: alarms, problems, a line a minute, health.

    Attributes:
      seen_utc_s: when the last picture was taken.
    """

    def __init__(
        self,
        detector: Detector,
        camera: Camera,
        record: Record,
        notifiers: Sequence[Notifier],
        health_file: Path | None,
        say: Callable[[str], None],
    ):
        self._detector, self._camera, self._record = detector, camera, record
        self._notifiers, self._say = notifiers, say
        self.health = Health(health_file, self.state)
        self.seen_utc_s: float | None = None
        self._started_s, self._state = time.time(), "starting"
        self._judged_utc_s: float | None = None
        self._delay_s = self._score = math.nan
        self._problem, self._alarm_start, self._lost = "", -1, 0
        self._num_taken = 0  # normal frames that were renewed
        self._taken_utc_s: float | None = None
        self._minute_s = time.monotonic()

    def state(self) -> dict[str, Any]:
        """What the health file holds."""
        camera, record = self._camera, self._record
        return {
            "state": self._state,
            "utc": utc(time.time()),
            "started_utc": utc(self._started_s),
            "camera": camera.shown,
            "problem": camera.problem,
            "camera_frames_per_s": _finite(camera.rate),
            "frames": record.num_frames,
            "dropped": camera.dropped,
            "delay_s": _finite(self._delay_s),
            "last_picture_utc": utc(self.seen_utc_s) or None,
            "last_judged_utc": utc(self._judged_utc_s) or None,
            "frames_taken_up": self._num_taken,
            "last_taken_up_utc": utc(self._taken_utc_s) or None,
            "score": _finite(self._score),
            "alarm": record.open_alarm is not None,
            "alarms": record.num_alarms,
            "gaps": record.num_gaps,
            "rows_lost": record.num_lost,
            "pictures_and_clips_left_out": record.num_left_out,
            "messages": {
                n.name: {"sent": n.num_sent, "waiting": n.num_waiting, "lost": n.num_lost}
                for n in self._notifiers
            },
            "folder": str(record.folder),
        }

    def say(self, text: str) -> None:
        """Says a line, with the time."""
        self._say(f"{utc(time.time())[:19]}Z  {text}")

    def taken_up(self, num_frames: int, utc_s: float) -> None:
        """Notes how many normal frames were renewed by now, and when the latest was."""
        if num_frames != self._num_taken:
            self._num_taken, self._taken_utc_s = num_frames, utc_s

    def over(self, alarm: Alarm) -> None:
        """Says that an alarm is over."""
        self.say(f"alarm over: {describe_alarm(alarm, self._detector).strip()}")

    def tell(self, row: FrameScore, utc_s: float, over: Alarm | None) -> None:
        """A row was written: says an alarm that is over with it, or one that is on."""
        self.health.judged()
        self._judged_utc_s, self._delay_s, self._score = utc_s, time.time() - utc_s, row.score
        if over:
            self.over(over)
        on = self._record.open_alarm
        if on and on.event.start != self._alarm_start:
            self._alarm_start = on.event.start
            self.say(describe_open_alarm(on, self._detector))

    def tick(self) -> None:
        """To be called several times a second: says what changed, and gives signs of life."""
        self._state = "gap" if self._camera.gap else "watching"
        self.health.tick()
        # A gap is said by whoever writes it down.
        problem = self._problem if self._camera.gap else self._camera.problem
        if bool(problem) != bool(self._problem):
            self.say(problem or "the camera is right again")
        self._problem = problem
        if self._record.num_lost and not self._lost:
            self.say("the disk is full: rows are lost, alarms are not")
        self._lost = self._record.num_lost
        if time.monotonic() - self._minute_s > LIVE_REPORT_S:
            self._minute_s = time.monotonic()
            self.say(self._minute())

    def ended(self) -> None:
        """The last state."""
        self._state = "ended"
        tell_systemd("STOPPING=1")
        self.health.tick(now=True)

    def _minute(self) -> str:
        if self._camera.gap:
            return f"{self._camera.gap}; last picture {utc(self.seen_utc_s)[:19] or 'never'}"
        on = self._record.open_alarm
        alarm = f"; {describe_open_alarm(on, self._detector)}" if on else ""
        lost = sum(notifier.num_lost for notifier in self._notifiers)
        return (
            f"{self.health.rate:.1f} frames/s, {self._camera.dropped} dropped, delay "
            f"{self._delay_s:.1f} s, score {self._score:.2f}"
            + (f", {lost} messages lost" if lost else "")
            + alarm
        )


def _finite(value: float) -> float | None:
    """For JSON, which has no NaN."""
    return round(value, 3) if math.isfinite(value) else None
