"""Weights of a vision transformer under DINOv2's published names: `blocks.0.attn.qkv.weight`."""

import dataclasses
import math
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from flax import nnx

from ipad_jax.nn.vit import ViT, ViTConfig
from ipad_jax.nn.weight_files import fill, read_parameters


def load_vit(path: str | Path, cfg: ViTConfig) -> ViT:
    """A vision transformer from a file of weights.

    Args:
        path: .npz (names bare or under `param/`), .safetensors, .pth or .pt.
        cfg: its sizes. Whether there are register tokens, LayerScale and a bias of the qkv, and the side of
            the position table, is what the file says.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that cannot be read, or weights that do not fit: all that is missing, left over
            or of another shape is named.
    """
    weights = read_parameters(path, r"^head\.|^mask_token$|^(input|tokens)$")
    # Training code splits the blocks into chunks: blocks.CHUNK.NUMBER.norm1.weight.
    weights = {re.sub(r"^blocks\.\d+\.(?=\d)", "blocks.", n): x for n, x in weights.items()}
    cfg = _as_in_file(cfg, weights)
    return fill(
        lambda: ViT(cfg, rngs=nnx.Rngs(0)),
        weights,
        torch_name,
        what=f"{path} does not fit {cfg}",
        settings="patch_size, embed_dim, depth, num_heads and mlp_ratio",
    )


def _as_in_file(cfg: ViTConfig, weights: Mapping[str, np.ndarray]) -> ViTConfig:
    """The configuration with those parts that the names and the table show."""
    rows = weights["pos_embed"].shape[1] if "pos_embed" in weights else 0
    side = math.isqrt(max(rows - 1, 0))
    if side < 1 or side * side != rows - 1:
        side = cfg.table_side  # is complained about with all else that does not fit
    registers = weights["register_tokens"].shape[1] if "register_tokens" in weights else 0
    return dataclasses.replace(
        cfg,
        table_side=side,
        num_registers=registers,
        qkv_bias=any(name.endswith(".attn.qkv.bias") for name in weights),
        layer_scale=any(name.endswith(".ls1.gamma") for name in weights),
    )


def torch_name(path: tuple[str, ...]) -> str:
    """blocks.0.norm1.scale -> blocks.0.norm1.weight."""
    return ".".join([*path[:-1], {"kernel": "weight", "scale": "weight"}.get(path[-1], path[-1])])
