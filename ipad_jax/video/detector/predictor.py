"""From a restored model to scores: the one way that calibration, evaluation and detection share."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from ipad_jax.input.clips import Batch, eval_batches
from ipad_jax.input.frames import FrameSource
from ipad_jax.input.split import Segment
from ipad_jax.run.cluster import num_cores
from ipad_jax.video.clip_task import ClipTask
from ipad_jax.video.normal.features import Prototypes
from ipad_jax.video.normal.frames import ComparedStream, NormalFrames
from ipad_jax.video.normal.motion import MotionStream, NormalMotion
from ipad_jax.video.normal.phase_tracking import PhaseMap, PhaseTracker
from ipad_jax.video.scores.aggregate import BESIDE, FrameAggregator, FrameRows
from ipad_jax.video.scores.frame_difference import FrameDifference
from ipad_jax.video.scores.frame_scores import PREDICTION_LEAVES, FrameScores

Progress = Callable[[int, int], None]  # frames done, frames in all
_CHUNK = 512  # frames decoded at once for what stands beside the model

# Scores segments together with other processes: (config, source, segments, progress) -> the whole table
Share = Callable[[ConfigDict, FrameSource, Sequence[Segment], Progress | None], FrameScores]


class Predictor:
    """A model ready to score batches of clips; compiles once for each batch size.

    Attributes:
      share: set where other processes take a part of the work (see crew.py); None: all is done here.
      normal: frames to compare with (see normal_frames.py); None: the component `nearest` is NaN.
      prototypes: the same of features (see normal_features.py); None: the component `features` is NaN.
      motion: motion to compare with (see normal_motion.py); None: the component `motion` is NaN.
      phase_map: what the machine looks like at every phase (video/phase_tracking.py); None: what is compared
        with normal footage goes by the period head's phase alone.
      unscored: frames at the start of a clip that the model only predicts others from.
    """

    share: Share | None = None
    normal: NormalFrames | None = None
    prototypes: Prototypes | None = None
    motion: NormalMotion | None = None
    phase_map: PhaseMap | None = None

    def __init__(self, task: ClipTask, model: nnx.Module, devices: Sequence[Any] | None = None):
        """Takes the inference view of a model, as `restore_for_inference` gives it.

        Args:
          task: whose `predict_fn` and `reconstruct_fn` are wanted.
          model: the model.
          devices: JAX devices of this process, over which the clips of a batch are spread. By default
            all it has, but one of the CPU's, which would share the same cores.
        """
        self.unscored: int = task.unscored
        local = jax.local_devices()
        self._devices = devices or (local[:1] if local[0].platform == "cpu" else local)
        graphdef, self._state = nnx.split(model)
        self._placed: dict[int, nnx.State] = {}  # by the number of devices

        def scores(state: nnx.State, clip: jax.Array) -> dict[str, jax.Array]:
            return task.predict_fn(nnx.merge(graphdef, state), {"clip": clip})

        def pictures(state: nnx.State, clip: jax.Array) -> dict[str, jax.Array]:
            return task.reconstruct_fn(nnx.merge(graphdef, state), {"clip": clip})

        self._scores = jax.jit(scores)
        self._pictures = jax.jit(pictures)
        # One program: the compiler shares the forward pass that both need.
        self._both = jax.jit(lambda state, clip: scores(state, clip) | pictures(state, clip))

    def scores(self, clip: np.ndarray) -> dict[str, np.ndarray]:
        """`ClipTask.predict_fn` on clips uint8 [b, t, h, w, 3], fetched to the host."""
        return jax.device_get(self._scores(*self._place(clip)))

    def pictures(self, clip: np.ndarray) -> dict[str, np.ndarray]:
        """`ClipTask.reconstruct_fn` on clips uint8 [b, t, h, w, 3], fetched to the host."""
        return jax.device_get(self._pictures(*self._place(clip)))

    def both(self, clip: np.ndarray) -> dict[str, np.ndarray]:
        """Scores and pictures from one forward pass."""
        return jax.device_get(self._both(*self._place(clip)))

    def stream(self, batches: Iterator[Batch]) -> Iterator[tuple[Batch, dict[str, np.ndarray]]]:
        """Scores of many batches: the device works on one while the host reads the next."""
        pending: tuple[Batch, Any] | None = None
        for batch in batches:
            running = (batch, self._scores(*self._place(batch["clip"])))
            if pending:
                yield pending[0], jax.device_get(pending[1])
            pending = running
        if pending:
            yield pending[0], jax.device_get(pending[1])

    def compile_scores(self, clip: jax.ShapeDtypeStruct) -> jax.stages.Compiled:
        """The program of `scores` for clips of a shape; the weights and the devices need not exist."""
        mesh, whole, rows = self._mesh(clip.shape[0])

        def placed(x: Any, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

        state = jax.tree.map(lambda x: placed(x, whole), self._state)
        with jax.set_mesh(mesh):
            return self._scores.lower(state, placed(clip, rows)).compile()

    def _place(self, clip: np.ndarray) -> tuple[nnx.State, jax.Array]:
        """The weights on as many devices as share the clips evenly, and the clips spread over them."""
        mesh, whole, rows = self._mesh(len(clip))
        if mesh.size not in self._placed:
            self._placed[mesh.size] = jax.device_put(self._state, whole)
        return self._placed[mesh.size], jax.device_put(clip, rows)

    def _mesh(self, clips: int) -> tuple[Mesh, NamedSharding, NamedSharding]:
        """As many devices as share the clips evenly; how weights and clips lie on them."""
        count = math.gcd(clips, len(self._devices))
        mesh = Mesh(np.asarray(self._devices[:count]), ("data",))
        whole, rows = PartitionSpec(), PartitionSpec("data")
        return mesh, NamedSharding(mesh, whole), NamedSharding(mesh, rows)


def scene_cycle(source: FrameSource) -> float | None:
    """Frames of a normal cycle: the median over the training videos; None where there is no cycle."""
    train = source.metadata.get("videos", {}).get("train", ())
    lengths = [float(v["cycle_frames"]) for v in train if v.get("cycle_frames")]
    return float(np.median(lengths)) if lengths else None


def make_aggregator(
    config: ConfigDict, cycle_frames: float | None, start: int = 0
) -> FrameAggregator:
    """The aggregator that a config asks for; `start` is the segment's first frame."""
    return FrameAggregator(
        clip_len=config.data.clip_len,
        stride=config.eval.stride,
        cycle_frames=cycle_frames,
        window=config.eval.window,
        spacing=config.eval.spacing,
        start=start,
    )


