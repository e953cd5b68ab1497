"""The alarm's table: what each way to set a threshold makes of hours of rendered footage (alarm_footage.py).

`calibrate` footage sets thresholds, `normal` and `faulty` judge them; nothing is chosen on either. Beside
them stands the trivial answer, an alarm that is always on.

    ROOT/alarm.txt, alarm.csv              the table of what is there
"""

import csv
import io
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from ipad_jax.evaluation.alarm_rule import QUIET_S, Event
from ipad_jax.evaluation.events import (
    EARLY_S,
    EventMetrics,
    event_metrics,
    events_of,
    merged,
    true_intervals,
)
from ipad_jax.evaluation.rates import rate_interval, share_interval
from ipad_jax.reproduce.alarm_footage import DRIFT, DRIFT_H, PURPOSES, Plan, stored
from ipad_jax.run.files import write_atomic
from ipad_jax.run.table import Table
from ipad_jax.video.detector.calibration_files import fit
from ipad_jax.video.detector.detector import load
from ipad_jax.video.scores.calibration import Calibration, fuse
from ipad_jax.video.scores.frame_scores import FrameScores

LONG_S = 1.0  # of a fault that is counted by itself: shorter ones are one or two clips
HELD_OUT, FRAMES, BOTH, ALWAYS = (
    "held-out training footage",
    "other footage, single frames",
    "other footage, both rules",
    "always on",
)


@dataclass(frozen=True)
class Row:
    """One way to set a machine's thresholds, on the footage that judges it.

    Attributes:
      scene, way: what is judged.
      calibration: its thresholds; None where there are none.
      minutes: of normal footage that they rest on.
      normal: alarms on normal footage.
      faulty: alarms on footage with faults.
      long, long_found: faults of `LONG_S` or longer, and those in which an alarm begins.
      kinds: found and all faults by kind.
    """

    scene: str
    way: str
    calibration: Calibration | None
    minutes: float
    normal: EventMetrics
    faulty: EventMetrics
    long: int
    long_found: int
    kinds: Mapping[str, tuple[int, int]]


def rows_of(plan: Plan, scene: str) -> list[Row]:
    """The rows of a machine; none before its footage is there."""
    parts = {purpose: stored(plan, scene, purpose) for purpose in PURPOSES}
    scores = {purpose: part for purpose, part in parts.items() if part is not None}
    drift = rows_of_drift(plan, scene) if plan.drift else []
    if not {"calibrate", "normal", "faulty"} <= scores.keys():
        return drift
    config = plan.config(scene)
    ways: dict[str, Calibration | None] = {HELD_OUT: load(plan.root / scene / "run").calibration}
    for way, sustained_s in ((FRAMES, 0.0), (BOTH, config.eval.sustained_s)):
        changed = ConfigDict(config.to_dict())
        changed.eval.sustained_s = sustained_s
        ways[way] = fit(changed, scores["calibrate"], another_recording=True)
    rows = [
        judge(scene, way, calibration, scores["normal"], scores["faulty"])
        for way, calibration in {**ways, ALWAYS: None}.items()
        if calibration is not None or way == ALWAYS
    ]
    return [*rows, *drift]


def rows_of_drift(plan: Plan, scene: str) -> list[Row]:
    """How footage that changes slowly is judged, without renewing frames and with; none before it is there.

    Its pieces are one video that stands for `DRIFT_H` hours; the faults come at its end.
    """
    calibrate, rows = stored(plan, scene, "calibrate"), []
    if calibrate is None:
        return []
    config = plan.config(scene)
    minutes = config.eval.renew_minutes
    calibration = fit(config, calibrate, another_recording=True)
    for way, renewed, rule in (
        ("normal frames of the training alone", False, calibration),
        (f"renewed after {minutes:g} minutes", True, calibration),
        (ALWAYS, False, None),
    ):
        parts = [stored(plan, scene, purpose, renewed=renewed) for purpose in DRIFT]
        found = [part for part in parts if part is not None]
        if sum(map(plan.pieces, DRIFT)) != sum(len(part.video_names) for part in found):
            return []
        joined = _one_video(found)
        rows.append(judge(scene, f"{DRIFT_H:g} h of drift, {way}", rule, joined, joined))
    return rows


def _one_video(parts: Sequence[FrameScores]) -> FrameScores:
    """The frames of all videos of some tables, in order, as one video."""
    table = FrameScores.concat(parts)
    return replace(
        table,
        video=np.zeros_like(table.video),
        frame=np.arange(len(table.frame), dtype=table.frame.dtype),
        video_names=("drift",),
        fps=table.fps[:1],
    )


def judge(
    scene: str,
    way: str,
    calibration: Calibration | None,
    normal: FrameScores,
    faulty: FrameScores,
) -> Row:
    """A way's row; without a calibration that of an alarm which never ends."""
    judged = [_judged(scores, calibration) for scores in (normal, faulty)]
    alarms = judged[1][0]
    long, kinds = [], {}
    for kind, seconds, hit in _faults(faulty, alarms):
        hits, total = kinds.get(kind, (0, 0))
        kinds[kind] = hits + hit, total + 1
        if seconds >= LONG_S:
            long.append(hit)
    minutes = calibration.basis.minutes if calibration else 0.0
    return Row(
        scene, way, calibration, minutes, judged[0][1], judged[1][1], len(long), sum(long), kinds
    )


