"""Weights of a ResNet under torchvision's names: `layer2.0.conv1.weight`, `layer2.0.downsample.1.bias`."""

from pathlib import Path

from flax import nnx

from ipad_jax.nn.resnet import ResNet, ResNetConfig
from ipad_jax.nn.weight_files import fill, read_parameters

_LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}


def load_resnet(path: str | Path, cfg: ResNetConfig) -> ResNet:
    """A ResNet from a file of weights, in inference mode.

    Args:
        path: .npz (names bare or under `param/`), .safetensors, .pth or .pt. The classifier, and stages
            that cfg leaves out, are passed over.
        cfg: its sizes.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that cannot be read, or weights that do not fit: all that is missing, left over
            or of another shape is named.
    """
    left_out = "".join(str(stage) for stage in range(len(cfg.depths) + 1, 5)) or "_"
    weights = read_parameters(path, rf"^fc\.|\.num_batches_tracked$|^layer[{left_out}]\.")
    model = fill(
        lambda: ResNet(cfg, rngs=nnx.Rngs(0)),
        weights,
        torch_name,
        what=f"{path} does not fit {cfg}",
        settings="block, depths, width_per_group and groups",
    )
    return nnx.view(model, use_running_average=True)


def torch_name(path: tuple[str, ...]) -> str:
    """stages.1.0.norms.0.scale -> layer2.0.bn1.weight."""
    *parts, leaf = path
    leaf = _LEAVES.get(leaf, leaf)
    if parts[0] != "stages":
        return f"{parts[0]}.{leaf}"
    _, stage, block, layer, place = parts
    names = {
        "convs": lambda: f"conv{int(place) + 1}",
        "norms": lambda: f"bn{int(place) + 1}",
        "downsample": lambda: f"downsample.{('conv', 'bn').index(place)}",
    }
    return f"layer{int(stage) + 1}.{block}.{names[layer]()}.{leaf}"
