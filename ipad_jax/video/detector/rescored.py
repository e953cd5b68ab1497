"""Marked events scored again: from their footage where it is still there, else from scores.csv.

An event is scored with some seconds around it, as in the detection that found it: a running median, motion
and the phase of a cycle look back. Footage is read from its start, in constant memory.
"""

import csv
import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from ipad_jax.input.live import FrameFolder, open_video
from ipad_jax.run.cluster import num_cores
from ipad_jax.run.marks import NORMAL
from ipad_jax.video.detector.detect import frames_at_rate
from ipad_jax.video.detector.detector import Detector
from ipad_jax.video.detector.marks import Mark
from ipad_jax.video.detector.stream import FrameScorer, predict_ahead
from ipad_jax.video.normal.learnt import MAX_FRAMES, Sample
from ipad_jax.video.normal.motion import LAGS
from ipad_jax.video.normal.places import spread
from ipad_jax.video.normal.stored import Normal
from ipad_jax.video.scores.aggregate import FrameRows

BEFORE_S = 5.0  # seconds scored before an event, besides the detector's delay; our choice


@dataclass(frozen=True)
class Rescored:
    """A marked event with its scores.

    Attributes:
      mark: the event.
      rows: of it and what lies around it.
      fps: of the rows.
      on_footage: whether they were made anew; else they are of scores.csv.
    """

    mark: Mark
    rows: FrameRows
    fps: float
    on_footage: bool

    @property
    def start(self) -> int:
        """The event's first frame."""
        return round(self.mark.start_s * self.fps)

    @property
    def stop(self) -> int:
        """The frame after its last."""
        return round(self.mark.end_s * self.fps)

    def event_rows(self, lead_s: float, marks: Sequence[Mark]) -> FrameRows:
        """The event's rows, and before it those that its running median saw, but none of other events."""
        first = self.start - round(lead_s * self.fps)
        source = self.mark.source
        for other in marks:
            if other.overlaps(first / self.fps, self.mark.start_s, source, self.mark.folder):
                first = max(first, round(other.end_s * self.fps))
        at = (self.rows.frame >= first) & (self.rows.frame < self.stop)
        return FrameRows(
            self.rows.frame[at],
            self.rows.position[at],
            {name: column[at] for name, column in self.rows.components.items()},
        )


@dataclass(frozen=True)
class _Stretch:
    """Frames [first, stop) of a source that are scored for some events."""

    first: int
    stop: int
    marks: tuple[Mark, ...]


def rescored(
    detector: Detector, config: ConfigDict, normal: Normal, marks: Iterable[Mark]
) -> dict[str, Rescored]:
    """Events whose footage is there, scored again, by their key.

    Raises:
      ValueError: a source has changed, or ends before an event.
    """
    found = {}
    for path, group in _by_source(marks).items():
        for stretch, rows, fps in _scored(detector, config, normal, path, group):
            for mark in stretch.marks:
                again = Rescored(mark, rows, fps, on_footage=True)
                found[mark.key] = nearer(again, detector) if config.eval.renew_minutes else again
    return found


def nearer(again: Rescored, detector: Detector) -> Rescored:
    """The event with the distance that its detection wrote down, where that is smaller.

    The detection also compared with normal frames that it had renewed, which nobody keeps for a file. Without
    them an ordinary event of a day whose light has moved would score high. Where its scores.csv is gone,
    what was scored again counts.
    """
    try:
        seen = recorded(detector, again.mark).rows
    except (FileNotFoundError, ValueError):
        return again
    rows, name = again.rows, "nearest"
    written = dict(zip(seen.frame.tolist(), seen.components[name].tolist()))
    also = np.array([written.get(frame, math.nan) for frame in rows.frame.tolist()], np.float32)
    now = rows.components[name]
    least = np.where(np.isfinite(now), np.fmin(now, also), now)
    return replace(
        again, rows=FrameRows(rows.frame, rows.position, {**rows.components, name: least})
    )


def sampled(
    detector: Detector, config: ConfigDict, marks: Iterable[Mark], others: Sequence[Mark]
) -> list[Sample]:
    """Frames of the events whose footage is there, at most `MAX_FRAMES` of each, with their phases."""
    samples: list[Sample] = []
    for path, group in _by_source(marks).items():
        held: dict[int, tuple[np.ndarray, ...]] = {}
        seen = _scored(detector, config, detector.predictor.normal, path, group, held)
        for _, rows, _ in seen:
            head = rows.components["phase"]
            tracked = rows.components.get("tracked_phase", np.full_like(head, np.nan))
            phases = np.where(np.isfinite(tracked), tracked, head)
            for frame, phase in zip(rows.frame.tolist(), phases.tolist()):
                if frame in held:
                    samples.append(Sample(held.pop(frame), phase))
    return samples