def _judged(
    scores: FrameScores, calibration: Calibration | None
) -> tuple[dict[int, list[Event]], EventMetrics]:
    """Alarms by video, and what they are worth."""
    alarms = _alarms(scores, calibration)
    scored = np.isfinite(fuse(scores, calibration)) if calibration else None
    return alarms, event_metrics(
        alarms, scores.label, scores.video, scores.frame, scores.fps, scored
    )


def _alarms(scores: FrameScores, calibration: Calibration | None) -> dict[int, list[Event]]:
    """Alarms by video; without a calibration one that never ends."""
    if calibration is not None:
        score = fuse(scores, calibration)
        return events_of(score, scores.video, scores.frame, scores.fps, calibration.rule)
    alarms = {}
    for video in np.unique(scores.video):
        frames = scores.frame[scores.video == video]
        first, last = int(frames[0]), int(frames[-1])
        alarms[int(video)] = [Event(first, last + 1, first, math.nan)]
    return alarms


def _faults(
    scores: FrameScores, alarms: Mapping[int, Sequence[Event]]
) -> Iterator[tuple[str, float, bool]]:
    """(kind, seconds, whether an alarm begins in it) of each fault."""
    for video in np.unique(scores.video):
        at = scores.video == video
        label, frame, kind, fps = (
            scores.label[at],
            scores.frame[at],
            scores.kind[at],
            scores.fps[video],
        )
        for start, stop in merged(true_intervals(label, frame), QUIET_S * fps):
            within = kind[(frame >= start) & (frame < stop)]
            name = scores.kinds[int(np.bincount(within[within > 0]).argmax())]
            hit = any(
                start - EARLY_S * fps <= event.start < stop and event.stop > start
                for event in alarms.get(int(video), ())
            )
            yield name, (stop - start) / fps, hit


def table_of(rows: Sequence[Row], title: str) -> Table:
    """The rows as printed, and below them the sums over all machines of each way."""
    kinds = sorted({kind for row in rows for kind in row.kinds})
    columns = (
        "machine",
        "thresholds from",
        "minutes",
        "frame, median",
        "normal time in alarm",
        "false alarms",
        "an hour (95 %)",
        f"faults of {LONG_S:g} s or more",
        "all faults",
        *kinds,
        "delay",
    )
    lines = [_line(row, kinds) for row in rows]
    if len({row.scene for row in rows}) > 1:
        ways = list(dict.fromkeys(row.way for row in rows))
        lines += [_sum(way, [row for row in rows if row.way == way], kinds) for way in ways]
    notes = (
        "False alarms count every started minute; found is a fault in which an alarm begins.",
        "Median: threshold of the score's median over a second; delay: median of those found, in seconds.",
    )
    return Table(title, columns, tuple(lines), notes, left=(0, 1))


def _line(row: Row, kinds: Sequence[str]) -> tuple[str, ...]:
    calibration, normal = row.calibration, row.normal
    thresholds = ""
    if calibration is not None:
        thresholds = f"{calibration.threshold:.1f}"
        if math.isfinite(calibration.rule.sustained):
            thresholds += f", {calibration.rule.sustained:.1f}"
    return (
        row.scene,
        row.way,
        f"{row.minutes:.1f}" if calibration else "",
        thresholds,
        f"{100 * normal.normal_time_in_alarm:.2f} %",
        *_rate(normal.num_false_calls, normal.normal_hours),
        f"{row.long_found} of {row.long}",
        f"{row.faulty.num_detected} of {row.faulty.num_true}",
        *_by_kind([row], kinds),
        f"{row.faulty.detection_delay_s:.2f}",
    )


def _sum(way: str, rows: Sequence[Row], kinds: Sequence[str]) -> tuple[str, ...]:
    hours = sum(row.normal.normal_hours for row in rows)
    alarm_hours = sum(row.normal.alarm_hours for row in rows)
    found, total = sum(row.long_found for row in rows), sum(row.long for row in rows)
    low, high = share_interval(found, total)
    return (
        "all",
        way,
        "",
        "",
        f"{100 * alarm_hours / hours:.2f} %",
        *_rate(sum(row.normal.num_false_calls for row in rows), hours),
        f"{found} of {total} ({100 * low:.0f} to {100 * high:.0f} %)",
        f"{sum(r.faulty.num_detected for r in rows)} of {sum(r.faulty.num_true for r in rows)}",
        *_by_kind(rows, kinds),
        "",
    )


def _rate(count: int, hours: float) -> tuple[str, str]:
    low, high = rate_interval(count, hours)
    return f"{count} in {60 * hours:.0f} min", f"{count / hours:.1f} ({low:.1f} to {high:.1f})"


def _by_kind(rows: Sequence[Row], kinds: Sequence[str]) -> list[str]:
    pairs = [[row.kinds.get(kind, (0, 0)) for row in rows] for kind in kinds]
    return [f"{sum(hit for hit, _ in p)} of {sum(total for _, total in p)}" for p in pairs]


def write(root: str | os.PathLike[str], table: Table) -> None:
    """The table as text and CSV."""
    stem = epath.Path(root)
    write_atomic(stem / "alarm.txt", (str(table) + "\n").encode())
    buffer = io.StringIO()
    csv.writer(buffer).writerows([table.columns, *table.rows])
    write_atomic(stem / "alarm.csv", buffer.getvalue().encode())
