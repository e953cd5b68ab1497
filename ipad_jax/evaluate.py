"""`ipad-jax evaluate`: restore, predict over the test split, score by a protocol, measure, report."""

import argparse
import dataclasses
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from absl import flags
from etils import epath
from ml_collections import ConfigDict, config_flags

from ipad_jax import calibrate as calibration_of_run
from ipad_jax.calibrate import calibrate
from ipad_jax.checkpoints import restore_for_inference
from ipad_jax.config import config_hash, read_config
from ipad_jax.detector import footage_of
from ipad_jax.evaluation_report import write_report
from ipad_jax.files import write_atomic
from ipad_jax.input.clips import clip_index, describe_skipped
from ipad_jax.input.source import FrameSource
from ipad_jax.input.split import open_split, whole_videos
from ipad_jax.metrics import ranking
from ipad_jax.metrics.intervals import auc_interval
from ipad_jax.metrics.summary import summarise, to_json
from ipad_jax.predict import Predictor, predict_segments
from ipad_jax.progress import frame_progress
from ipad_jax.report.data import Row
from ipad_jax.video.calibration import SIGN, Calibration, fuse, standardise
from ipad_jax.video.frame_scores import FrameScores
from ipad_jax.video.scoring import Judged, judge

# The table's rows beside the fused score: what each component says alone. Orientation: higher is worse.
MAIN_ROW = {"strict": "the score: components fused", "paper": "the score: paper's protocol"}
COMPONENT_ROWS = {
    "psnr_mean": "reconstruction, frame mean (PSNR)",
    "psnr_centre": "reconstruction, frame mean, centre frame only",
    "pooled_mean": "reconstruction, locally pooled",
    "pooled_centre": "reconstruction, locally pooled, centre frame only",
    "period_error": "period error",
    "diff_mean": "frame difference, frame mean",
    "diff_pooled": "frame difference, locally pooled",
}


@dataclass(frozen=True)
class Evaluation:
    """What one evaluation found; `metrics` is what metrics.json holds."""

    folder: epath.Path
    judged: Judged
    calibration: Calibration | None
    rows: tuple[Row, ...]
    metrics: dict[str, Any]


def rows_of(
    judged: Judged, calibration: Calibration | None, weights: Mapping[str, float]
) -> list[Row]:
    """The score, the score without the period error, and each component alone, on the same frames.

    A component that lacks some of them (centre-frame rows at stride > 1, the first frame of a
    difference) is judged on those it has, and its row says how many.
    """
    scores = judged.scores
    columns: dict[str, tuple[str, np.ndarray]] = {
        "score": (MAIN_ROW[judged.protocol], judged.score)
    }
    kept = {k: w for k, w in weights.items() if w and k != "period_error"}
    if calibration and kept and len(kept) < sum(w != 0 for w in weights.values()):
        values = fuse(scores, calibration, kept)
        columns["score_without_period"] = ("the same without the period error", values)
    for name, text in COMPONENT_ROWS.items():
        if name not in scores.components:
            continue
        if calibration and name in calibration.components:
            values = standardise(name, scores, calibration)
        else:
            values = SIGN.get(name, 1.0) * scores.components[name].astype(np.float64)
        columns[name] = (text, values)
    return [
        _row(name, text, values, scores)
        for name, (text, values) in columns.items()
        if np.isfinite(values).any()
    ]


def _row(name: str, text: str, values: np.ndarray, scores: FrameScores) -> Row:
    known = np.isfinite(values)
    part, values = scores.select(known), values[known]
    interval = auc_interval(values, part.label, part.video, seed=0)
    metrics = {
        "auc_micro": ranking.auc_micro(values, part.label),
        "auc_interval": [interval.low, interval.high],
        "auc_macro": ranking.auc_macro(values, part.label, part.video).mean,
        "average_precision": ranking.average_precision(values, part.label),
        "by_kind": ranking.by_kind(values, part.label, part.kind, part.video, part.kinds),
        "num_frames": len(values),
    }
    return Row(text, metrics, is_main=name == "score", is_untrained=name.startswith("diff"))


