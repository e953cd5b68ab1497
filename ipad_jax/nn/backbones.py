"""Backbones by name: one contract for all networks that give maps of features of an image.

    backbone = make_backbone("wide_resnet50_2", "wide_resnet50_2-95faca4d.pth", ("layer2", "layer3"))
    maps = jax.jit(lambda net, images: net(images))(backbone, images)   # {"layer2": [b, h/8, w/8, 512], ...}

A backbone takes images as floats in [0, 1], RGB, and normalises them itself as its weights want it. Layers
after the last stage wanted are not built, except in a transformer. It is a pytree: give it to a jitted
function as an argument, so that its weights are not constants of the program.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from ipad_jax.nn import efficientnet, vgg
from ipad_jax.nn.efficientnet_weights import (
    lite0_file,
    load_efficientnet,
    load_efficientnet_lite0,
)
from ipad_jax.nn.resnet import ResNetConfig
from ipad_jax.nn.resnet_weights import load_resnet
from ipad_jax.nn.vit import ViTConfig
from ipad_jax.nn.vit_weights import load_vit
from ipad_jax.nn.weight_files import weights_note

Rgb = tuple[float, float, float]
IMAGENET_MEAN: Rgb = (0.485, 0.456, 0.406)
IMAGENET_STD: Rgb = (0.229, 0.224, 0.225)
# The Lite networks' 127 and 128 of 255, as `efficientnet.normalise`.
LITE_MEAN: Rgb = (127 / 255, 127 / 255, 127 / 255)
LITE_STD: Rgb = (128 / 255, 128 / 255, 128 / 255)


@dataclasses.dataclass(frozen=True)
class Stage:
    """One map that a network can give.

    Attributes:
        name: such as "layer2", "blocks.4", "features.21".
        stride: pixels from one cell to the next; a map has the image's sides over it, rounded up (VGG: down).
        channels: of the map.
    """

    name: str
    stride: int
    channels: int


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["network"],
    meta_fields=["run", "stages", "numbers", "mean", "std", "note", "multiple"],
)
@dataclasses.dataclass(frozen=True)
class Backbone:
    """A network with weights; call: images [b, h, w, 3] float in [0, 1] -> {stage's name: its map}.

    Attributes:
        network: its weights.
        run: (network, normalised images, numbers of stages) to the maps.
        stages: what it gives, in order.
        numbers: of those stages among all of the network.
        mean, std: what is taken off an image and what divides it then, in units of [0, 1].
        note: which weights these are, with their file's SHA-256.
        multiple: of pixels, that an image's sides must be: 1, or a transformer's patch.
    """

    network: Any
    run: Callable[[Any, jax.Array, tuple[int, ...]], Sequence[jax.Array]]
    stages: tuple[Stage, ...]
    numbers: tuple[int, ...]
    mean: Rgb
    std: Rgb
    note: str
    multiple: int = 1

    def __call__(self, images: jax.Array) -> dict[str, jax.Array]:
        if (
            images.ndim != 4
            or images.shape[-1] != 3
            or not jnp.issubdtype(images.dtype, jnp.floating)
        ):
            raise ValueError(
                f"Backbone: images are {images.dtype} {images.shape}, expected [b, h, w, 3] of floats in "
                "[0, 1]: divide uint8 by 255."
            )
        mean, std = (
            jnp.asarray(v, images.dtype).reshape(1, 1, 1, 3) for v in (self.mean, self.std)
        )
        maps = self.run(self.network, (images - mean) / std, self.numbers)
        return {stage.name: x for stage, x in zip(self.stages, maps, strict=True)}


@dataclasses.dataclass(frozen=True)
class _Kind:
    """How a named network is made: stages, loader (file, number of the last stage), how it is run."""

    stages: tuple[Stage, ...]
    load: Callable[[Path, int], Any]
    run: Callable[[Any, jax.Array, tuple[int, ...]], Sequence[jax.Array]]
    mean: Rgb = IMAGENET_MEAN
    std: Rgb = IMAGENET_STD
    multiple: int = 1


def _run_all(network: Any, images: jax.Array, numbers: tuple[int, ...]) -> list[jax.Array]:
    maps = network(images)
    return [maps[number] for number in numbers]


def _run_vit(network: Any, images: jax.Array, numbers: tuple[int, ...]) -> list[jax.Array]:
    maps = network.maps(images)
    return [maps[number] for number in numbers]


def _resnet(config: Callable[[int], ResNetConfig]) -> _Kind:
    stages = tuple(
        Stage(f"layer{number + 1}", 4 << number, channels)
        for number, channels in enumerate(config(4).channels)
    )
    return _Kind(stages, lambda path, last: load_resnet(path, config(last + 1)), _run_all)


def _efficientnet(
    cfg: efficientnet.EfficientNetConfig, mean: Rgb = IMAGENET_MEAN, std: Rgb = IMAGENET_STD
) -> _Kind:
    stages = tuple(
        Stage(f"blocks.{number}", shape.reduction, shape.channels_out)
        for number, shape in enumerate(cfg.shapes)
    )

    def load(path: Path, last: int) -> efficientnet.EfficientNet:
        return load_efficientnet(path, cfg, last + 1)

    return _Kind(stages, load, efficientnet.extract, mean, std)


def _vit(cfg: ViTConfig) -> _Kind:
    """Each map is the patch tokens after a block, through the last LayerNorm."""
    stages = tuple(Stage(f"blocks.{n}", cfg.patch_size, cfg.embed_dim) for n in range(cfg.depth))
    return _Kind(stages, lambda path, last: load_vit(path, cfg), _run_vit, multiple=cfg.patch_size)


_VGG_STAGES = tuple(
    Stage(f"features.{place}", stride, channels)
    for place, (_, channels, stride) in enumerate(vgg.KINDS)
)
_LITE = {"mean": LITE_MEAN, "std": LITE_STD}
KINDS = {
    "resnet18": _resnet(ResNetConfig.resnet18),
    "resnet34": _resnet(ResNetConfig.resnet34),
    "resnet50": _resnet(ResNetConfig.resnet50),
    "wide_resnet50_2": _resnet(ResNetConfig.wide_resnet50_2),
    "vgg16": _Kind(_VGG_STAGES, vgg.load_vgg16, _run_all),
    "mobilenet_v2": _efficientnet(efficientnet.MOBILENET_V2),
    "efficientnet_lite0": _efficientnet(efficientnet.LITE0, **_LITE),
    "efficientnet_lite1": _efficientnet(efficientnet.LITE1, **_LITE),
    "efficientnet_lite2": _efficientnet(efficientnet.LITE2, **_LITE),
    "efficientnet_b4": _efficientnet(efficientnet.B4),
    "dinov2_vits14": _vit(ViTConfig.small()),
    "dinov2_vitb14": _vit(ViTConfig.base()),
}


def stages_of(name: str) -> tuple[Stage, ...]:
    """All maps that a network can give, without its weights.

    Raises:
        ValueError: no network of this name; says which there are.
    """
    if name not in KINDS:
        raise ValueError(f"backbone {name!r} is not one of {', '.join(KINDS)}.")
    return KINDS[name].stages


def make_backbone(name: str, path: str | Path = "", stages: Sequence[str] = ()) -> Backbone:
    """A network by name with the weights of a file.

    Args:
        name: of `KINDS`.
        path: .npz, .safetensors, .pth or .pt; "" for efficientnet_lite0 alone, whose weights come from a
            package.
        stages: names of the maps wanted, () for all.

    Raises:
        FileNotFoundError, ModuleNotFoundError: no such file, or the package is not installed.
        ValueError: no network or stage of that name, no path, or weights that do not fit.
    """
    known = stages_of(name)
    names = [stage.name for stage in known]
    wrong = [stage for stage in stages if stage not in names]
    if wrong:
        raise ValueError(
            f"{name} has no stages {wrong}; it has {names[0]} to {names[-1]}: {names}."
        )
    numbers = tuple(n for n, stage in enumerate(names) if not stages or stage in stages)
    kind, file = KINDS[name], weights_file(name, path)
    network = kind.load(file, numbers[-1]) if path else load_efficientnet_lite0(numbers[-1] + 1)
    return Backbone(
        network,
        kind.run,
        tuple(known[n] for n in numbers),
        numbers,
        kind.mean,
        kind.std,
        weights_note(file),
        kind.multiple,
    )


def weights_file(name: str, path: str | Path = "") -> Path:
    """The file that `make_backbone` reads.

    Raises:
        ModuleNotFoundError: Lite0's package is not installed.
        ValueError: a network that needs a path.
    """
    if path:
        return Path(path)
    if name == "efficientnet_lite0":
        return lite0_file()
    raise ValueError(f"{name} needs the path of a file of its weights (.pth, .safetensors, .npz).")
