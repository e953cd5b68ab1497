"""The IPAD model: encoder -> period head -> periodic memory -> decoder (IPAD paper, sec. 4.1, 4.2).

A clip is rebuilt from its features alone, no skip connections: what the features (or the memory) do
not hold, such as a fault never seen in training, comes back wrong, and that is the score.
Reference: IPAD's code, model/video_swin_transformer.py.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ipad_jax.nn.conv3d import Method
from ipad_jax.run.table import Table
from ipad_jax.video.ipad.decoder import Decoder, DecoderConfig
from ipad_jax.video.ipad.memory import PeriodicMemory
from ipad_jax.video.ipad.model_config import VideoModelConfig, make_model_config
from ipad_jax.video.ipad.period_head import PooledHead, PublishedHead
from ipad_jax.video.ipad.swin import SwinConfig, VideoSwin

__all__ = ["VideoModel", "VideoModelConfig", "VideoOutput", "describe", "make_model_config"]


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
                f"{', '.join(map(str, expected))}] from the config's clip_len and image_size."
            )
        phase_logits = attention = None
        with jax.named_scope("encoder"):  # the scopes are those of flops.PARTS; profiles show them
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
    return str(Table("", ("module", "parameters", "", ""), cells, left=(0, 3)))


def _encoder_note(cfg: VideoModelConfig) -> str:
    """The encoder's sizes in one line."""
    e = cfg.encoder
    return f"patch {e.patch_size}, window {e.window_size}, dim {e.embed_dim}, depths {e.depths}"
