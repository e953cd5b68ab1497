"""Numbers of a run in words: what a person reads first, and what each of them means."""

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """A number with its name, what it means, and its interval ("" without)."""

    value: str
    name: str
    meaning: str
    interval: str = ""


# key, name, meaning, unit: "%" of a share, else appended; interval's key
_VIDEO = (
    (
        "auc_micro",
        "frame AUC",
        "chance that a faulty frame scores above a normal one; 50 % is guessing",
        "%",
        "auc_interval",
    ),
    (
        "event_recall",
        "faults found",
        "share of the faults in which an alarm began",
        "%",
        "event_recall_interval",
    ),
    (
        "false_alarms_per_hour",
        "false alarms an hour",
        "alarms that found no fault, an hour of normal running",
        "",
        "false_alarms_interval",
    ),
    (
        "normal_time_in_alarm",
        "normal time in alarm",
        "100 % is an alarm that is always on",
        "%",
        "",
    ),
    ("detection_delay_s", "delay", "median time from a fault's start to its alarm", " s", ""),
    (
        "average_precision",
        "average precision",
        "share of alarms that are right, over thresholds",
        "%",
        "",
    ),
)
_IMAGE = (
    (
        "image_auroc",
        "image AUROC",
        "chance that a defective image scores above a good one; 50 % is guessing",
        "%",
        "image_auroc",
    ),
    (
        "pixel_auroc",
        "pixel AUROC",
        "the same for pixels: does the map show the place",
        "%",
        "pixel_auroc",
    ),
    (
        "aupro_30",
        "AUPRO",
        "overlap with each defect, small ones count as large ones",
        "%",
        "aupro_30",
    ),
    (
        "average_precision",
        "average precision",
        "of images, over all thresholds",
        "%",
        "average_precision",
    ),
)


def headline(metrics: dict[str, Any]) -> list[Figure]:
    """Figures of an evaluation that a person reads first, without those that could not be computed."""
    found = []
    for key, name, meaning, unit, interval in _IMAGE if "image_auroc" in metrics else _VIDEO:
        value = metrics.get(key)
        if not _is_number(value):
            continue
        ends = metrics.get(interval)
        if not isinstance(ends, list):
            ends = _section(metrics, "intervals").get(interval)
        between = ""
        if isinstance(ends, list) and len(ends) == 2 and all(map(_is_number, ends)):
            between = f"95 % interval {shown(ends[0], unit)} to {shown(ends[1], unit)}"
        found.append(Figure(shown(value, unit), name, meaning, between))
    return found


def by_kind(metrics: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(kind of fault, its figure, how many) of an evaluation."""
    found = []
    for kind, values in _section(metrics, "by_kind").items():
        if not isinstance(values, dict):
            continue
        value = values.get("auc", values.get("image_auroc"))
        many = [
            f"{values[key]:,} {word}" for key, word in _COUNTS if isinstance(values.get(key), int)
        ]
        found.append((str(kind), shown(value, "%"), ", ".join(many)))
    return found


_COUNTS = (("num_videos", "videos"), ("num_frames", "frames"), ("num_images", "images"))


def shown(value: Any, unit: str = "") -> str:
    """A number for a person; "-" for what is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
        return "-"
    if math.isinf(value):
        return "never"
    if unit == "%":
        return f"{100 * value:.1f} %"
    return f"{value:,.3g}{unit}" if abs(value) < 1000 else f"{value:,.0f}{unit}"


def places(scores: Any, threshold: Any) -> list[float]:
    """Where scores, and behind them the threshold, lie in a picture 1000 wide; [] where one is no number."""
    numbers = [*scores, threshold] if isinstance(scores, list) and scores else []
    if not numbers or not all(map(_is_number, numbers)):
        return []
    least, span = min(numbers), (max(numbers) - min(numbers)) or 1.0
    return [round(20 + 960 * (number - least) / span, 1) for number in numbers]


@dataclass(frozen=True)
class Tested:
    """A test image beside a threshold; `number` is its place in the table."""

    number: int
    name: str
    kind: str
    score: float
    has_picture: bool

    @property
    def is_good(self) -> bool:
        """Whether it should raise no alarm."""
        return self.kind == "good"


def tested(table: dict[str, Any]) -> list[Tested]:
    """The test images of a table of thresholds; what is damaged is left out."""
    rows = table.get("tested")
    return [
        Tested(
            i, str(row.get("name")), str(row.get("kind")), row["score"], bool(row.get("picture"))
        )
        for i, row in enumerate(rows if isinstance(rows, list) else [])
        if isinstance(row, dict) and _is_number(row.get("score"))
    ]


def above(images: list[Tested], threshold: Any) -> str:
    """'3 of 4 defective caught, 0 of 5 good ones' of test images at a threshold."""
    if not _is_number(threshold):
        return "-"
    bad, good = [i for i in images if not i.is_good], [i for i in images if i.is_good]
    caught, wrong = (sum(i.score > threshold for i in some) for some in (bad, good))
    return f"{caught} of {len(bad)} defective caught, {wrong} of {len(good)} good ones"


def duration(seconds: float | None) -> str:
    """'1 h 02 min', '3 min 05 s', '4 s'; "-" where unknown."""
    if seconds is None or not math.isfinite(seconds):
        return "-"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def differences(configs: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    """Leaves in which configs are not all alike, with each one's value as text."""
    flat = [dict(_leaves(config)) for config in configs]
    names = sorted({name for leaves in flat for name in leaves})
    rows = [(name, [str(leaves.get(name, "-")) for leaves in flat]) for name in names]
    return [(name, values) for name, values in rows if len(set(values)) > 1]


def _leaves(config: dict[str, Any], prefix: str = ""):
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _section(metrics: dict[str, Any], name: str) -> dict[str, Any]:
    found = metrics.get(name)
    return found if isinstance(found, dict) else {}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
