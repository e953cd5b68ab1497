"""A run judged on its test split: restore, predict, score by a protocol, measure, report."""

import dataclasses
import os
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import jax
from etils import epath
from ml_collections import ConfigDict

from ipad_jax.input.clips import clip_index, describe_skipped
from ipad_jax.input.frames import FrameSource
from ipad_jax.input.split import open_split, whole_videos
from ipad_jax.run.config import override_eval as with_eval
from ipad_jax.run.config import read_config
from ipad_jax.run.files import check_name, fresh_folder
from ipad_jax.run.progress import Stages
from ipad_jax.training.checkpoints import restore_for_inference
from ipad_jax.training.fitted import stored_fitted
from ipad_jax.video.clip_task import make_clip_task
from ipad_jax.video.detector.calibration_files import (
    calibration_in_force,
    calibration_of,
    fit_for,
)
from ipad_jax.video.detector.footage import footage_of
from ipad_jax.video.detector.predictor import load_predictor
from ipad_jax.video.detector.scene_folder import check_one_scene, scene_folder
from ipad_jax.video.evaluation.measure import Evaluation, measure
from ipad_jax.video.evaluation.report import write_report
from ipad_jax.video.evaluation.shared_work import SharedWork, help_out
from ipad_jax.video.evaluation.videos import CHOICES
from ipad_jax.video.normal.stored import LEARNT, learnt_of
from ipad_jax.video.scores.frame_scores import PREDICTION_LEAVES, FrameScores
from ipad_jax.video.scores.protocols import PROTOCOLS

STALE = ("metrics.json", "report.html", "*.webm")


def evaluate(
    workdir: str | os.PathLike[str],
    *,
    name: str = "",
    step: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    report: bool = True,
    videos: str = "few",
    data_name: str = "",
    calibration: str = "",
    data_dir: str = "",
    stages: Stages | None = None,
    announce: Callable[[Evaluation], None] | None = None,
) -> Evaluation | None:
    """Evaluates a run on its test split; several processes share the scoring.

    Args:
      workdir: run folder.
      name: results go to eval/<name>/ in it; the protocol by default.
      step: checkpoint; the newest by default.
      overrides: leaves of the `eval` section to change, such as {"stride": 8}. Protocol `paper` brings
        its stride of 1 unless another is given here.
      report: also write report.html and side-by-side videos.
      videos: which test videos to make: "few", the two worst and the two best, "all" or "none".
      data_name: dataset that is judged instead of the run's own, which must be one; everything then
        lies in the run's scenes/<data_name>/, calibration included (see scene_folder.py).
      calibration: name of one made on other footage, or "held_out"; the newest by default.
      data_dir: root of prepared datasets, where it is no longer the run's.
      stages: shows progress.
      announce: called with the evaluation once metrics.json is written, before the report.

    Returns:
      The evaluation; scores.npz, metrics.json and the report lie in its folder. None on processes other
      than the first.

    Raises:
      FileNotFoundError: no run, checkpoint or dataset there.
      ValueError: the test split has nothing to judge (no video as long as a clip, no label), a leaf
        is unknown, the dataset was changed since training, or protocol `strict` has no normal footage to
        calibrate on.
    """
    if name:
        check_name(name, "name")  # before minutes of scoring
    if videos not in CHOICES:
        raise ValueError(f"videos={videos!r}; take one of {', '.join(CHOICES)}.")
    first = jax.process_index() == 0
    if data_name:
        workdir = scene_folder(workdir, data_name, data_dir, write=first)
    if not first:
        help_out(workdir)
        return None
    stages = stages or (lambda _: nullcontext(lambda done, total: None))
    with SharedWork(workdir) as shared:
        return _evaluate(
            workdir,
            name,
            step,
            dict(overrides or {}),
            videos if report else "",
            calibration,
            data_dir,
            shared,
            stages,
            announce or (lambda _: None),
        )


def _evaluate(
    workdir: str | os.PathLike[str],
    name: str,
    step: int | None,
    overrides: dict[str, Any],
    report_videos: str,
    calibration_name: str,
    data_dir: str,
    shared: SharedWork,
    stages: Stages,
    announce: Callable[[Evaluation], None],
) -> Evaluation:
    """`evaluate` by the first process; `report_videos` "": no report."""
    check_one_scene(read_config(workdir), workdir)
    config, _, model, step = restore_for_inference(workdir, step)
    if overrides.get("protocol") == "paper":
        overrides = {"stride": 1} | overrides
    config = override_eval(config, overrides)
    if data_dir:
        config.data.data_dir = data_dir
    name = name or config.eval.protocol
    footage_of(workdir, config)  # made now, so that `detect` works without the dataset
    source = open_split(config, "test")
    note = check_test_split(source, config.data.clip_len)
    predictor = load_predictor(workdir, config, model, step)
    score = shared.score_fn(predictor, step)
    calibration = None
    if config.eval.protocol != "paper":  # which needs none
        calibration = calibration_in_force(workdir, config, step, calibration_name)
    if config.eval.protocol != "paper" and calibration is None:
        with stages("calibrating") as progress:
            calibration = calibration_of(workdir, config, score, step, progress, name)
        if calibration is None:
            raise ValueError(
                f"{workdir} held out no normal footage (data.holdout_share=0), so protocol "
                f"{config.eval.protocol!r} has nothing to calibrate on. Take --protocol paper (in Python "
                'overrides={"protocol": "paper"}), or train with a hold-out in a new folder.'
            )
    folder = fresh_folder(epath.Path(workdir) / "eval", name, STALE)
    with stages("scoring") as progress:
        scores = score(config, source, whole_videos(source.videos), progress)
    scores.save(folder / "scores.npz")
    evaluation = measure(folder, config, scores, calibration)
    alike = predictor.normal.features
    notes = (note, f"eval.features: {alike.extractor.backbone.note}" if alike else "")
    evaluation = dataclasses.replace(evaluation, notes=tuple(filter(None, notes)))
    announce(evaluation)
    if report_videos:
        write_report(config, evaluation, predictor, source, report_videos, stages)
    return evaluation


