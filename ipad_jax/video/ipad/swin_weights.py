"""Weights of a Video Swin encoder from files of torchvision or of the published code.

Both name the same arrays differently; torchvision's names are ours, the published ones
(`backbone.layers.0.blocks.1.mlp.fc1.weight`) are translated. Arrays keep PyTorch's layout in the
file: a dense weight is [out, in], a convolution [out, in, t, h, w].
"""

import re
from collections.abc import Mapping
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax import nnx

from ipad_jax.nn.attention import Size3
from ipad_jax.nn.resize import cubic, linear, resize_matrix
from ipad_jax.nn.weight_files import check_names, read_arrays
from ipad_jax.video.ipad.swin import SwinConfig, VideoSwin

# Prefixes that wrappers put before every name.
_PREFIXES = re.compile(r"^(param/|module\.|backbone\.|encoder\.)+")
# Not weights of the encoder: the classifier, test vectors, and buffers that follow from the config.
_IGNORED = re.compile(
    r"^(head\.|cls_head\.|input$|features$|logits$|output$)|(relative_position_index|attn_mask)$"
)
_PUBLISHED_NAMES = (
    (r"^layers\.(\d+)\.blocks\.", lambda m: f"features.{2 * int(m[1])}."),
    (r"^layers\.(\d+)\.downsample\.", lambda m: f"features.{2 * int(m[1]) + 1}."),
    (r"\.mlp\.fc1\.", lambda m: ".mlp.0."),
    (r"\.mlp\.fc2\.", lambda m: ".mlp.3."),
)


def load_swin(
    path: str | Path, cfg: SwinConfig, *, source_window: Size3 | None = None
) -> VideoSwin:
    """Build an encoder from a file of weights.

    Args:
        path: .npz (names bare or under `param/`), .safetensors, .pth or .pt. `head.*`, inputs and
            outputs are passed over.
        cfg: sizes of the encoder. Where the file's relative position tables belong to another
            window than cfg.window_size they are resized, see `resize_table`.
        source_window: the file's window, where it cannot be told from the tables' length.

    Returns:
        The encoder in inference mode (no stochastic depth): call it with [b, t, h, w, 3] float.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that cannot be read, or weights that do not fit: every missing, unexpected and
            misshaped name is listed in one message.
    """
    model = VideoSwin(cfg, rngs=nnx.Rngs(0))
    load_swin_into(model, read_weights(path), source=str(path), source_window=source_window)
    return nnx.view(model, deterministic=True)


def read_weights(path: str | Path) -> dict[str, np.ndarray]:
    """Encoder weights of a file under torchvision's names; see `load_swin`."""
    arrays: dict[str, np.ndarray] = {}
    for name, array in read_arrays(path).items():
        name = _PREFIXES.sub("", name)
        if _IGNORED.search(name):
            continue
        for pattern, translated in _PUBLISHED_NAMES:
            name = re.sub(pattern, translated, name)
        arrays[name] = array
    return arrays


def load_swin_into(
    model: VideoSwin,
    weights: Mapping[str, np.ndarray],
    *,
    source: str = "weights",
    source_window: Size3 | None = None,
) -> None:
    """Put weights under torchvision's names into an encoder, in place.

    Args:
        model: encoder; all its parameters are replaced.
        weights: arrays by name, as `read_weights` gives them.
        source: where they are from, for the message.
        source_window: window of the relative position tables, see `load_swin`.

    Raises:
        ValueError: as `load_swin`; nothing has been changed then.
    """
    state = nnx.state(model, nnx.Param)
    params = {tuple(map(str, path)): leaf for path, leaf in nnx.to_flat_state(state)}
    unread = dict(weights)
    converted: dict[tuple[str, ...], np.ndarray] = {}
    missing, misshaped = [], []
    for path, leaf in params.items():
        name = _torch_name(path)
        if name not in unread:
            missing.append(name)
            continue
        array = np.asarray(unread.pop(name), np.float32)
        try:
            converted[path] = _convert(name, array, leaf.shape, model.cfg, source_window)
        except ValueError as error:
            misshaped.append(f"{name}: {error}")
    settings = "patch_size, embed_dim, depths, window_size and patch_norm"
    check_names(f"{source} does not fit {model.cfg}", settings, missing, unread, misshaped)
    for path, leaf in params.items():
        leaf[...] = jnp.asarray(converted[path])
    nnx.update(model, state)


