"""The IPAD model: encoder -> period head -> periodic memory -> decoder (IPAD paper, sec. 4.1, 4.2).

A clip is rebuilt from its features alone, no skip connections: what the features (or the memory) do
not hold, such as a fault never seen in training, comes back wrong, and that is the score.
Reference: IPAD's code, model/video_swin_transformer.py.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ipad_jax.nn.conv3d import Method
from ipad_jax.run.table import Table, screen_width
from ipad_jax.video.ipad.decoder import Decoder, DecoderConfig
from ipad_jax.video.ipad.memory import MemoryConfig, PeriodicMemory
from ipad_jax.video.ipad.period_head import PooledHead, PublishedHead
from ipad_jax.video.ipad.swin import SwinConfig, VideoSwin

PeriodHeadKind = Literal["pooled", "published", "none"]
_SECTIONS = {"encoder": SwinConfig, "decoder": DecoderConfig, "memory": MemoryConfig}


@dataclasses.dataclass(frozen=True)
class VideoModelConfig:
    """Everything that shapes the model; the defaults are the paper's size with our choices.

    Switches: `use_memory`, `memory.boost` ("none" takes the phase out of the memory), `period_head`
    ("none" takes the phase out of everything, the boost included).

    Raises:
        ValueError: sizes that do not fit each other, naming what was got and what would fit.
    """

    clip_len: int = 16  # frames; paper sec. 5.2
    image_size: tuple[int, int] = (256, 256)  # pixels (h, w); paper sec. 5.2
    encoder: SwinConfig = dataclasses.field(default_factory=SwinConfig)
    decoder: DecoderConfig = dataclasses.field(default_factory=DecoderConfig)
    use_memory: bool = True
    memory: MemoryConfig = dataclasses.field(default_factory=MemoryConfig)
    period_head: PeriodHeadKind = "pooled"
    num_phases: int = 200  # phase classes; paper sec. 5.2
    dtype: str = "float32"  # compute dtype of all parts; "bfloat16" on TPU and GPU
    remat: bool = False  # recompute blocks and layers for the gradient: less memory, more time

    def __post_init__(self):
        size = self.image_size
        size = (size, size) if isinstance(size, int) else tuple(size)
        object.__setattr__(self, "image_size", size)
        if len(size) != 2 or any(not isinstance(s, int) or s < 1 for s in size):
            raise ValueError(f"model.image_size={self.image_size!r} must be (h, w) in pixels.")
        if self.period_head not in ("pooled", "published", "none"):
            raise ValueError(
                f"model.period_head={self.period_head!r} must be 'pooled', 'published' or 'none'."
            )
        if not isinstance(self.num_phases, int) or self.num_phases < 2:
            raise ValueError(f"model.num_phases={self.num_phases!r} must be at least 2.")
        if not isinstance(self.remat, bool):
            raise ValueError(f"model.remat={self.remat!r} must be True or False.")
        # one dtype for all parts; replacing also checks it
        object.__setattr__(self, "encoder", dataclasses.replace(self.encoder, dtype=self.dtype))
        needed, given = self.encoder.total_stride, self.decoder.total_stride
        if needed != given:
            raise ValueError(
                f"model.decoder.strides multiply to {given} (t, h, w), but the encoder divides by "
                f"{needed} (patch_size times 2 for each merging in h and w): the decoder must give "
                "back exactly the clip's size."
            )
        for name, length, stride in zip(
            ("clip_len", "image height", "image width"), (self.clip_len, *size), needed
        ):
            if not isinstance(length, int) or length < stride or length % stride:
                raise ValueError(
                    f"model: {name}={length!r} must be a multiple of {stride}, the encoder's "
                    "patch size times its mergings."
                )

    @property
    def feature_size(self) -> tuple[int, int, int]:
        """(t, h, w) of the features between encoder and decoder."""
        t, h, w = self.encoder.total_stride
        return self.clip_len // t, self.image_size[0] // h, self.image_size[1] // w

    @classmethod
    def full(cls) -> "VideoModelConfig":
        """The paper's size with our choices (35.9M in encoder and decoder)."""
        return cls()

    @classmethod
    def paper(cls) -> "VideoModelConfig":
        """The paper's size and eq. 4 as printed: the factor 1 + P on the similarity."""
        return cls(memory=MemoryConfig(boost="multiply"))

    @classmethod
    def as_published(cls) -> "VideoModelConfig":
        """What the published code means to run: its period head (226M), boost and shrink."""
        return cls(
            memory=MemoryConfig(boost="as_published", shrink=5.0),  # 0.0025 at M = 2000
            period_head="published",
        )

    @classmethod
    def small(cls) -> "VideoModelConfig":
        """For 16 frames of 64x64 on a CPU, where a run has minutes: 8x8 positions of 64 channels.

        No memory, our choice for so short a run (docs/results.md, "What each part adds");
        `model.use_memory=True` puts it back.
        """
        return cls(
            image_size=(64, 64),
            encoder=SwinConfig(
                patch_size=(4, 4, 4),
                embed_dim=32,
                depths=(2, 2),
                num_heads=(2, 4),
                window_size=(2, 4, 4),
                drop_path=0.0,
            ),
            decoder=DecoderConfig(channels=(64, 32), strides=((2, 2, 2), (2, 2, 2), (1, 2, 2))),
            use_memory=False,
            memory=MemoryConfig(num_slots=400),
        )

    @classmethod
    def debug(cls) -> "VideoModelConfig":
        """A moment's work, for tests: 4 frames of 16x16."""
        return cls(
            clip_len=4,
            image_size=(16, 16),
            encoder=SwinConfig(
                patch_size=(2, 4, 4),
                embed_dim=8,
                depths=(1, 2),
                num_heads=(1, 2),
                window_size=(2, 2, 2),
                drop_path=0.1,
            ),
            decoder=DecoderConfig(channels=(8, 8), strides=((2, 2, 2), (1, 2, 2), (1, 2, 2))),
            memory=MemoryConfig(num_slots=16),
            num_phases=20,
        )

    @classmethod
    def named(cls, name: str) -> "VideoModelConfig":
        """One of the configurations above by its name.

        Raises:
            ValueError: unknown name; says the choices.
        """
        choices = ("full", "paper", "as_published", "small", "debug")
        if name not in choices:
            raise ValueError(f"model.name={name!r} must be one of {choices}.")
        return getattr(cls, name)()

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dict of all leaves; `make_model_config` is its inverse."""
        tree = dataclasses.asdict(self)
        del tree["encoder"]["dtype"]  # `dtype` of the model holds for all parts
        return tree


def make_model_config(section: Mapping[str, Any]) -> VideoModelConfig:
    """Build the configuration from the section `config.model`.

    Args:
        section: dict or ConfigDict. `name` (default "full") picks a named configuration; the other
            keys are fields of VideoModelConfig and replace its leaves, `encoder`, `decoder` and
            `memory` being sections of their own.

    Raises:
        ValueError: unknown keys (says the choices), or values that do not fit.
    """
    given = section.to_dict() if hasattr(section, "to_dict") else dict(section)  # type: ignore
    base = VideoModelConfig.named(given.pop("name", "full"))
    changes: dict[str, Any] = {}
    for key, value in given.items():
        if key in _SECTIONS and isinstance(value, Mapping):
            fields = _fields(_SECTIONS[key]) - {"dtype"}
            _check_keys(f"model.{key}", value, fields)
            # The section is replaced at once, below, so that its own checks see all of it.
            changes[key] = dataclasses.replace(getattr(base, key), **value)
        else:
            changes[key] = value
    _check_keys("model", changes, _fields(VideoModelConfig))
    return dataclasses.replace(base, **changes)


def _fields(cls: Any) -> set[str]:
    """Names of a dataclass's fields."""
    return {field.name for field in dataclasses.fields(cls)}


