"""Weights of a NeRF under nerf-pytorch's names: `pts_linears.0.weight`."""

from pathlib import Path
from typing import Literal

from flax import nnx

from ipad_jax.nn.weight_files import fill, read_parameters
from ipad_jax.pose.nerf import Nerf, NerfConfig

# Keys of nerf-pytorch's checkpoints, which hold both networks beside the optimiser.
CHECKPOINT_KEYS = {"coarse": "network_fn_state_dict", "fine": "network_fine_state_dict"}
NOTHING = r"(?!)"  # a pattern that matches no name


def load_nerf(
    path: str | Path, cfg: NerfConfig, network: Literal["coarse", "fine"] = "fine"
) -> Nerf:
    """A NeRF from a file of weights.

    Args:
        path: .npz (names bare or under `param/`), .safetensors, .pth, .pt or .tar, such as nerf-pytorch's
            `200000.tar`.
        cfg: its sizes.
        network: which one of a checkpoint that holds two; a file with one network has no choice.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that cannot be read, a checkpoint without that network, or weights that do not fit:
            all that is missing, left over or of another shape is named.
    """
    weights = read_parameters(path, NOTHING)
    found = {
        key for key in CHECKPOINT_KEYS.values() if any(n.startswith(f"{key}.") for n in weights)
    }
    if found:
        key = CHECKPOINT_KEYS[network]
        if key not in found:
            raise ValueError(f"{path}: holds {', '.join(sorted(found))}, but no {key} ({network}).")
        start = f"{key}."
        weights = {n.removeprefix(start): x for n, x in weights.items() if n.startswith(start)}
    return fill(
        lambda: Nerf(cfg, rngs=nnx.Rngs(0)),
        weights,
        torch_name,
        what=f"{path} does not fit {cfg}",
        settings="depth, width, skip and the two numbers of frequencies",
    )


def torch_name(path: tuple[str, ...]) -> str:
    """pts_linears.0.kernel -> pts_linears.0.weight."""
    return ".".join([*path[:-1], {"kernel": "weight"}.get(path[-1], path[-1])])
