"""VGG-16 without its classifier (Simonyan and Zisserman 2014), layers as in torchvision's `features`."""

from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx

from ipad_jax.nn.conv2d import max_pool2
from ipad_jax.nn.conv_layers import KAIMING_INIT, Conv2d
from ipad_jax.nn.weight_files import fill, read_parameters

# Channels of the 3x3 convolutions, each followed by ReLU, and 0 for a pooling; configuration D.
LAYERS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)
NUM_FEATURES = 31  # layers of torchvision's `features`: 13 convolutions, 13 ReLUs, 5 poolings


def layer_kinds() -> tuple[tuple[str, int, int], ...]:
    """Kind, channels of the output and pixels a cell, of each of the 31 layers."""
    kinds, channels, stride = [], 3, 1
    for layer in LAYERS:
        if layer:
            channels = layer
            kinds += [("conv", channels, stride), ("relu", channels, stride)]
        else:
            stride *= 2
            kinds.append(("pool", channels, stride))
    return tuple(kinds)


KINDS = layer_kinds()
_CONVS = tuple(place for place, (kind, _, _) in enumerate(KINDS) if kind == "conv")


class VGG16(nnx.Module):
    """Call: images [b, h, w, 3] float, normalised as the weights want it -> outputs of layers 0 to `last`.

    A layer of KINDS (kind, channels, pixels a cell) gives [b, h // pixels, w // pixels, channels]. A
    convolution's output is before its ReLU, which is the next layer.
    """

    def __init__(self, last: int = NUM_FEATURES - 1, *, dtype: str = "float32", rngs: nnx.Rngs):
        if not 0 <= last < NUM_FEATURES:
            raise ValueError(f"VGG16: last={last} must be a layer from 0 to {NUM_FEATURES - 1}.")
        self.last, cin = last, 3
        convs = []
        for place in _CONVS:
            if place <= last:
                cout = KINDS[place][1]
                convs.append(
                    Conv2d(cin, cout, init=KAIMING_INIT, dtype=jnp.dtype(dtype), rngs=rngs)
                )
                cin = cout
        self.convs = nnx.List(convs)

    def __call__(self, images: jax.Array) -> tuple[jax.Array, ...]:
        if images.ndim != 4 or images.shape[-1] != 3:
            raise ValueError(f"VGG16: images have shape {images.shape}, expected [b, h, w, 3].")
        x, found, convs = images, [], iter(self.convs)
        for kind, _, _ in KINDS[: self.last + 1]:
            if kind == "conv":
                x = next(convs)(x)
            elif kind == "relu":
                x = jax.nn.relu(x)
            else:
                x = max_pool2(x[:, : x.shape[1] // 2 * 2, : x.shape[2] // 2 * 2])
            found.append(x)
        return tuple(found)


def load_vgg16(path: str | Path, last: int = NUM_FEATURES - 1) -> VGG16:
    """VGG-16 up to a layer from a file of weights under torchvision's names, `features.0.weight`.

    Args:
        path: .npz (names bare or under `param/`), .safetensors, .pth or .pt; the classifier, and layers after
            `last`, are passed over.
        last: number of the last layer wanted.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that cannot be read, or weights that do not fit: all that is missing, left over
            or of another shape is named.
    """
    weights = read_parameters(path, r"^classifier\.")
    left_out = {f"features.{place}" for place in _CONVS if place > last}
    return fill(
        lambda: VGG16(last, rngs=nnx.Rngs(0)),
        {name: x for name, x in weights.items() if name.rpartition(".")[0] not in left_out},
        torch_name,
        what=f"{path} does not fit VGG-16",
        settings="the network: it has no BatchNorm",
    )


def torch_name(path: tuple[str, ...]) -> str:
    """convs.1.kernel -> features.2.weight."""
    return f"features.{_CONVS[int(path[1])]}.{'weight' if path[2] == 'kernel' else 'bias'}"
