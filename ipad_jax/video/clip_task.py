"""What every video task shares: clips of one scene, how they are scored, pictures, checks of the config.

A method adds its model and its loss: `ipad.task.VideoTask` is IPAD's,
`baselines.task.BaselineTask` the ones it is compared with.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from ipad_jax.input.batches import spread_batches
from ipad_jax.input.clips import clip_index, describe_skipped, read_clips, train_batches
from ipad_jax.input.frames import FrameSource, height_width
from ipad_jax.input.split import Segment, describe_share, open_split, training_parts
from ipad_jax.training.task import make_task
from ipad_jax.video.normal.features import NETWORKS
from ipad_jax.video.normal.renewed import check_renewal
from ipad_jax.video.normal.small_picture import MIN_PX
from ipad_jax.video.normal.stored import FIT_LEAVES, fit_normal
from ipad_jax.video.scores.aggregate import BESIDE, COMPONENTS, FrameAggregator
from ipad_jax.video.scores.calibration import Wish, check_wish
from ipad_jax.video.scores.components import check_weights
from ipad_jax.video.scores.frame_scores import PREDICTION_LEAVES
from ipad_jax.video.scores.protocols import PROTOCOLS

logger = logging.getLogger(__name__)


class Prediction(NamedTuple):
    """What a model makes of clips [b, t, h, w, 3].

    Attributes:
      frames: float32 [b, s, h, w, 3] in [-1, 1], its version of the last s frames of each clip.
      phase: float32 [b] in [0, 1) of each clip's first frame; None without a period head.
      deformation: float32 [b, s, h, w] pixels by which each place was moved; None without.
    """

    frames: jax.Array
    phase: jax.Array | None = None
    deformation: jax.Array | None = None


class ClipTask(ABC):
    """Clips of one scene as a `Task`; reads the prepared dataset only when clips are asked for.

    Attributes:
      parts: attributes of the model that `config.freeze` may name.
      adaptable: whether it has attentions that low-rank adapters fit (`adapters.rank`).
      unscored: frames at the start of a clip that others are predicted from, without a score of their own.

    Raises:
      ValueError: a config that cannot be: an unknown part in `freeze`, an `eval` section that scoring
        would refuse.
    """

    family = "video"
    unit = "clips"
    fit_leaves = FIT_LEAVES
    fit_uses_model = False
    parts: tuple[str, ...] = ()
    unscored: int = 0
    adaptable: bool = False

    def __init__(self, config: ConfigDict):
        self.config = config
        self.clip_len: int = config.data.clip_len
        self.image_size: tuple[int, int] = height_width(config.data.size)
        self.pool_px: int = config.eval.pool_px
        if self.pool_px < 1 or self.pool_px % 2 == 0:
            raise ValueError(f"eval.pool_px={self.pool_px} must be odd: a box around each pixel.")
        if self.pool_px > min(self.image_size):
            raise ValueError(f"eval.pool_px={self.pool_px} is larger than the frame.")
        _check_eval(config)
        self.adapter_rank: int = config.get("adapters", {}).get("rank", 0)
        if self.adapter_rank and not self.adaptable:
            raise ValueError(
                f"adapters.rank={self.adapter_rank}: this method has no attention to adapt; take 0."
            )
        if unknown := sorted(set(config.freeze) - set(self.parts)):
            raise ValueError(f"freeze names {unknown}; choose from {', '.join(self.parts)}.")
        if config.eval.stride > self.clip_len - self.unscored:
            raise ValueError(
                f"eval.stride={config.eval.stride} leaves frames without a score: of a clip of "
                f"{self.clip_len} the last {self.clip_len - self.unscored} have one."
            )

    @abstractmethod
    def init_model(self, key: jax.Array) -> nnx.Module:
        """The model at its start."""

    def read_weights(self, path: str) -> dict[str, Any]:
        """Published weights by their name in the model; a method with an encoder says how."""
        raise ValueError(f"init_from={path}: this method has no encoder a weights file could fill.")

    @abstractmethod
    def loss_fn(
        self, model: Any, batch: dict[str, Any], key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The loss of a batch and its terms."""

    @abstractmethod
    def predict(self, model: Any, clip: jax.Array) -> Prediction:
        """What the inference view of the model makes of clips float32 [b, t, h, w, 3] in [-1, 1]."""

    @abstractmethod
    def describe_model(self, model: Any) -> str:
        """Parameters by module, of an abstract model."""

    @property
    def trainable(self) -> Any:
        """All parameters but those of the parts named in `config.freeze`."""
        frozen = tuple(self.config.freeze)
        return lambda path, value: isinstance(value, nnx.Param) and path[0] not in frozen

    @cached_property
    def source(self) -> FrameSource:
        """The training split.

        Raises:
          FileNotFoundError: it is not prepared; names the command.
        """
        source = open_split(self.config, "train", self.config.data.cache_mb)
        if source.image_size != self.image_size:
            raise ValueError(
                f"{source.path} holds frames of {source.image_size} (h, w), the config asks for "
                f"{self.image_size}: prepare that size, or set data.size."
            )
        return source

    @property
    def fingerprint(self) -> str:
        """Of the dataset that training reads."""
        return self.source.fingerprint

    @cached_property
    def segments(self) -> tuple[list[Segment], list[Segment]]:
        """Footage to train on, and held-out normal footage that calibration has for itself."""
        return training_parts(self.config, self.source)

    @property
    def num_examples(self) -> int:
        """Clips of the training footage at stride 1: the paper's epoch."""
        return len(clip_index(self.segments[0], self.clip_len)[0])

    def train_data(
        self, first_step: int, process_index: int, process_count: int
    ) -> Iterator[dict[str, np.ndarray]]:
        """Shuffled clips from `first_step` on; see `input.clips.train_batches`.

        Logs once what is read, what is too short for a clip, and what is kept in memory.
        """
        config = self.config
        if process_index == 0:
            logger.info("\n".join(self._data_notes()))
        return train_batches(
            self.source,
            self.segments[0],
            clip_len=self.clip_len,
            batch_size=config.batch_size,
            seed=config.seed,
            first_step=first_step,
            num_workers=config.num_workers,
            process_index=process_index,
            process_count=process_count,
        )

    def val_data(
        self, process_index: int, process_count: int
    ) -> Iterator[dict[str, np.ndarray]] | None:
        """`eval_batches` whole batches of held-out clips, evenly spread; the same ones every time."""
        index, _ = clip_index(self.segments[1], self.clip_len)
        if not len(index):
            return None
        most = self.config.eval_batches
        size = self.config.batch_size
        chosen = spread_batches(len(index), size, most, process_index, process_count)
        return (read_clips(self.source, index[rows], self.clip_len) for rows in chosen)

    def normal_data(self) -> FrameSource:
        """The training split; `fit` takes only frames of it that the model was fitted on."""
        return self.source

    def fit(self, model: Any, data: FrameSource) -> dict[str, np.ndarray]:
        """Normal pictures, changes and features that frames are compared with."""
        return fit_normal(self.config, data)

    def batch_shapes(self, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
        """A batch as `input.clips.read_clips` makes it."""
        shape = (batch_size, self.clip_len, *self.image_size, 3)
        one = (batch_size,)
        return {
            "clip": jax.ShapeDtypeStruct(shape, np.uint8),
            "video": jax.ShapeDtypeStruct(one, np.int32),
            "first_frame": jax.ShapeDtypeStruct(one, np.int32),
            "phase": jax.ShapeDtypeStruct(one, np.float32),
        }

    def predict_fn(self, model: Any, batch: dict[str, Any]) -> dict[str, jax.Array]:
        """What scoring needs.

        Args:
          model: inference view.
          batch: "clip" uint8 [b, t, h, w, 3].

        Returns:
          mse: float32 [b, t], mean squared error of each frame, values in [0, 1]; NaN for the first
            `unscored` frames, here and below.
          pooled: float32 [b, t], the largest value of the pooled error map.
          phase: float32 [b] in [0, 1) of the clip's first frame; NaN without period head.
          deformation: float32 [b, t], the largest value of its pooled map, in pixels; only where the
            method has one.
        """
        clip = normalise(batch["clip"])
        made = self.predict(model, clip)
        error = (made.frames - clip[:, self.unscored :]) / 2  # [-1, 1] is two units wide
        found = {
            "mse": jnp.mean(jnp.square(error), axis=(2, 3, 4)),
            "pooled": jnp.max(self._error_map(error), axis=(2, 3)),
        }
        if made.deformation is not None:
            found["deformation"] = jnp.max(box_mean(made.deformation, self.pool_px), axis=(2, 3))
        if self.unscored:
            missing = ((0, 0), (self.unscored, 0))
            found = {k: jnp.pad(x, missing, constant_values=jnp.nan) for k, x in found.items()}
        if made.phase is None:
            found["phase"] = jnp.full(clip.shape[:1], jnp.nan, jnp.float32)
        else:
            found["phase"] = made.phase
        return found

    def reconstruct_fn(self, model: Any, batch: dict[str, Any]) -> dict[str, jax.Array]:
        """Pictures: reconstruction uint8 [b, t, h, w, 3], pooled error map float32 [b, t, h, w].

        Frames without a score are shown as they are.
        """
        clip = normalise(batch["clip"])
        frames = jnp.clip(self.predict(model, clip).frames, -1, 1)
        if self.unscored:
            frames = jnp.concatenate([clip[:, : self.unscored], frames], axis=1)
        return {
            "reconstruction": jnp.round((frames + 1) * 127.5).astype(jnp.uint8),
            "error": self._error_map((frames - clip) / 2),
        }

    def describe(self) -> str:
        """Parameters by module; the training footage, where it is prepared."""
        text = self.describe_model(nnx.eval_shape(lambda: self.init_model(jax.random.key(0))))
        try:
            notes = self._data_notes()
        except FileNotFoundError as error:
            return f"{text}\n\ndata: {error}"
        return "\n".join([text, "", *notes])

    def _data_notes(self) -> list[str]:
        """What the training footage holds, line by line."""
        fitted, held = self.segments
        notes = [
            f"{self.num_examples:,} clips of {self.clip_len} frames in {len(fitted)} segments to train "
            f"on, {len(held)} held out for calibration",
            describe_share(self.config, self.source),
            describe_skipped(self.source, clip_index(fitted, self.clip_len)[1], self.clip_len),
            self.data_note(),
            self.source.cache_note,
        ]
        return [f"data: {self.source.path}", *(f"  {note}" for note in notes if note)]

    def data_note(self) -> str:
        """Where the method and the data do not fit each other, says so; else ""."""
        return ""

    def _error_map(self, error: jax.Array) -> jax.Array:
        """Box mean of the channels' mean absolute error: [b, t, h, w, 3] -> [b, t, h, w]."""
        return box_mean(jnp.mean(jnp.abs(error), axis=-1), self.pool_px)


def make_clip_task(config: ConfigDict) -> ClipTask:
    """The task of a config of the video family.

    Raises:
      ValueError: it is of another one.
    """
    task = make_task(config)
    if not isinstance(task, ClipTask):
        raise ValueError(f"config.task={config.task!r} is no video method.")
    return task


def normalise(clip: jax.Array) -> jax.Array:
    """uint8 in 0..255 to float32 in [-1, 1], on the device: a quarter of the bytes over the bus."""
    return jnp.asarray(clip).astype(jnp.float32) / 127.5 - 1.0


def box_mean(maps: jax.Array, size: int) -> jax.Array:
    """Mean over a box of size x size around each position, of the part inside the picture.

    Args:
      maps: float [..., h, w].
      size: side of the box, odd.
    """

    def box_sum(x: jax.Array) -> jax.Array:
        for axis in (x.ndim - 2, x.ndim - 1):  # separable: 2 x size additions, not size squared
            window = tuple(size if a == axis else 1 for a in range(x.ndim))
            x = jax.lax.reduce_window(x, 0.0, jax.lax.add, window, (1,) * x.ndim, "SAME")
        return x

    def inside(n: int) -> np.ndarray:  # positions of a box that lie inside, along one axis
        at, half = np.arange(n), size // 2
        return np.minimum(at + half, n - 1) - np.maximum(at - half, 0) + 1

    count = np.outer(*(inside(n) for n in maps.shape[-2:])).astype(np.float32)
    return box_sum(maps) / count.reshape((1,) * (maps.ndim - 2) + count.shape)


def _check_eval(config: ConfigDict) -> None:
    """Raises ValueError for what scoring would refuse, before a night of training and not after it."""
    section = config.eval
    needed = [leaf for leaf in PREDICTION_LEAVES if leaf != "eval.features_weights"]
    needed += ["eval.protocol", "eval.components"]
    needed += [f"eval.{name}" for name in Wish._fields]
    if missing := [name for name in needed if name.removeprefix("eval.") not in section]:
        raise ValueError(
            f"the config lacks {', '.join(missing)}: it is of an older version. Add them to its `eval` "
            "section, as configs/_base.py has them."
        )
    if section.protocol not in PROTOCOLS:
        raise ValueError(f"eval.protocol={section.protocol!r}; one of {', '.join(PROTOCOLS)}.")
    if section.features and section.features not in NETWORKS:
        raise ValueError(
            f'eval.features={section.features!r}; take one of {", ".join(NETWORKS)}, or "" for none.'
        )
    if section.features not in ("", "efficientnet_lite0") and not section.get(
        "features_weights", ""
    ):
        raise ValueError(
            f"eval.features={section.features} needs a file of its weights as eval.features_weights "
            "(.pth, .safetensors, .npz)."
        )
    check_wish(Wish(*(section[name] for name in Wish._fields)))
    check_renewal(section.renew_minutes)
    for name, least, meaning in (
        ("batch_size", 1, "clips"),
        ("nearest_px", 0, "pixels, 0 for off"),
        ("motion_px", 0, "pixels, 0 for off"),
        ("paper_period_weight", 0, "0 or more"),
    ):
        if not section[name] >= least:
            raise ValueError(f"eval.{name}={section[name]} must be at least {least} ({meaning}).")
    for name in ("nearest_px", "motion_px"):
        if 0 < section[name] < MIN_PX:
            raise ValueError(
                f"eval.{name}={section[name]} is too small to compare: take {MIN_PX} pixels or more, or 0."
            )
    try:
        FrameAggregator(config.data.clip_len, section.stride, None, section.window, section.spacing)
        check_weights(
            section.components.to_dict(), dict.fromkeys((*COMPONENTS, *BESIDE), np.zeros(0))
        )
    except ValueError as error:
        raise ValueError(f"config.eval: {error}") from error


def tuples(value: Any) -> Any:
    """Lists as tuples, all the way down: JSON knows no tuples, the model's configs are hashed."""
    if isinstance(value, dict):
        return {key: tuples(item) for key, item in value.items()}
    return tuple(tuples(item) for item in value) if isinstance(value, list | tuple) else value
