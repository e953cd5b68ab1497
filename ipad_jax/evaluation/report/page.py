"""The report page: one HTML file that works when mailed alone (no external resource of any kind)."""

import base64
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote

import cv2
import jinja2
import numpy as np
from etils import epath

from ipad_jax.evaluation.report import plots
from ipad_jax.evaluation.report.data import Clip, Curve, ReportData, Strip
from ipad_jax.evaluation.report.side_by_side import strip_picture
from ipad_jax.run.files import write_atomic

MAX_BYTES = 9_900_000  # of the page with the videos in it, so that it can be mailed
MAX_KINDS = 9  # columns beside a score's name; of more, a table is a block a row at any width
MAX_CURVES = 60  # a scene has up to 21 test videos; the page of many scenes shows the first


@dataclass(frozen=True)
class Card:
    """A headline number with its plain-language meaning."""

    value: str
    name: str
    meaning: str
    detail: str = ""


def write_page(data: ReportData, path: str | os.PathLike[str]) -> None:
    """Write the report; videos are put inside while they fit, the others must lie beside it."""
    write_atomic(path, render(data).encode())


def new_environment(*packages: str) -> jinja2.Environment:
    """Templates of this room and of `packages`: text is escaped, an unknown name raises."""
    return jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [
                jinja2.PackageLoader(package, "templates")
                for package in ("ipad_jax.evaluation.report", *packages)
            ]
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(data: ReportData) -> str:
    """The whole page as a string."""
    environment = new_environment()
    environment.globals["interval"] = interval
    environment.filters |= {"number": number, "share": share}
    limits = plots.score_limits(data.curves, data.threshold)
    shown = data.curves[:MAX_CURVES]
    curves = [(c, draw_curve(c, data.threshold, limits, i)) for i, c in enumerate(shown)]
    labelled = any(c.label is not None and (c.label == 1).any() for c in data.curves)
    figures = {}
    if data.roc:
        figures["roc"] = plots.to_svg(plots.roc_plot(data.roc), "roc")
    if labelled:
        histogram = plots.score_histogram(data.curves, data.threshold)
        figures["histogram"] = plots.to_svg(histogram, "histogram")
    render_with = partial(
        environment.get_template("report.html.j2").render,
        data=data,
        metrics=data.metrics,
        cards=cards(data.metrics),
        kinds=sorted({k for row in data.rows for k in row.metrics.get("by_kind") or {}}),
        max_kinds=MAX_KINDS,
        curves=curves,
        num_hidden=len(data.curves) - len(curves),
        with_phase=any(known(c.phase) for c in data.curves),
        with_true_phase=any(known(c.phase) and known(c.true_phase) for c in data.curves),
        figures=figures,
        misses=[(s, strip_uri(s, data.heat_range)) for s in data.misses],
        false_alarms=[(s, strip_uri(s, data.heat_range)) for s in data.false_alarms],
        left_out=left_out_sentences(data.metrics.get("left_out") or {}),
    )
    room = MAX_BYTES - len(render_with(clips=[(clip, "") for clip in data.clips]).encode())
    return render_with(clips=list(zip(data.clips, inline_clips(data.clips, room))))


def known(values: np.ndarray | None) -> bool:
    """Whether there is any value at all."""
    return values is not None and bool(np.isfinite(values).any())


def number(value: Any, digits: int = 3) -> str:
    """A number for a table; an en dash where there is none."""
    if isinstance(value, (float, np.floating)):
        return f"{value:.{digits}f}" if math.isfinite(value) else "–"
    return "–" if value is None else f"{value}"


