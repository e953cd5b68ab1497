"""PyTorch's files read without torch: both formats, and what is refused."""

import collections
import io
import os
import pickle
import struct
import sys
import types
import zipfile

import numpy as np
import pytest

from ipad_jax.nn.torch_files import NAMES, read_state_dict


def rebuild(*_):
    """Stands for torch's function of this name in the files drawn here."""


class FloatStorage:
    """The same."""


class BFloat16Storage:
    """The same."""


class Tensor:
    """A tensor as PyTorch pickles one: a part of a storage (key, count)."""

    def __init__(self, key, count, offset, shape, stride, kind=FloatStorage):
        self.arguments = ((kind, key, count), offset, shape, stride, False, {})

    def __reduce__(self):
        return rebuild, self.arguments


class Pickler(pickle.Pickler):
    """Storages by name, as PyTorch's own pickler writes them."""

    view: tuple = ()

    def persistent_id(self, obj):
        if isinstance(obj, tuple) and len(obj) == 3 and obj[0] in (FloatStorage, BFloat16Storage):
            return ("storage", obj[0], obj[1], "cpu", obj[2], *self.view)
        return None


@pytest.fixture(autouse=True)
def _classes_pass_for_torchs(monkeypatch):
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    for kind in (FloatStorage, BFloat16Storage):
        monkeypatch.setattr(torch, kind.__name__, kind, raising=False)
        monkeypatch.setattr(kind, "__module__", "torch")
    monkeypatch.setattr(utils, "_rebuild_tensor_v2", rebuild, raising=False)
    monkeypatch.setattr(rebuild, "__module__", "torch._utils")
    monkeypatch.setattr(rebuild, "__qualname__", "_rebuild_tensor_v2")


def write_legacy(path, state, storages):
    file = io.BytesIO()
    header = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    for part in (*header, state, list(storages)):
        pickler = Pickler(file, 2)
        pickler.view = (None,)
        pickler.dump(part)
    for values in storages.values():
        file.write(struct.pack("<q", len(values)) + values.tobytes())
    path.write_bytes(file.getvalue())
    return path


def write_zip(path, state, storages, compression=zipfile.ZIP_STORED, order=b"little"):
    file = io.BytesIO()
    Pickler(file, 2).dump(state)
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("drawn/data.pkl", file.getvalue())
        archive.writestr("drawn/byteorder", order)
        for key, values in storages.items():
            archive.writestr(f"drawn/data/{key}", values.tobytes())
    return path


FORMATS = pytest.mark.parametrize("write", [write_legacy, write_zip])
SIX = {"0": np.arange(6, dtype="<f4")}


