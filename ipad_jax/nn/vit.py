"""Vision transformer as DINOv2 has it (arXiv 2304.07193), without head and masks.

Semantics and names of arrays follow the published dinov2/models/vision_transformer.py: pre-norm blocks with
LayerScale, a class token, optional register tokens (arXiv 2309.16588) that get no position, and a table of
positions that is interpolated where an image's grid is another one. `vit_weights.py` reads published weights.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from ipad_jax.nn.dot import Linear, add_bias, check_dtype, matmul
from ipad_jax.nn.resize import cubic, filtered_cubic_matrix, resize_matrix

LAYER_NORM_EPSILON = 1e-6
INIT = nnx.initializers.truncated_normal(0.02)


@dataclasses.dataclass(frozen=True)
class ViTConfig:
    """Sizes of a vision transformer; the defaults are ViT-S/14.

    `load_vit` takes the fields from `table_side` on from the file.

    Raises:
        ValueError: a size that cannot be built, naming the field.
    """

    patch_size: int = 14  # pixels
    embed_dim: int = 384
    depth: int = 12  # blocks
    num_heads: int = 6
    mlp_ratio: float = 4.0  # hidden channels of a block's MLP per channel
    dtype: str = "float32"  # of the products; norms and softmax are float32
    table_side: int = 37  # patches a side of the position table: trained on 518 pixels last
    num_registers: int = 0
    qkv_bias: bool = True
    layer_scale: bool = True

    def __post_init__(self):
        for name in ("patch_size", "embed_dim", "depth", "num_heads", "table_side"):
            if getattr(self, name) < 1:
                raise ValueError(f"ViTConfig.{name}={getattr(self, name)} must be at least 1.")
        if self.embed_dim % self.num_heads:
            raise ValueError(
                f"ViTConfig.embed_dim={self.embed_dim} must be a multiple of num_heads={self.num_heads}."
            )
        check_dtype("ViTConfig.dtype", self.dtype)

    @classmethod
    def small(cls) -> "ViTConfig":
        return cls()

    @classmethod
    def base(cls) -> "ViTConfig":
        return cls(embed_dim=768, num_heads=12)

    @classmethod
    def large(cls) -> "ViTConfig":
        return cls(embed_dim=1024, depth=24, num_heads=16)


def interpolate_positions(table: jax.Array, size: tuple[int, int], *, registers: bool) -> jax.Array:
    """Position table for another grid of patches: [side, side, c] -> [*size, c], bicubic.

    The published backbones without registers add 0.1 to the size before they divide by the table's side, so
    that cells lie (size + 0.1) / side apart; those with registers do not, and filter where they shrink the
    table (hub/backbones.py: interpolate_offset, interpolate_antialias).
    """
    side = table.shape[0]
    if registers:
        rows, columns = (filtered_cubic_matrix(side, n) for n in size)
    else:
        rows, columns = (resize_matrix(side, n, cubic, side / (n + 0.1)) for n in size)
    return jnp.einsum(
        "yh,hwc,xw->yxc", rows.astype("f4"), table, columns.astype("f4"), precision="highest"
    )


def _layer_norm(cfg: ViTConfig, rngs: nnx.Rngs) -> nnx.LayerNorm:
    """LayerNorm whose statistics are float32 whatever the dtype."""
    return nnx.LayerNorm(
        cfg.embed_dim, epsilon=LAYER_NORM_EPSILON, dtype=jnp.dtype(cfg.dtype), rngs=rngs
    )


class Attention(nnx.Module):
    """Multi-head attention among all tokens: [b, n, c] -> [b, n, c]."""

    def __init__(self, cfg: ViTConfig, *, rngs: nnx.Rngs):
        self.num_heads, dim, dtype = cfg.num_heads, cfg.embed_dim, jnp.dtype(cfg.dtype)
        self.qkv = Linear(
            dim, 3 * dim, use_bias=cfg.qkv_bias, kernel_init=INIT, dtype=dtype, rngs=rngs
        )
        self.proj = Linear(dim, dim, kernel_init=INIT, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        b, n, c = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.num_heads, c // self.num_heads)
        out = jax.nn.dot_product_attention(qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2])
        return self.proj(out.reshape(b, n, c))


class Mlp(nnx.Module):
    """Two dense layers with exact GELU between: [..., c] -> [..., c]."""

    def __init__(self, cfg: ViTConfig, *, rngs: nnx.Rngs):
        dim, hidden, dtype = cfg.embed_dim, int(cfg.embed_dim * cfg.mlp_ratio), jnp.dtype(cfg.dtype)
        self.fc1 = Linear(dim, hidden, kernel_init=INIT, dtype=dtype, rngs=rngs)
        self.fc2 = Linear(hidden, dim, kernel_init=INIT, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.fc2(jax.nn.gelu(self.fc1(x), approximate=False))


class LayerScale(nnx.Module):
    """A factor a channel, one at the start."""

    def __init__(self, dim: int):
        self.gamma = nnx.Param(jnp.ones(dim))

    def __call__(self, x: jax.Array) -> jax.Array:
        return x * self.gamma[...].astype(x.dtype).reshape(1, 1, -1)


class Block(nnx.Module):
    """Attention and MLP, each a residual branch after a LayerNorm: [b, n, c] -> [b, n, c]."""

    def __init__(self, cfg: ViTConfig, *, rngs: nnx.Rngs):
        self.norm1 = _layer_norm(cfg, rngs)
        self.attn = Attention(cfg, rngs=rngs)
        self.norm2 = _layer_norm(cfg, rngs)
        self.mlp = Mlp(cfg, rngs=rngs)
        self.ls1 = nnx.data(LayerScale(cfg.embed_dim) if cfg.layer_scale else None)
        self.ls2 = nnx.data(LayerScale(cfg.embed_dim) if cfg.layer_scale else None)

    def __call__(self, x: jax.Array) -> jax.Array:
        attended = self.attn(self.norm1(x))
        x = x + (attended if self.ls1 is None else self.ls1(attended))
        mixed = self.mlp(self.norm2(x))
        return x + (mixed if self.ls2 is None else self.ls2(mixed))


class PatchProjection(nnx.Module):
    """Weights of a convolution that moves by its own size: kernel [p, p, 3, c], bias [c]."""

    def __init__(self, cfg: ViTConfig, *, rngs: nnx.Rngs):
        shape = (cfg.patch_size, cfg.patch_size, 3, cfg.embed_dim)
        self.kernel = nnx.Param(INIT(rngs.params(), shape))
        self.bias = nnx.Param(jnp.zeros(cfg.embed_dim))


class PatchEmbed(nnx.Module):
    """Each patch projected: [b, h, w, 3] -> [b, h / p, w / p, c]."""

    def __init__(self, cfg: ViTConfig, *, rngs: nnx.Rngs):
        self.dtype = jnp.dtype(cfg.dtype)
        self.proj = PatchProjection(cfg, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        # Patches do not overlap, so the convolution is one matrix product.
        kernel, (b, h, w, _) = self.proj.kernel[...], images.shape
        p, c = kernel.shape[0], kernel.shape[-1]
        patches = images.astype(self.dtype).reshape(b, h // p, p, w // p, p, 3)
        patches = patches.transpose(0, 1, 3, 2, 4, 5).reshape(b, h // p, w // p, -1)
        x = matmul(patches, kernel.reshape(-1, c), self.dtype).astype(self.dtype)
        return add_bias(x, self.proj.bias[...], self.dtype)


class ViT(nnx.Module):
    """Call: images [b, h, w, 3] float, normalised as the weights want it -> tokens [b, 1 + n, c].

    The class token first, then the n = (h / p) (w / p) patches row by row, after the last LayerNorm; register
    tokens are left out. h and w must be multiples of the patch size.
    """

    def __init__(self, cfg: ViTConfig, *, rngs: nnx.Rngs):
        self.cfg = cfg
        self.patch_embed = PatchEmbed(cfg, rngs=rngs)
        self.cls_token = nnx.Param(INIT(rngs.params(), (1, 1, cfg.embed_dim)))
        self.pos_embed = nnx.Param(INIT(rngs.params(), (1, 1 + cfg.table_side**2, cfg.embed_dim)))
        self.register_tokens = nnx.data(
            nnx.Param(INIT(rngs.params(), (1, cfg.num_registers, cfg.embed_dim)))
            if cfg.num_registers
            else None
        )
        self.blocks = nnx.List(Block(cfg, rngs=rngs) for _ in range(cfg.depth))
        self.norm = _layer_norm(cfg, rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        x = self.embed(images)
        for block in self.blocks:
            x = block(x)
        return self._finish(x)

    def maps(self, images: jax.Array) -> tuple[jax.Array, ...]:
        """Patch tokens after each block, each through the last LayerNorm: [b, h / p, w / p, c]."""
        size = tuple(n // self.cfg.patch_size for n in images.shape[1:3])
        x, found = self.embed(images), []
        for block in self.blocks:
            x = block(x)
            found.append(self._finish(x)[:, 1:].reshape(x.shape[0], *size, -1))
        return tuple(found)

    def embed(self, images: jax.Array) -> jax.Array:
        """Class token, registers and patches with their positions, as the first block takes them."""
        p = self.cfg.patch_size
        if images.ndim != 4 or images.shape[-1] != 3 or images.shape[1] % p or images.shape[2] % p:
            raise ValueError(
                f"ViT: images have shape {images.shape}, expected [b, h, w, 3] with h and w multiples of the "
                f"patch size {p}: resize or crop them."
            )
        x = self.patch_embed(images)
        b, *size, c = x.shape
        positions, side = self.pos_embed[...], self.cfg.table_side
        table = positions[0, 1:].reshape(side, side, c)
        if tuple(size) != (side, side):
            registers = self.cfg.num_registers > 0
            table = interpolate_positions(table, (size[0], size[1]), registers=registers)
        x = (x + table[None].astype(x.dtype)).reshape(b, -1, c)
        first = [(self.cls_token[...] + positions[:, :1])]
        if self.register_tokens is not None:
            first.append(self.register_tokens[...])
        first = [jnp.broadcast_to(t, (b, *t.shape[1:])).astype(x.dtype) for t in first]
        return jnp.concatenate([*first, x], axis=1)

    def _finish(self, x: jax.Array) -> jax.Array:
        """LayerNorm, and no registers."""
        x = self.norm(x)
        return jnp.concatenate([x[:, :1], x[:, 1 + self.cfg.num_registers :]], axis=1)
