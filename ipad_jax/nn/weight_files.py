"""Files of published weights: reading them, and saying what does not fit; PyTorch only where it is needed."""

import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

SUFFIXES = (".npz", ".safetensors", ".pth")


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """All arrays of a file under the names that they have there; the suffix says how to read it.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another suffix, or what reads it is not installed.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path}: suffix {path.suffix!r}, expected one of {SUFFIXES}.")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of weights.")
    return _READERS[path.suffix](path)


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    if importlib.util.find_spec("safetensors") is None:
        raise ValueError(f"{path}: reading .safetensors needs `pip install ipad_jax[convert]`.")
    from safetensors.numpy import load_file

    return load_file(path)


def _read_pth(path: Path) -> dict[str, np.ndarray]:
    if importlib.util.find_spec("torch") is None:
        raise ValueError(
            f"{path}: reading .pth needs torch, which is not installed here. Install it, or save "
            "the state dict elsewhere as .safetensors or .npz."
        )
    import torch  # type: ignore[import-not-found]

    state: Any = torch.load(path, map_location="cpu", weights_only=True)
    for key in ("state_dict", "model"):  # how mmaction and Swin wrap it
        if isinstance(state.get(key), dict):
            state = state[key]
    return {name: tensor.float().numpy() for name, tensor in state.items()}


_READERS = {".npz": _read_npz, ".safetensors": _read_safetensors, ".pth": _read_pth}


def check_names(
    what: str,
    settings: str,
    missing: Iterable[str],
    unexpected: Iterable[str],
    misshaped: Iterable[str],
) -> None:
    """Raises ValueError with every name that does not fit, and the settings to compare."""
    kinds = {"missing": missing, "unexpected": unexpected, "misshaped": misshaped}
    found = {kind: sorted(names) for kind, names in kinds.items()}
    problems = [f"{kind} ({len(n)}): {'; '.join(n)}" for kind, n in found.items() if n]
    if problems:
        raise ValueError("\n  ".join([f"{what}. Compare {settings}.", *problems]))