def measure(
    folder: epath.Path,
    config: ConfigDict,
    scores: FrameScores,
    calibration: Calibration | None,
) -> Evaluation:
    """Scores by protocol and measures; a pure function of the table, but for the two files it writes.

    Args:
      folder: eval/<name>/ of the run; gets metrics.json.
      config: of the run with the `eval` section in force.
      scores: the whole test split.
      calibration: of the run, None if it held out nothing.

    Raises:
      ValueError: no frame has both a score and a label; says what was left out and why.
    """
    weights = config.eval.components.to_dict()
    judged = judge(
        scores,
        config.eval.protocol,
        calibration=calibration,
        period_weight=config.eval.paper_period_weight,
        mislabelled=scores.mislabelled,
    )
    calibrated = calibration if judged.protocol == "strict" else None
    kept = judged.scores
    if not len(kept):
        raise ValueError(f"No frame can be judged; left out: {left_out_text(judged.left_out)}.")
    metrics = summarise(
        judged.score,
        kept.label,
        kept.video,
        kept.frame,
        kept.fps,
        protocol=judged.protocol,
        kind=kept.kind if len(kept.kinds) > 1 else None,
        kinds=kept.kinds,
        threshold=calibrated.threshold if calibrated else None,
        false_positive_bound=calibrated.false_positive_bound if calibrated else None,
        seed=config.seed,
        left_out=judged.left_out,
        extra={"config_hash": config_hash(config), "checkpoint_step": scores.checkpoint_step},
    )
    rows = tuple(rows_of(judged, calibrated, weights))
    metrics["rows"] = {row.name: dict(row.metrics) for row in rows}
    write_atomic(folder / "metrics.json", to_json(metrics).encode())
    return Evaluation(folder, judged, calibration, rows, metrics)


def summary_text(evaluation: Evaluation) -> str:
    """The numbers as a person reads them."""
    metrics, rows = evaluation.metrics, evaluation.rows
    kinds = sorted({kind for row in rows for kind in row.metrics["by_kind"]})
    lines = [
        f"protocol {metrics['protocol']}, checkpoint {metrics['checkpoint_step']}: "
        f"{metrics['num_videos']} videos, {metrics['num_frames']:,} frames, "
        f"{metrics['num_anomalous']:,} anomalous",
        auc_text(metrics),
    ]
    if math.isfinite(metrics["threshold"]):
        lines.append(f"at the threshold: {alarm_text(metrics)}")
        if evaluation.calibration:
            lines.append(evaluation.calibration.statement())
    else:
        lines.append("uncalibrated: no threshold, so no alarms are counted")
    if left := left_out_text(metrics["left_out"]):
        lines.append(f"frames left out: {left}")
    width = max(len(row.name) for row in rows)
    lines += ["", f"{'frame AUC (micro)':<{width}}     all" + "".join(f"{k:>12}" for k in kinds)]
    for row in rows:
        aucs = [row.metrics["by_kind"].get(kind, {}).get("auc") for kind in kinds]
        line = f"{row.name:<{width}}{_percent(row.metrics['auc_micro']):>8}"
        line += "".join(f"{_percent(auc):>12}" for auc in aucs)
        notes = ["no training"] if row.is_untrained else []
        if row.metrics["num_frames"] < metrics["num_frames"]:
            notes.append(f"on {row.metrics['num_frames']:,} frames")
        line += f"   {', '.join(notes)}"
        lines.append(line.rstrip())
    return "\n".join(lines)


