"""The page of an evaluation: which images to show, and what is written beside them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ipad_jax.evaluation.pixel_ranking import GOOD
from ipad_jax.evaluation.report.image_page import ImagePage, Panel, Row, write_image_page
from ipad_jax.image.detector import Detector
from ipad_jax.image.evaluation.result import Evaluation
from ipad_jax.image.evaluation.scores import roc_curves
from ipad_jax.image.untrained import ROWS
from ipad_jax.input.images import ImageSource
from ipad_jax.run.progress import Report

WORST = 6  # misses, and as many false alarms
OF_KIND = 3  # images of each kind, from its lowest to its highest score


def write_report(
    evaluation: Evaluation,
    detector: Detector,
    source: ImageSource,
    found: Sequence[Any],
    videos: Mapping[str, str],
    progress: Report,
) -> None:
    """Writes report.html beside the numbers; makes the maps of images that it shows once more.

    Args: found: `Scored.found` of every test image. videos: name in the evaluation's folder -> caption.
    """
    scores = evaluation.scores
    order = np.argsort(scores.score)
    good = [int(i) for i in order[::-1] if scores.kind[i] == GOOD][:WORST]
    missed = [int(i) for i in order if scores.kind[i] != GOOD][:WORST]
    by_kind = {}
    for kind in dict.fromkeys(scores.kind.tolist()):
        of_kind = [int(i) for i in order if scores.kind[i] == kind]
        places = np.linspace(0, len(of_kind) - 1, min(OF_KIND, len(of_kind))).round().astype(int)
        by_kind[str(kind)] = [of_kind[i] for i in places]
    examples = [index for indices in by_kind.values() for index in indices]
    wanted = list(dict.fromkeys([*good, *missed, *examples]))
    panels = {}
    for number, index in enumerate(wanted):
        panels[index] = _panel(detector, source, index, found[index])
        progress(number + 1, len(wanted))

    def chosen(indices: Sequence[int]) -> list[Panel]:
        return [panels[index] for index in indices]

    metrics = evaluation.metrics
    rows = [Row("the method", metrics, is_main=True)]
    rows += [
        Row(ROWS[name], values, tag="no training") for name, values in metrics["untrained"].items()
    ]
    rows += [
        Row(name, values, tag="is told more") for name, values in metrics.get("beside", {}).items()
    ]
    image_notes: dict[str, list[str]] = {}
    for name, one in zip(scores.name, found, strict=True):
        if remark := getattr(one, "remark", ""):
            image_notes.setdefault(remark, []).append(str(name))
    calibration = evaluation.calibration
    page = ImagePage(
        title=f"{metrics['data'].rpartition('/')[2]}: {metrics['task'].rpartition('.')[2]}",
        subtitle=f"{metrics['data']}, checkpoint {metrics['checkpoint_step']}",
        metrics=metrics,
        rows=rows,
        kind=scores.kind,
        score=scores.score,
        roc=roc_curves(scores),
        threshold=evaluation.threshold,
        statement="" if calibration is None else calibration.statement(),
        heat_range=heat_range_of(evaluation),
        missed=chosen(missed),
        false_alarms=chosen(good),
        by_kind={kind: chosen(indices) for kind, indices in by_kind.items()},
        notes=evaluation.notes,
        image_notes=image_notes,
        views=detector.scorer.views,
        videos={evaluation.folder / name: caption for name, caption in videos.items()},
        facts={
            "method": metrics["task"],
            "config": metrics["config_hash"],
            "seed": metrics["seed"],
            "time an image": f"{1000 * metrics['seconds_an_image']:.0f} ms, without reading the file",
            **({"weights": metrics["weights"]["note"]} if "weights" in metrics else {}),
            **{k: v for k, v in evaluation.made_with.items() if k.startswith("model.")},
        },
    )
    write_image_page(page, evaluation.folder / "report.html")


def heat_range_of(evaluation: Evaluation) -> tuple[float, float]:
    """Colour scale of all maps, from held-out good images; without these from the good test images."""
    if evaluation.calibration is not None:
        return evaluation.calibration.heat
    scores = evaluation.scores
    good = scores.score[scores.kind == GOOD]
    low = float(np.median(good if len(good) else scores.score))
    return low, max(2 * low, low + 1e-6)


def _panel(detector: Detector, source: ImageSource, index: int, known: Any) -> Panel:
    """An image with its map and mask."""
    image, (name, kind) = source.image(index), source.rows[index]
    found = detector.inspect_again(image, known)
    reference = detector.reference(image, found)
    return Panel(
        name,
        kind,
        found.score,
        found.alarm,
        image,
        found.map,
        source.mask(index),
        reference,
        found.inspected,
        found.inspected and bool(found.note),
        found.remark,
        detector.scorer.seen_from(found.found),
    )