@FORMATS
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_reads_tensors_with_offsets_strides_and_shared_storages(write, wrapper, tmp_path):
    state = collections.OrderedDict(
        all=Tensor("0", 6, 0, (2, 3), (3, 1)),
        turned=Tensor("0", 6, 0, (3, 2), (1, 3)),
        part=Tensor("1", 4, 1, (2,), (2,)),
        number=Tensor("1", 4, 3, (), ()),
        half=Tensor("2", 2, 0, (2,), (1,), BFloat16Storage),
        no_tensor="passed over",
    )
    storages = SIX | {
        "1": np.array([10, 11, 12, 13], "<f4"),
        "2": np.array([0x3F80, 0xC040], "<u2"),
    }
    loaded = {wrapper: state, "epoch": 3} if wrapper else state
    found = read_state_dict(write(tmp_path / "w.pth", loaded, storages))
    np.testing.assert_array_equal(found["all"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(found["turned"], [[0, 3], [1, 4], [2, 5]])
    np.testing.assert_array_equal(found["part"], [11, 13])
    np.testing.assert_array_equal(found["half"], [1, -3])  # bfloat16 by its definition
    assert found.pop("number") == 13
    assert found.keys() == {"all", "turned", "part", "half"}
    assert all(array.dtype == np.float32 for array in found.values())


@FORMATS
def test_several_state_dicts_have_their_keys_in_front(write, tmp_path):
    """As a checkpoint of nerf-pytorch, whose optimiser has tensors one level further down."""
    networks = {
        "global_step": 200000,
        "coarse": collections.OrderedDict(a=Tensor("0", 6, 0, (2,), (1,))),
        "fine": collections.OrderedDict(a=Tensor("0", 6, 4, (2,), (1,))),
        "optimiser": {"state": {0: {"mean": Tensor("0", 6, 0, (6,), (1,))}}},
    }
    found = read_state_dict(write(tmp_path / "w.tar", networks, SIX))
    assert found.keys() == {"coarse.a", "fine.a"}
    np.testing.assert_array_equal(found["coarse.a"], [0, 1])
    np.testing.assert_array_equal(found["fine.a"], [4, 5])


class Evil:
    """Runs a command when an ordinary pickle reader loads it."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@FORMATS
@pytest.mark.parametrize(
    ("state", "complaint"),
    [
        ({"a": Evil(os.system, "touch ran")}, r"names (posix|nt)\.system.*refused.*state_dict"),
        ({"a": Evil(eval, "open('ran', 'w')")}, r"names __builtin__\.eval.*refused"),
        ({"a": Evil(getattr, rebuild, "__globals__")}, r"names __builtin__\.getattr.*refused"),
        ({"a": Evil(collections.OrderedDict.fromkeys, "ab")}, "refused"),
        ({"a": Tensor("0", 6, 5, (2,), (1,))}, "reaches outside"),
        ({"a": Tensor("0", 6, -1, (2,), (1,))}, "reaches outside"),
        ({"a": Tensor("0", 6, 0, (2, 2), (-1, 1))}, "reaches outside"),
        ({"a": Tensor("0", 6, 0, (10**13,), (0,))}, "reaches outside"),  # would fill any memory
        ({"a": Tensor("0", 7, 0, (7,), (1,))}, "length|bytes"),
        ({"a": Tensor("0", -1, 0, (7,), (1,))}, "expected a storage"),
        ([1, 2], "holds a list"),
        ({"epoch": 3}, r"no tensors, only \['epoch'\]"),
    ],
)
def test_refuses_what_is_no_plain_state_dict(write, state, complaint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "w.pth", state, SIX)
    with pytest.raises(ValueError, match=complaint) as error:
        read_state_dict(path)
    assert str(path) in str(error.value)
    assert not (tmp_path / "ran").exists()


def test_the_names_allowed_build_tensors_and_nothing_else():
    assert "collections.OrderedDict" in NAMES
    rest = NAMES - {"collections.OrderedDict"}
    assert all(
        n.startswith("torch._utils._rebuild_") or (n.startswith("torch.") and n.endswith("Storage"))
        for n in rest
    )


def test_cut_compressed_and_other_files_are_said_to_be(tmp_path):
    state = {"a": Tensor("0", 6, 0, (6,), (1,))}
    for write in (write_legacy, write_zip):
        path = write(tmp_path / "w.pth", state, SIX)
        content = path.read_bytes()
        for length in (0, 3, 40, len(content) - 30, len(content) - 4):
            path.write_bytes(content[:length])
            with pytest.raises(ValueError, match=r"w\.pth: "):
                read_state_dict(path)
    path.write_bytes(pickle.dumps(1) + pickle.dumps(2))
    with pytest.raises(ValueError, match=r"format before 1\.6"):
        read_state_dict(path)
    with pytest.raises(ValueError, match="compressed"):
        read_state_dict(write_zip(path, state, SIX, zipfile.ZIP_DEFLATED))
    with pytest.raises(ValueError, match="big-endian"):
        read_state_dict(write_zip(path, state, SIX, order=b"big"))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("holiday.jpg", b"")
    with pytest.raises(ValueError, match=r"no data\.pkl"):
        read_state_dict(path)