def check_test_split(source: FrameSource, clip_len: int) -> str:
    """A line that names the test videos too short for a clip; "" if there are none.

    Raises:
      ValueError: all are, or no frame of the others has a label.
    """
    _, skipped = clip_index(whole_videos(source.videos), clip_len)
    note = describe_skipped(source, skipped, clip_len)
    short = {segment.video for segment in skipped}
    if len(short) == len(source.videos):
        found = note or "it has no test videos"
        raise ValueError(f"{source.path}: nothing to evaluate: {found}.")
    labels = source.column("label")
    if not any((labels[v] >= 0).any() for v in range(len(labels)) if v not in short):
        raise ValueError(
            f"{source.path}: no test frame that can be scored has a label, so nothing can be measured. "
            "`ipad-jax detect` marks videos without labels."
        )
    return f"test videos {note}" if note else ""


def rescore(
    workdir: str | os.PathLike[str],
    scores_path: str | os.PathLike[str],
    *,
    name: str = "",
    overrides: Mapping[str, Any] | None = None,
    data_name: str = "",
    calibration: str = "",
) -> Evaluation:
    """Scores and measures a saved table again, without the model.

    Args:
      workdir: run folder; its calibration scores give the calibration anew.
      scores_path: scores.npz of an earlier evaluation.
      name: results go to eval/<name>/; the protocol and `_rescored` by default, since a report that
        lies in the protocol's folder would no longer fit the numbers.
      overrides: leaves of the `eval` section to change: components, alpha, protocol. Those that change
        predictions are the table's own.
      data_name, calibration: as of `evaluate`.

    Raises:
      FileNotFoundError: no run or scores there.
      ValueError: a leaf that changes predictions, scores from before `ipad-jax learn` or its undoing, or
        no calibration scores that go with these.
    """
    if name:
        check_name(name, "name")
    if data_name:
        workdir = scene_folder(workdir, data_name)
    if fixed := sorted({f"eval.{leaf}" for leaf in overrides or {}} & set(PREDICTION_LEAVES)):
        raise ValueError(f"{fixed[0]} changes the predictions: evaluate without --scores.")
    scores = FrameScores.load(scores_path)
    made = {
        k.removeprefix("eval."): scores.made_with[k]
        for k in PREDICTION_LEAVES
        if k in scores.made_with
    }
    config = override_eval(read_config(workdir), made | dict(overrides or {}))
    check_learnt(workdir, config, scores, scores_path)
    found = None
    if config.eval.protocol == "strict":
        found = calibration_in_force(workdir, config, scores.checkpoint_step, calibration)
        if found is None:
            found = fit_for(config, scores, epath.Path(scores_path).parent, workdir)
    name = name or f"{config.eval.protocol}_rescored"
    folder = fresh_folder(epath.Path(workdir) / "eval", name, STALE)
    return measure(folder, config, scores, found)


def check_learnt(
    workdir: str | os.PathLike[str],
    config: ConfigDict,
    scores: FrameScores,
    path: str | os.PathLike[str],
) -> None:
    """Raises ValueError where frames are compared with others by now than when they were scored."""
    fitted = stored_fitted(workdir, config, make_clip_task(config), scores.checkpoint_step)
    now = "" if fitted is None else learnt_of(fitted[1])
    if scores.made_with.get(LEARNT, "") != now:
        raise ValueError(
            f"{path} is from before the last `ipad-jax learn` (or its --undo): frames are compared with "
            "others now. Evaluate again without --scores."
        )


def override_eval(config: ConfigDict, overrides: Mapping[str, Any]) -> ConfigDict:
    """`run.config.override_eval`, refusing a protocol that there is not."""
    config = with_eval(config, overrides)
    if config.eval.protocol not in PROTOCOLS:
        raise ValueError(f"eval.protocol={config.eval.protocol!r}; take {' or '.join(PROTOCOLS)}.")
    return config
