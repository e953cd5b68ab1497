"""Files of weights: the formats agree, complaints come at once, and a file is called by its name."""

import hashlib
import json
import struct

import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import save_file

from ipad_jax.nn.weight_files import fill, read_arrays, read_parameters, weights_note


def test_safetensors_as_its_own_library_writes_it(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        "a": rng.standard_normal((2, 3)).astype(np.float32),
        "half": rng.standard_normal(5).astype(np.float16),
        "double": rng.standard_normal((1, 2, 2)),
        "count": np.array(7),
        "empty": np.zeros((0, 3), np.float32),
    }
    save_file(arrays, tmp_path / "w.safetensors", metadata={"format": "pt"})
    found = read_arrays(tmp_path / "w.safetensors")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def test_the_suffix_may_be_of_any_case(tmp_path):
    np.savez(tmp_path / "w.npz", a=1)
    (tmp_path / "w.npz").rename(tmp_path / "W.NPZ")
    save_file({"a": np.array(2)}, tmp_path / "W.SafeTensors")
    (tmp_path / "W.PTH").write_bytes(b"no weights")
    assert read_arrays(tmp_path / "W.NPZ")["a"] == 1
    assert read_arrays(tmp_path / "W.SafeTensors")["a"] == 2
    with pytest.raises(ValueError, match=r"W\.PTH: not a complete state dict"):
        read_arrays(tmp_path / "W.PTH")
    with pytest.raises(ValueError, match=r"suffix '\.ONNX', expected one of"):
        read_arrays(tmp_path / "W.ONNX")


def write_safetensors(path, header, numbers):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + numbers)
    return path


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"a": {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}}


def test_bfloat16_is_the_upper_half_of_float32(tmp_path):
    numbers = np.array([0x3F80, 0xC040], "<u2").tobytes()
    path = write_safetensors(tmp_path / "w.safetensors", entry("BF16", (2,), (0, 4)), numbers)
    np.testing.assert_array_equal(read_arrays(path)["a"], np.array([1, -3], np.float32))


@pytest.mark.parametrize(
    "header",
    [
        b"no json",
        b"[]",
        entry(offsets=(0, 800)),
        entry(offsets=(-8, 0)),
        entry(shape=(3,)),
        entry(shape=(-1, -2)),
        entry(dtype="F8"),
        {"a": {}},
    ],
)
def test_a_damaged_safetensors_file_is_refused(tmp_path, header):
    path = write_safetensors(tmp_path / "w.safetensors", header, bytes(8))
    with pytest.raises(ValueError, match=r"w\.safetensors: not a complete"):
        read_arrays(path)
    path.write_bytes(b"\xff" * 12)
    with pytest.raises(ValueError, match="ends at byte"):
        read_arrays(path)


def test_names_lose_what_wrappers_put_before_them(tmp_path):
    np.savez(tmp_path / "w.npz", **{"module.backbone.a.weight": 1, "b": 2, "fc.bias": 3})
    assert read_parameters(tmp_path / "w.npz", r"^fc\.").keys() == {"a.weight", "b"}
    np.savez(tmp_path / "w.npz", **{"param/a": 1, "param/fc.bias": 3, "input": 4})
    assert read_parameters(tmp_path / "w.npz", r"^fc\.").keys() == {"a"}


def test_everything_that_does_not_fit_is_named_at_once():
    def build():
        return nnx.Sequential(
            nnx.Linear(3, 2, rngs=nnx.Rngs(0)), nnx.Linear(2, 2, rngs=nnx.Rngs(0))
        )

    weights = {
        "layers.0.kernel": np.zeros((3, 2)),
        "layers.0.bias": np.zeros(2),
        "layers.1.kernel": np.zeros((2, 2)),
        "more": np.zeros(1),
    }
    with pytest.raises(ValueError, match=r"W\. Compare SIZES") as error:
        fill(build, weights, ".".join, what="W", settings="SIZES")
    assert "missing (1): layers.1.bias" in str(error.value)
    assert "unexpected (1): more" in str(error.value)
    assert "layers.0.kernel: got (3, 2), expected (2, 3)" in str(error.value)


def test_the_note_says_whose_weights_they_are(tmp_path):
    path = tmp_path / "resnet18-f37072fd.pth"
    path.write_bytes(b"another content")
    note = weights_note(path)
    assert hashlib.sha256(b"another content").hexdigest() in note
    assert "not a set of weights known here" in note
    assert "Its name says torchvision resnet18 IMAGENET1K_V1, but" in note
    (tmp_path / "mine.pth").write_bytes(b"another content")
    assert "Its name" not in weights_note(tmp_path / "mine.pth")
