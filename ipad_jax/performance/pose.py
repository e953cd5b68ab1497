"""Poses of queries by the published search and by ours, on one field, with their errors.

Both begin from the same small pictures and know the same hull. The published search has its own steps, pixels
a step and rate, but our 24 + 16 samples a ray: on its 64 + 64 it would take longer.
"""

import time
from functools import partial
from typing import Any

import numpy as np

from ipad_jax.image.scorer import load_scorer
from ipad_jax.input.images import open_images
from ipad_jax.performance.step import describe_machine
from ipad_jax.performance.timing import number
from ipad_jax.pose.adam_search import PIXELS, adam_search
from ipad_jax.pose.scorer import PoseError, PoseScorer
from ipad_jax.run.config import read_config
from ipad_jax.run.table import Table
from ipad_jax.training.checkpoints import restore_for_inference
from ipad_jax.training.task import family_of

HEADS = (
    "search",
    "s a query",
    "CPU s a query",
    "times",
    "median degrees",
    "median units",
    "within 1 degree",
)


def compare_searches(*, workdir: str, queries: int, steps: int) -> Table:
    """Poses test images whose true pose is known, in turn by both searches, after one that is not counted.

    Args:
      workdir: a run of objects, with its test split prepared.
      queries: images, evenly spread over the test split.
      steps: of the published search.

    Raises:
      ValueError: a run of another family, or no test image with a known pose.
    """
    if (family := family_of(read_config(workdir))) != "pose":
        raise ValueError(
            f"{workdir} is a run of the {family} family; expected one of objects (pose)."
        )
    config, _, model, step = restore_for_inference(workdir)
    source = open_images(config, "test")
    true = source.metadata.get("true_poses", {})
    known = [i for i, (name, _) in enumerate(source.rows) if name in true]
    if not known:
        raise ValueError(f"{source.path}: no test image has a known pose to compare with.")
    chosen = [known[int((i + 0.5) * len(known) / queries)] for i in range(min(queries, len(known)))]
    scorer: Any = load_scorer(workdir, config, model, step)
    ways = {
        f"published: Adam, {steps} steps of {PIXELS:,} rays": lambda image: adam_search(
            image, scorer.known, steps=steps
        ),
        # of a run of the published method too, whose own search is the other row
        "ours: render and align": partial(PoseScorer.searched, scorer),
    }
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    errors: dict[str, list[PoseError]] = {name: [] for name in ways}
    for turn, index in enumerate([chosen[0], *chosen]):
        image = scorer.fitted(source.image(index))
        for name, way in ways.items():
            if not turn and name.startswith("published"):  # two steps compile it
                adam_search(image, scorer.known, steps=2)
                continue
            wall, cpu = time.perf_counter(), time.process_time()
            found = way(image)
            spent = time.perf_counter() - wall, time.process_time() - cpu
            if turn:
                taken[name].append(spent)
                pose = np.array(true[source.rows[index][0]])
                errors[name].append(PoseError.between(found.pose, pose))
    slow = float(np.median([cpu for _, cpu in taken[next(iter(ways))]]))
    rows = []
    for name in ways:
        wall, cpu = np.median(taken[name], axis=0)
        degrees = [error.degrees for error in errors[name]]
        units = float(np.median([error.units for error in errors[name]]))
        within = f"{sum(d < 1 for d in degrees)} of {len(degrees)}"
        numbers = (wall, cpu, slow / cpu, np.median(degrees), units)
        rows.append((name, *(number(float(x)) for x in numbers), within))
    title = f"{len(chosen)} queries of {workdir} at {scorer.lens.width}x{scorer.lens.height}"
    note = "Medians, retrieval and the final picture included; times: of CPU seconds."
    return Table(f"{title}, {describe_machine()}", HEADS, tuple(rows), (note,))
