"""PyTorch's files of weights, read without PyTorch: the zip format, and the one before PyTorch 1.6.

Both hold pickles, and a pickle can run any code. This reader knows the names of a plain state dict
(`NAMES`) and refuses any other; what stands in for them only notes where a tensor's numbers lie, and no
number is read that lies outside the file. Formats: torch/serialization.py, `_save` and `_legacy_save`.
"""

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

_DTYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "|i1",
    "ByteStorage": "|u1",
    "BoolStorage": "|b1",
}
_REBUILDERS = ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter")
NAMES = frozenset(
    ["collections.OrderedDict"]
    + [f"torch.{storage}" for storage in _DTYPES]
    + [f"torch._utils.{name}" for name in _REBUILDERS]
)
_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_WRAPPERS = (
    "state_dict",
    "model",
)  # under which training code saves a state dict beside other things


class _Storage(NamedTuple):
    key: str
    dtype: str
    count: int

    @property
    def num_bytes(self) -> int:
        return self.count * (2 if self.dtype == "bfloat16" else np.dtype(self.dtype).itemsize)


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def read_state_dict(path: str | Path) -> dict[str, np.ndarray]:
    """Tensors of a file of `torch.save` by name; bfloat16 becomes float32, all else keeps its dtype.

    A state dict under `state_dict` or `model` is taken from there; of several under other keys, and no
    tensors beside them, each name begins with its key and a dot. What is no tensor is passed over.

    Raises:
        ValueError: another format, a damaged file, or a pickle that names anything but `NAMES`.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            read = _read_zip if file.read(4) == b"PK\x03\x04" else _read_legacy
            file.seek(0)
            return read(file)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    except Exception as error:  # a damaged pickle raises almost anything
        raise ValueError(
            f"{path}: not a complete state dict: {type(error).__name__}: {error}"
        ) from error


class _Unpickler(pickle.Unpickler):
    """Reads numbers, texts, lists, dicts and tensors; `storages` holds what the tensors point at."""

    def __init__(self, file: Any):
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" not in NAMES:
            raise ValueError(
                f"the file names {module}.{name}, which no plain state dict does; refused. Save the "
                "weights alone: torch.save(model.state_dict(), FILE)."
            )
        if module == "collections":
            return OrderedDict
        return _DTYPES[name] if module == "torch" else _stand_in(name)

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, count, *view = pid
        sound = kind == "storage" and dtype in _DTYPES.values() and isinstance(key, str)
        if not sound or not isinstance(count, int) or count < 0 or any(view):
            raise ValueError(f"the file holds {pid!r}, expected a storage of numbers; refused.")
        return self.storages.setdefault(key, _Storage(key, dtype, count))


def _stand_in(name: str) -> Callable[..., _Tensor]:
    """For a function of torch._utils; a new one each time, since a pickle may set attributes of it."""
    if name == "_rebuild_parameter":
        return lambda tensor, *_: tensor

    def rebuild(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> _Tensor:
        if not isinstance(storage, _Storage):
            raise ValueError("the file holds a tensor without a storage; refused.")
        return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, stride)))

    return rebuild


def _tensors(loaded: Any) -> dict[str, _Tensor]:
    """Named tensors of what was unpickled."""
    for key in _WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping):
        raise ValueError(f"holds a {type(loaded).__name__}, expected a state dict.")
    found = {str(name): value for name, value in loaded.items() if isinstance(value, _Tensor)}
    if (
        not found
    ):  # several networks side by side, as nerf-pytorch saves its coarse and its fine one
        found = {
            f"{network}.{name}": value
            for network, inner in loaded.items()
            if isinstance(inner, Mapping)
            for name, value in inner.items()
            if isinstance(value, _Tensor)
        }
    if not found:
        raise ValueError(f"holds no tensors, only {sorted(map(str, loaded))[:8]}.")
    return found


def _read_zip(file: BinaryIO) -> dict[str, np.ndarray]:
    """`NAME/data.pkl` and, for each storage, `NAME/data/KEY`, all stored as they are."""
    with zipfile.ZipFile(file) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError("a zip archive, but not one of torch.save: no data.pkl, or several.")
        if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
            raise ValueError("a compressed zip archive, which torch.save never writes; refused.")
        root = pickles[0].removesuffix("data.pkl")
        order = f"{root}byteorder"
        if order in archive.namelist() and archive.read(order) != b"little":
            raise ValueError("written on a big-endian machine.")
        unpickler = _Unpickler(io.BytesIO(archive.read(pickles[0])))
        tensors = _tensors(unpickler.load())
        keys = {tensor.storage.key for tensor in tensors.values()}
        storages = {
            key: _numbers(unpickler.storages[key], archive.read(f"{root}data/{key}"))
            for key in keys
        }
    return {name: _array(tensor, storages) for name, tensor in tensors.items()}


def _read_legacy(file: BinaryIO) -> dict[str, np.ndarray]:
    """Magic number, protocol, machine, state dict, storages' keys (a pickle each), then the storages.

    Each storage is its length as int64 and its numbers.
    """

    def unpickle() -> Any:
        return _Unpickler(file).load()

    if (unpickle(), unpickle()) != (_MAGIC, _PROTOCOL):
        raise ValueError("neither a zip archive nor PyTorch's format before 1.6.")
    if not unpickle()["little_endian"]:
        raise ValueError("written on a big-endian machine.")
    unpickler = _Unpickler(file)
    tensors, storages = _tensors(unpickler.load()), {}
    for key in unpickle():
        storage = unpickler.storages[key]
        if struct.unpack("<q", file.read(8)) != (storage.count,):
            raise ValueError(f"storage {key} has another length than its tensors say.")
        storages[key] = _numbers(storage, file.read(storage.num_bytes))
    return {name: _array(tensor, storages) for name, tensor in tensors.items()}


def _numbers(storage: _Storage, content: bytes) -> np.ndarray:
    """A storage's bytes as an array."""
    if len(content) != storage.num_bytes:
        raise ValueError(
            f"storage {storage.key} has {len(content)} bytes, expected {storage.num_bytes}: cut off?"
        )
    if storage.dtype == "bfloat16":  # the upper half of a float32
        return (np.frombuffer(content, "<u2").astype("<u4") << 16).view("<f4")
    return np.frombuffer(content, storage.dtype)


def _array(tensor: _Tensor, storages: Mapping[str, np.ndarray]) -> np.ndarray:
    """The part of its storage that a tensor shows."""
    values = storages[tensor.storage.key]
    size = 1
    for n in tensor.shape:
        size *= n
    last = tensor.offset + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride))
    inside = len(tensor.shape) == len(tensor.stride) and size <= len(values)
    if min(tensor.offset, *tensor.stride, *tensor.shape, 0) < 0 or (size and last >= len(values)):
        inside = False
    if not inside:  # also a few numbers shown many times, which could fill any memory
        raise ValueError(f"a tensor {tensor.shape} reaches outside its {len(values)} numbers.")
    strides = [stride * values.itemsize for stride in tensor.stride]
    view = np.lib.stride_tricks.as_strided(values[tensor.offset :], tensor.shape, strides)
    return view.copy()
