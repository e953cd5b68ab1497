"""What a reconstruction's error is worth with training: frame AUC of three scores, checkpoint by checkpoint.

The test split is rebuilt clip by clip, without overlap. A frame's score is

    mean square       of its error, which ranks frames as the paper's PSNR does;
    pooled            the largest mean of the absolute error in a box (`eval.pool_px`);
    signed, by place  the largest deviation of a place: the error less its median (light), blurred, over mean
                      and spread of what held-out normal frames have there.

Beside them, on the same frames, what needs no network: the mean training picture in place of each
reconstruction, and the nearest normal picture, without a phase.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from ipad_jax.evaluation.ranking import auc_micro, by_kind
from ipad_jax.evaluation.report.plots import LIGHT, style
from ipad_jax.input.clips import clip_index, read_clips
from ipad_jax.input.frames import FrameSource
from ipad_jax.input.split import Segment, open_split, whole_videos
from ipad_jax.performance.step import describe_machine
from ipad_jax.run.config import override_eval, read_config
from ipad_jax.run.table import Table
from ipad_jax.training.checkpoint_files import choose_step, complete_steps, weights_folder
from ipad_jax.training.checkpoints import latest_step, restore_for_inference
from ipad_jax.training.state import inference_graphdef
from ipad_jax.training.task import compiler_options
from ipad_jax.video.clip_task import ClipTask, box_mean, make_clip_task, normalise
from ipad_jax.video.evaluation.judge_run import check_test_split
from ipad_jax.video.normal.stored import fit_normal, normal_of

SCORES = ("mean square", "pooled", "signed, by place")
BLUR_PX = 2.0  # standard deviation of the Gaussian; chosen on lift and arm (docs/results.md)
LEAST_SPREAD = 0.1  # of the mean spread, added to each place's
PLOTS = (".png", ".svg", ".webp")

# Clips uint8 [b, t, h, w, 3] -> errors of their last s frames float32 [b, s, h, w, 3] in units of [-1, 1],
# and the largest pooled error of each [b, s]
ErrorsFn = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def compare_checkpoints(*, workdir: str, steps: Sequence[int] | None, plot: str | None) -> Table:
    """The three scores of a run's reconstruction, by kind of fault.

    Args:
      workdir: a run whose dataset is here; one made with `checkpoint.keep` large enough for a curve.
      steps: of its checkpoints; None: all that are kept.
      plot: picture of the curves to write, of one of `PLOTS`; None: none.

    Raises:
      FileNotFoundError: no run, dataset, or checkpoint of a step.
      ValueError: no video method, nothing held out, nothing to judge, or a plot of another kind.
    """
    if plot and not plot.endswith(PLOTS):
        raise ValueError(f"plot={plot!r} must end in {', '.join(PLOTS)}.")
    config = read_config(workdir)
    task = make_clip_task(config)
    folder = weights_folder(workdir) / "checkpoints"
    latest_step(workdir)  # raises where there is none
    wanted = steps or complete_steps(folder)
    for step in wanted:
        choose_step(folder, step)  # one that is missing is refused before minutes of scoring
    rebuilt, errors_fn = Rebuilt(task), errors_fn_of(task)
    found: dict[int, list[Aucs]] = {}
    rows = []
    for step in wanted:
        model = restore_for_inference(workdir, step)[2]
        held_out, found[step] = rebuilt.judge(partial(errors_fn, model))
        rows.append((f"{step:,}", f"{held_out:.4f}", *map(_cell, found[step])))
    held_out, constant = rebuilt.judge(mean_picture(task))
    rows.append(("mean picture, no network", f"{held_out:.4f}", *map(_cell, constant)))
    untrained = rebuilt.aucs(nearest(config, task, rebuilt))
    rows.append(("nearest picture, no network", "", _cell(untrained)))
    if plot:
        beside = {
            "nearest picture, no network": untrained,
            "mean picture, no network, mean square": constant[0],
        }
        draw(plot, found, beside)
    return Table(
        f"Frame AUC of the reconstruction, % ({workdir}, {describe_machine()})",
        ("step", "held-out error", *SCORES),
        tuple(rows),
        (
            f"all faults: {', '.join(rebuilt.kinds)}, each against all normal frames; {rebuilt.count_text} "
            "of clips without overlap; held-out error: mean square in units of [-1, 1]",
        ),
    )


class Aucs(NamedTuple):
    """Frame AUC of a score in [0, 1], of all faults and of each kind against all normal frames."""

    all: float
    by_kind: dict[str, float]


class Rebuilt:
    """Which test frames count, and how scores of them rank.

    Attributes:
      source: the test split.
      segments: whole videos, without those whose labels disagree with their frames.
      places: [n, 2] video and frame of each that is rebuilt, in the order of `per_frame`.
      kinds: names of the faults that occur.

    Raises:
      FileNotFoundError: no dataset.
      ValueError: nothing held out, or nothing to judge.
    """

    def __init__(self, task: ClipTask):
        self._task = task
        self.source = source = open_split(task.config, "test")
        check_test_split(source, task.clip_len)
        if not task.segments[1]:
            raise ValueError(
                f"{source.path}: nothing is held out (data.holdout_share=0), so nothing says what error "
                "is usual at each place."
            )
        self.segments = [
            segment
            for segment in whole_videos(source.videos)
            if source.videos[segment.video].name not in source.mislabelled
        ]
        frames = np.arange(task.unscored, task.clip_len)
        self.places = np.array(
            [
                (video, first + frame)
                for video, first in apart(self.segments, task.clip_len)
                for frame in frames
            ]
        )
        columns = {name: source.column(name) for name in ("label", "kind")}
        self._label, self._kind = (
            np.array([column[video][frame] for video, frame in self.places])
            for column in columns.values()
        )
        self._known = self._label >= 0
        self.kinds = tuple(self.aucs(np.zeros(len(self.places))).by_kind)

    @property
    def count_text(self) -> str:
        """How many frames are rebuilt."""
        faulty = int((self._label > 0).sum())
        return f"{int(self._known.sum()) - faulty:,} normal and {faulty:,} faulty frames"

    def judge(self, errors_fn: ErrorsFn) -> tuple[float, list[Aucs]]:
        """The held-out error, and how the three scores of a model's errors rank the test frames."""
        task, usual = self._task, Usual()
        for error, _ in per_frame(errors_fn, task, task.source, task.segments[1]):
            usual.add(error)
        scores = [
            (np.mean(error**2), pooled, usual.largest(error))
            for error, pooled in per_frame(errors_fn, task, self.source, self.segments)
        ]
        return usual.mean_square, [self.aucs(np.array(column)) for column in zip(*scores)]

    def aucs(self, score: np.ndarray) -> Aucs:
        """How a score [n] ranks the frames."""
        columns = (score, self._label, self._kind, self.places[:, 0])
        score, label, kind, video = (column[self._known] for column in columns)
        kinds = by_kind(score, label, kind, video, self.source.kinds)
        return Aucs(auc_micro(score, label), {name: each["auc"] for name, each in kinds.items()})


