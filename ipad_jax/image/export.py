"""A fitted method as one file that runs without this package: StableHLO or ONNX, checked before it is kept.

The graph takes pictures uint8 [tiles * tiles, height, width, 3] of an image (views.py) and gives raw maps
float32 [tiles * tiles, h', w']; a JSON file beside it has what is outside: how an image is cut and its map
joined, the reduction to a score, the threshold. Nothing is kept unless maps and scores of real held-out
images are those of the run within `BOUND` and `MAP_BOUND`.
"""

import dataclasses
import os
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from ipad_jax.image.detector import Detector, load
from ipad_jax.image.task import arrays_of_method
from ipad_jax.input.images import open_images
from ipad_jax.run.graph_file import MAKERS, RUNNERS, Graph, check_format, write_graph
from ipad_jax.training.checkpoints import restore_for_inference

BOUND = 1e-4  # largest difference of a score, relative to its map's largest value
# The same of a map. A distance near 0 is the root of what rounding leaves of a difference, so that there
# another order of sums shows most (1.3e-4 on images with a white ground).
MAP_BOUND = 1e-3
MAX_IMAGES = 20  # held-out images that are compared


@dataclasses.dataclass(frozen=True)
class Exported:
    """A file that passed.

    Attributes:
      path: of the graph.
      num_images: images compared.
      difference, map_difference: largest one of a score and of a map, relative to the map's largest value.
      num_bytes: of the graph.
      ms: median for an image's maps by the file.
      own_ms: the same by the run.
    """

    path: epath.Path
    num_images: int
    difference: float
    map_difference: float
    num_bytes: int
    ms: float
    own_ms: float

    def summary(self) -> str:
        """What a person should know."""
        return (
            f"{self.path}: {self.num_bytes / 1e6:.1f} MB; on {self.num_images} good images its "
            f"scores differ from the run's by {self.difference:.1e} of the largest value at most (bound "
            f"{BOUND:g}), its maps by {self.map_difference:.1e} ({MAP_BOUND:g}); "
            f"{self.ms:.0f} ms for an image's maps, the run {self.own_ms:.0f} ms"
        )


def export(
    workdir: str | os.PathLike[str],
    kind: str,
    *,
    folder: str | os.PathLike[str] | None = None,
    step: int | None = None,
) -> Exported:
    """Writes a run's method as a file, and its JSON beside it, if the file gives what the run gives.

    Args:
      workdir: run folder, fitted; its dataset must be here.
      kind: of `FORMATS`.
      folder: to write to; export/ in the run folder by default.
      step: checkpoint; the newest by default.

    Raises:
      FileNotFoundError: no run, or its dataset is not here.
      ModuleNotFoundError: the extra `export` is not installed.
      ValueError: an unknown format, or the file gives something else than the run; nothing is kept then.
    """
    check_format(kind)
    config, _, model, step = restore_for_inference(workdir, step)
    detector = load(workdir, step=step)
    task, views = detector.scorer.task, detector.scorer.task.views
    own = {name: jnp.asarray(x) for name, x in arrays_of_method(detector.scorer.arrays).items()}

    def fresh() -> Any:
        # one each: what jax2onnx has traced with its own operations must not be what the run is judged by
        return jax.jit(lambda pictures: (task.map_fn(model, own, pictures),))

    graph = fresh()
    shape = jax.ShapeDtypeStruct((views.tiles**2, views.height, views.width, 3), np.uint8)
    data = MAKERS[kind](fresh(), shape)
    exported = RUNNERS[kind](data)
    images = _held_out(detector)
    difference, map_difference, ms, own_ms = compare(detector, graph, exported, images)
    if not (difference <= BOUND and map_difference <= MAP_BOUND):
        raise ValueError(
            f"{workdir}: on {len(images)} held-out images the {kind} file's scores differ from the run's by "
            f"{difference:.2e} of the largest value (bound {BOUND:g}), its maps by {map_difference:.2e} "
            f"({MAP_BOUND:g}). Nothing was written."
        )
    facts = {
        "task": config.task,
        "checkpoint_step": step,
        "data": f"{config.data.builder}/{config.data.name}",
        "picture": {"height": views.height, "width": views.width, "tiles": views.tiles},
        "blur_px": config.eval.blur_px,
        "score": "mean" if config.model.get("score", "max") == "mean" else "max",
        "threshold": detector.threshold,
        "heat": detector.heat,
        "bit_depth": detector.bit_depth,
        "threshold_statement": detector.threshold_statement(),
        "checked_images": len(images),
        "largest_difference": difference,
        "bound": BOUND,
        "largest_map_difference": map_difference,
        "map_bound": MAP_BOUND,
    }
    path = write_graph(folder or epath.Path(workdir) / "export", kind, data, facts)
    return Exported(path, len(images), difference, map_difference, len(data), ms, own_ms)


def compare(
    detector: Detector, graph: Graph, exported: Graph, images: list[np.ndarray]
) -> tuple[float, float, float, float]:
    """Largest relative difference of scores, of maps; median ms of an image's maps, exported and own."""
    task, blur = detector.scorer.task, detector.config.eval.blur_px
    worst, times = np.zeros(2), {"exported": [], "own": []}
    for image in images:
        pictures = task.views.cut(image)
        maps = {}
        for name, run in (("exported", exported), ("own", graph)):
            start = time.perf_counter()
            maps[name] = np.asarray(run(pictures)[0])
            times[name].append(1000 * (time.perf_counter() - start))
        joined = {n: task.views.join(m, image.shape[:2], blur) for n, m in maps.items()}
        scores = {n: task.reduce(m) for n, m in joined.items()}
        largest = max(float(np.abs(maps["own"]).max()), 1e-12)
        away = np.array(
            [
                abs(scores["own"] - scores["exported"]),
                np.abs(maps["own"] - maps["exported"]).max(),
            ]
        )
        # a NaN is no smaller than the bound
        worst = np.maximum(worst, np.where(np.isfinite(away), away / largest, np.inf))
    ms, own_ms = (float(np.median(times[name])) for name in ("exported", "own"))
    return float(worst[0]), float(worst[1]), ms, own_ms


def _held_out(detector: Detector) -> list[np.ndarray]:
    """Good images that the method was not fitted on; of those it was, where none was held out."""
    source = open_images(detector.config, "train")
    fitted, held = detector.scorer.task.indices
    return [source.image(index) for index in (held or fitted)[:MAX_IMAGES]]