def _torch_name(path: tuple[str, ...]) -> str:
    """features.0.1.mlp.fc1.kernel -> features.0.1.mlp.0.weight."""
    leaf = {"kernel": "weight", "scale": "weight"}.get(path[-1], path[-1])
    hidden = {"fc1": "0", "fc2": "3"}  # torchvision's MLP is a Sequential with GELU and dropout
    return ".".join([*(hidden.get(part, part) for part in path[:-1]), leaf])


def _convert(
    name: str,
    array: np.ndarray,
    shape: tuple[int, ...],
    cfg: SwinConfig,
    source_window: Size3 | None,
) -> np.ndarray:
    """PyTorch's layout to ours; ValueError says what was expected in PyTorch's layout."""
    if name.endswith("relative_position_bias_table"):
        heads = shape[1]
        if array.ndim != 2 or array.shape[1] != heads:
            raise ValueError(f"got {array.shape}, expected (rows, {heads})")
        if array.shape[0] == shape[0] and source_window in (None, cfg.window_size):
            return array
        window = source_window or guess_window(array.shape[0], cfg.window_size)
        return resize_table(array, window, cfg.window_size)
    if name == "patch_embed.proj.weight":
        expected = (shape[1], 3, *cfg.patch_size)
        if array.shape != expected:
            raise ValueError(f"got {array.shape}, expected {expected}")
        return array.transpose(2, 3, 4, 1, 0).reshape(shape)  # patches are flattened t h w c
    expected = shape[::-1]  # dense weights are transposed, vectors stay
    if array.shape != expected:
        raise ValueError(f"got {array.shape}, expected {expected}")
    return array.T


def guess_window(rows: int, target: Size3) -> Size3:
    """Window whose relative position table has this many rows.

    Args:
        rows: (2t-1) (2h-1) (2w-1) of the wanted window.
        target: the window it will be used for; one with the same t and square in h and w is tried
            first, then one with the same h and w, then any t and square.

    Raises:
        ValueError: none, or more than one.
    """
    squares = [
        (t, s, s)
        for t in range(1, rows + 1)
        for s in range(1, int(rows**0.5) + 2)
        if (2 * t - 1) * (2 * s - 1) ** 2 == rows
    ]
    area = (2 * target[1] - 1) * (2 * target[2] - 1)
    same_t = [window for window in squares if window[0] == target[0]]
    same_hw = [(t, *target[1:]) for t in range(1, rows + 1) if (2 * t - 1) * area == rows]
    for candidates in (same_t, same_hw, [w for w in squares if w[1] > 1]):
        if len(candidates) == 1:
            return candidates[0]
    raise ValueError(
        f"got {rows} rows, which fit no window or several ({squares or 'none'} square ones): pass "
        "source_window=(t, h, w)"
    )


def resize_table(table: np.ndarray, source: Size3, target: Size3) -> np.ndarray:
    """Interpolate a relative position table for another window.

    Bicubic in h and w as the published `inflate_weights` (PyTorch's bicubic: a = -0.75, border
    values repeated, pixel centres aligned at the half); linear in t, where the published code only
    copies a table without time.

    Args:
        table: [rows, heads] of the window `source`.
        source: (t, h, w).
        target: (t, h, w).

    Returns:
        float32 [rows of target, heads].
    """
    old, new = ([2 * w - 1 for w in window] for window in (source, target))
    if table.shape[0] != np.prod(old):
        raise ValueError(f"got {table.shape[0]} rows, expected {np.prod(old)} of window {source}")
    grid = table.reshape(*old, -1).astype(np.float64)
    for axis, kernel in enumerate((linear, cubic, cubic)):
        weights = resize_matrix(old[axis], new[axis], kernel)
        grid = np.moveaxis(np.tensordot(weights, grid, axes=(1, axis)), 0, axis)
    return grid.reshape(-1, table.shape[1]).astype(np.float32)
