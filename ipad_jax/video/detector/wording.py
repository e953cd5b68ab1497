"""Numbers, times and alarms as people and files have them."""

import math
from datetime import UTC, datetime

from ipad_jax.evaluation.alarm_rule import SUSTAINED
from ipad_jax.video.detector.alarms import Alarm
from ipad_jax.video.detector.detector import Detector


def utc(seconds: float | None) -> str:
    """Seconds since 1970 as 2026-11-28T22:15:03.120Z; empty where unknown."""
    if seconds is None:
        return ""
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def number(value: float) -> str:
    """A number for a CSV file; empty where there is none."""
    return f"{value:.6g}" if math.isfinite(value) else ""


def clock(seconds: float) -> str:
    """75.25 -> '1:15.2'; hours where there are some."""
    tenths = math.floor(seconds * 10 + 1e-6)
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    text = f"{minutes}:{tenths / 10:04.1f}"
    return f"{hours}:{text:>07}" if hours else text


def describe_alarm(alarm: Alarm, detector: Detector) -> str:
    """One line for a person on an alarm that is over."""
    event, fps = alarm.event, detector.fps
    return (
        f"{clock(event.start / fps):>9} to {clock(event.stop / fps):>9}   peak {clock(event.peak / fps)}"
        f" ({strong(alarm)})"
    )


def describe_open_alarm(alarm: Alarm, detector: Detector) -> str:
    """One line for a person on an alarm that is on."""
    since = clock(alarm.event.start / detector.fps)
    return f"ALARM since {since} (highest {strong(alarm)})"


def strong(alarm: Alarm) -> str:
    """How high so far, by which rule, and what and where it is."""
    event = alarm.event
    times = f"{event.strength:.1f} x threshold" if math.isfinite(event.strength) else ""
    lasting = "lasting" if event.rule == SUSTAINED else ""
    parts = (f"score {event.peak_score:.2f}", times, lasting, alarm.cause, alarm.place)
    return ", ".join(part for part in parts if part)
