"""A cell of a video table: a run's predictions scored in one way, as the arrays that a table is made of."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from ipad_jax.reproduce.methods import UNTRAINED
from ipad_jax.reproduce.plan import Cell, Job
from ipad_jax.run.provenance import made_with
from ipad_jax.video.detector.scene_folder import scene_folder
from ipad_jax.video.evaluation import judge_run as evaluation
from ipad_jax.video.evaluation.measure import Evaluation
from ipad_jax.video.scores.frame_scores import PREDICTION_LEAVES, FrameScores

SCORES = "scores.npz"


def judge(
    root: str | os.PathLike[str], job: Job, cell: Cell, config: ConfigDict, steps: int | None
) -> Evaluation:
    """A cell's evaluation: one prediction of a split serves all ways of scoring it."""
    workdir = epath.Path(root) / job.training.folder
    # its config.json gets `eval` as it is now
    place = epath.Path(workdir if cell.is_own_scene else scene_folder(workdir, cell.scene))
    changes = cell.scoring.leaves
    wanted = {k: v for k, v in changes.items() if f"eval.{k}" in PREDICTION_LEAVES}
    protocol = changes["protocol"]
    name = "_".join(["predictions", protocol, *(f"{k}{v}" for k, v in sorted(wanted.items()))])
    table = place / "eval" / name / SCORES
    in_force = evaluation.override_eval(config, wanted)
    if not _is_made_with(table, made_with(in_force, PREDICTION_LEAVES, steps)):
        evaluation.evaluate(
            workdir,
            name=name,
            overrides={"protocol": protocol, **wanted},
            report=False,
            data_name="" if cell.is_own_scene else cell.scene,
        )
    others = {k: v for k, v in changes.items() if k not in wanted}
    return evaluation.rescore(place, table, name=cell.scoring.name, overrides=others)


def _is_made_with(table: epath.Path, wanted: Mapping[str, Any]) -> bool:
    """Whether scores are there, whole, of a training's last step, and made with these leaves.

    The dataset is compared where it is opened; a table may be collected where it is not.
    """
    try:
        made = FrameScores.load(table).made_with
    except (FileNotFoundError, ValueError):
        return False
    return all(made.get(name) == wanted[name] for name in wanted.keys() - {"dataset"})


def arrays_of(found: Evaluation) -> dict[str, np.ndarray]:
    """What judged.npz holds, a frame a row."""
    scores = found.judged.scores
    names = np.array(scores.video_names)
    kinds = np.array(scores.kinds)
    arrays: dict[str, np.ndarray] = {
        "score": found.judged.score,
        "label": scores.label,
        "video": names[scores.video],
        "frame": scores.frame,
        **{name: scores.components[name] for name in UNTRAINED if name in scores.components},
    }
    if len(kinds) > 1:
        arrays["kind"] = np.where(scores.kind >= 0, kinds[scores.kind], "unknown")
    return arrays
