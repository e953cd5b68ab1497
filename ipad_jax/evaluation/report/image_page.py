"""The report page of images: one HTML file that works when mailed alone."""

import base64
import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from ipad_jax.evaluation.report import plots
from ipad_jax.evaluation.report.data import Curve
from ipad_jax.evaluation.report.heatmap import overlay
from ipad_jax.evaluation.report.page import (
    Card,
    interval,
    new_environment,
    number,
    share,
    video_uri,
)
from ipad_jax.evaluation.report.view_discs import discs, views_symbol
from ipad_jax.run.files import write_atomic

PANEL_PX = 240  # longer side of a picture on the page
GOOD = "good"


@dataclasses.dataclass(frozen=True)
class Panel:
    """One image on the page.

    Attributes:
      name, kind: of the image; kind "good" or a defect's.
      score, alarm: of the method.
      image: uint8 [h, w, 3] RGB.
      map: float32 [h, w].
      mask: bool [h, w] or None: outlined.
      reference: uint8 [h, w, 3] or None: what the image was compared with.
      inspected: whether there is a verdict; else score and map are NaN.
      doubtful: whether score and alarm cannot be trusted, as the note says.
      note: on this image; "".
      seen_from: from the object towards the camera, [3], z upwards; None of most methods.
    """

    name: str
    kind: str
    score: float
    alarm: bool
    image: np.ndarray
    map: np.ndarray
    mask: np.ndarray | None = None
    reference: np.ndarray | None = None
    inspected: bool = True
    doubtful: bool = False
    note: str = ""
    seen_from: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of the table of scores; `metrics` as in metrics.json, `tag` says what sets it apart."""

    name: str
    metrics: Mapping[str, Any]
    is_main: bool = False
    tag: str = ""


@dataclasses.dataclass(frozen=True)
class ImagePage:
    """Everything on the page; a part that is empty is left out.

    Attributes:
      title, subtitle: what was judged.
      metrics: the dict of metrics.json.
      rows: the method first, then those that stand beside it.
      kind, score: of every test image, [n].
      roc: name -> (false-positive rate [m], true-positive rate [m]), the method first.
      threshold: alarm above it; None = uncalibrated.
      statement: a sentence on what the threshold rests on.
      heat_range: where colour begins and is full, on all maps.
      missed, false_alarms: worst first.
      by_kind: examples of each kind, lowest score first.
      notes: what a reader must know before trusting a number.
      image_notes: note -> names of all test images that have it.
      views: from the object towards the cameras of the training views, [n, 3], z upwards; None.
      videos: `.webm` file -> caption, put into the page.
      facts: at the foot of the page.
    """

    title: str
    subtitle: str
    metrics: Mapping[str, Any]
    rows: Sequence[Row]
    kind: np.ndarray
    score: np.ndarray
    roc: Mapping[str, tuple[np.ndarray, np.ndarray]]
    threshold: float | None
    statement: str
    heat_range: tuple[float, float]
    missed: Sequence[Panel] = ()
    false_alarms: Sequence[Panel] = ()
    by_kind: Mapping[str, Sequence[Panel]] = dataclasses.field(default_factory=dict)
    notes: Sequence[str] = ()
    image_notes: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    views: np.ndarray | None = None
    videos: Mapping[os.PathLike[str], str] = dataclasses.field(default_factory=dict)
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def has_references(self) -> bool:
        """Whether panels show what their images were compared with."""
        panels = (*self.missed, *self.false_alarms)
        return any(panel.reference is not None for panel in panels)


def write_image_page(page: ImagePage, path: str | os.PathLike[str]) -> None:
    """Writes the page."""
    write_atomic(path, render_images(page).encode())


def render_images(page: ImagePage) -> str:
    """The page as a string."""
    environment = new_environment()
    environment.globals["interval"] = interval
    environment.filters |= {"number": number, "share": share}
    label = (page.kind != GOOD).astype(int)
    figures = {}
    if label.any() and not label.all():
        drawn = {name: curve for name, curve in page.roc.items() if np.isfinite(curve[0]).all()}
        figures["roc"] = plots.to_svg(plots.roc_plot(drawn, what="images"), "roc")
    curve = Curve("", np.arange(len(label)), page.score, label)
    histogram = plots.score_histogram([curve], page.threshold, what="images")
    figures["histogram"] = plots.to_svg(histogram, "histogram")

    def shown(panels: Sequence[Panel]) -> list[tuple[Panel, str, str]]:
        return [(panel, panel_uri(panel, page.heat_range), _discs(page, panel)) for panel in panels]

    return environment.get_template("images.html.j2").render(
        page=page,
        metrics=page.metrics,
        cards=image_cards(page.metrics),
        figures=figures,
        views="" if page.views is None else views_symbol(page.views),
        missed=shown(page.missed),
        false_alarms=shown(page.false_alarms),
        by_kind={kind: shown(panels) for kind, panels in page.by_kind.items()},
        videos=[(video_uri(path), caption) for path, caption in page.videos.items()],
    )


def _discs(page: ImagePage, panel: Panel) -> str:
    """Where a panel's image was seen from among the training views; ""."""
    if page.views is None or panel.seen_from is None:
        return ""
    return discs(panel.seen_from, panel.inspected and not panel.doubtful)


