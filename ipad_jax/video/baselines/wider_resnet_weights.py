"""ImageNet weights of a WiderResNet (variant A2), ASTNet's backbone, from a PyTorch state dict.

Names as in vt-le/astnet, models/wider_resnet.py: `mod2.block1.convs.conv1.weight`, with or without `module.`
in front. Its file, wider_resnet38.pth.tar, was not at hand: tested on drawn weights under these names.
Deviation: nothing here or there reads the classifier and the last BatchNorm.
"""

import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax import nnx

from ipad_jax.nn.weight_files import check_names, read_arrays
from ipad_jax.video.baselines.wider_resnet import WiderResNet, WiderResNetConfig

_IGNORED = re.compile(r"^(bn_out|classifier)\.|\.num_batches_tracked$")
_LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}


def load_wider_resnet(path: str | Path, cfg: WiderResNetConfig) -> WiderResNet:
    """Build a backbone from a file of weights.

    Args:
        path: .npz, .safetensors, or .pth (needs torch; a .pth.tar must be renamed).
        cfg: width and blocks.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another suffix, torch missing, or weights that do not fit: every missing, unexpected and
            misshaped name is listed in one message.
    """
    unread = {name.removeprefix("module."): x for name, x in read_arrays(path).items()}
    unread = {name: x for name, x in unread.items() if not _IGNORED.search(name)}
    graphdef, state = nnx.split(nnx.eval_shape(lambda: WiderResNet(cfg, rngs=nnx.Rngs(0))))
    filled, missing, misshaped = [], [], []
    for place, leaf in nnx.to_flat_state(state):
        name = torch_name(tuple(map(str, place)))
        if name not in unread:
            missing.append(name)
            continue
        array = np.asarray(unread.pop(name), np.float32)
        if array.ndim == 4:
            array = array.transpose(2, 3, 1, 0)  # [out, in, h, w]
        if array.shape != leaf.shape:
            misshaped.append(f"{name}: got {array.shape}, expected {leaf.shape} (h, w, in, out)")
            continue
        filled.append((place, leaf.replace(jnp.asarray(array))))
    settings = "model.width and model.blocks"
    check_names(f"{path} does not fit {cfg}", settings, missing, unread, misshaped)
    return nnx.merge(graphdef, nnx.from_flat_state(filled))


def torch_name(path: tuple[str, ...]) -> str:
    """stages.0.1.norms.0.scale -> mod2.block2.convs.bn2.0.weight."""
    *parts, leaf = path
    leaf = _LEAVES.get(leaf, leaf)
    if parts == ["mod1"]:
        return f"mod1.conv1.{leaf}"
    _, stage, block, layer, *index = parts
    place = {
        "bn1": lambda: "bn1.0",
        "proj_conv": lambda: "proj_conv",
        "convs": lambda: f"convs.conv{int(index[0]) + 1}",
        "norms": lambda: f"convs.bn{int(index[0]) + 2}.0",
    }[layer]()
    return f"mod{int(stage) + 2}.block{int(block) + 1}.{place}.{leaf}"
