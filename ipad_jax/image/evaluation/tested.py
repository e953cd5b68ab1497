"""What an evaluation found of each test image, to be looked at beside a threshold."""

import os
from typing import Any

import numpy as np
from etils import epath

from ipad_jax.evaluation.pixel_ranking import GOOD
from ipad_jax.evaluation.report.thumbnail import MOST, thumbnail
from ipad_jax.image.detector import Detector
from ipad_jax.image.evaluation.scores import Scores
from ipad_jax.input.images import open_images
from ipad_jax.run.provenance import mismatch


def tested_images(workdir: str | os.PathLike[str], detector: Detector) -> list[dict[str, Any]]:
    """The test images of the run's own evaluation, by kind and from the lowest score up.

    Returns:
      For JSON: {"name", "kind" ("good" or a defect's), "score", "picture": a JPEG in base64 or None}; []
      without an evaluation of this checkpoint. At most `MOST` have a picture, spread over kinds and scores.
      Images that are not inspected are left out: they raise no alarm at any threshold.
    """
    path = epath.Path(workdir) / "eval" / "test" / "scores.npz"
    if not path.exists():
        return []
    scores = Scores.load(path)
    if mismatch(scores.made_with, detector.made_with):
        return []  # of another checkpoint: its scores say nothing about these thresholds
    kinds = sorted(set(scores.kind.tolist()), key=lambda kind: (kind == GOOD, kind))
    order = [int(i) for kind in kinds for i in _of_kind(scores, kind)]
    shown = {
        order_of_kind[at]
        for kind in kinds
        if (order_of_kind := _of_kind(scores, kind))
        for at in _spread(len(order_of_kind), MOST // len(kinds))
    }
    pictures = _pictures(detector, {str(scores.name[i]) for i in shown})
    return [
        {
            "name": (name := str(scores.name[i])),
            "kind": str(scores.kind[i]),
            "score": float(scores.score[i]),
            "picture": pictures.get(name) if i in shown else None,
        }
        for i in order
    ]


def _of_kind(scores: Scores, kind: str) -> list[int]:
    """Inspected images of a kind, the lowest score first."""
    chosen = (scores.kind == kind) & scores.judged
    return [int(i) for i in np.argsort(scores.score, kind="stable") if chosen[i]]


def _spread(count: int, most: int) -> list[int]:
    """At most so many of `count` places, with both ends."""
    return np.linspace(0, count - 1, max(1, min(most, count))).round().astype(int).tolist()


def _pictures(detector: Detector, names: set[str]) -> dict[str, str]:
    """Name -> picture; {} where the dataset is no longer there, or another one."""
    try:
        source = open_images(detector.config, "test")
    except (FileNotFoundError, ValueError):
        return {}
    rows = [(index, name) for index, (name, _) in enumerate(source.rows) if name in names]
    return {name: thumbnail(source.image(index)) for index, name in rows}