def share(value: Any, digits: int = 0) -> str:
    """A share as per cent."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{100 * value:.{digits}f}\u202f%"


def interval(ends: Sequence[float | None] | None) -> str:
    """Both ends of an interval, or an en dash."""
    if not ends or any(end is None or not math.isfinite(end) for end in ends):
        return "–"
    return " – ".join(f"{end:.2f}" for end in ends)


def cards(metrics: Mapping[str, Any]) -> list[Card]:
    """Headline numbers with what they mean to somebody who has never heard of an ROC curve."""

    def get(name: str) -> float | None:
        value = metrics.get(name)
        return None if value is None or not math.isfinite(value) else float(value)

    ends = interval(metrics.get("auc_interval"))
    rates = metrics.get("false_alarms_interval") or [get("false_alarms_per_hour")]
    false_alarms = " – ".join(dict.fromkeys(number(rate, 1) for rate in rates))
    found = [
        Card(
            number(get("auc_micro")),
            "frame AUC",
            "The chance that a faulty frame scores higher than a normal one. 0.5 is guessing, "
            "1 is perfect.",
            "" if ends == "–" else f"95 % interval {ends}",
        ),
        Card(
            number(get("auc_macro")),
            "AUC within a video",
            "The same inside each video, then averaged over the videos that hold both kinds of "
            "frames.",
            f"{number(metrics.get('auc_macro_videos'))} videos used, "
            f"{number(metrics.get('auc_macro_skipped'))} skipped",
        ),
        Card(
            share(get("event_recall")),
            "faults found",
            "Faults in which an alarm began; one that was on before found nothing.",
            f"{number(metrics.get('num_detected'))} of {number(metrics.get('num_true'))} faults",
        ),
        Card(
            share(get("normal_time_in_alarm"), 2),
            "normal time in alarm",
            "Of the time in which nothing was wrong, that in which an alarm outlasts its fault among "
            "it. An alarm that is always on has 100 %.",
        ),
        Card(
            false_alarms,
            "false alarms an hour",
            "Alarms that found no fault, for each hour of normal running; every started minute of "
            "one counts. From and to: what this much footage can show, at 95 % confidence.",
            f"{number(metrics.get('num_false_alarms'))} in "
            f"{number((get('normal_hours') or 0) * 60, 1)} minutes",
        ),
        Card(
            number(get("detection_delay_s"), 2)
            + ("" if get("detection_delay_s") is None else "\u202fs"),
            "detection delay",
            "From the start of a fault to the first alarm in it, for the median fault found.",
        ),
        Card(
            number(get("average_precision")),
            "average precision",
            "How pure the highest-scoring frames are; guessing would give the share of faulty "
            "frames.",
            f"share of faulty frames {share(faulty_share(metrics))}",
        ),
    ]
    needs_threshold = {
        "normal time in alarm",
        "faults found",
        "false alarms an hour",
        "detection delay",
    }
    if get("threshold") is None:
        found = [card for card in found if card.name not in needs_threshold]
    return found


def faulty_share(metrics: Mapping[str, Any]) -> float | None:
    """Share of anomalous among judged frames."""
    frames = metrics.get("num_frames")
    return metrics.get("num_anomalous", 0) / frames if frames else None


def left_out_sentences(left_out: Mapping[str, Any]) -> list[str]:
    """What was not judged, in words; an entry of 0 is said too, since silence could mean either."""
    sentences = []
    words = {
        "unlabelled": "frames without a label",
        "unscored": "frames without a score (too near a video's end, or in a video too short)",
        "mislabelled_frames": "frames in folders whose labels do not fit their frames",
    }
    for key, value in left_out.items():
        if isinstance(value, (list, tuple)):
            if value:
                sentences.append(f"{key.replace('_', ' ')}: {', '.join(map(str, value))}")
        else:
            sentences.append(f"{value} {words.get(key, key.replace('_', ' '))}")
    return sentences


def draw_curve(
    curve: Curve, threshold: float | None, limits: tuple[float, float], index: int
) -> str:
    """One video's curve as SVG."""
    return plots.to_svg(plots.score_curve(curve, threshold, limits), f"curve{index}")


def strip_uri(strip: Strip, heat_range: tuple[float, float]) -> str:
    """The strip as a JPEG inside the page."""
    picture = strip_picture(strip.frames, strip.reconstructions, strip.errors, heat_range)
    done, data = cv2.imencode(
        ".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88]
    )
    if not done:
        raise RuntimeError(f"OpenCV could not encode the picture strip {strip.title!r}.")
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()


def video_uri(path: str | os.PathLike[str]) -> str:
    """A `.webm` file as a source inside a page."""
    data = epath.Path(path).read_bytes()
    return "data:video/webm;base64," + base64.b64encode(data).decode()


def inline_clips(clips: Sequence[Clip], room: int) -> list[str]:
    """Source of each video: its bytes while they fit into `room`, else its name beside the page."""
    sources = []
    for clip in clips:
        path = epath.Path(clip.path)
        if not path.is_file():
            raise FileNotFoundError(f"No video {path} for the report; write it before the page.")
        source = video_uri(path)
        if len(source) <= room:
            sources.append(source)
        else:
            sources.append(quote(path.name))  # a `#` or `%` of a video's name is no part of a link
        room -= len(sources[-1])
    return sources
