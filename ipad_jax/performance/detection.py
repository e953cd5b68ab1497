"""Frames a second of a long video, by stride and batch, against one forward pass a frame.

The slow way predicts a clip around every frame: stride 1, one clip at a time. The others score all
frames of a clip, so one pass serves as many frames as the stride. With `--workdir RUN` everything that
makes the run's score is timed (model, comparison with normal frames and motion) on frames of its test
split, and each way has the AUC of that score on the whole split and the short faults found at the
threshold that its calibration sets. Without, random weights on noise: the passes alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from ipad_jax.evaluation.events import true_intervals
from ipad_jax.input.clips import clip_starts
from ipad_jax.input.frames import FrameSource
from ipad_jax.input.split import Segment, open_split
from ipad_jax.performance.step import describe_machine, drawn_model
from ipad_jax.performance.timing import alternate, number
from ipad_jax.run.config import load_config, read_config
from ipad_jax.run.table import Table
from ipad_jax.training.checkpoints import restore_for_inference
from ipad_jax.video.clip_task import make_clip_task
from ipad_jax.video.detector.predictor import Predictor, load_predictor, score_segments
from ipad_jax.video.detector.stream import predict_ahead
from ipad_jax.video.evaluation.judge_run import evaluate, override_eval
from ipad_jax.video.evaluation.measure import Evaluation


@dataclass(frozen=True)
class Way:
    """How the frames of a video are scored."""

    stride: int
    batch: int

    @property
    def text(self) -> str:
        """What it is called in the table."""
        return "one pass a frame" if self == SLOW else "clips overlap"


SLOW = Way(1, 1)


def compare_strides(
    *,
    workdir: str | None,
    config: str,
    strides: Sequence[int],
    batch: int,
    frames: int,
    repeats: int,
    short_s: float,
) -> Table:
    """Times every way on the same frames; with a run also scores its whole test split each way.

    Args:
      workdir: a trained run, whose test split is prepared; None times passes on noise.
      config: name of a config, where there is no run.
      strides: frames between the clips of a way, each in 1..clip_len.
      batch: clips at once.
      frames: timed at most, at least those of a clip.
      repeats: counted rounds.
      short_s: faults under so many seconds count as short.
    """
    settings = read_config(workdir) if workdir else load_config(config)
    clip_len = settings.data.clip_len
    if bad := [stride for stride in strides if not 1 <= stride <= clip_len]:
        raise ValueError(f"strides={bad} must be in 1..{clip_len}, the frames of a clip.")
    if frames < clip_len:
        raise ValueError(f"frames={frames} must be at least {clip_len}, a clip.")
    ways = [SLOW, *(Way(stride, batch) for stride in strides)]
    calls: dict[Way, Callable[[], Any]]
    found: list[Evaluation] = []
    if workdir:
        settings, task, model, step = restore_for_inference(workdir)
        source = open_split(settings, "test")
        predictor = load_predictor(workdir, settings, model, step)
        segments = some_segments(source, frames)
        timed = sum(segment.length for segment in segments)
        calls = {way: scoring(predictor, step, settings, source, segments, way) for way in ways}
    else:
        task = make_clip_task(settings)
        predictor = Predictor(task, drawn_model(task))
        shape = (frames, *task.model_config.image_size, 3)  # type: ignore[attr-defined]
        video = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        timed = frames
        calls = {way: passes(predictor, video, clip_len, way) for way in ways}
    timings = alternate(calls, repeats)
    if workdir:
        found = [judged(workdir, way) for way in ways]
    rows = []
    for index, way in enumerate(ways):
        rate = timed / timings[way].seconds
        ratio = timings[SLOW].seconds / timings[way].seconds
        row = [way.text, str(way.stride), str(way.batch), number(rate), f"{ratio:.1f}"]
        if found:
            auc, slow = (each.metrics["auc_micro"] for each in (found[index], found[0]))
            hit, short = short_faults(found[index], short_s)
            row += [f"{auc:.3f}", f"{auc - slow:+.3f}", f"{hit} of {short}"]
        rows.append(tuple(row))
    quality_columns = ("AUC", "change", f"faults under {short_s:g} s found")
    cfg = task.model_config  # type: ignore[attr-defined]
    return Table(
        f"Detection at {cfg.image_size[0]}x{cfg.image_size[1]}, {cfg.dtype} "
        f"({workdir or config}, {describe_machine()})",
        ("way", "stride", "batch", "frames/s", "ratio", *(quality_columns if found else ())),
        tuple(rows),
        (
            f"all that makes the score, on {timed} frames of the test split; AUC of the score, faults at "
            "its own threshold; evaluations are in eval/bench_stride<N>",
        )
        if found
        else ("passes alone, on noise; reading frames is left out: `ipad-jax bench input` has it",),
    )


def some_segments(source: FrameSource, frames: int) -> list[Segment]:
    """The first videos of a split, cut so that they have at most so many frames."""
    segments: list[Segment] = []
    for index, video in enumerate(source.videos):
        length = min(video.length, frames - sum(segment.length for segment in segments))
        if length > 0:
            segments.append(Segment(index, 0, length))
    return segments


def scoring(
    predictor: Predictor,
    step: int,
    config: ConfigDict,
    source: FrameSource,
    segments: list[Segment],
    way: Way,
) -> Callable[[], Any]:
    """A call that scores segments as `evaluate` does."""
    leaves = {"stride": way.stride, "batch_size": way.batch}
    own = override_eval(config, leaves)
    return lambda: score_segments(predictor, step, own, source, segments)


def passes(predictor: Predictor, video: np.ndarray, clip_len: int, way: Way) -> Callable[[], None]:
    """A call that makes the forward passes that a video needs."""
    starts = clip_starts(len(video), clip_len, way.stride)
    clips = [video[start : start + clip_len] for start in starts]

    def call() -> None:
        for _ in predict_ahead(enumerate(clips), predictor.scores, way.batch):
            pass

    return call


def judged(workdir: str, way: Way) -> Evaluation:
    """The whole test split scored in one way, by protocol strict."""
    leaves = {"stride": way.stride, "batch_size": way.batch, "protocol": "strict"}
    name = f"bench_stride{way.stride}"
    evaluation = evaluate(workdir, name=name, overrides=leaves, report=False)
    assert evaluation is not None  # one process
    return evaluation


def short_faults(found: Evaluation, short_s: float) -> tuple[int, int]:
    """How many faults shorter than that have a frame above the threshold; how many there are."""
    scores, score = found.judged.scores, found.judged.score
    assert found.calibration is not None  # protocol strict
    hit = total = 0
    for video in np.unique(scores.video):
        at = scores.video == video
        frame, fps = scores.frame[at], scores.fps[video]
        for start, stop in true_intervals(scores.label[at], frame):
            if stop - start < short_s * fps:
                total += 1
                inside = (frame >= start) & (frame < stop)
                hit += bool((score[at][inside] > found.calibration.threshold).any())
    return hit, total
