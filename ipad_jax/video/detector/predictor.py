"""From a restored model to raw scores of every frame: what calibration and evaluation share.

`stream.FrameScorer` scores the frames; here clips of many videos share the model's batches.
"""

import math
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from ipad_jax.input.frames import FrameSource
from ipad_jax.input.split import Segment
from ipad_jax.run.cluster import num_cores
from ipad_jax.run.progress import Report
from ipad_jax.run.provenance import made_with
from ipad_jax.training.fitted import fitted_arrays
from ipad_jax.training.task import compiler_options
from ipad_jax.video.clip_task import ClipTask, make_clip_task
from ipad_jax.video.detector.stream import FrameScorer, PredictsClips, predict_ahead
from ipad_jax.video.normal.stored import LEARNT, Normal, normal_of
from ipad_jax.video.scores.aggregate import FrameRows
from ipad_jax.video.scores.frame_scores import PREDICTION_LEAVES, FrameScores

# Scores segments: (config, source, segments, progress) -> one row a frame
ScoreFn = Callable[[ConfigDict, FrameSource, Sequence[Segment], Report | None], FrameScores]
_CHUNK = 64  # frames decoded at once


class Predictor:
    """A model ready to score batches of clips; compiles once for each batch size.

    Attributes:
      normal: what frames are compared with beside it.
      unscored: frames at the start of a clip that the model only predicts others from.
    """

    def __init__(
        self,
        task: ClipTask,
        model: nnx.Module,
        normal: Normal | None = None,
        devices: Sequence[Any] | None = None,
    ):
        """Takes the inference view of a model, as `restore_for_inference` gives it.

        Args:
          task: whose `predict_fn` and `reconstruct_fn` are wanted.
          model: the model.
          normal: None: nothing is compared with.
          devices: JAX devices of this process, over which the clips of a batch are spread. By default
            all it has, but one of the CPU's, which would share the same cores.
        """
        self.normal = normal or Normal()
        self.unscored: int = task.unscored
        local = jax.local_devices()
        self._devices = devices or (local[:1] if local[0].platform == "cpu" else local)
        graphdef, self._state = nnx.split(model)
        self._placed: dict[int, nnx.State] = {}  # by the number of devices

        def scores(state: nnx.State, clip: jax.Array) -> dict[str, jax.Array]:
            return task.predict_fn(nnx.merge(graphdef, state), {"clip": clip})

        def pictures(state: nnx.State, clip: jax.Array) -> dict[str, jax.Array]:
            return task.reconstruct_fn(nnx.merge(graphdef, state), {"clip": clip})

        options = compiler_options(task, self._devices[0].platform)
        compiled = partial(jax.jit, compiler_options=options)
        self._scores = compiled(scores)
        # the compiler leaves out what the phase does not need: the decoder, two thirds of the time
        self._phases = compiled(lambda state, clip: {"phase": scores(state, clip)["phase"]})
        self._pictures = compiled(pictures)
        # One program: the compiler shares the forward pass that both need.
        self._both = compiled(lambda state, clip: scores(state, clip) | pictures(state, clip))

    def scores(self, clip: np.ndarray) -> dict[str, np.ndarray]:
        """`ClipTask.predict_fn` on clips uint8 [b, t, h, w, 3], fetched to the host."""
        return jax.device_get(self._scores(*self._place(clip)))

    def phases(self, clip: np.ndarray) -> dict[str, np.ndarray]:
        """Of `scores` the phase alone: nothing is rebuilt."""
        return jax.device_get(self._phases(*self._place(clip)))

    def pictures(self, clip: np.ndarray) -> dict[str, np.ndarray]:
        """`ClipTask.reconstruct_fn` on clips uint8 [b, t, h, w, 3], fetched to the host."""
        return jax.device_get(self._pictures(*self._place(clip)))

    def both(self, clip: np.ndarray) -> dict[str, np.ndarray]:
        """Scores and pictures from one forward pass."""
        return jax.device_get(self._both(*self._place(clip)))

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


