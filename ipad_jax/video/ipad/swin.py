"""Video Swin Transformer, the encoder of the IPAD model (arXiv 2106.13230; IPAD paper, sec. 4.1).

Semantics follow torchvision `models/video/swin_transformer.py` (swin3d) and the published
`mmaction/models/backbones/swin_transformer.py`, which give the same numbers. They differ in names
(we have torchvision's; `swin_weights.py` reads both) and in two settings: torchvision always
normalises after the patch embedding, the published code only with `patch_norm` (off in IPAD's code,
on in the Kinetics weights); stochastic depth is 0.1 in torchvision and 0.2 in IPAD's code. No
classification head here. Channels are last: video [b, t, h, w, c].
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ipad_jax.nn.attention import (
    Size3,
    WindowAttention,
    clip_window,
    shift_mask,
    window_merge,
    window_partition,
)
from ipad_jax.nn.dot import Linear, check_dtype
from ipad_jax.nn.drop_path import DropPath

LAYER_NORM_EPSILON = 1e-5  # PyTorch's; flax has 1e-6


def _size3(name: str, value: Any) -> Size3:
    """Check three positive integers and make them a tuple."""
    values = tuple(value) if isinstance(value, list | tuple) else (value,)
    if len(values) != 3 or not all(isinstance(v, int) and v > 0 for v in values):
        raise ValueError(f"{name}={value!r} must be three positive integers (t, h, w).")
    return values  # type: ignore[return-value]


@dataclasses.dataclass(frozen=True)
class SwinConfig:
    """Sizes of a Video Swin encoder; the defaults are Swin-T as in the IPAD paper, sec. 5.2.

    Raises:
        ValueError: a size that cannot be built, naming the field, what was got and what is needed.
    """

    patch_size: Size3 = (4, 4, 4)  # pixels (t, h, w); IPAD's code, model/VST_block.py
    embed_dim: int = 96  # channels of the first stage; doubled at each merging
    depths: tuple[int, ...] = (2, 2, 6, 2)  # blocks a stage
    num_heads: tuple[int, ...] = (3, 6, 12, 24)  # heads a stage
    window_size: Size3 = (2, 7, 7)  # tokens (t, h, w)
    mlp_ratio: float = 4.0  # hidden channels of a block's MLP per channel
    patch_norm: bool = False  # LayerNorm after the patch embedding
    drop_path: float = 0.2  # stochastic depth of the last block; grows linearly from 0
    dtype: str = "float32"  # of the matrix products; norms and softmax are float32

    def __post_init__(self):
        for name in ("patch_size", "window_size"):
            object.__setattr__(self, name, _size3(f"SwinConfig.{name}", getattr(self, name)))
        for name in ("depths", "num_heads"):
            value = tuple(getattr(self, name))
            object.__setattr__(self, name, value)
            if not value or not all(isinstance(v, int) and v > 0 for v in value):
                raise ValueError(f"SwinConfig.{name}={value!r} must be positive integers, a stage.")
        if len(self.depths) != len(self.num_heads):
            raise ValueError(
                f"SwinConfig: depths={self.depths} and num_heads={self.num_heads} must name the "
                "same number of stages."
            )
        for stage, heads in enumerate(self.num_heads):
            if (self.embed_dim << stage) % heads:
                raise ValueError(
                    f"SwinConfig: stage {stage} has {self.embed_dim << stage} channels, which "
                    f"num_heads={heads} does not divide."
                )
        if not 0.0 <= self.drop_path < 1.0:
            raise ValueError(f"SwinConfig.drop_path={self.drop_path} must be in [0, 1).")
        check_dtype("SwinConfig.dtype", self.dtype)

    @classmethod
    def tiny(cls) -> "SwinConfig":
        """Video Swin-T as the IPAD paper has it (27.58M parameters)."""
        return cls()

    @classmethod
    def debug(cls) -> "SwinConfig":
        """Two small stages, for tests."""
        return cls(embed_dim=8, depths=(1, 2), num_heads=(1, 2), window_size=(2, 2, 2))

    @property
    def num_features(self) -> int:
        """Channels of the output."""
        return self.embed_dim << (len(self.depths) - 1)

    @property
    def total_stride(self) -> Size3:
        """Input pixels a position of the output stands for (t, h, w)."""
        merged = 1 << (len(self.depths) - 1)
        pt, ph, pw = self.patch_size
        return pt, ph * merged, pw * merged


def pad_to_multiple(x: jax.Array, multiple: Size3) -> jax.Array:
    """Append zeros to [b, t, h, w, c] so that t, h, w become multiples of `multiple`."""
    pads = [(-size) % m for size, m in zip(x.shape[1:4], multiple)]
    if not any(pads):
        return x
    return jnp.pad(x, [(0, 0), *((0, pad) for pad in pads), (0, 0)])


def _layer_norm(dim: int, dtype: Any, rngs: nnx.Rngs) -> nnx.LayerNorm:
    """LayerNorm as PyTorch's; statistics are float32 whatever the dtype."""
    return nnx.LayerNorm(dim, epsilon=LAYER_NORM_EPSILON, dtype=dtype, rngs=rngs)


