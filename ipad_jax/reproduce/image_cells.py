"""A cell of an image table: a run judged on its own test images, as the arrays that a table is made of."""

import os
import time
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from ipad_jax.evaluation.pixel_ranking import GOOD
from ipad_jax.image.detector import calibrate
from ipad_jax.image.evaluation import evaluate
from ipad_jax.input.images import images_dir
from ipad_jax.reproduce.plan import Cell

CONSTANT = "constant"  # column of a score that is the same for every image


def fit_seconds(workdir: str | os.PathLike[str]) -> float:
    """Fits what a method fits, sets the threshold, and says how long that took."""
    start = time.perf_counter()
    calibrate(workdir)
    return time.perf_counter() - start


def judge(workdir: str | os.PathLike[str], cell: Cell) -> dict[str, np.ndarray]:
    """Evaluates a run; what judged.npz holds, an image a row.

    Raises:
      ValueError: see `image.evaluation.evaluate`.
    """
    found = evaluate(workdir, name=cell.scoring.name, report=False)
    if found is None:
        raise ValueError(f"{workdir}: a table is judged by one process.")
    scores = found.scores
    return {
        "score": scores.score,
        "label": scores.label,
        "video": scores.name,
        "frame": np.zeros(len(scores.name), int),
        "kind": np.where(scores.kind == GOOD, "normal", scores.kind),
        CONSTANT: np.zeros(len(scores.name)),
        **scores.untrained,
        **scores.beside,
    }


def missing(config: ConfigDict) -> list[str]:
    """Arguments of `ipad-jax prepare` for the images of a config; empty where they are prepared."""
    data = config.data
    if images_dir(data.data_dir, data.builder, data.name).exists():
        return []
    return [data.builder, *(["--data-dir", data.data_dir] if data.data_dir else [])]


MEASURES = {
    "pixel_auroc": "pixel AUROC",
    "aupro_30": "AUPRO 0.3",
    "average_precision": "average precision",
    "share_of_good_with_alarm": "good with alarm",
    "share_of_defects_found": "defects found",
}


def measures(metrics: dict[str, Any], column: str) -> dict[str, float]:
    """Numbers of an evaluation, `image_auroc` and MEASURES, of the method or of a row beside it."""
    rows = {"score": metrics, **metrics["untrained"], **metrics.get("beside", {})}
    values = rows.get(column, {"image_auroc": 0.5} if column == CONSTANT else {})
    # MVTec's pixels and a threshold are not there for every set and row
    names = ("image_auroc", *MEASURES)
    return {name: float("nan") if values.get(name) is None else values[name] for name in names}
