"""A run judged on its test images: restore, score, measure, report."""

import dataclasses
import io
import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import jax
import numpy as np
from etils import epath
from ml_collections import ConfigDict

from ipad_jax.evaluation.pixel_ranking import PixelRanking
from ipad_jax.evaluation.summary import to_json
from ipad_jax.image.calibration import FILE, HELD_OUT, Calibration, calibration_of, newest_fresh
from ipad_jax.image.detector import Detector
from ipad_jax.image.evaluation.report import write_report
from ipad_jax.image.evaluation.result import Evaluation
from ipad_jax.image.evaluation.scores import Scores, at_threshold
from ipad_jax.image.scorer import Scored, load_scorer
from ipad_jax.image.task import BACKBONE, PREDICTION_LEAVES
from ipad_jax.image.untrained import ROWS, untrained_maps
from ipad_jax.input.images import ImageSource, images_dir, open_images, open_source
from ipad_jax.run.config import config_hash, override_eval, read_config
from ipad_jax.run.files import check_name, fresh_folder, write_atomic
from ipad_jax.run.progress import Report, Stages
from ipad_jax.run.provenance import made_with
from ipad_jax.training.checkpoint_files import weights_folder
from ipad_jax.training.checkpoints import restore_for_inference
from ipad_jax.training.fitted import derived_folders

NAME = "test"  # of the folder below eval/
EMPTY = np.zeros((0, 0), np.float32)  # in place of maps, which are not kept
STALE = ("metrics.json", "report.html", "maps", "*.webm", "*.ply")


def evaluate(
    workdir: str | os.PathLike[str],
    *,
    name: str = "",
    step: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    report: bool = True,
    data_name: str = "",
    data_dir: str = "",
    calibration: str = "",
    stages: Stages | None = None,
    announce: Callable[[Evaluation], None] | None = None,
) -> Evaluation | None:
    """Evaluates a run on its test images.

    Args:
      workdir: run folder.
      name: results go to eval/<name>/ in it; "test" by default.
      step: checkpoint; the newest by default.
      overrides: leaves of the `eval` section to change.
      report: also write report.html.
      data_name: the run's own dataset, since a threshold belongs to one; or one that differs from it in
        nothing but its test images. Results of another go to eval/<data_name>/ by default.
      data_dir: root of prepared datasets, where it is no longer the run's.
      calibration: name of one made after training, or "held_out"; the newest by default.
      stages: shows progress.
      announce: called with the evaluation once metrics.json is written, before the report.

    Returns:
      The evaluation; scores.npz, metrics.json and the report lie in its folder. None on processes other
      than the first.

    Raises:
      FileNotFoundError: no run, checkpoint or dataset there.
      ValueError: there are no test images, a leaf is unknown, the dataset was changed since training.
    """
    own = read_config(workdir)
    is_other = data_name not in ("", own.data.name)
    name = check_name(name or (data_name if is_other else NAME), "name")
    if jax.process_index():
        return None
    stages = stages or (lambda _: nullcontext(lambda done, total: None))
    if data_dir:
        own.data.data_dir = data_dir
    source = _other_images(workdir, own, data_name) if is_other else open_images(own, "test")
    if not len(source):
        raise ValueError(
            f"{source.path} has no test images, so nothing can be measured. `ipad-jax detect --images` "
            "judges images without labels."
        )
    config, _, model, step = restore_for_inference(workdir, step)
    config = override_eval(config, overrides or {})
    if data_dir:
        config.data.data_dir = data_dir
    scorer = load_scorer(workdir, config, model, step)
    with stages("calibrating") as progress:
        found = calibration_of(workdir, config, scorer, step, progress, name, calibration)
    folder = fresh_folder(epath.Path(workdir) / "eval", name, STALE)
    detector = Detector(scorer, config, step, found)
    with stages("scoring") as progress:
        scores, metrics, notes, found_in = _measure(folder, detector, source, step, progress)
    if weights := weights_of(workdir):
        metrics["weights"] = weights
    if is_other:
        metrics["data"] = f"{config.data.builder}/{data_name}"
    evaluation = _write(folder, config, scores, found, metrics, notes)
    if announce:
        announce(evaluation)
    if report:
        videos = scorer.show(folder, source, stages)
        with stages("writing the report") as progress:
            write_report(evaluation, detector, source, found_in, videos, progress)
    return evaluation