class PatchEmbed(nnx.Module):
    """Cut the video into patches and project each: [b, t, h, w, 3] -> [b, t/pt, h/ph, w/pw, c].

    Sides that the patch does not divide are padded with zeros at their end.
    """

    def __init__(self, cfg: SwinConfig, *, rngs: nnx.Rngs):
        dtype = jnp.dtype(cfg.dtype)
        self.patch_size = cfg.patch_size
        fan_in = 3 * int(np.prod(cfg.patch_size))
        bound = fan_in**-0.5  # PyTorch's default for convolutions
        self.proj = Linear(
            fan_in,
            cfg.embed_dim,
            kernel_init=lambda key, shape, dt: jax.random.uniform(key, shape, dt, -bound, bound),
            bias_init=lambda key, shape, dt: jax.random.uniform(key, shape, dt, -bound, bound),
            dtype=dtype,
            rngs=rngs,
        )
        self.norm = nnx.data(_layer_norm(cfg.embed_dim, dtype, rngs) if cfg.patch_norm else None)

    def __call__(self, video: jax.Array) -> jax.Array:
        # Patches do not overlap, so the convolution is one matrix product.
        x = pad_to_multiple(video, self.patch_size)
        size = tuple(s // p for s, p in zip(x.shape[1:4], self.patch_size))
        patches = window_partition(x, self.patch_size)
        x = self.proj(patches.reshape(x.shape[0], *size, -1))
        return x if self.norm is None else self.norm(x)


class Mlp(nnx.Module):
    """Two dense layers with exact GELU between: [..., c] -> [..., c]."""

    def __init__(self, dim: int, hidden: int, *, dtype: Any, rngs: nnx.Rngs):
        init = nnx.initializers.normal(0.02)
        self.fc1 = Linear(dim, hidden, kernel_init=init, dtype=dtype, rngs=rngs)
        self.fc2 = Linear(hidden, dim, kernel_init=init, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.fc2(jax.nn.gelu(self.fc1(x), approximate=False))


class SwinBlock(nnx.Module):
    """Window attention and MLP, each a residual branch after a LayerNorm (eq. 1).

    Call: x [b, t, h, w, c] -> [b, t, h, w, c]; rngs where stochastic depth acts.
    """

    def __init__(
        self,
        cfg: SwinConfig,
        dim: int,
        num_heads: int,
        *,
        shifted: bool,
        drop_path: float,
        rngs: nnx.Rngs,
    ):
        dtype = jnp.dtype(cfg.dtype)
        self.window_size = cfg.window_size
        wt, wh, ww = cfg.window_size
        self.shift_size: Size3 = (wt // 2, wh // 2, ww // 2) if shifted else (0, 0, 0)
        self.norm1 = _layer_norm(dim, dtype, rngs)
        self.attn = WindowAttention(dim, cfg.window_size, num_heads, dtype=dtype, rngs=rngs)
        self.norm2 = _layer_norm(dim, dtype, rngs)
        self.mlp = Mlp(dim, int(dim * cfg.mlp_ratio), dtype=dtype, rngs=rngs)
        self.drop_path = DropPath(drop_path)

    def attend(self, x: jax.Array) -> jax.Array:
        """Attention over (shifted) windows of a map of any size."""
        size: Size3 = x.shape[1:4]  # type: ignore[assignment]
        window, shift = clip_window(size, self.window_size, self.shift_size)
        # The reference pads before projecting. The projection of zeros is the bias, so here the
        # product is padded and then biased: the same numbers, and at 8x8 a third of the work.
        x = self.attn.qkv.add_bias(pad_to_multiple(self.attn.project(x), window))
        padded: Size3 = x.shape[1:4]  # type: ignore[assignment]
        mask = None
        if any(shift):
            x = jnp.roll(x, [-s for s in shift], axis=(1, 2, 3))
            mask = shift_mask(padded, window, shift)
        x = window_merge(self.attn.mix(window_partition(x, window), mask), window, padded)
        if any(shift):
            x = jnp.roll(x, shift, axis=(1, 2, 3))
        t, h, w = size
        return self.attn.proj(x[:, :t, :h, :w])

    def __call__(self, x: jax.Array, *, rngs: nnx.Rngs | None = None) -> jax.Array:
        x = x + self.drop_path(self.attend(self.norm1(x)), rngs=rngs)
        return x + self.drop_path(self.mlp(self.norm2(x)), rngs=rngs)


def _run_block(block: SwinBlock, x: jax.Array, rngs: nnx.Rngs | None) -> jax.Array:
    """A block as `nnx.remat` takes it: without keywords."""
    return block(x, rngs=rngs)


class PatchMerging(nnx.Module):
    """Halve h and w, double c: [b, t, h, w, c] -> [b, t, ceil(h/2), ceil(w/2), 2c].

    Odd sides are padded with zeros at their end.
    """

    def __init__(self, cfg: SwinConfig, dim: int, *, rngs: nnx.Rngs):
        dtype = jnp.dtype(cfg.dtype)
        self.norm = _layer_norm(4 * dim, dtype, rngs)
        self.reduction = Linear(
            4 * dim,
            2 * dim,
            use_bias=False,
            kernel_init=nnx.initializers.normal(0.02),
            dtype=dtype,
            rngs=rngs,
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        x = pad_to_multiple(x, (1, 2, 2))
        b, t, h, w, c = x.shape
        # The reference's order of the four neighbours: w outer, h inner.
        x = x.reshape(b, t, h // 2, 2, w // 2, 2, c).transpose(0, 1, 2, 4, 5, 3, 6)
        return self.reduction(self.norm(x.reshape(b, t, h // 2, w // 2, 4 * c)))


class VideoSwin(nnx.Module):
    """Video Swin encoder with a final LayerNorm and no classification head.

    Args:
        cfg: sizes.
        remat: keep only the input of each block for the gradient and compute the rest again.

    Call: video [b, t, h, w, 3] float -> [b, t', h', w', cfg.num_features], where t' = ceil(t/pt)
    and h', w' are ceil(h/ph), ceil(w/pw) halved (rounding up) between stages. `rngs` with a
    `dropout` stream while training; none in the view with deterministic=True.
    """

    def __init__(self, cfg: SwinConfig, *, remat: bool = False, rngs: nnx.Rngs):
        self.cfg = cfg
        self.remat = remat
        self.patch_embed = PatchEmbed(cfg, rngs=rngs)
        rates = np.linspace(0.0, cfg.drop_path, sum(cfg.depths)).tolist()
        features: list[Any] = []  # stage, merging, stage, ...: torchvision's numbering
        for stage, (depth, heads) in enumerate(zip(cfg.depths, cfg.num_heads)):
            dim = cfg.embed_dim << stage
            blocks = [
                SwinBlock(cfg, dim, heads, shifted=i % 2 == 1, drop_path=rates.pop(0), rngs=rngs)
                for i in range(depth)
            ]
            features.append(nnx.List(blocks))
            if stage < len(cfg.depths) - 1:
                features.append(PatchMerging(cfg, dim, rngs=rngs))
        self.features = nnx.List(features)
        self.norm = _layer_norm(cfg.num_features, jnp.dtype(cfg.dtype), rngs)

    def __call__(self, video: jax.Array, *, rngs: nnx.Rngs | None = None) -> jax.Array:
        return self.norm(self.stages(video, rngs=rngs)[-1])

    def stages(self, video: jax.Array, *, rngs: nnx.Rngs | None = None) -> list[jax.Array]:
        """What each stage gives the next merging, [b, t', h', w', c]; the last one before the final norm."""
        if video.ndim != 5 or video.shape[-1] != 3:
            raise ValueError(f"VideoSwin: video has shape {video.shape}, expected [b, t, h, w, 3].")
        run_block = nnx.remat(_run_block) if self.remat else _run_block
        x = self.patch_embed(video.astype(self.cfg.dtype))
        found = []
        for stage in self.features:
            if isinstance(stage, PatchMerging):
                x = stage(x)
            else:
                for block in stage:
                    x = run_block(block, x, rngs)
                found.append(x)
        return found
