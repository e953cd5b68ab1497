"""The report of an evaluation: which moments and videos to show, and the pictures of them.

What is shown is chosen by rule, never by taste: the true faults that scored lowest, the normal moments
that scored highest, and the test videos that `videos.choose` names.
"""

import dataclasses
from typing import Any

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from ipad_jax.evaluation import ranking
from ipad_jax.evaluation.events import true_intervals
from ipad_jax.evaluation.report.data import Curve, ReportData, Strip
from ipad_jax.evaluation.report.heatmap import heat_range
from ipad_jax.evaluation.report.page import write_page
from ipad_jax.input.frames import FrameSource
from ipad_jax.run.progress import Stages
from ipad_jax.video.detector.predictor import Predictor
from ipad_jax.video.evaluation.measure import NO_THRESHOLD, Evaluation
from ipad_jax.video.evaluation.pictures import Pictures, kinds_of, source_video
from ipad_jax.video.evaluation.videos import choose, side_by_side_clips
from ipad_jax.video.scores.calibration import Calibration
from ipad_jax.video.scores.frame_scores import FrameScores
from ipad_jax.video.scores.protocols import Judged

NUM_MISSES, NUM_FALSE_ALARMS = 4, 4
STRIP_FRAMES = 5
APART_S = 1.0  # seconds between two normal moments that count as different


def write_report(
    config: ConfigDict,
    evaluation: Evaluation,
    predictor: Predictor,
    source: FrameSource,
    videos: str,
    stages: Stages,
) -> epath.Path:
    """Writes report.html, then the side-by-side videos, then the page with those that were made.

    An interruption, which may come in the minutes that videos take, leaves a page.

    Args:
      config: with the `eval` section in force.
      evaluation: what was found; the page lies in its folder.
      predictor: the model, for reconstructions.
      source: the test split.
      videos: which to make, see `videos.choose`.
      stages: shows progress.

    Returns:
      Path of the page.
    """
    judged, metrics, folder = evaluation.judged, evaluation.metrics, evaluation.folder
    calibration = evaluation.calibration if judged.protocol == "strict" else None
    mapped = calibration.mapped if calibration else "pooled_mean"
    normal = predictor.normal.maps.get(mapped)
    pictures = Pictures(predictor, config, source, normal, judged.scores)
    threshold = calibration.threshold if calibration else None
    heat = _heat_range(calibration, judged.scores, mapped)
    data = ReportData(
        title=f"{config.data.name}, {config.data.builder}",
        subtitle=f"checkpoint {metrics['checkpoint_step']}, protocol {judged.protocol}, "
        f"a clip every {config.eval.stride} frames",
        metrics=metrics,
        rows=evaluation.rows,
        curves=curves(judged, source),
        roc=roc_curves(judged),
        threshold=threshold,
        calibration=calibration.statement() if calibration else "",
        heat_range=heat,
        misses=missed_strips(judged, pictures, threshold),
        false_alarms=false_alarm_strips(judged, pictures, threshold),
        facts={
            "config": metrics["config_hash"],
            "seed": config.seed,
            "checkpoint": metrics["checkpoint_step"],
            "frames": metrics["num_frames"],
        },
        warnings=warnings_of(calibration, metrics),
    )
    path = folder / "report.html"
    write_page(data, path)
    clips = []
    if chosen := choose(judged, videos):
        with stages("making videos") as progress:
            made = side_by_side_clips(folder, judged, chosen, pictures, heat, threshold, progress)
            try:
                clips += made
            finally:
                if clips:
                    write_page(dataclasses.replace(data, clips=clips), path)
    return path


def warnings_of(calibration: Calibration | None, metrics: dict[str, Any]) -> list[str]:
    """What a reader must know before trusting a number."""
    found = [f"Deviation: {text}." for text in metrics["deviations"]]
    if calibration is None:
        found.append(f"{NO_THRESHOLD}.")
    elif few := calibration.provisional():
        found.append(f"{few[0].upper()}{few[1:]}.")
    if calibration and calibration.dropped:
        found.append(
            f"Without {', '.join(calibration.dropped)}: normal footage has no values of it."
        )
    if not 0 < metrics["num_anomalous"] < metrics["num_frames"]:
        only = "anomalous" if metrics["num_anomalous"] else "normal"
        found.append(f"All test frames are {only}: an AUC needs both.")
    if metrics["num_videos"] < 30:
        found.append(f"{metrics['num_videos']} test videos: mind the interval beside the AUC.")
    return found