def auc_text(metrics: Mapping[str, Any]) -> str:
    """How well the scores rank, as far as the test frames can tell."""
    if not math.isfinite(metrics["auc_micro"]):
        only = "anomalous" if metrics["num_anomalous"] else "normal"
        return f"no frame AUC: all frames are {only}, and it compares normal with anomalous ones"
    ends = [_percent(end) for end in metrics["auc_interval"]]
    interval = "" if "–" in ends else f"; 95 % interval over videos {ends[0]} to {ends[1]}"
    text = f"frame AUC {_percent(metrics['auc_micro'])} micro (all frames{interval})"
    if math.isfinite(metrics["auc_macro"]):
        text += (
            f", {_percent(metrics['auc_macro'])} macro ({metrics['auc_macro_videos']} videos with "
            f"both classes, {metrics['auc_macro_skipped']} without skipped)"
        )
    return f"{text}, average precision {_percent(metrics['average_precision'])}"


def alarm_text(metrics: Mapping[str, Any]) -> str:
    """What the threshold does: false alarms where there is normal time, faults found where there are any."""
    parts = []
    if math.isfinite(metrics["false_alarms_per_hour"]):
        parts.append(f"{metrics['false_alarms_per_hour']:.1f} false alarms per hour of normal time")
    if math.isfinite(metrics["event_recall"]):
        parts.append(f"{_percent(metrics['event_recall'])} of faults found")
    if math.isfinite(metrics["detection_delay_s"]):
        parts.append(f"half of them within {metrics['detection_delay_s']:.2f} s of their onset")
    return ", ".join(parts)


def left_out_text(out: Mapping[str, Any]) -> str:
    """Frames that were not judged, by reason; "" if there are none."""
    left = [f"{out[k]:,} {k}" for k in ("unlabelled", "unscored") if out[k]]
    if out["mislabelled_videos"]:
        names = ", ".join(out["mislabelled_videos"])
        left.append(f"{out['mislabelled_frames']:,} in mislabelled folders {names}")
    return "; ".join(left)