def _check_keys(section: str, given: Mapping[str, Any], fields: set[str]) -> None:
    """Raise naming the keys that are no fields."""
    unknown = sorted(set(given) - fields)
    if unknown:
        hint = " (the compute dtype is model.dtype, for all parts)" if "dtype" in unknown else ""
        raise ValueError(f"{section} has unknown keys {unknown}{hint}; choices: {sorted(fields)}.")


class VideoOutput(NamedTuple):
    """What the model makes of a batch of clips."""

    reconstruction: jax.Array  # float32 [b, t, h, w, 3] in [-1, 1]
    phase_logits: jax.Array | None  # float32 [b, num_phases]; None without period head
    attention: jax.Array | None  # float32 [b, n, M], n = t'h'w' tokens; None without memory


class VideoModel(nnx.Module):
    """Autoencoder of clips with period head and memory, each of which the config can leave out.

    Args:
        cfg: sizes and switches.
        method: how transposed convolutions are computed, see nn/conv3d.py; None by backend.

    Call: clip [b, clip_len, h, w, 3] float in [-1, 1] -> VideoOutput. `rngs` with a `dropout`
    stream while training (stochastic depth). Views: nnx.view(model, deterministic=..,
    use_running_average=..).

    Raises:
        ValueError: a clip of another size than the config's.
    """

    def __init__(self, cfg: VideoModelConfig, *, method: Method | None = None, rngs: nnx.Rngs):
        dtype = jnp.dtype(cfg.dtype)
        features = cfg.encoder.num_features
        self.cfg = cfg
        self.encoder = VideoSwin(cfg.encoder, remat=cfg.remat, rngs=rngs)
        heads = {"pooled": PooledHead, "published": PublishedHead}
        self.period_head = nnx.data(
            heads[cfg.period_head](
                cfg.feature_size, features, cfg.num_phases, dtype=dtype, rngs=rngs
            )
            if cfg.period_head != "none"
            else None
        )
        self.memory = nnx.data(
            PeriodicMemory(cfg.memory, features, dtype=dtype, rngs=rngs) if cfg.use_memory else None
        )
        self.decoder = Decoder(
            cfg.decoder, features, dtype=dtype, method=method, remat=cfg.remat, rngs=rngs
        )

    def __call__(self, clip: jax.Array, rngs: nnx.Rngs | None = None) -> VideoOutput:
        expected = (self.cfg.clip_len, *self.cfg.image_size, 3)
        if clip.shape[1:] != expected:
            raise ValueError(
                f"VideoModel: clips have shape {clip.shape}, expected [b, "
                f"{', '.join(map(str, expected))}] from data.clip_len and data.size."
            )
        phase_logits = attention = None
        with jax.named_scope("encoder"):  # the scopes are the attributes' names; profiles show them
            features = self.encoder(clip, rngs=rngs)
        if self.period_head is not None:
            with jax.named_scope("period_head"):
                phase_logits = self.period_head(features)
        if self.memory is not None:
            with jax.named_scope("memory"):
                features, attention = self.memory(features, phase_logits)
        with jax.named_scope("decoder"):
            return VideoOutput(self.decoder(features), phase_logits, attention)