def curves(judged: Judged, source: FrameSource) -> list[Curve]:
    """One a test video."""
    scores, made = judged.scores, []
    true_phase = source.column("phase")
    for video in np.unique(scores.video):
        at = scores.video == video
        name, fps = scores.video_names[video], scores.fps[video]
        index = source_video(source, name)
        events = judged.events.get(int(video), [])
        made.append(
            Curve(
                name=name,
                time_s=scores.time_s[at],
                score=judged.score[at],
                label=scores.label[at],
                phase=scores.best_phase[at],
                true_phase=true_phase[index][scores.frame[at]],
                events=[(e.start / fps, e.stop / fps) for e in events],
                note=", ".join(kinds_of(scores, at)),
            )
        )
    return made


def roc_curves(judged: Judged) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The score, and the row that needs no training; none where the frames are of one class."""
    if len(np.unique(judged.scores.label)) < 2:
        return {}
    found = {"score": ranking.roc(judged.score, judged.scores.label)}
    untrained = judged.scores.components.get("diff_pooled")
    if untrained is not None:
        known = np.isfinite(untrained)
        found["frame difference, no training"] = ranking.roc(
            untrained[known], judged.scores.label[known]
        )
    return found


def missed_strips(judged: Judged, pictures: Pictures, threshold: float | None) -> list[Strip]:
    """The true faults whose highest score is lowest."""
    scores, found = judged.scores, []
    for video in np.unique(scores.video):
        at = np.flatnonzero(scores.video == video)
        for start, stop in true_intervals(scores.label[at], scores.frame[at]):
            inside = at[(scores.frame[at] >= start) & (scores.frame[at] < stop)]
            found.append((float(judged.score[inside].max()), int(video), start, stop, inside))
    strips = []
    for peak, video, start, stop, inside in sorted(found, key=lambda f: f[0])[:NUM_MISSES]:
        kind = ", ".join(k for k in kinds_of(scores, inside) if k != "normal") or "fault"
        missed = threshold is not None and peak <= threshold
        caption = f"{kind}; highest score {peak:.1f}" + (
            "" if threshold is None else f", {'below' if missed else 'above'} {threshold:.1f}"
        )
        frames = np.linspace(start, stop - 1, STRIP_FRAMES).round().astype(int).tolist()
        strips.append(_strip(scores, pictures, video, frames, caption))
    return strips


def false_alarm_strips(judged: Judged, pictures: Pictures, threshold: float | None) -> list[Strip]:
    """The normal moments that score highest, at least `APART_S` apart."""
    scores = judged.scores
    normal = np.flatnonzero(scores.label == 0)
    strips: list[Strip] = []
    taken: list[tuple[int, float]] = []
    for i in normal[np.argsort(-judged.score[normal], kind="stable")]:
        video, time = int(scores.video[i]), float(scores.time_s[i])
        if any(v == video and abs(t - time) < APART_S for v, t in taken):
            continue
        taken.append((video, time))
        score = judged.score[i]
        alarm = threshold is not None and score > threshold
        caption = f"normal, score {score:.1f}" + (
            "" if threshold is None else ": a false alarm" if alarm else ": no alarm"
        )
        last = pictures.source.videos[
            source_video(pictures.source, scores.video_names[video])
        ].length
        frames = [min(max(int(scores.frame[i]) + d, 0), last - 1) for d in (-8, -4, 0, 4, 8)]
        strips.append(_strip(scores, pictures, video, frames, caption))
        if len(strips) == NUM_FALSE_ALARMS:
            break
    return strips


def _strip(
    scores: FrameScores, pictures: Pictures, video: int, frames: list[int], caption: str
) -> Strip:
    name, fps = scores.video_names[video], scores.fps[video]
    images, reconstructions, errors = pictures.of(source_video(pictures.source, name), frames)
    return Strip(
        title=f"video {name}, {frames[0] / fps:.1f} to {frames[-1] / fps:.1f} s",
        caption=caption,
        frames=images,
        reconstructions=reconstructions,
        errors=errors,
        times=[f"{f / fps:.2f} s" for f in frames],
    )


def _heat_range(
    calibration: Calibration | None, scores: FrameScores, mapped: str
) -> tuple[float, float]:
    """Colours begin where a normal frame's maximum lies; one scale for every picture."""
    if calibration and mapped in calibration.components:
        statistics = calibration.components[mapped]
        return heat_range(statistics.location, statistics.scale)
    values = scores.components[mapped]
    values = values[np.isfinite(values)]
    location = float(np.median(values))
    return heat_range(location, 1.4826 * float(np.median(np.abs(values - location))))
