"""What one evaluation found, and what a person reads of it."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from etils import epath

from ipad_jax.image.calibration import Calibration
from ipad_jax.image.evaluation.scores import Scores
from ipad_jax.image.untrained import ROWS
from ipad_jax.run.provenance import MadeWith
from ipad_jax.run.table import Table, screen_width


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What one evaluation found; `metrics` is what metrics.json holds."""

    folder: epath.Path
    scores: Scores
    calibration: Calibration | None
    metrics: dict[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def threshold(self) -> float | None:
        """Alarm above it; None without a calibration."""
        return None if self.calibration is None else self.calibration.threshold

    @property
    def bound(self) -> float:
        """Share of good images that may raise an alarm, at most, at 95 % confidence; NaN without one."""
        return math.nan if self.calibration is None else self.calibration.bound

    @property
    def made_with(self) -> MadeWith:
        """Dataset, checkpoint and leaves behind the scores."""
        return self.scores.made_with

    def summary(self) -> str:
        """The numbers, for a terminal."""
        return summary_text(self)


def summary_text(evaluation: Evaluation) -> str:
    """A table of the rows, one of the kinds, and what the threshold does."""
    metrics = evaluation.metrics

    def cell(values: Mapping[str, Any], name: str) -> str:
        value = values.get(name)
        return "-" if value is None or not math.isfinite(value) else f"{value:.3f}"

    def row(name: str, values: Mapping[str, Any]) -> tuple[str, ...]:
        ends = values["intervals"]["image_auroc"]
        interval = (
            " - ".join(f"{end:.3f}" for end in ends) if all(map(math.isfinite, ends)) else "-"
        )
        return (name, *(cell(values, n) for n in names), interval)

    names = ("image_auroc", "pixel_auroc", "aupro_30", "average_precision")
    rows = [row("the method", metrics)]
    for name, values in metrics.get("untrained", {}).items():
        rows.append(row(f"untrained: {ROWS[name]}", values))
    rows += [row(name, values) for name, values in metrics.get("beside", {}).items()]
    heads = ("score", "image AUROC", "pixel AUROC", "AUPRO 0.3", "AP", "95 % of image AUROC")
    found = metrics.get("share_found_by_kind", {})
    kinds = [
        (
            kind,
            str(values["num_images"]),
            cell(values, "image_auroc"),
            cell(values, "aupro_30"),
            f"{found[kind]:.0%}" if kind in found else "-",
        )
        for kind, values in metrics["by_kind"].items()
    ]
    tables = [Table("", heads, tuple(rows)).text(screen_width())]
    if kinds:
        head = ("kind", "images", "image AUROC", "AUPRO 0.3", "found")
        tables.append(Table("", head, tuple(kinds)).text(screen_width()))
    lines = [
        f"AUPRO 0.05 {cell(metrics, 'aupro_05')}, AUPIMO {cell(metrics, 'aupimo')} (how much of a defect is "
        "found while 1 to 10 of 100,000 pixels of good images are; it needs a million of these)",
        f"Best F1 of images {cell(metrics, 'f1_max')} ({metrics['f1_max_rule']})",
    ]
    if evaluation.calibration is not None:
        lines.append(evaluation.calibration.statement())
        alarmed = {
            "good": metrics["share_of_good_with_alarm"],
            "defective": metrics["share_of_defects_found"],
        }
        shares = [
            f"{share:.0%} of the {kind} ones"
            for kind, share in alarmed.items()
            if math.isfinite(share)
        ]
        lines.append(f"On the test images {' and '.join(shares)} raise an alarm.")
    else:
        lines.append("No threshold: the run held out no good images.")
    if "pose_within_1_degree" in metrics:
        lines.append(
            f"Poses within 1 degree: {metrics['pose_within_1_degree']:.0%}, median "
            f"{metrics['pose_median_degrees']:.2f} degrees."
        )
    if "share_uncertain" in metrics:
        lines.append(
            f"{metrics['share_uncertain']:.0%} of the poses said to be uncertain, "
            f"{metrics['share_not_inspected']:.0%} of the images not inspected."
        )
    if "seconds_an_image" in metrics:
        lines.append(f"{1000 * metrics['seconds_an_image']:.0f} ms an image")
    if "weights" in metrics:
        lines.append(f"{metrics['weights']['backbone']}: {metrics['weights']['note']}")
    return "\n\n".join([*tables, "\n".join(lines)])
