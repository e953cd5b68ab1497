"""From a folder of cells to the numbers of a table: what is there is averaged, what is not is counted."""

import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from ipad_jax.evaluation import ranking
from ipad_jax.evaluation.intervals import Interval
from ipad_jax.evaluation.paired import (
    Judgement,
    Scenes,
    difference_interval,
    mean_interval,
    scene_differences,
)
from ipad_jax.evaluation.rates import rate_interval, share_interval
from ipad_jax.reproduce import image_cells
from ipad_jax.reproduce.cells import is_complete, load_facts, load_judgement
from ipad_jax.reproduce.plan import Cell, Comparison, Job, Line, Table
from ipad_jax.reproduce.table import Difference, Number, TableData, TableRow
from ipad_jax.training.logs import read_metrics

MAX_LOSSES = 200  # points of a training's curve on the page
NOTHING = Interval(np.nan, np.nan, np.nan, 0, 0)

Found = dict[str, dict[int, Judgement]]  # of a line: scene -> seed -> what was judged


@dataclass(frozen=True)
class Folder:
    """What a folder of cells holds of a table.

    Attributes:
      root: the folder.
      there: folders of the cells that are complete.
      num_resamples: of every interval.
    """

    root: str | os.PathLike[str]
    there: frozenset[str]
    num_resamples: int = 2000

    def has(self, cell: Cell) -> bool:
        """Whether a cell is complete."""
        return cell.folder in self.there


def look(
    root: str | os.PathLike[str], jobs: Sequence[Job], configs: Mapping[str, ConfigDict]
) -> Folder:
    """Which cells of a table's jobs are complete.

    Args:
      root: folder of the tables.
      jobs: all of the table.
      configs: of each training, by its folder.

    Raises:
      ValueError: a cell was made with another config.
    """
    there = {
        cell.folder
        for job in jobs
        for cell in job.cells
        if is_complete(root, cell, configs[job.training.folder])
    }
    return Folder(root, frozenset(there))


def collect(
    folder: Folder, table: Table, trainings: tuple[int, int], subtitle: str, seeds: Sequence[int]
) -> TableData:
    """The table's numbers.

    Args:
      folder: of the cells.
      table: what is wanted.
      trainings: (done, wanted).
      subtitle: how it was made.
      seeds: wanted of each cell.
    """
    found = {line.name: _judgements(folder, line) for line in table.lines}
    kinds = sorted(
        {
            str(kind)
            for line in found.values()
            for runs in line.values()
            for run in list(runs.values())[:1]
            if run.kind is not None
            for kind in np.unique(run.kind[run.label == 1])
        }
        - {"unknown"}
    )
    rows = tuple(
        _row(folder, table, line, found[line.name], kinds, len(seeds), line.name == table.main)
        for line in table.lines
    )
    differences = tuple(
        _difference(table, c, found[c.first], found[c.second], len(seeds), folder.num_resamples)
        for c in table.comparisons
    )
    groups = tuple(table.groups)
    return TableData(
        table.title,
        subtitle,
        (*table.scenes, *groups),
        groups,
        rows,
        differences,
        tuple(kinds),
        trainings,
        (*table.notes, *_notes(table, folder.num_resamples)),
        table.words,
    )


def _judgements(folder: Folder, line: Line) -> Found:
    """What is there of a line. A row without training is taken from the cell with the most frames.

    The frame difference is the same in all cells of a scene, but a cell holds only the frames that its method
    scores: DMAD and ASTNet lack the first four, protocol paper the ends.
    """
    found: Found = {}
    for cell in line.cells:
        seed = 0 if line.is_untrained else cell.training.seed
        runs = found.setdefault(cell.scene, {})
        if not folder.has(cell) or (seed in runs and not line.is_untrained):
            continue
        run = load_judgement(folder.root, cell)
        if seed not in runs or len(run.score) > len(runs[seed].score):
            runs[seed] = run
    return found