def recorded(detector: Detector, mark: Mark) -> Rescored:
    """An event's scores as its detection wrote them down.

    Raises:
      FileNotFoundError: there is no scores.csv.
      ValueError: it does not hold the event.
    """
    path, fps = mark.folder / "scores.csv", detector.fps
    where = mark.source.path or "its camera's footage"
    if not path.exists():
        raise FileNotFoundError(
            f"the event at {mark.start_s:.1f} s has neither footage ({where}) nor {path}; mark it unsure to "
            "leave it out."
        )
    frames: list[int] = []
    columns: dict[str, list[float]] = {}
    begin, end = mark.start_s - BEFORE_S, mark.end_s + BEFORE_S
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["frame"] and begin <= float(row["time_s"]) < end:
                frames.append(int(row["frame"]))
                for name in row.keys() - {"frame", "time_s", "utc", "alarm", "note"}:
                    columns.setdefault(name, []).append(float(row[name] or math.nan))
    frame = np.array(frames, np.int32)
    position = (frame % detector.config.eval.stride).astype(np.int16)
    names = {*columns, "tracked_phase"} - {"score", "sustained"}
    missing = [math.nan] * len(frames)
    components = {name: np.array(columns.get(name, missing), np.float32) for name in names}
    found = Rescored(mark, FrameRows(frame, position, components), fps, on_footage=False)
    if not np.any((frame >= found.start) & (frame < found.stop)):
        raise ValueError(
            f"{path} has no rows at {mark.start_s:.1f} s: a later detection replaced it."
        )
    return found


def _by_source(marks: Iterable[Mark]) -> dict[str, list[Mark]]:
    """Events whose footage is there, by its path, in time's order."""
    found: dict[str, list[Mark]] = {}
    for mark in sorted(marks, key=lambda m: m.start_s):
        if mark.source.path and Path(mark.source.path).exists():
            found.setdefault(mark.source.path, []).append(mark)
    return found


def _scored(
    detector: Detector,
    config: ConfigDict,
    normal: Normal,
    path: str,
    marks: Sequence[Mark],
    held: dict[int, tuple[np.ndarray, ...]] | None = None,
) -> Iterator[tuple[_Stretch, FrameRows, float]]:
    """Stretches of a source with rows and rate; `held` gets frames of normal events with those before."""
    said = marks[-1].source
    source = open_video(path, said.fps)
    if isinstance(source, FrameFolder):
        source.bit_depth = detector.footage.bit_depth
        size = len(source.files)
    else:
        size = Path(path).stat().st_size
    if said.size != size:
        raise ValueError(
            f"{path} is not what the detection read (its size was {said.size:,}, now {size:,}): detect in it "
            "again and mark its events, or mark the old ones unsure."
        )
    prepare = detector.prepare_file if isinstance(source, FrameFolder) else detector.prepare
    frames, fps, _ = frames_at_rate(source, detector)
    at = 0
    for stretch in _stretches(marks, fps, detector):
        for _ in islice(frames, stretch.first - at):
            pass
        piece: Iterator[np.ndarray] = map(prepare, islice(frames, stretch.stop - stretch.first))
        if held is not None:
            piece = _tapped(piece, stretch, fps, held)
        rows = _rows(detector, config, normal, piece, stretch.first)
        at = stretch.first + len(rows)
        if not len(rows) or at < round(stretch.marks[-1].end_s * fps):
            raise ValueError(
                f"{path} ends at {at / fps:.1f} s, before the marked event at "
                f"{stretch.marks[-1].start_s:.1f} s. {getattr(source, 'problem', '')}".rstrip()
            )
        yield stretch, rows, fps


def _stretches(marks: Sequence[Mark], fps: float, detector: Detector) -> list[_Stretch]:
    """What is scored for some events of one source; stretches that would overlap are one."""
    stride = detector.config.eval.stride
    before = round(BEFORE_S * fps) + detector.delay_frames + max(LAGS)
    after = detector.delay_frames + round(fps)
    found: list[_Stretch] = []
    for mark in marks:
        # at the stride of the detection, whose first clip began with the source
        first = max(0, (round(mark.start_s * fps) - before) // stride * stride)
        stop = round(mark.end_s * fps) + after
        if found and first <= found[-1].stop:
            last = found.pop()
            found.append(_Stretch(last.first, max(stop, last.stop), (*last.marks, mark)))
        else:
            found.append(_Stretch(first, stop, (mark,)))
    return found


def _tapped(
    frames: Iterable[np.ndarray],
    stretch: _Stretch,
    fps: float,
    held: dict[int, tuple[np.ndarray, ...]],
) -> Iterator[np.ndarray]:
    """The frames; some of each normal event are held, with those `LAGS` before."""
    wanted: set[int] = set()
    for mark in stretch.marks:
        if mark.mark == NORMAL:
            own = range(round(mark.start_s * fps), round(mark.end_s * fps))
            wanted |= {own[i] for i in spread(len(own), MAX_FRAMES)}
    last: deque[np.ndarray] = deque(maxlen=1 + max(LAGS))
    for number, frame in enumerate(frames, stretch.first):
        last.append(frame)
        if number in wanted:
            back = (0, *LAGS) if len(last) == last.maxlen else (0,)
            held[number] = tuple(last[-1 - lag] for lag in back)
        yield frame


def _rows(
    detector: Detector,
    config: ConfigDict,
    normal: Normal,
    frames: Iterable[np.ndarray],
    first: int,
) -> FrameRows:
    """Rows of a stretch, as `Detector.stream` makes them."""
    parts: list[FrameRows] = []
    with ThreadPoolExecutor(num_cores()) as pool:
        scorer = FrameScorer(config, normal, detector.footage.cycle_frames, pool, start=first)
        clips = scorer.clips(frames)
        size = config.eval.batch_size
        for at, predicted in predict_ahead(clips, detector.predictor.scores, size):
            parts.append(scorer.add(at, predicted).rows)
        parts.append(scorer.close().rows)
    return FrameRows.concat([part for part in parts if len(part)] or parts[-1:])
