"""ResNet against plain NumPy on odd sizes, against stored outputs, and its published sizes."""

import jax
import numpy as np
import pytest
from convolution_reference import Drawn, batch_norm, conv, max_pool
from flax import nnx

from ipad_jax.convert import ResNetConfig, load_resnet
from ipad_jax.nn.resnet import ResNet

CONFIGS = {
    "basic": ResNetConfig("basic", (1, 2)),
    "wide bottleneck": ResNetConfig("bottleneck", (1, 1), width_per_group=96),
    "groups": ResNetConfig("bottleneck", (1, 1), width_per_group=4, groups=8),
}


def layers_of(cfg, planes):
    """Suffix, side, channels and groups of a block's convolutions, as torchvision's formula has them."""
    if cfg.block == "basic":
        return [(3, planes, 1), (3, planes, 1)]
    inner = int(planes * (cfg.width_per_group / 64.0)) * cfg.groups
    return [(1, inner, 1), (3, inner, cfg.groups), (1, 4 * planes, 1)]


def blocks_of(cfg):
    """Name, stage's planes, stride of each block."""
    for stage, depth in enumerate(cfg.depths, start=1):
        for number in range(depth):
            yield f"layer{stage}.{number}", 32 * 2**stage, 2 if stage > 1 and number == 0 else 1


def drawn_state(cfg):
    drawn, cin = Drawn(), 64
    drawn.kernel("conv1", 64, 3, 7, 7)
    drawn.norm("bn1", 64)
    for name, planes, stride in blocks_of(cfg):
        first = cin
        for number, (side, cout, groups) in enumerate(layers_of(cfg, planes), start=1):
            drawn.kernel(f"{name}.conv{number}", cout, cin // groups, side, side)
            drawn.norm(f"{name}.bn{number}", cout)
            cin = cout
        if stride > 1 or first != cin:
            drawn.kernel(f"{name}.downsample.0", cin, first, 1, 1)
            drawn.norm(f"{name}.downsample.1", cin)
    drawn.kernel("fc", 5, cin)
    return drawn.state


def slow_resnet(x, state, cfg):
    x = conv(x.transpose(0, 3, 1, 2).astype(np.float64), state["conv1.weight"], 2, 3)
    x = max_pool(np.maximum(batch_norm(x, state, "bn1"), 0), 3, 2, 1)
    stages = {}
    for name, planes, stride in blocks_of(cfg):
        before, layers = x, layers_of(cfg, planes)
        strided = 1 if cfg.block == "basic" else 2  # which convolution has the stride
        for number, (side, _, groups) in enumerate(layers, start=1):
            s = stride if number == strided else 1
            x = conv(x, state[f"{name}.conv{number}.weight"], s, side // 2, groups)
            x = batch_norm(x, state, f"{name}.bn{number}")
            x = np.maximum(x, 0) if number < len(layers) else x
        if f"{name}.downsample.0.weight" in state:
            before = conv(before, state[f"{name}.downsample.0.weight"], stride)
            before = batch_norm(before, state, f"{name}.downsample.1")
        x = np.maximum(x + before, 0)
        stages[name.split(".")[0]] = x.transpose(0, 2, 3, 1)
    return list(stages.values())


@pytest.mark.parametrize("name", CONFIGS)
def test_equals_numpy_on_odd_sizes(name, tmp_path):
    cfg = CONFIGS[name]
    state = drawn_state(cfg)
    np.savez(tmp_path / "w.npz", **state)
    model = load_resnet(tmp_path / "w.npz", cfg)
    images = np.random.default_rng(1).standard_normal((2, 37, 50, 3)).astype(np.float32)
    found = jax.jit(lambda model, x: model(x))(model, images)
    for ours, theirs in zip(found, slow_resnet(images, state, cfg), strict=True):
        # float32 sums of up to a thousand products against float64, over ten layers
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * np.abs(theirs).max())


def test_stored_outputs_of_a_torchvision_network(real_data):
    path = real_data / "golden" / "resnet_a.npz"
    stored = np.load(path)
    for stages in (4, 2):
        model = load_resnet(path, ResNetConfig("basic", (1,) * stages))
        found = jax.jit(lambda model, x: model(x))(model, stored["input"])
        assert len(found) == stages
        for number, ours in enumerate(found, start=1):
            theirs = stored[f"stage{number}"]
            # both float32 from the same float16 weights
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


def count(cfg):
    """Parameters, without BatchNorm's running statistics."""
    shapes = nnx.state(nnx.eval_shape(lambda: ResNet(cfg, rngs=nnx.Rngs(0))), nnx.Param)
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cfg", "published"),
    [  # torchvision's num_params less the classifier's
        (ResNetConfig.resnet18(), 11_689_512 - 513_000),
        (ResNetConfig.resnet34(), 21_797_672 - 513_000),
        (ResNetConfig.resnet50(), 25_557_032 - 2_049_000),
        (ResNetConfig.wide_resnet50_2(), 68_883_240 - 2_049_000),
        (
            ResNetConfig("bottleneck", (3, 4, 6, 3), width_per_group=4, groups=32),
            25_028_904 - 2_049_000,
        ),
    ],
)
def test_published_numbers_of_parameters(cfg, published):
    assert count(cfg) == published


