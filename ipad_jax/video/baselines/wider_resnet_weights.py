"""ImageNet weights of a WiderResNet (variant A2), ASTNet's backbone, from a PyTorch state dict.

Names as in vt-le/astnet, models/wider_resnet.py: `mod2.block1.convs.conv1.weight`, with or without `module.`
in front. Its file, wider_resnet38.pth.tar, was not at hand: tested on drawn weights under these names.
Deviation: nothing here or there reads the classifier and the last BatchNorm.
"""

from pathlib import Path

from flax import nnx

from ipad_jax.nn.weight_files import fill, read_parameters
from ipad_jax.video.baselines.wider_resnet import WiderResNet, WiderResNetConfig

_LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}


def load_wider_resnet(path: str | Path, cfg: WiderResNetConfig) -> WiderResNet:
    """Build a backbone from a file of weights.

    Args:
        path: .npz, .safetensors, .pth, .pt or .pth.tar.
        cfg: width and blocks.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that cannot be read, or weights that do not fit: every missing, unexpected and
            misshaped name is listed in one message.
    """
    return fill(
        lambda: WiderResNet(cfg, rngs=nnx.Rngs(0)),
        read_parameters(path, r"^(bn_out|classifier)\.|\.num_batches_tracked$"),
        torch_name,
        what=f"{path} does not fit {cfg}",
        settings="model.width and model.blocks",
    )


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
