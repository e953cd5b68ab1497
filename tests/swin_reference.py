"""Video Swin in float64 NumPy, slow and obvious, with weights under torchvision's names.

Written from the paper (arXiv 2106.13230) token by token: no rolling, no reshaping into windows.
`python tests/swin_reference.py FILE.npz` writes a small file as `load_swin` reads it.
"""

import itertools
import sys

import numpy as np
from scipy.special import erf

SIZES = {
    "patch_size": (2, 4, 4),
    "embed_dim": 8,
    "depths": (2, 2),
    "num_heads": (2, 4),
    "window_size": (2, 3, 3),
    "patch_norm": True,
}


def make_weights(
    seed: int = 0, *, patch_size, embed_dim, depths, num_heads, window_size, patch_norm
) -> dict[str, np.ndarray]:
    """Random float32 weights of an encoder of these sizes, by torchvision's names."""
    rng = np.random.default_rng(seed)
    weights: dict[str, np.ndarray] = {}

    def add(name, *shape, around=0.0, scale=0.3):
        weights[name] = (around + scale * rng.standard_normal(shape)).astype(np.float32)

    def add_norm(name, dim):
        add(f"{name}.weight", dim, around=1.0)
        add(f"{name}.bias", dim)

    def add_dense(name, dim_in, dim_out, bias=True):
        add(f"{name}.weight", dim_out, dim_in, scale=dim_in**-0.5)
        if bias:
            add(f"{name}.bias", dim_out)

    add("patch_embed.proj.weight", embed_dim, 3, *patch_size)
    add("patch_embed.proj.bias", embed_dim)
    if patch_norm:
        add_norm("patch_embed.norm", embed_dim)
    rows = int(np.prod([2 * w - 1 for w in window_size]))
    for stage, depth in enumerate(depths):
        dim = embed_dim * 2**stage
        for block in range(depth):
            name = f"features.{2 * stage}.{block}"
            add_norm(f"{name}.norm1", dim)
            add(f"{name}.attn.relative_position_bias_table", rows, num_heads[stage], scale=1.0)
            add_dense(f"{name}.attn.qkv", dim, 3 * dim)
            add_dense(f"{name}.attn.proj", dim, dim)
            add_norm(f"{name}.norm2", dim)
            add_dense(f"{name}.mlp.0", dim, 4 * dim)
            add_dense(f"{name}.mlp.3", 4 * dim, dim)
        if stage < len(depths) - 1:
            add_norm(f"features.{2 * stage + 1}.norm", 4 * dim)
            add_dense(f"features.{2 * stage + 1}.reduction", 4 * dim, 2 * dim, bias=False)
    add_norm("norm", embed_dim * 2 ** (len(depths) - 1))
    return weights


def layer_norm(x, weights, name):
    mean = x.mean(-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(-1, keepdims=True)
    normal = (x - mean) / np.sqrt(variance + 1e-5)
    return normal * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def dense(x, weights, name):
    return x @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", 0.0)


def pad(x, multiple):
    return np.pad(x, [*((0, -n % m) for n, m in zip(x.shape[:3], multiple)), (0, 0)])


def attention(x, weights, name, heads, full_window, shifted):
    """Shifted-window attention of one map [t, h, w, c], a window at a time."""
    size = x.shape[:3]
    window = [min(n, w) for n, w in zip(size, full_window)]
    shift = [w // 2 if shifted and n > w else 0 for n, w in zip(size, full_window)]
    x = pad(x, window)
    members: dict[tuple, list] = {}
    for place in itertools.product(*map(range, x.shape[:3])):
        # where the token lies after the map was rolled back by the shift
        moved = [(p - s) % n for p, s, n in zip(place, shift, x.shape[:3])]
        key = tuple(m // w for m, w in zip(moved, window))
        order = tuple(m % w for m, w in zip(moved, window))
        wrapped = tuple(p < s for p, s in zip(place, shift))
        members.setdefault(key, []).append((order, place, wrapped))
    # Offsets of the FULL window, of which a clipped one uses the first rows and columns.
    full = list(itertools.product(*map(range, full_window)))
    table = weights[f"{name}.relative_position_bias_table"].reshape(
        *(2 * w - 1 for w in full_window), heads
    )
    out = np.zeros_like(x)
    for tokens in members.values():
        tokens.sort()
        n = len(tokens)
        inside = np.stack([x[place] for _, place, _ in tokens])
        q, k, v = np.split(dense(inside, weights, f"{name}.qkv"), 3, axis=-1)
        mixed = np.zeros_like(inside)
        dim = inside.shape[-1] // heads
        for head in range(heads):
            part = slice(head * dim, (head + 1) * dim)
            scores = q[:, part] @ k[:, part].T / np.sqrt(dim)
            for i, j in itertools.product(range(n), range(n)):
                offset = [a - b + w - 1 for a, b, w in zip(full[i], full[j], full_window)]
                scores[i, j] += table[(*offset, head)]
                scores[i, j] += -100.0 if tokens[i][2] != tokens[j][2] else 0.0
            scores = np.exp(scores - scores.max(-1, keepdims=True))
            mixed[:, part] = scores / scores.sum(-1, keepdims=True) @ v[:, part]
        for (_, place, _), row in zip(tokens, dense(mixed, weights, f"{name}.proj")):
            out[place] = row
    return out[: size[0], : size[1], : size[2]]


def encode(video, weights, *, patch_size, embed_dim, depths, num_heads, window_size, patch_norm):
    """Features [t', h', w', c] float64 of one video [t, h, w, 3]."""
    weights = {name: array.astype(np.float64) for name, array in weights.items()}
    video = pad(video.astype(np.float64), patch_size)
    size = [n // p for n, p in zip(video.shape[:3], patch_size)]
    x = np.zeros((*size, embed_dim))
    pt, ph, pw = patch_size
    for t, h, w in itertools.product(*map(range, size)):
        patch = video[pt * t : pt * (t + 1), ph * h : ph * (h + 1), pw * w : pw * (w + 1)]
        kernel = weights["patch_embed.proj.weight"]
        x[t, h, w] = np.einsum("thwc,dcthw->d", patch, kernel) + weights["patch_embed.proj.bias"]
    if patch_norm:
        x = layer_norm(x, weights, "patch_embed.norm")
    for stage, depth in enumerate(depths):
        for block in range(depth):
            name = f"features.{2 * stage}.{block}"
            normed = layer_norm(x, weights, f"{name}.norm1")
            heads = num_heads[stage]
            x = x + attention(
                normed, weights, f"{name}.attn", heads, window_size, shifted=block % 2 == 1
            )
            hidden = dense(layer_norm(x, weights, f"{name}.norm2"), weights, f"{name}.mlp.0")
            hidden = hidden * 0.5 * (1 + erf(hidden / np.sqrt(2)))
            x = x + dense(hidden, weights, f"{name}.mlp.3")
        if stage < len(depths) - 1:
            x = pad(x, (1, 2, 2))
            corners = [x[:, h::2, w::2] for w in (0, 1) for h in (0, 1)]
            merged = layer_norm(
                np.concatenate(corners, axis=-1), weights, f"features.{2 * stage + 1}.norm"
            )
            x = dense(merged, weights, f"features.{2 * stage + 1}.reduction")
    return layer_norm(x, weights, "norm")


if __name__ == "__main__":
    np.savez(sys.argv[1], **{f"param/{k}": v for k, v in make_weights(**SIZES).items()})