def _measure(
    folder: epath.Path, detector: Detector, source: ImageSource, step: int, progress: Report
) -> tuple[Scores, dict[str, Any], tuple[str, ...], list[Any]]:
    """Scores of all test images, the metrics that need pixels, notes, and each `Scored.found`."""
    config, scorer = detector.config, detector.scorer
    rankings = {name: PixelRanking() for name in ("score", *ROWS)}
    untrained: dict[str, list[float]] = {name: [] for name in ROWS}
    scored, seconds = [], 0.0
    beside: dict[str, PixelRanking] = {}
    beside_scores: dict[str, list[float]] = {}
    everything: list[Scored] = []
    scorer.warm_up()
    small = scorer.arrays["untrained/images"]
    size = config.eval.batch_size
    for first in range(0, len(source), size):
        images = [source.image(i) for i in range(first, min(first + size, len(source)))]
        start = time.perf_counter()
        found = list(scorer.scored(images))
        seconds += time.perf_counter() - start
        for index, (image, (score_map, score, _)) in enumerate(zip(images, found), start=first):
            name, kind = source.rows[index]
            mask = source.mask(index)
            rankings["score"].add(score_map, mask, kind, score)
            for row, row_map in untrained_maps(small, image).items():
                untrained[row].append(float(row_map.max()))
                rankings[row].add(row_map, mask, kind)
            for row, other in scorer.beside(source, index).items():
                beside.setdefault(row, PixelRanking()).add(other.map, mask, kind, other.score)
                beside_scores.setdefault(row, []).append(other.score)
            if config.eval.save_maps:
                _save_map(folder / "maps", name, score_map)
            scored.append(score)
            everything.append(Scored(EMPTY, score, found[index - first].found))
        progress(len(scored), len(source))
    names, kinds = zip(*source.rows)
    scores = Scores(
        np.array(names),
        np.array(kinds),
        np.array(scored),
        {row: np.array(values) for row, values in untrained.items()},
        made_with(config, scorer.task.prediction_leaves, step),
        {row: np.array(v) for row, v in beside_scores.items() if len(v) == len(source)},
        np.array([one.inspected for one in everything]),
    )
    metrics = rankings["score"].result(config.seed)
    metrics["seconds_an_image"] = seconds / len(source)
    shown = ("image_auroc", "pixel_auroc", "aupro_30", "average_precision", "intervals")
    metrics["untrained"] = {
        row: {k: v for k, v in rankings[row].result(config.seed).items() if k in shown}
        for row in ROWS
    }
    if beside:
        metrics["beside"] = {
            row: {k: v for k, v in ranking.result(config.seed).items() if k in shown}
            for row, ranking in beside.items()
        }
    metrics |= scorer.measured(source, everything)
    notes = []
    if metrics["num_without_pixels"]:
        notes.append(
            f"{metrics['num_without_pixels']} defective images have no mask: not in the pixel numbers"
        )
    if missed := int((~scores.judged).sum()):
        notes.append(
            f"{missed} of {len(source)} images are not inspected: they raise no alarm, so a defect there is "
            "not found. The ranking numbers count them by the difference from a rendering all the same, as "
            "other methods' do."
        )
    return scores, metrics, tuple(notes), [one.found for one in everything]


def _save_map(folder: epath.Path, name: str, score_map: np.ndarray) -> None:
    """Writes maps/<split>/<kind>/<name>.npy, float32 [h, w]."""
    path = folder / f"{name}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    np.save(buffer, score_map)
    write_atomic(path, buffer.getvalue())