def predict_segments(
    predictor: Predictor,
    config: ConfigDict,
    source: FrameSource,
    segments: Sequence[Segment],
    progress: Progress | None = None,
) -> FrameScores:
    """Scores every frame of some segments, with the rows that need no training beside.

    Args:
      predictor: the model.
      config: of the run; `data.clip_len` and the `eval` section count.
      source: the split's frames.
      segments: what to score; frames of one shorter than a clip come out unscored.
      progress: told how many frames are done.

    Returns:
      One row a frame, segments in order; two segments of a video stay one video.
    """
    if predictor.share is not None:
        return predictor.share(config, source, segments, progress)
    return predict_here(predictor, config, source, segments, progress)


def predict_here(
    predictor: Predictor,
    config: ConfigDict,
    source: FrameSource,
    segments: Sequence[Segment],
    progress: Progress | None = None,
) -> FrameScores:
    """`predict_segments` on this process's devices alone."""
    cycle_frames = scene_cycle(source)
    clip_len, stride = config.data.clip_len, config.eval.stride
    columns = {name: source.column(name) for name in ("label", "kind", "cycle")}
    total = sum(segment.length for segment in segments)
    done, parts = 0, []
    scored = [s for s in segments if s.length >= clip_len]
    batches = eval_batches(
        source, scored, clip_len=clip_len, stride=stride, batch_size=config.eval.batch_size
    )
    clips = _clips(predictor.stream(batches))
    waiting = next(clips, None)
    for segment in segments:
        aggregator = make_aggregator(config, cycle_frames, segment.start)
        rows: list[FrameRows] = []
        end = segment.start
        while (
            segment.length >= clip_len
            and waiting is not None
            and waiting[0] == segment.video
            and segment.start <= waiting[1] < segment.stop
        ):
            _, first_frame, predicted = waiting
            rows.append(add_clip(aggregator, first_frame, predicted))
            if progress:
                progress(done + first_frame + clip_len - segment.start, total)
            end = first_frame + clip_len
            waiting = next(clips, None)
            if end == segment.stop:
                break
        rows.append(aggregator.close(segment.stop))
        done += segment.length
        video = source.videos[segment.video]
        table = FrameRows.concat(rows)
        beside = _beside_the_model(
            predictor, source, segment, table, config.eval.pool_px, cycle_frames
        )
        extra = {name: _column(source, segment, values) for name, values in beside.items()}
        parts.append(
            FrameScores.from_rows(
                table,
                name=video.name,
                fps=video.fps,
                label=columns["label"][segment.video],
                kind=columns["kind"][segment.video],
                cycle=columns["cycle"][segment.video],
                extra=extra,
                kinds=source.kinds,
                stride=stride,
            )
        )
    return dataclasses.replace(
        FrameScores.concat(parts),
        mislabelled=source.mislabelled,
        **{leaf: config.eval.get(leaf) for leaf in PREDICTION_LEAVES},
    )


