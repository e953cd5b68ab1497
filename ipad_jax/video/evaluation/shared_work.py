"""Evaluation by several processes: process 0 evaluates, the others score the segments it hands them.

Process 0 alone reads and writes the run's files, decides what is calibrated and draws the report, so
nothing must be decided alike in several places. The others wait for its word (run/processes.py), score
whole segments on their own devices, and give the rows back as files below the run folder, which every
process must see. A video is never cut: one long video is scored by one process.
"""

import itertools
import json
import os
import uuid
from collections.abc import Sequence
from functools import partial
from typing import Any, Self

import jax
import numpy as np
from etils import epath
from ml_collections import ConfigDict

from ipad_jax.input.frames import FrameSource
from ipad_jax.input.split import Segment, open_split
from ipad_jax.run import processes as distributed
from ipad_jax.run.config import read_config
from ipad_jax.run.progress import Report
from ipad_jax.training.checkpoints import restore_for_inference
from ipad_jax.video.detector.predictor import (
    Predictor,
    ScoreFn,
    load_predictor,
    score_segments,
)
from ipad_jax.video.scores.frame_scores import FrameScores

FOLDER = ".parts"  # below eval/ of the run folder; empty but while an evaluation runs


class SharedWork:
    """The other processes, seen by process 0. A context: leaving it without an error ends their work."""

    def __init__(self, workdir: str | os.PathLike[str]):
        """Nothing happens where this process is alone.

        Args:
          workdir: run folder.
        """
        self.folder = epath.Path(workdir) / "eval" / FOLDER
        self._numbers = itertools.count()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exc_type: Any, *_: object) -> None:
        if exc_type is None and distributed.is_many():  # an error is told by main.py
            distributed.tell(f"crew/{next(self._numbers)}", json.dumps({"end": True}))

    def score_fn(self, predictor: Predictor, step: int) -> ScoreFn:
        """Scores segments, a part of them on the other processes.

        Args:
          predictor: holds a checkpoint of the run.
          step: of that checkpoint.
        """
        if not distributed.is_many():
            return partial(score_segments, predictor, step)

        def score(
            config: ConfigDict,
            source: FrameSource,
            segments: Sequence[Segment],
            progress: Report | None,
        ) -> FrameScores:
            parts = shares([s.length for s in segments], jax.process_count())
            number, token = next(self._numbers), uuid.uuid4().hex[:8]
            self.folder.mkdir(parents=True, exist_ok=True)
            order = {
                "step": step,
                "split": source.split,
                "eval": config.eval.to_dict(),
                "data_dir": config.data.data_dir,
                "segments": [[s.video, s.start, s.stop] for s in segments],
                "parts": [[part.start, part.stop] for part in parts],
                "file": f"{token}-{{}}.npz",
            }
            distributed.tell(f"crew/{number}", json.dumps(order))
            tables = []
            if own := segments[parts[0].start : parts[0].stop]:  # progress is that of this share
                tables.append(score_segments(predictor, step, config, source, own, progress))
            for index in range(1, len(parts)):
                distributed.ask(f"crew/{number}/done/{index}")
                if parts[index]:
                    file = self.folder / order["file"].format(index)
                    tables.append(FrameScores.load(file))
                    file.unlink()
            return FrameScores.concat(tables)

        return score


def help_out(workdir: str | os.PathLike[str]) -> None:
    """What every process but the first does in an evaluation: scores its parts until there are no more."""
    workdir, index = epath.Path(workdir), jax.process_index()
    predictor, sources = None, {}
    for number in itertools.count():
        order = json.loads(distributed.ask(f"crew/{number}"))
        if order.get("end"):
            return
        start, stop = order["parts"][index]
        if start < stop:
            config = ConfigDict(read_config(workdir).to_dict() | {"eval": order["eval"]})
            config.data.data_dir = order["data_dir"]
            if predictor is None:
                _, _, model, _ = restore_for_inference(workdir, order["step"])
                predictor = load_predictor(workdir, config, model, order["step"])
            split = order["split"]
            source = sources.get(split) or sources.setdefault(split, open_split(config, split))
            own = [Segment(*segment) for segment in order["segments"][start:stop]]
            table = score_segments(predictor, order["step"], config, source, own)
            table.save(workdir / "eval" / FOLDER / order["file"].format(index))
        distributed.tell(f"crew/{number}/done/{index}", "")


def shares(lengths: Sequence[int], count: int) -> list[range]:
    """Divides a row of segments into `count` runs of about as many frames each; some may be empty.

    Args:
      lengths: frames of each segment, at least 1.
      count: how many runs; each segment falls into the one in which its middle frame lies.

    Returns:
      Ranges of segment numbers, in order, each segment in one.
    """
    ends = np.cumsum(lengths, dtype=np.float64)
    total = ends[-1] if len(ends) else 1.0
    middles = ends - np.asarray(lengths) / 2
    owners = np.floor(middles / total * count)
    cuts = np.searchsorted(owners, np.arange(count + 1)).tolist()
    return [range(start, stop) for start, stop in itertools.pairwise(cuts)]