def load_predictor(
    workdir: str | os.PathLike[str], config: ConfigDict, model: nnx.Module, step: int
) -> Predictor:
    """A run's model with what its frames are compared with, where `eval` asks for it.

    Args:
      workdir: run folder.
      config: of the run, with the `eval` section in force.
      model: as `restore_for_inference` gives it.
      step: its checkpoint.

    Raises:
      FileNotFoundError: what is compared with is neither in the run folder nor its dataset here.
      ValueError: a file of it is damaged, or `eval` asks for what cannot be.
    """
    task = make_clip_task(config)
    return Predictor(
        task, model, normal_of(config, fitted_arrays(workdir, config, task, model, step))
    )


def scene_cycle(source: FrameSource) -> float | None:
    """Frames of a normal cycle: the median over the training videos; None where there is no cycle."""
    train = source.metadata.get("videos", {}).get("train", ())
    lengths = [float(v["cycle_frames"]) for v in train if v.get("cycle_frames")]
    return float(np.median(lengths)) if lengths else None


def score_segments(
    predictor: PredictsClips,
    step: int,
    config: ConfigDict,
    source: FrameSource,
    segments: Sequence[Segment],
    progress: Report | None = None,
) -> FrameScores:
    """Scores every frame of some segments, with the rows that need no training beside.

    Args:
      predictor: the model.
      step: its checkpoint.
      config: of the run; `data.clip_len` and the `eval` section count.
      source: the split's frames.
      segments: what to score; frames of one shorter than a clip come out unscored.
      progress: called with how many frames are done.

    Returns:
      One row a frame, segments in order; two segments of a video stay one video.
    """
    cycle_frames, made = scene_cycle(source), made_with(config, PREDICTION_LEAVES, step)
    if predictor.normal.learnt:
        made[LEARNT] = predictor.normal.learnt
    columns = {name: source.column(name) for name in ("label", "kind", "cycle")}
    total, done = sum(segment.length for segment in segments), 0
    waiting: deque[tuple[Segment, FrameScorer, list[FrameRows]]] = deque()
    tables: list[FrameScores] = []

    def clips(pool: ThreadPoolExecutor) -> Iterator[tuple[tuple[FrameScorer, int], np.ndarray]]:
        for segment in segments:
            scorer = FrameScorer(config, predictor.normal, cycle_frames, pool, start=segment.start)
            waiting.append((segment, scorer, []))
            for first_frame, clip in scorer.clips(_frames(source, segment)):
                yield (scorer, first_frame), clip

    def finish() -> None:
        segment, scorer, rows = waiting.popleft()
        rows.append(scorer.close().rows)
        video = source.videos[segment.video]
        tables.append(
            FrameScores.from_rows(
                FrameRows.concat([part for part in rows if len(part)]),
                name=video.name,
                fps=video.fps,
                **{name: column[segment.video] for name, column in columns.items()},
                kinds=source.kinds,
                made_with=made,
                mislabelled=source.mislabelled,
            )
        )

    with ThreadPoolExecutor(num_cores()) as pool:
        size = config.eval.batch_size
        for (scorer, first_frame), predicted in predict_ahead(clips(pool), predictor.scores, size):
            while waiting[0][1] is not scorer:  # clips come in order: those before it are complete
                done += waiting[0][0].length
                finish()
            segment, _, rows = waiting[0]
            rows.append(scorer.add(first_frame, predicted).rows)
            if progress:
                progress(done + first_frame + config.data.clip_len - segment.start, total)
        while waiting:
            finish()
    return FrameScores.concat(tables)


def _frames(source: FrameSource, segment: Segment) -> Iterator[np.ndarray]:
    """The frames of a segment, decoded some at a time."""
    for at in range(segment.start, segment.stop, _CHUNK):
        yield from source.frames(segment.video, range(at, min(at + _CHUNK, segment.stop)))