def add_clip(
    aggregator: FrameAggregator, first_frame: int, predicted: Mapping[str, np.ndarray]
) -> FrameRows:
    """Gives the aggregator what `ClipTask.predict_fn` said of one clip; the rows that became final."""
    return aggregator.add(
        first_frame,
        predicted["mse"],
        predicted["pooled"],
        float(predicted["phase"]),
        predicted.get("deformation"),
    )


def _clips(
    stream: Iterator[tuple[Batch, dict[str, np.ndarray]]],
) -> Iterator[tuple[int, int, dict[str, np.ndarray]]]:
    """(video, first frame, predictions) of each clip that is no padding."""
    for batch, predicted in stream:
        for row in np.flatnonzero(batch["valid"]):
            of_row = {name: values[row] for name, values in predicted.items()}
            yield int(batch["video"][row]), int(batch["first_frame"][row]), of_row


def _beside_the_model(
    predictor: Predictor,
    source: FrameSource,
    segment: Segment,
    rows: FrameRows,
    pool_px: int,
    cycle_frames: float | None,
) -> dict[str, np.ndarray]:
    """Components that need the frames and at most the phase, float64 [n]; each frame is decoded once."""
    normal, prototypes, motion = predictor.normal, predictor.prototypes, predictor.motion
    phases = rows.components["phase"].tolist()
    tracker = None
    if normal is not None and predictor.phase_map is not None and cycle_frames:
        tracker = PhaseTracker(predictor.phase_map, cycle_frames)
    found = {name: np.full(segment.length, np.nan) for name in (*BESIDE, "tracked_phase")}
    differences, movement = FrameDifference(pool_px), MotionStream()
    with ThreadPoolExecutor(num_cores()) as pool:
        near = None if normal is None else ComparedStream(normal, pool)
        alike = None if prototypes is None else ComparedStream(prototypes, pool)
        for at in range(0, segment.length, _CHUNK):
            some = slice(at, min(at + _CHUNK, segment.length))
            numbers = range(segment.start + some.start, segment.start + some.stop)
            frames, phase = source.frames(segment.video, numbers), phases[some]
            pairs = [differences.add(frame) for frame in frames]
            found["diff_mean"][some], found["diff_pooled"][some] = zip(*pairs)
            views = {part.view.side: part.view for part in (normal, motion) if part is not None}
            small = {side: list(pool.map(view, frames)) for side, view in views.items()}
            if tracker is not None and normal is not None:
                phase = list(map(tracker.add, small[normal.view.side], phase))
                found["tracked_phase"][some] = phase
            if normal is not None and near is not None:
                found["nearest"][some] = near.add(small[normal.view.side], phase)
            if prototypes is not None and alike is not None:
                seen = list(pool.map(prototypes.picture, frames))
                found["features"][some] = alike.add(seen, phase)
            if motion is not None:
                changes = [movement.add(picture) for picture in small[motion.view.side]]
                found["motion"][some] = list(pool.map(motion.score, changes, phase))
    return found


def _column(source: FrameSource, segment: Segment, values: np.ndarray) -> np.ndarray:
    """Values of a segment as a column of the whole video, NaN outside."""
    column = np.full(source.videos[segment.video].length, np.nan, np.float32)
    column[segment.start : segment.stop] = values
    return column