def _row(
    folder: Folder,
    table: Table,
    line: Line,
    found: Found,
    kinds: Sequence[str],
    num_seeds: int,
    is_main: bool,
) -> TableRow:
    wanted = 1 if line.is_untrained else num_seeds
    groups = {scene: (scene,) for scene in table.scenes} | dict(table.groups)
    numbers = {
        column: _number(found, scenes, wanted, line.published.get(column), folder.num_resamples)
        for column, scenes in groups.items()
    }
    by_kind = {}
    for kind in kinds:
        of_kind: Found = {
            scene: {seed: run.of_kind(kind) for seed, run in runs.items()}
            for scene, runs in found.items()
        }
        by_kind[kind] = _number(of_kind, table.scenes, wanted, None, folder.num_resamples)
    cells = [] if line.is_untrained else [cell for cell in line.cells if folder.has(cell)]
    facts = [load_facts(folder.root, cell) for cell in cells]
    return TableRow(
        line.name,
        line.text,
        numbers,
        by_kind,
        _alarms([f["metrics"] for f in facts], len({cell.scene for cell in cells})),
        _image_measures(folder, line)
        if table.words.unit == "image"
        else _measures([list(runs.values()) for runs in found.values() if runs]),
        _training_facts([f["training"] for f in facts if f["training"]]),
        is_main,
        line.is_untrained,
        [_losses(f"{folder.root}/{cell.training.folder}") for cell in cells],
        line.beside,
    )


def _number(
    found: Found,
    scenes: Sequence[str],
    wanted: int,
    published: float | None,
    num_resamples: int,
) -> Number:
    """The mean of what is there of some scenes."""
    runs = {scene: found.get(scene, {}) for scene in scenes}
    done = sum(len(of_scene) for of_scene in runs.values())
    judged: Scenes = [list(of_scene.values()) for of_scene in runs.values() if of_scene]
    interval = mean_interval(judged, num_resamples=num_resamples) if judged else NOTHING
    everywhere = set.intersection(*(set(of_scene) for of_scene in runs.values())) if runs else set()
    seeds = tuple(
        float(np.nanmean(aucs))
        for seed in sorted(everywhere)
        if np.isfinite(aucs := [_auc(runs[scene][seed]) for scene in scenes]).any()
    )
    return Number(
        interval.estimate, interval.low, interval.high, seeds, done, wanted * len(scenes), published
    )


def _auc(run: Judgement) -> float:
    return ranking.auc_micro(run.score, run.label)


def _difference(
    table: Table,
    comparison: Comparison,
    first: Found,
    second: Found,
    num_seeds: int,
    num_resamples: int,
) -> Difference:
    """Of two lines, on the scenes and seeds that both have; a row without training meets every seed."""
    pairs: list[tuple[list[Judgement], list[Judgement]]] = []
    for scene in table.scenes:
        a, b = first.get(scene, {}), second.get(scene, {})
        if b and _untrained(table, comparison.second):
            b = dict.fromkeys(a, next(iter(b.values())))
        common = sorted(a.keys() & b.keys())
        if common:
            pairs.append(([a[s] for s in common], [b[s] for s in common]))
    wanted = num_seeds * len(table.scenes)
    if not pairs:
        return Difference(comparison.text, Number(np.nan, np.nan, np.nan, (), 0, wanted), 0, 0)
    one, other = [a for a, _ in pairs], [b for _, b in pairs]
    interval = difference_interval(one, other, num_resamples=num_resamples)
    number = Number(
        interval.estimate,
        interval.low,
        interval.high,
        (),
        sum(len(runs) for runs in one),
        wanted,
    )
    above = scene_differences(one, other) > 0
    return Difference(comparison.text, number, int(above.sum()), len(pairs))


def _untrained(table: Table, name: str) -> bool:
    return next(line.is_untrained for line in table.lines if line.name == name)


def _alarms(metrics: Sequence[Mapping[str, Any]], num_scenes: int) -> dict[str, Any]:
    """What happens at the threshold, counts added up over cells; {} without a threshold."""
    metrics = [m for m in metrics if m["threshold"] is not None and "normal_hours" in m]
    if not metrics:
        return {}
    # The seeds of a scene judge the same footage: their counts are averaged, not added, in intervals.
    repeats = max(1.0, len(metrics) / num_scenes)

    def total(name: str, older: str = "") -> float:
        return sum(m.get(name, m.get(older, np.nan)) for m in metrics) / repeats

    def known(name: str) -> list[float]:
        return [m[name] for m in metrics if m.get(name) is not None]

    false, hours = total("num_false_calls", "num_false_alarms"), total("normal_hours")
    found, faults = total("num_detected"), total("num_true")
    in_alarm = total("alarm_hours") / hours if hours else np.nan  # NaN: of before version 0.3
    return {
        "normal_time_in_alarm": in_alarm,
        "false_alarms_per_hour": false / hours if hours else np.nan,
        "false_alarms_interval": rate_interval(false, hours),
        "event_recall": found / faults if faults else np.nan,
        "event_recall_interval": share_interval(found, faults),
        "detection_delay_s": _middle(known("detection_delay_s")),
    }