def rescore(
    workdir: str | os.PathLike[str],
    scores_path: str | os.PathLike[str],
    *,
    name: str = "",
    overrides: Mapping[str, Any] | None = None,
    data_name: str = "",
    calibration: str = "",
) -> Evaluation:
    """Measures saved scores again, without the model; numbers of pixels need maps and are left out.

    Args:
      workdir: run folder; its held-out scores give the threshold anew.
      scores_path: scores.npz of an earlier evaluation.
      name: results go to eval/<name>/; "test_rescored" by default.
      overrides: leaves of the `eval` section to change: false_alarm_share.
      data_name, calibration: as of `evaluate`.

    Raises:
      FileNotFoundError: no run or scores there.
      ValueError: a leaf that changes maps, or no calibration that goes with these scores.
    """
    name = check_name(name or f"{NAME}_rescored", "name")
    own = read_config(workdir).data.name
    if data_name not in ("", own):
        raise ValueError(_not_own(workdir, own, data_name))
    if fixed := sorted({f"eval.{leaf}" for leaf in overrides or {}} & set(PREDICTION_LEAVES)):
        raise ValueError(f"{fixed[0]} changes the maps: evaluate without --scores.")
    scores = Scores.load(scores_path)
    config = override_eval(read_config(workdir), overrides or {})
    run, found = epath.Path(workdir), None
    if calibration != HELD_OUT:
        found = newest_fresh(run, scores.made_with, calibration)
    places = [place / FILE for place in derived_folders(run) if (place / FILE).exists()]
    for saved in map(Calibration.load, places if found is None else ()):
        if saved.made_with == scores.made_with:
            found = saved
    share = config.eval.false_alarm_share
    if found is not None and (not found.made_utc or "false_alarm_share" in (overrides or {})):
        found = dataclasses.replace(found, alpha=share)
    if found is None and config.data.holdout_share:
        raise ValueError(
            f"no calibration in {workdir} goes with {scores_path}: evaluate again without --scores."
        )
    ranks = PixelRanking()
    for kind, score in zip(scores.kind, scores.score):
        ranks.add(None, None, str(kind), float(score))
    return _write(
        fresh_folder(epath.Path(workdir) / "eval", name, STALE),
        config,
        scores,
        found,
        ranks.result(config.seed),
    )


def _write(
    folder: epath.Path,
    config: ConfigDict,
    scores: Scores,
    calibration: Calibration | None,
    metrics: dict[str, Any],
    notes: tuple[str, ...] = (),
) -> Evaluation:
    """Adds what follows from the threshold, writes scores.npz and metrics.json."""
    metrics = {
        "data": f"{config.data.builder}/{config.data.name}",
        **metrics,
        "share_not_inspected": float(1 - scores.judged.mean()),
        **at_threshold(scores, calibration),
        "config_hash": config_hash(config),
        "checkpoint_step": scores.made_with["checkpoint_step"],
        "seed": config.seed,
        "task": config.task,
    }
    scores.save(folder / "scores.npz")
    write_atomic(folder / "metrics.json", to_json(metrics).encode())
    return Evaluation(folder, scores, calibration, metrics, notes)


def weights_of(workdir: str | os.PathLike[str]) -> dict[str, str]:
    """Which file a run's pretrained network is from; {} without one, and of runs from before 0.3."""
    path = weights_folder(workdir) / BACKBONE
    if not path.exists():
        return {}
    found = json.loads(path.read_text())
    return {name: found[name] for name in ("backbone", "file", "sha256", "published", "note")}


def _other_images(
    workdir: str | os.PathLike[str], config: ConfigDict, data_name: str
) -> ImageSource:
    """Test images of a dataset whose training images are the run's, as its builder says."""
    data = config.data
    try:
        other = open_source(images_dir(data.data_dir, data.builder, data_name), "test")
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error} This run judges only images whose training images are those of {data.name}."
        ) from error
    if other.metadata.get("trained_as") != data.name:
        raise ValueError(_not_own(workdir, data.name, data_name))
    return other


def _not_own(workdir: str | os.PathLike[str], own: str, data_name: str) -> str:
    return (
        f"{workdir} was fitted on {own}: its threshold means nothing on {data_name}. Train on "
        f"{data_name} in a folder of its own. Only prepared toys that differ in nothing but their test "
        "images, as cat and cat_roll do, are judged by one run."
    )
