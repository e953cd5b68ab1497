"""The report of an evaluation: which moments and videos to show, and the pictures of them.

What is shown is chosen by rule, never by taste: the true faults that scored lowest, the normal moments
that scored highest, and the first test video of every kind.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from ipad_jax.evaluation import ranking
from ipad_jax.evaluation.events import true_intervals
from ipad_jax.evaluation.report.data import Clip, Curve, ReportData, Strip
from ipad_jax.evaluation.report.heatmap import heat_range
from ipad_jax.evaluation.report.page import write_page
from ipad_jax.evaluation.report.side_by_side import SideBySideWriter
from ipad_jax.input.clips import clip_starts
from ipad_jax.input.frames import FrameSource
from ipad_jax.run.progress import Report
from ipad_jax.video.detector.predictor import Predictor
from ipad_jax.video.evaluation.measure import NO_THRESHOLD, Evaluation
from ipad_jax.video.normal.frames import Comparison
from ipad_jax.video.scores.calibration import Calibration
from ipad_jax.video.scores.frame_scores import FrameScores
from ipad_jax.video.scores.protocols import Judged

NUM_MISSES, NUM_FALSE_ALARMS = 4, 4
STRIP_FRAMES = 5
APART_S = 1.0  # seconds between two normal moments that count as different
MAX_VIDEO_FRAMES = 300  # of a side-by-side video in the report; `detect` writes whole ones
PANEL_PX = 192


def write_report(
    config: ConfigDict,
    evaluation: Evaluation,
    predictor: Predictor,
    source: FrameSource,
    progress: Report | None = None,
) -> epath.Path:
    """Writes report.html and the side-by-side videos beside it.

    Args:
      config: with the `eval` section in force.
      evaluation: what was found; the page lies in its folder.
      predictor: the model, for reconstructions.
      source: the test split.
      progress: called with how many frames of the side-by-side videos are done.

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
        clips=side_by_side_clips(folder, judged, pictures, heat, threshold, progress),
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