def test_up_to_a_stage_the_numbers_are_those_that_the_methods_cite():
    cited = {"resnet18": 2.8, "wide_resnet50_2": 24.9}  # millions to layer3: STFPM, PatchCore
    for name, millions in cited.items():
        assert round(count(getattr(ResNetConfig, name)(stages=3)) / 1e6, 1) == millions


def test_all_complaints_come_at_once(tmp_path):
    cfg = CONFIGS["basic"]
    state = drawn_state(cfg)
    del state["layer2.0.downsample.1.bias"]
    state["layer1.0.conv1.weight"] = np.zeros((64, 64, 1, 1))
    state["layer9.0.conv1.weight"] = np.zeros(3)
    np.savez(tmp_path / "w.npz", **state)
    with pytest.raises(ValueError, match="does not fit ResNetConfig") as error:
        load_resnet(tmp_path / "w.npz", cfg)
    assert "missing (1): layer2.0.downsample.1.bias" in str(error.value)
    assert "unexpected (1): layer9.0.conv1.weight" in str(error.value)
    assert "conv1.weight: got (64, 64, 1, 1), expected (64, 64, 3, 3)" in str(error.value)


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"block": "dense"}, r"'dense'.*bottleneck"),
        ({"depths": ()}, "depths"),
        ({"depths": (1, 0)}, "depths"),
        ({"width_per_group": 128}, "take block='bottleneck'"),
        ({"groups": 0}, "groups=0"),
        ({"dtype": "int8"}, "dtype"),
    ],
)
def test_sizes_that_cannot_be_built(fields, complaint):
    with pytest.raises(ValueError, match=complaint):
        ResNetConfig(**fields)


@pytest.mark.slow
def test_training_moves_the_statistics_and_every_weight_has_a_gradient():
    model = ResNet(ResNetConfig("basic", (1, 1)), rngs=nnx.Rngs(0))
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    images = np.random.default_rng(1).standard_normal((2, 17, 16, 3)).astype(np.float32)

    def loss(params):
        model = nnx.merge(graphdef, params, rest, copy=True)
        value = sum((stage**2).mean() for stage in model(images))
        return value, nnx.state(model, nnx.BatchStat)

    gradients, statistics = jax.jit(jax.grad(loss, has_aux=True))(params)
    assert all(np.isfinite(g).all() and np.any(g) for g in jax.tree.leaves(gradients))
    before = jax.tree.leaves(nnx.state(model, nnx.BatchStat))
    assert all(np.any(a != b) for a, b in zip(before, jax.tree.leaves(statistics)))
