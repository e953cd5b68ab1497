"""Scores of test images, one row an image, and what a threshold makes of them."""

import dataclasses
import io
import json
import math
import os
from typing import Any

import numpy as np
from etils import epath

from ipad_jax.evaluation import ranking
from ipad_jax.evaluation.pixel_ranking import GOOD
from ipad_jax.image.calibration import Calibration
from ipad_jax.image.untrained import ROWS
from ipad_jax.run.files import write_atomic
from ipad_jax.run.provenance import MadeWith


@dataclasses.dataclass(frozen=True)
class Scores:
    """One row an image: name, kind, raw score, of the method and of the rows beside it.

    `inspected` is False where the method gives an image no verdict (`Inspection.inspected`). It has a raw
    score even so, by which it is ranked, but no alarm; None: all are.
    """

    name: np.ndarray  # text [n]
    kind: np.ndarray  # text [n]
    score: np.ndarray  # float64 [n]
    untrained: dict[str, np.ndarray]  # row -> float64 [n]
    made_with: MadeWith
    beside: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)  # row -> float64 [n]
    inspected: np.ndarray | None = None  # bool [n]

    @property
    def judged(self) -> np.ndarray:
        """`inspected` of every image, bool [n]."""
        return np.ones(len(self.score), bool) if self.inspected is None else self.inspected

    @property
    def label(self) -> np.ndarray:
        """1 where defective, int [n]."""
        return (self.kind != GOOD).astype(int)

    def save(self, path: epath.Path) -> None:
        """Writes scores.npz; no pickle in it."""
        buffer = io.BytesIO()
        np.savez(
            buffer,
            name=self.name,
            kind=self.kind,
            score=self.score,
            made_with=np.array(json.dumps(self.made_with)),
            inspected=self.judged,
            **{f"untrained_{k}": v for k, v in self.untrained.items()},  # type: ignore[arg-type]
            **{f"beside_{k}": v for k, v in self.beside.items()},  # type: ignore[arg-type]
        )
        write_atomic(path, buffer.getvalue())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Scores":
        """Reads what `save` wrote; raises ValueError where it is something else."""
        try:
            with np.load(io.BytesIO(epath.Path(path).read_bytes()), allow_pickle=False) as stored:
                untrained, beside = (
                    {n.removeprefix(start): stored[n] for n in stored.files if n.startswith(start)}
                    for start in ("untrained_", "beside_")
                )
                made = json.loads(str(stored["made_with"]))
                name, kind, score = (stored[n] for n in ("name", "kind", "score"))
                inspected = stored.get("inspected")  # not in those from before
                return cls(name, kind, score, untrained, made, beside, inspected)
        except (KeyError, OSError, ValueError) as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise ValueError(f"{path} holds no scores of images ({error}).") from error


def at_threshold(scores: Scores, calibration: Calibration | None) -> dict[str, Any]:
    """The threshold, its bound, and what it does on the test images; what is not inspected has no alarm."""
    if calibration is None:
        return {"threshold": None, "false_positive_bound": None}
    alarm = (scores.score > calibration.threshold) & scores.judged
    kinds = sorted(set(scores.kind.tolist()) - {GOOD})

    def share(chosen: np.ndarray) -> float:
        return float(alarm[chosen].mean()) if chosen.any() else math.nan

    return {
        "threshold": calibration.threshold,
        "threshold_statement": calibration.statement(),
        "false_positive_bound": calibration.bound,
        "alpha": calibration.alpha,
        "num_held_out": len(calibration.scores),
        "share_of_good_with_alarm": share(scores.kind == GOOD),
        "share_of_defects_found": share(scores.kind != GOOD),
        "share_found_by_kind": {kind: share(scores.kind == kind) for kind in kinds},
    }


def roc_curves(scores: Scores) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(false-positive rate, true-positive rate) of the method and of the rows beside it."""
    columns = {"the method": scores.score} | {ROWS[k]: v for k, v in scores.untrained.items()}
    return {name: ranking.roc(values, scores.label) for name, values in columns.items()}