class Pictures:
    """Reconstruction and map of single frames, each from the clip it stands nearest the middle of.

    The map is the reconstruction's locally pooled error or, with `normal`, the distance from the
    nearest normal frames or prototypes at the phases that `scores` holds.
    """

    def __init__(
        self,
        predictor: Predictor,
        config: ConfigDict,
        source: FrameSource,
        normal: Comparison | None,
        scores: FrameScores,
    ):
        self.predictor, self.source, self.normal = predictor, source, normal
        self._phases = {
            (scores.video_names[video], frame): phase
            for video, frame, phase in zip(
                scores.video.tolist(), scores.frame.tolist(), scores.best_phase.tolist()
            )
        }
        self.clip_len, self.batch_size = config.data.clip_len, config.eval.batch_size
        self.unscored = predictor.unscored

    def of(self, video: int, frames: Sequence[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Frames uint8 [k, h, w, 3], reconstructions the same, error maps float32 [k, h, w]."""
        length, half = self.source.videos[video].length, (self.clip_len + self.unscored) // 2
        starts = [min(max(f - half, 0), length - self.clip_len) for f in frames]
        return self._run(video, list(zip(starts, [f - s for f, s in zip(frames, starts)])))

    def first_frames(self, video: int, num_frames: int):
        """The same for a video's first frames, from clips side by side: one clip serves all its frames."""
        num_frames = min(num_frames, self.source.videos[video].length)
        where: dict[int, tuple[int, int]] = {}
        step = self.clip_len - self.unscored
        for start in clip_starts(num_frames, self.clip_len, step).tolist():
            for place in range(self.clip_len):
                where.setdefault(start + place, (start, place))
        return self._run(video, [where[f] for f in range(num_frames)])

    def _run(self, video: int, places: list[tuple[int, int]]):
        """Pictures at (first frame of the clip, place in it)."""
        starts = sorted({start for start, _ in places})
        frames, reconstructions, errors = {}, {}, {}
        for i in range(0, len(starts), self.batch_size):
            chunk = starts[i : i + self.batch_size]
            padded = chunk + chunk[-1:] * (self.batch_size - len(chunk))  # one shape, one compile
            clips = np.stack([self.source.clip(video, s, self.clip_len)[0] for s in padded])
            made = self.predictor.pictures(clips)
            for row, start in enumerate(chunk):
                frames[start] = clips[row]
                reconstructions[start] = made["reconstruction"][row]
                errors[start] = made["error"][row]
        if self.normal is not None:
            name = self.source.videos[video].name
            errors = {
                start: [
                    self.normal.distance(
                        self.normal.picture(frame),
                        self._phases.get((name, start + place), np.nan),
                    )
                    for place, frame in enumerate(clip)
                ]
                for start, clip in frames.items()
            }
        stack = [np.stack([d[s][p] for s, p in places]) for d in (frames, reconstructions, errors)]
        return stack[0], stack[1], stack[2]


def curves(judged: Judged, source: FrameSource) -> list[Curve]:
    """One a test video."""
    scores, made = judged.scores, []
    true_phase = source.column("phase")
    for video in np.unique(scores.video):
        at = scores.video == video
        name, fps = scores.video_names[video], scores.fps[video]
        index = _source_video(source, name)
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
                note=", ".join(_kinds_of(scores, at)),
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
        kind = ", ".join(k for k in _kinds_of(scores, inside) if k != "normal") or "fault"
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
            _source_video(pictures.source, scores.video_names[video])
        ].length
        frames = [min(max(int(scores.frame[i]) + d, 0), last - 1) for d in (-8, -4, 0, 4, 8)]
        strips.append(_strip(scores, pictures, video, frames, caption))
        if len(strips) == NUM_FALSE_ALARMS:
            break
    return strips


def side_by_side_clips(
    folder: epath.Path,
    judged: Judged,
    pictures: Pictures,
    heat: tuple[float, float],
    threshold: float | None,
    progress: Report | None = None,
) -> list[Clip]:
    """Videos of the first test video of each fault kind, and of the first without a fault."""
    chosen = first_of_each_kind(judged.scores)
    lengths = {
        video: pictures.source.videos[
            _source_video(pictures.source, judged.scores.video_names[video])
        ].length
        for video in chosen.values()
    }
    total = sum(min(length, MAX_VIDEO_FRAMES) for length in lengths.values())
    finite = judged.score[np.isfinite(judged.score)]
    low, high = np.quantile(finite, [0.01, 0.99])  # one scale for all videos
    clips, done = [], 0
    for kind, video in chosen.items():
        name, fps = judged.scores.video_names[video], judged.scores.fps[video]
        index = _source_video(pictures.source, name)
        frames, reconstructions, errors = pictures.first_frames(index, MAX_VIDEO_FRAMES)
        at = np.flatnonzero(judged.scores.video == video)
        row_of = dict(zip(judged.scores.frame[at].tolist(), at.tolist()))
        events = judged.events.get(int(video), [])
        path = folder / f"{name}.webm"
        with SideBySideWriter(
            path,
            (frames.shape[1], frames.shape[2]),
            fps,
            heat,
            threshold=threshold,
            score_range=(float(low), float(high) + 1e-6),
            panel_px=PANEL_PX,
            title=f"{name} ({kind})",
        ) as writer:
            for f in range(len(frames)):
                row = row_of.get(f)
                writer.write(
                    frames[f],
                    reconstructions[f],
                    errors[f],
                    time_s=f / fps,
                    score=math.nan if row is None else float(judged.score[row]),
                    label=-1 if row is None else int(judged.scores.label[row]),
                    alarm=any(e.start <= f < e.stop for e in events),
                )
                done += 1
                if progress:
                    progress(done, total)
        cut = "" if lengths[video] == len(frames) else f", first {len(frames)} frames"
        clips.append(Clip(title=f"{name}: {kind}", path=path, caption=f"Test video {name}{cut}."))
    return clips


def first_of_each_kind(scores: FrameScores) -> dict[str, int]:
    """Kind -> first video that holds a fault of it; "normal" -> first video without a fault."""
    chosen: dict[str, int] = {}
    for video in np.unique(scores.video):
        at = scores.video == video
        if (scores.label[at] == 1).any():
            kinds = _kinds_of(scores, at)
            chosen.setdefault(kinds[0] if kinds else "fault", int(video))
        else:
            chosen.setdefault("normal", int(video))
    return chosen


def _strip(
    scores: FrameScores, pictures: Pictures, video: int, frames: list[int], caption: str
) -> Strip:
    name, fps = scores.video_names[video], scores.fps[video]
    images, reconstructions, errors = pictures.of(_source_video(pictures.source, name), frames)
    return Strip(
        title=f"video {name}, {frames[0] / fps:.1f} to {frames[-1] / fps:.1f} s",
        caption=caption,
        frames=images,
        reconstructions=reconstructions,
        errors=errors,
        times=[f"{f / fps:.2f} s" for f in frames],
    )


def _kinds_of(scores: FrameScores, at: np.ndarray) -> list[str]:
    """Names of the fault kinds in some rows, the normal one left out."""
    return [scores.kinds[k] for k in np.unique(scores.kind[at]) if k > 0]


def _source_video(source: FrameSource, name: str) -> int:
    return next(i for i, video in enumerate(source.videos) if video.name == name)


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
