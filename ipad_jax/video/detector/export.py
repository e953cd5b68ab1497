"""The network of a run of footage as one file that runs without this package, checked before it is kept.

The graph takes a clip uint8 [1, t, h, w, 3] and gives the raw outputs that scoring starts from, in the order
that the JSON file beside it names (`ClipTask.predict_fn`): squared error and pooled error of each frame, the
phase. What `detect` makes of them rests on more than the network (normal pictures, the footage before the
clip), so the JSON has no threshold. Nothing is kept unless the outputs of held-out clips are those of the
run within `BOUND`.
"""

import os
import time
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from etils import epath

from ipad_jax.input.batches import spread_batches
from ipad_jax.input.clips import clip_index, read_clips
from ipad_jax.run.graph_file import MAKERS, RUNNERS, Graph, check_format, write_graph
from ipad_jax.training.checkpoints import restore_for_inference
from ipad_jax.video.clip_task import ClipTask, make_clip_task
from ipad_jax.video.scores.period_error import circular_distance

BOUND = 1e-4  # largest difference of an output, relative to its largest value; of a phase in cycles
MAX_CLIPS = 20  # held-out clips that are compared


@dataclass(frozen=True)
class Exported:
    """A file that passed.

    Attributes:
      path: of the graph.
      outputs: their names, in order.
      num_clips: clips compared.
      difference: largest one of an output, see `BOUND`.
      num_bytes: of the graph.
      ms, own_ms: median for a clip, by the file and by the run.
    """

    path: epath.Path
    outputs: tuple[str, ...]
    num_clips: int
    difference: float
    num_bytes: int
    ms: float
    own_ms: float

    def summary(self) -> str:
        """What a person should know."""
        return (
            f"{self.path}: {self.num_bytes / 1e6:.1f} MB, gives {', '.join(self.outputs)}; on "
            f"{self.num_clips} normal clips they differ from the run's by {self.difference:.1e} of the "
            f"largest value at most (bound {BOUND:g}); {self.ms:.0f} ms a clip, the run {self.own_ms:.0f} ms"
        )


def export(
    workdir: str | os.PathLike[str],
    kind: str,
    *,
    folder: str | os.PathLike[str] | None = None,
    step: int | None = None,
) -> Exported:
    """Writes a run's network as a file, and its JSON beside it, if the file gives what the run gives.

    Args:
      workdir: run folder; its dataset must be here.
      kind: of `graph_file.FORMATS`.
      folder: to write to; export/ in the run folder by default.
      step: checkpoint; the newest by default.

    Raises:
      FileNotFoundError: no run, or its dataset is not here.
      ModuleNotFoundError: the extra `export` is not installed.
      ValueError: an unknown format, or the file gives something else than the run; nothing is kept then.
    """
    check_format(kind)
    config, _, model, step = restore_for_inference(workdir, step)
    task = make_clip_task(config)
    clips = _held_out(task)
    predict = jax.eval_shape(lambda clip: task.predict_fn(model, {"clip": clip}), clips[0])
    has_phase = config.model.get("period_head", "none") != "none"
    names = tuple(name for name in sorted(predict) if name != "phase" or has_phase)

    def fresh() -> Any:
        # one each: what jax2onnx has traced with its own operations must not be what the run is judged by
        def outputs(clip: jax.Array) -> tuple[jax.Array, ...]:
            found = task.predict_fn(model, {"clip": clip})
            return tuple(found[name] for name in names)

        return jax.jit(outputs)

    own = fresh()
    data = MAKERS[kind](fresh(), jax.ShapeDtypeStruct(clips[0].shape, np.uint8))
    difference, ms, own_ms = compare(names, own, RUNNERS[kind](data), clips)
    if not difference <= BOUND:
        raise ValueError(
            f"{workdir}: on {len(clips)} held-out clips the {kind} file's outputs differ from the run's by "
            f"{difference:.2e} of the largest value (bound {BOUND:g}). Nothing was written."
        )
    facts = {
        "task": config.task,
        "checkpoint_step": step,
        "data": f"{config.data.builder}/{config.data.name}",
        "clip": dict(zip(("frames", "height", "width"), clips[0].shape[1:4], strict=True)),
        "outputs": names,
        "unscored_frames": task.unscored,
        "checked_clips": len(clips),
        "largest_difference": difference,
        "bound": BOUND,
    }
    path = write_graph(folder or epath.Path(workdir) / "export", kind, data, facts)
    return Exported(path, names, len(clips), difference, len(data), ms, own_ms)


def compare(
    names: tuple[str, ...], own: Graph, exported: Graph, clips: list[np.ndarray]
) -> tuple[float, float, float]:
    """Largest relative difference of an output; median ms of a clip, exported and own."""
    worst, times = 0.0, {"exported": [], "own": []}
    for clip in clips:
        made = {}
        for name, run in (("exported", exported), ("own", own)):
            start = time.perf_counter()
            made[name] = [np.asarray(found) for found in run(clip)]
            times[name].append(1000 * (time.perf_counter() - start))
        for name, right, found in zip(names, made["own"], made["exported"], strict=True):
            if name == "phase":
                away = circular_distance(found, right, 1.0)
            else:
                away = np.abs(found - right) / np.nanmax(np.abs(right))
            # frames without a score have NaN in both; a NaN in one alone is no smaller than the bound
            away = np.where(np.isnan(found) & np.isnan(right), 0.0, away)
            worst = max(worst, float(np.where(np.isfinite(away), away, np.inf).max()))
    ms, own_ms = (float(np.median(times[name])) for name in ("exported", "own"))
    return worst, ms, own_ms


def _held_out(task: ClipTask) -> list[np.ndarray]:
    """Normal clips uint8 [1, t, h, w, 3] that the model was not trained on; of those it was, without any."""
    fitted, held = task.segments
    index, _ = clip_index(held, task.clip_len)
    if not len(index):
        index, _ = clip_index(fitted, task.clip_len)
    chosen = spread_batches(len(index), 1, MAX_CLIPS, 0, 1)
    return [read_clips(task.source, index[rows], task.clip_len)["clip"] for rows in chosen]
