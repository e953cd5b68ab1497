"""Published names of WiderResNet: drawn weights there and back, and what does not fit is named."""

import jax
import numpy as np
import pytest
from flax import nnx

from ipad_jax.convert import load_wider_resnet
from ipad_jax.run.config import load_config
from ipad_jax.training.pretrained import load_pretrained
from ipad_jax.training.state import named_leaves
from ipad_jax.training.task import make_task
from ipad_jax.video.baselines.wider_resnet import WiderResNet, WiderResNetConfig
from ipad_jax.video.baselines.wider_resnet_weights import torch_name

CFG = WiderResNetConfig(4, (2, 1, 1, 1, 1, 1))


def drawn(cfg=CFG):
    """A state dict of this width, written down from the reference's modules."""
    rng, arrays, w = np.random.default_rng(0), {}, cfg.width

    def conv(name, cin, cout, side):
        arrays[f"module.{name}.weight"] = rng.standard_normal((cout, cin, side, side))

    def norm(name, channels):
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            arrays[f"module.{name}.{leaf}"] = rng.uniform(0.5, 1.5, channels)
        arrays[f"module.{name}.num_batches_tracked"] = np.array(7)

    conv("mod1.conv1", 3, w, 3)
    cin = w
    for module, (count, channels) in enumerate(zip(cfg.blocks, cfg.channels), start=2):
        for block in range(1, count + 1):
            name = f"mod{module}.block{block}"
            norm(f"{name}.bn1.0", cin)
            sizes = (cin, *channels)
            sides = (3, 3) if len(channels) == 2 else (1, 3, 1)
            for i, side in enumerate(sides):
                conv(f"{name}.convs.conv{i + 1}", sizes[i], sizes[i + 1], side)
                if i:
                    norm(f"{name}.convs.bn{i + 1}.0", sizes[i])
            if (module == 4 and block == 1) or cin != channels[-1]:
                conv(f"{name}.proj_conv", cin, channels[-1], 1)
            cin = channels[-1]
    norm("bn_out.0", cin)
    arrays["module.classifier.fc.weight"] = rng.standard_normal((1000, cin))
    arrays["module.classifier.fc.bias"] = rng.standard_normal(1000)
    return {name: np.asarray(x, np.float32) for name, x in arrays.items()}


@pytest.fixture
def file(tmp_path):
    np.savez(tmp_path / "weights.npz", **drawn())
    return tmp_path / "weights.npz"


def test_every_array_finds_its_place(file):
    weights, state = drawn(), nnx.state(load_wider_resnet(file, CFG))
    leaves = {tuple(map(str, path)): leaf[...] for path, leaf in nnx.to_flat_state(state)}
    assert len(leaves) == len([n for n in weights if not any(
        x in n for x in ("bn_out", "classifier", "num_batches")
    )])  # fmt: skip
    for path, leaf in leaves.items():
        array = weights[f"module.{torch_name(path)}"]
        expected = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
        np.testing.assert_array_equal(leaf, expected)
    assert torch_name(("stages", "0", "1", "norms", "0", "mean")) == (
        "mod2.block2.convs.bn2.0.running_mean"
    )


def test_a_run_starts_from_them(file):
    config = load_config(
        "astnet:factory,tiny", {"model.blocks": (2, 1, 1, 1, 1, 1), "init_from": str(file)}
    )
    task = make_task(config)
    shapes = nnx.eval_shape(lambda: nnx.state(task.init_model(jax.random.key(0))))
    arrays = load_pretrained(str(file), task, named_leaves(shapes))[0]
    encoder = nnx.eval_shape(lambda: nnx.state(WiderResNet(CFG, rngs=nnx.Rngs(0))))
    assert set(arrays) == {f"encoder.{name}" for name in named_leaves(encoder)}


def test_all_that_does_not_fit_is_named(file):
    with pytest.raises(ValueError, match="missing") as caught:
        load_wider_resnet(file, WiderResNetConfig(4, (1, 1, 1, 1, 1, 2)))
    for part in ("mod7.block2.convs.conv1.weight", "unexpected", "mod2.block2.bn1.0.bias"):
        assert part in str(caught.value)
    with pytest.raises(ValueError, match=r"misshaped.*mod1.conv1.weight: got \(4, 3, 3, 3\)"):
        load_wider_resnet(file, WiderResNetConfig(8, CFG.blocks))