def num_parameters(module: nnx.Module | None) -> int:
    """Trainable numbers in a module (BatchNorm's running averages are not)."""
    if module is None:
        return 0
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))


def describe(model: VideoModel) -> str:
    """Table of parameter counts a module, as `ipad-jax train --describe` prints it.

    Args:
        model: real, or abstract from nnx.eval_shape (nothing is then allocated).
    """
    cfg = model.cfg
    t, h, w = cfg.feature_size
    paper_size = cfg.encoder.depths == SwinConfig().depths and cfg.decoder == DecoderConfig()
    encoder, decoder = num_parameters(model.encoder), num_parameters(model.decoder)
    memory, head = num_parameters(model.memory), num_parameters(model.period_head)
    rows: list[tuple[str, int, str]] = [("encoder", encoder, _encoder_note(cfg))]
    rows += [("  patch_embed", num_parameters(model.encoder.patch_embed), "")]
    for index, stage in enumerate(model.encoder.features):
        name = f"stage {index // 2}" if index % 2 == 0 else f"merging {index // 2}"
        rows += [(f"  {name}", num_parameters(stage), "")]
    rows += [("  norm", num_parameters(model.encoder.norm), "")]
    channels = " -> ".join(map(str, (cfg.encoder.num_features, *cfg.decoder.channels, 3)))
    rows += [
        ("decoder", decoder, channels),
        ("encoder + decoder", encoder + decoder, "paper: 35.9M" if paper_size else ""),
        ("memory", memory, f"{cfg.memory.num_slots} slots" if memory else "off"),
        ("period head", head, f"{cfg.period_head}, {cfg.num_phases} classes" if head else "off"),
        ("total", encoder + decoder + memory + head, f"features {t}x{h}x{w}, {cfg.dtype}"),
    ]
    cells = tuple((name, f"{n:,}", f"{n / 1e6:.2f}M", note) for name, n, note in rows)
    table = Table("", ("module", "parameters", "", ""), cells, left=(0, 3))
    return table.text(screen_width())


def _encoder_note(cfg: VideoModelConfig) -> str:
    """The encoder's sizes in one line."""
    e = cfg.encoder
    return f"patch {e.patch_size}, window {e.window_size}, dim {e.embed_dim}, depths {e.depths}"