def image_cards(metrics: Mapping[str, Any]) -> list[Card]:
    """Headline numbers with what they mean."""
    ends = metrics["intervals"]

    def detail(name: str) -> str:
        found = interval(ends.get(name))
        return "" if found == "–" else f"95 % interval {found}"

    cards = [
        Card(
            number(metrics["image_auroc"]),
            "image AUROC",
            "The chance that a defective image scores higher than a good one. 0.5 is guessing, 1 is perfect.",
            detail("image_auroc"),
        ),
        Card(
            number(metrics["pixel_auroc"]),
            "pixel AUROC",
            "The same for pixels of defects and all other pixels: whether the map points to the right place.",
            detail("pixel_auroc"),
        ),
        Card(
            number(metrics["aupro_30"]),
            "AUPRO 0.3",
            "How much of each defect is covered, small ones counted as much as large ones, at up to 30 % of "
            "false pixels.",
            detail("aupro_30"),
        ),
        Card(
            number(metrics["aupimo"]),
            "AUPIMO",
            "How much of each defect is found while 1 to 10 of 100,000 pixels of good images are flagged; it "
            "needs a million of these.",
            detail("aupimo"),
        ),
    ]
    if metrics.get("threshold") is not None:
        cards += [
            Card(
                share(metrics["share_of_defects_found"]),
                "defects found",
                "Defective test images above the threshold, which was set without any.",
            ),
            Card(
                share(metrics["share_of_good_with_alarm"]),
                "false alarms",
                "Good test images above the threshold.",
                f"promised: at most {share(metrics['false_positive_bound'])} with 95 % confidence",
            ),
        ]
    return cards + pose_cards(metrics)


def pose_cards(metrics: Mapping[str, Any]) -> list[Card]:
    """What became of the poses of an object's images; [] of other methods."""
    cards = []
    if "pose_median_degrees" in metrics:
        cards.append(
            Card(
                f"{metrics['pose_median_degrees']:.2f}°",
                "pose error, median",
                "How far the camera was found from where it was, about the object. "
                f"{share(metrics['pose_success'])} are within 1 degree and 0.02 units, the object's radius "
                "being 1.",
                f"median {metrics['pose_median_units']:.3f} units",
            )
        )
    if "share_uncertain" in metrics:
        flagged = metrics.get("share_of_wrong_poses_flagged")
        cards += [
            Card(
                share(metrics["share_uncertain"]),
                "poses doubtful",
                "Images of which the search says that its pose is uncertain: score and alarm cannot be "
                "trusted.",
                "" if flagged is None else f"{share(flagged)} of the wrong poses are flagged",
            ),
            Card(
                share(metrics["share_not_inspected"]),
                "not inspected",
                "Images from sides that no training view shows, or in which no pose fits: no alarm, "
                "whatever they show.",
            ),
        ]
    return cards


def panel_picture(panel: Panel, heat_range: tuple[float, float]) -> np.ndarray:
    """Image, reference if any and heat map side by side, the marked defect outlined: uint8 [h, w, 3] RGB."""
    height, width = panel.image.shape[:2]
    scale = PANEL_PX / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    image = cv2.resize(panel.image, size, interpolation=cv2.INTER_AREA)
    heat = overlay(image, cv2.resize(panel.map, size), *heat_range)
    if panel.mask is not None:
        mask = cv2.resize(panel.mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        for picture in (image, heat):
            cv2.drawContours(picture, outlines, -1, (40, 220, 255), 1)
    gap = np.full((image.shape[0], 4, 3), 128, np.uint8)
    parts = [image, gap, heat]
    if panel.reference is not None:
        parts[1:1] = [gap, cv2.resize(panel.reference, size, interpolation=cv2.INTER_AREA)]
    return np.concatenate(parts, axis=1)


def panel_uri(panel: Panel, heat_range: tuple[float, float]) -> str:
    """The picture as a JPEG inside the page."""
    picture = cv2.cvtColor(panel_picture(panel, heat_range), cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 88])
    if not done:
        raise RuntimeError(f"OpenCV could not encode the picture of {panel.name}.")
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
