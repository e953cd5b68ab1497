"""The common contract of backbones: names, strides, channels, normalisation, which stages are built."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from efficientnet_weights import drawn_state
from flax import nnx

from ipad_jax.nn import backbones
from ipad_jax.nn.backbones import KINDS, make_backbone, stages_of
from ipad_jax.nn.efficientnet import LITE1, MOBILENET_V2, extract, normalise
from ipad_jax.nn.efficientnet_weights import fold, load_efficientnet
from ipad_jax.nn.resnet import ResNet, ResNetConfig
from ipad_jax.nn.vgg import VGG16
from ipad_jax.nn.vit import ViT, ViTConfig

apply = jax.jit(lambda backbone, images: backbone(images))


@pytest.fixture
def mobilenet(tmp_path):
    """A file of MobileNetV2's first six blocks."""
    np.savez(tmp_path / "w.npz", **drawn_state(6, MOBILENET_V2))
    return tmp_path / "w.npz"


def test_gives_the_maps_asked_for_under_their_names(mobilenet):
    images = np.random.default_rng(0).uniform(0, 1, (2, 45, 64, 3)).astype(np.float32)
    backbone = make_backbone("mobilenet_v2", mobilenet, ("blocks.5", "blocks.2"))
    assert [stage.name for stage in backbone.stages] == ["blocks.2", "blocks.5"]
    maps = apply(backbone, images)
    for stage in backbone.stages:
        sides = [-(-n // stage.stride) for n in (45, 64)]
        assert maps.pop(stage.name).shape == (2, *sides, stage.channels)
    assert not maps
    assert len(backbone.network.blocks) == 6  # nothing after the last stage
    assert backbone.note.startswith("w.npz, SHA-256 ")


def test_normalises_as_the_weights_want_it(mobilenet, tmp_path):
    images = np.random.default_rng(0).uniform(0, 1, (1, 32, 32, 3)).astype(np.float32)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])  # torchvision's
    found = apply(make_backbone("mobilenet_v2", mobilenet, ("blocks.1",)), images)["blocks.1"]
    net = load_efficientnet(mobilenet, MOBILENET_V2, 2)
    normal = ((images - mean) / std).astype(np.float32)
    (expected,) = jax.jit(lambda net, x: extract(net, x, (1,)))(net, normal)
    np.testing.assert_allclose(
        found, expected, rtol=0, atol=1e-4
    )  # the inputs are rounded otherwise
    state = drawn_state(2, LITE1)
    np.savez(tmp_path / "lite.npz", **state)
    pictures = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    lite = make_backbone("efficientnet_lite1", tmp_path / "lite.npz", ("blocks.1",))
    found = apply(lite, (pictures / 255).astype(np.float32))["blocks.1"]
    net = fold(state, 2, LITE1)
    (expected,) = jax.jit(lambda net, x: extract(net, normalise(x), (1,)))(net, pictures)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)  # the same


@pytest.mark.parametrize(
    ("name", "build", "sides"),
    [
        ("resnet18", lambda: ResNet(ResNetConfig.resnet18(), rngs=nnx.Rngs(0)), (70, 93)),
        ("resnet50", lambda: ResNet(ResNetConfig.resnet50(), rngs=nnx.Rngs(0)), (70, 93)),
        ("vgg16", lambda: VGG16(rngs=nnx.Rngs(0)), (64, 96)),
        ("dinov2_vits14", lambda: ViT(ViTConfig(), rngs=nnx.Rngs(0)), (28, 42)),
    ],
)
def test_strides_and_channels_are_what_the_stages_say(name, build, sides):
    def inference(net):
        return nnx.view(net, raise_if_not_found=False, use_running_average=True)

    kind, stages = KINDS[name], stages_of(name)
    images = jax.ShapeDtypeStruct((1, *sides, 3), jnp.float32)
    numbers = tuple(range(len(stages)))
    maps = jax.eval_shape(
        lambda net, x: list(kind.run(inference(net), x, numbers)),
        nnx.eval_shape(build),
        images,
    )
    for stage, found in zip(stages, maps, strict=True):
        expected = [-(-n // stage.stride) for n in sides]
        assert found.shape == (1, *expected, stage.channels), stage


def test_what_cannot_be_is_said(mobilenet, monkeypatch):
    with pytest.raises(ValueError, match=r"'resnet19' is not one of resnet18, .*dinov2_vitb14"):
        make_backbone("resnet19", "w.pth")
    with pytest.raises(ValueError, match=r"no stages \['layer5'\]; it has layer1 to layer4"):
        make_backbone("resnet18", "w.pth", ("layer5",))
    with pytest.raises(ValueError, match="resnet18 needs the path"):
        make_backbone("resnet18")
    with pytest.raises(ValueError, match="does not fit ResNetConfig"):
        make_backbone("resnet18", mobilenet)
    backbone = make_backbone("mobilenet_v2", mobilenet, ("blocks.0",))
    with pytest.raises(ValueError, match="divide uint8 by 255"):
        backbone(np.zeros((1, 8, 8, 3), np.uint8))
    monkeypatch.setattr("ipad_jax.nn.efficientnet_weights.PACKAGE", "no_such_package_of_weights")
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        backbones.make_backbone("efficientnet_lite0")