def _measures(scenes: Scenes) -> dict[str, float]:
    """Other measures than the AUC, mean over seeds, then over the scenes that have one."""
    if not scenes:
        return {}
    functions = {
        "auc_macro": _auc_macro,
        "average_precision": lambda run: ranking.average_precision(run.score, run.label),
        "eer": lambda run: ranking.eer(run.score, run.label),
        "fpr_at_95_recall": lambda run: ranking.fpr_at_recall(run.score, run.label, 0.95),
    }
    found = {}
    for name, measure in functions.items():
        means = [float(np.mean([measure(run) for run in runs])) for runs in scenes]
        known = [mean for mean in means if np.isfinite(mean)]
        found[name] = float(np.mean(known)) if known else np.nan
    return found


def image_measures(folder: Folder, line: Line) -> dict[str, dict[str, float]]:
    """Numbers of `image_cells.measures` by set, mean over the seeds that are there."""
    by_set: dict[str, list[dict[str, float]]] = {}
    for cell in line.cells:
        if folder.has(cell) and not (line.is_untrained and cell.scene in by_set):
            metrics = load_facts(folder.root, cell)["metrics"]
            by_set.setdefault(cell.scene, []).append(image_cells.measures(metrics, line.column))
    return {
        scene: {name: float(np.mean([run[name] for run in runs])) for name in runs[0]}
        for scene, runs in by_set.items()
    }


def _image_measures(folder: Folder, line: Line) -> dict[str, float]:
    """Numbers of pixels and of the threshold, mean over seeds, then over the sets that have one."""
    by_set = image_measures(folder, line)
    found = {}
    for name in image_cells.MEASURES if by_set else ():
        known = [values[name] for values in by_set.values() if np.isfinite(values[name])]
        found[name] = float(np.mean(known)) if known else np.nan
    return found


def _auc_macro(run: Judgement) -> float:
    numbers = np.unique(run.video, return_inverse=True)[1]
    return ranking.auc_macro(run.score, run.label, numbers).mean


def _middle(values: Sequence[float]) -> float:
    return statistics.median(values) if values else np.nan


def _training_facts(trainings: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Medians over a line's trainings."""
    names = ("parameters", "trainable", "steps", "train_seconds")
    if not trainings:
        return {}
    return {name: float(statistics.median(t[name] for t in trainings)) for name in names}


def _losses(workdir: str) -> tuple[list[float], list[float]]:
    """Steps and losses of a training, thinned out."""
    rows = [row for row in read_metrics(workdir) if row.get("loss") is not None]
    rows = rows[:: max(1, -(-len(rows) // MAX_LOSSES))]
    return [float(row["step"]) for row in rows], [float(row["loss"]) for row in rows]


def _notes(table: Table, num_resamples: int) -> list[str]:
    """What the numbers are."""
    if table.words.unit == "image":
        places = f"{table.words.place}s"
        return [
            f"Image AUROC, mean over seeds, then over {places}; nothing reads the test split before the "
            f"last step. Intervals draw test images and seeds anew, {num_resamples:,} times; {places} "
            "are not drawn. "
            "Seconds are those of the steps, or of fitting and the threshold where there are no steps.",
            "A paired difference is taken on the images and draws that both rows share; 'so' is yes where "
            "its interval lies above zero.",
        ]
    return [
        f"Micro AUC of all frames that a method scores (protocol {table.protocol}), mean over seeds, then "
        "over scenes; a row without training has those of the method that scores most. "
        f"Intervals draw test videos and seeds anew, {num_resamples:,} times; scenes are not drawn.",
        "A paired difference is taken on the frames and draws that both rows share; 'so' is yes where its "
        "interval lies above zero.",
    ]