def _percent(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{100 * value:.1f} %"


def evaluate(
    workdir: str | os.PathLike[str],
    *,
    name: str = "test",
    step: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    report: bool = True,
) -> Evaluation:
    """Evaluates a run on its test split.

    Args:
      workdir: run folder.
      name: results go to eval/<name>/ in it.
      step: checkpoint; the newest by default.
      overrides: leaves of the `eval` section to change, such as {"stride": 8}.
      report: also write report.html and side-by-side videos.

    Returns:
      The evaluation; scores.npz, metrics.json and the report lie in its folder.

    Raises:
      FileNotFoundError: no run, checkpoint or dataset there.
      ValueError: the test split has nothing to judge (no video as long as a clip, no label), or a
        leaf is unknown.
    """
    config, task, model, step = restore_for_inference(workdir, step)
    config = override_eval(config, overrides or {})
    footage_of(
        workdir, config
    )  # kept in the run folder, so that `detect` works without the dataset
    source = open_split(config, "test")
    if note := check_test_split(source, config.data.clip_len):
        print(note)
    folder = epath.Path(workdir) / "eval" / name
    folder.mkdir(parents=True, exist_ok=True)
    predictor = Predictor(task, model)
    calibration = None
    if config.eval.protocol != "paper":  # which needs none
        with frame_progress("calibrating") as progress:
            calibration = calibrate(workdir, config, predictor, step, progress, name)
    if calibration is None and config.eval.protocol == "strict":
        print("uncalibrated: the run held out no normal footage, so the protocol is `paper`")
        config = override_eval(config, {"protocol": "paper"})
    with frame_progress("scoring") as progress:
        scores = predict_segments(predictor, config, source, whole_videos(source.videos), progress)
    scores = dataclasses.replace(scores, checkpoint_step=step)
    scores.save(folder / "scores.npz")
    evaluation = measure(folder, config, scores, calibration)
    if report:
        with frame_progress("writing the report's videos") as progress:
            write_report(
                folder,
                config,
                evaluation.judged,
                calibration,
                evaluation.metrics,
                evaluation.rows,
                predictor,
                source,
                progress,
            )
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
    name: str,
    overrides: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Scores and measures a saved table again, without the model.

    Args:
      workdir: run folder; its calibration scores give the calibration anew.
      scores_path: scores.npz of an earlier evaluation.
      name: results go to eval/<name>/.
      overrides: leaves of the `eval` section to change: components, alpha, protocol.

    Raises:
      FileNotFoundError: no run or scores there.
      ValueError: a leaf that changes predictions, or no calibration scores that go with these.
    """
    if fixed := sorted(set(overrides or {}) & set(calibration_of_run.PREDICTION_LEAVES)):
        raise ValueError(f"eval.{fixed[0]} changes the predictions: evaluate without --scores.")
    config = override_eval(read_config(workdir), overrides or {})
    scores = FrameScores.load(scores_path)
    calibration = None
    if config.eval.protocol == "strict":
        calibration = calibration_of_run.fit_for(
            config, scores, epath.Path(scores_path).parent, workdir
        )
    folder = epath.Path(workdir) / "eval" / name
    folder.mkdir(parents=True, exist_ok=True)
    return measure(folder, config, scores, calibration)


def override_eval(config: ConfigDict, overrides: Mapping[str, Any]) -> ConfigDict:
    """A copy of a run's config with other leaves in its `eval` section.

    Raises:
      ValueError: there is no such leaf; names those there are.
    """
    config = ConfigDict(config.to_dict())
    for leaf, value in overrides.items():
        if leaf not in config.eval:
            raise ValueError(f"eval has no leaf {leaf!r}; it has {', '.join(sorted(config.eval))}.")
        config.eval[leaf] = value
    return config


def parse(argv: list[str]) -> tuple[argparse.Namespace, dict[str, Any]]:
    """Own arguments, and the leaves of `eval` that `--config.eval.x=V` changes."""
    parser = argparse.ArgumentParser(
        "ipad-jax evaluate",
        description="Score a run's test split. Any leaf of the config's eval section can be changed "
        "with --config.eval.LEAF=VALUE, such as --config.eval.stride=1.",
    )
    parser.add_argument("--workdir", required=True, help="run folder made by `ipad-jax train`")
    parser.add_argument("--name", help="results go to WORKDIR/eval/NAME (default: the protocol)")
    parser.add_argument("--step", type=int, help="checkpoint (default: the newest)")
    parser.add_argument("--protocol", choices=("strict", "paper"), help="default: the config's")
    parser.add_argument("--scores", help="score this scores.npz again, without the model")
    parser.add_argument("--no-report", action="store_true", help="numbers only, no page, no videos")
    args, rest = parser.parse_known_args(argv)
    config = read_config(args.workdir)
    flag_values = flags.FlagValues()
    section = config.eval.to_dict()
    try:  # an override of a leaf that there is not fails when the flags are defined
        config_flags.DEFINE_config_dict(
            "config", ConfigDict({"eval": section}), flag_values=flag_values, sys_argv=rest
        )
        unknown = flag_values(["evaluate", *rest])[1:]
    except (flags.Error, AttributeError, KeyError) as error:
        raise ValueError(
            f"{error}; only leaves of eval can be changed: {sorted(section)}"
        ) from error
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    changed = {k: v for k, v in flag_values.config.eval.to_dict().items() if v != section[k]}
    if args.protocol:
        changed["protocol"] = args.protocol
        if args.protocol == "paper" and "stride" not in changed:
            changed["stride"] = 1  # the protocol's own
    return args, changed


def main(argv: list[str]) -> int:
    """The command; see `ipad-jax evaluate --help`."""
    args, overrides = parse(argv)
    name = args.name or overrides.get("protocol") or read_config(args.workdir).eval.protocol
    if args.scores:
        overrides.pop("stride", None)
        evaluation = rescore(args.workdir, args.scores, name=name, overrides=overrides)
    else:
        evaluation = evaluate(
            args.workdir, name=name, step=args.step, overrides=overrides, report=not args.no_report
        )
    print(summary_text(evaluation))
    print(f"\nwritten to {evaluation.folder}")
    return 0
