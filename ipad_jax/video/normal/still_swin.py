"""Video Swins as networks of single frames, beside those of nn/backbones.py.

A frame stands still for the length of one patch in time, two frames, so that a stage has one map of it.
What the network learned of motion is not used: `motion` compares frames that do move.
"""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from ipad_jax.nn.backbones import IMAGENET_MEAN, IMAGENET_STD, Backbone, Stage
from ipad_jax.nn.weight_files import weights_note
from ipad_jax.video.ipad.swin import SwinConfig
from ipad_jax.video.ipad.swin_weights import load_swin

# torchvision's models, video/swin_transformer.py; the published code's files have the same arrays
_T = SwinConfig(patch_size=(2, 4, 4), window_size=(8, 7, 7), patch_norm=True)
SWINS = {
    "swin3d_t": _T,
    "swin3d_s": dataclasses.replace(_T, depths=(2, 2, 18, 2)),
    "swin3d_b": dataclasses.replace(
        _T, embed_dim=128, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32)
    ),
}


@functools.partial(jax.tree_util.register_dataclass, data_fields=["state"], meta_fields=["graph"])
@dataclasses.dataclass(frozen=True)
class _Swin:
    """An encoder's weights, and what makes a module of them again."""

    state: Any
    graph: Any


def swin_stages(name: str) -> tuple[Stage, ...]:
    """The maps that a Video Swin of `SWINS` can give."""
    cfg = SWINS[name]
    side = cfg.patch_size[1]
    return tuple(
        Stage(f"stage{number + 1}", side << number, cfg.embed_dim << number)
        for number in range(len(cfg.depths))
    )


def swin_backbone(name: str, path: str | Path, stages: Sequence[str]) -> Backbone:
    """A Video Swin of `SWINS` with the weights of a file, as a network of images.

    Args:
        path: see `load_swin`.
        stages: names of the maps wanted, in order.

    Raises:
        FileNotFoundError, ValueError: see `load_swin`.
    """
    graph, state = nnx.split(load_swin(path, SWINS[name]))
    known = swin_stages(name)
    numbers = tuple(number for number, stage in enumerate(known) if stage.name in stages)
    return Backbone(
        _Swin(state, graph),
        _run,
        tuple(known[number] for number in numbers),
        numbers,
        IMAGENET_MEAN,
        IMAGENET_STD,
        weights_note(Path(path)),
    )


def _run(network: _Swin, images: jax.Array, numbers: tuple[int, ...]) -> list[jax.Array]:
    """Maps [b, h', w', c] of normalised images [b, h, w, 3]."""
    encoder = nnx.merge(network.graph, network.state)
    length = encoder.cfg.patch_size[0]
    still = jnp.broadcast_to(images[:, None], (len(images), length, *images.shape[1:]))
    maps = encoder.stages(still)
    return [maps[number][:, 0] for number in numbers]