class Usual:
    """Mean and spread of normal frames' errors at each place, gathered frame by frame."""

    def __init__(self) -> None:
        self._count, self._squares = 0, 0.0
        self._sums: list[np.ndarray | float] = [0.0, 0.0]

    def add(self, error: np.ndarray) -> None:
        """A normal frame's error, float32 [h, w, 3]."""
        seen = evened(error).astype(np.float64)
        self._sums = [self._sums[0] + seen, self._sums[1] + seen**2]
        self._squares += float(np.mean(error**2))
        self._count += 1

    @property
    def mean_square(self) -> float:
        """Of all errors."""
        return self._squares / self._count

    def largest(self, error: np.ndarray) -> float:
        """The largest deviation of a place, mean of its channels."""
        mean, square = (total / self._count for total in self._sums)
        spread = np.sqrt(np.maximum(square - mean**2, 0))
        away = np.abs(evened(error) - mean) / (spread + LEAST_SPREAD * np.mean(spread))
        return float(away.mean(axis=-1).max())


def evened(error: np.ndarray) -> np.ndarray:
    """An error [h, w, 3] less each channel's median, blurred."""
    return cv2.GaussianBlur(error - np.median(error, axis=(0, 1)), (0, 0), BLUR_PX)


def apart(segments: Sequence[Segment], clip_len: int) -> np.ndarray:
    """Clips that follow each other: [n, 2] of video and first frame; what is left at an end is in none."""
    index = [clip_index([segment], clip_len, clip_len)[0] for segment in segments]
    return np.concatenate([rows[: s.length // clip_len] for rows, s in zip(index, segments)])


def errors_fn_of(task: ClipTask) -> Callable[[nnx.Module, np.ndarray], Any]:
    """`ErrorsFn` of a model's inference view, which comes first; compiled once for all checkpoints."""
    graphdef = inference_graphdef(task)

    def run(state: nnx.State, clip: jax.Array) -> tuple[jax.Array, jax.Array]:
        model, true = nnx.merge(graphdef, state), normalise(clip)
        error = task.predict(model, true).frames - true[:, task.unscored :]
        return error, task.predict_fn(model, {"clip": clip})["pooled"][:, task.unscored :]

    options = compiler_options(task, jax.default_backend())
    compiled = jax.jit(run, compiler_options=options)
    return lambda model, clip: jax.device_get(compiled(nnx.state(model), clip))


def pooled_fn_of(task: ClipTask) -> Callable[[np.ndarray], np.ndarray]:
    """The largest pooled error of each frame, of errors [b, s, h, w, 3] made without `predict_fn`: [b, s]."""

    def pooled(error: jax.Array) -> jax.Array:
        absolute = jnp.mean(jnp.abs(error) / 2, axis=-1)  # [-1, 1] is two units wide
        return jnp.max(box_mean(absolute, task.pool_px), axis=(2, 3))

    compiled = jax.jit(pooled)
    return lambda error: np.asarray(compiled(error))


def mean_picture(task: ClipTask) -> ErrorsFn:
    """The mean of all training frames for every frame: what a constant is worth."""
    total, count = np.zeros((*task.image_size, 3)), 0
    for segment in task.segments[0]:
        frames = task.source.frames(segment.video, np.arange(segment.start, segment.stop))
        total, count = total + frames.sum(axis=0, dtype=np.float64), count + len(frames)
    mean, pooled = np.float32(total / count / 127.5 - 1), pooled_fn_of(task)

    def errors(clip: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        error = mean - np.asarray(normalise(jnp.asarray(clip[:, task.unscored :])))
        return error, pooled(error)

    return errors


def per_frame(
    errors_fn: ErrorsFn, task: ClipTask, source: FrameSource, segments: Sequence[Segment]
) -> Iterator[tuple[np.ndarray, float]]:
    """Error [h, w, 3] and largest pooled error of each frame that is rebuilt, in order."""
    index, size = apart(segments, task.clip_len), task.config.eval.batch_size
    for at in range(0, len(index), size):
        rows = index[at : at + size]
        # always as many clips, so that one program serves
        clip = read_clips(source, np.resize(rows, (size, 2)), task.clip_len)["clip"]
        for error, pooled in zip(*(found[: len(rows)] for found in errors_fn(clip))):
            yield from zip(error, pooled)


def nearest(config: ConfigDict, task: ClipTask, rebuilt: Rebuilt) -> np.ndarray:
    """Each judged frame's distance from the nearest normal picture, by no phase: [n]."""
    side = config.eval.nearest_px or max(task.image_size)
    config = override_eval(config, {"nearest_px": side, "motion_px": 0, "features": ""})
    if "period_head" in config.model:
        config.model.period_head = "none"  # all pictures are compared
    frames = normal_of(config, fit_normal(config, task.source)).frames
    assert frames is not None  # nearest_px is not 0
    pictures = (rebuilt.source.frames(v, [f])[0] for v, f in rebuilt.places)
    return np.array([frames.largest(picture, np.nan) for picture in pictures])


def draw(path: str, found: Mapping[int, Sequence[Aucs]], untrained: Mapping[str, Aucs]) -> None:
    """Writes the curves of the three scores over steps, beside what needs no network."""
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    axes = figure.add_subplot()
    style(axes, LIGHT)
    steps = sorted(found)
    for index, (name, colour) in enumerate(zip(SCORES, (LIGHT.alarm, LIGHT.fault, LIGHT.accent))):
        values = [100 * found[step][index].all for step in steps]
        axes.plot(steps, values, "o-", color=colour, markersize=4)
        axes.annotate(
            name, (steps[-1], values[-1]), (8, 0), textcoords="offset points", va="center", color=colour
        )  # fmt: skip
    for name, value in {**{k: 100 * v.all for k, v in untrained.items()}, "guessing": 50}.items():
        axes.axhline(value, color=LIGHT.muted, linestyle="--", linewidth=1)
        axes.annotate(
            name, (steps[0], value), (0, 4), textcoords="offset points", color=LIGHT.muted
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xticks(steps, [f"{step:,}" for step in steps])
    axes.minorticks_off()
    axes.set_xlabel("steps")
    axes.set_ylabel("frame AUC, %")
    figure.savefig(path, dpi=110)


def _cell(aucs: Aucs) -> str:
    """ "54.9: 42, 55": all faults, then each kind."""
    return (
        f"{100 * aucs.all:.1f}: {', '.join(f'{100 * each:.0f}' for each in aucs.by_kind.values())}"
    )
