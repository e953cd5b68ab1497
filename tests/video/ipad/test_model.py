"""The assembled model: sizes, switches, configs as dicts, and that it learns."""

import dataclasses
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn_model import drawn
from flax import nnx
from ml_collections import ConfigDict

from ipad_jax.training.state import training_view
from ipad_jax.video.ipad.losses import video_loss
from ipad_jax.video.ipad.model import VideoModel, VideoModelConfig, describe, make_model_config

NAMES = ("full", "paper", "as_published", "small", "debug")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_named_sizes_give_back_the_clip(name):
    cfg = VideoModelConfig.named(name)
    shape = (2, cfg.clip_len, *cfg.image_size, 3)

    def run():
        return VideoModel(cfg, rngs=nnx.Rngs(0))(jnp.zeros(shape), nnx.Rngs(dropout=0))

    out = jax.eval_shape(run)
    assert out.reconstruction.shape == shape
    assert out.phase_logits.shape == (2, cfg.num_phases)
    if cfg.use_memory:
        assert out.attention.shape == (2, np.prod(cfg.feature_size), cfg.memory.num_slots)
    else:
        assert out.attention is None


@pytest.mark.parametrize(
    ("changes", "phase", "attention"),
    [
        ({"use_memory": False}, True, False),
        ({"period_head": "none"}, False, True),
        ({"period_head": "none", "use_memory": False}, False, False),
        ({"period_head": "published"}, True, True),
    ],
)
def test_each_part_is_a_switch(changes, phase, attention):
    cfg = make_model_config({"name": "debug", **changes})

    def run():
        model = VideoModel(cfg, rngs=nnx.Rngs(0))
        assert "total" in describe(model)
        return model(jnp.zeros((1, 4, 16, 16, 3)), nnx.Rngs(dropout=0))

    out = jax.eval_shape(run)
    assert (out.phase_logits is not None, out.attention is not None) == (phase, attention)


@pytest.mark.parametrize("name", NAMES)
def test_config_survives_dict_json_and_config_dict(name):
    cfg = VideoModelConfig.named(name)
    assert make_model_config(cfg.to_dict()) == cfg
    assert make_model_config(json.loads(json.dumps(cfg.to_dict()))) == cfg
    assert make_model_config(ConfigDict(cfg.to_dict())) == cfg


def test_sections_replace_leaves_of_the_named_config():
    cfg = make_model_config(
        {"name": "small", "memory": {"boost": "none"}, "image_size": 128, "dtype": "bfloat16"}
    )
    small = VideoModelConfig.small()
    assert cfg.memory == dataclasses.replace(small.memory, boost="none")
    assert cfg.image_size == (128, 128)
    assert cfg.encoder == dataclasses.replace(small.encoder, dtype="bfloat16")


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"name": "huge"}, "model.name='huge' must be one of"),
        ({"size": 3}, r"model has unknown keys \['size'\].*choices: .*'image_size'"),
        ({"encoder": {"dtype": "bfloat16"}}, "the compute dtype is model.dtype"),
        ({"clip_len": 18}, "clip_len=18 must be a multiple of 4"),
        ({"image_size": (256, 250)}, "image width=250 must be a multiple of 32"),
        ({"encoder": {"patch_size": (2, 4, 4)}}, r"multiply to \(4, 32, 32\).*divides by \(2, 32"),
        ({"period_head": "big"}, "period_head='big' must be"),
        ({"num_phases": 1}, "num_phases=1 must be at least 2"),
        ({"dtype": "int8"}, "dtype='int8' must be"),
        ({"remat": "on"}, "model.remat='on' must be True or False"),
    ],
)
def test_configs_that_cannot_be_are_named(section, message):
    with pytest.raises(ValueError, match=message):
        make_model_config(section)


def test_description_counts_the_papers_size():
    table = describe(nnx.eval_shape(lambda: VideoModel(VideoModelConfig(), rngs=nnx.Rngs(0))))
    lines = [re.split(r" {2,}", line.strip()) for line in table.splitlines()[1:]]
    counts = {line[0]: line for line in lines}
    assert "27.58M" in counts["encoder"]
    assert "8.30M" in counts["decoder"]
    assert "35.88M" in counts["encoder + decoder"]
    assert "1.54M" in counts["memory"]
    assert {"period head", "total", "merging 2", "stage 3"} <= counts.keys()


def test_clip_of_another_size_is_named():
    model = nnx.eval_shape(lambda: VideoModel(VideoModelConfig.debug(), rngs=nnx.Rngs(0)))
    with pytest.raises(ValueError, match=r"shape \(1, 8, 16, 16, 3\), expected \[b, 4, 16, 16, 3"):
        model(jnp.zeros((1, 8, 16, 16, 3)))


@pytest.mark.slow
def test_remat_changes_the_memory_and_not_the_numbers():
    """Loss, gradients and BatchNorm's statistics, with stochastic depth on."""
    results, kept, cfg = [], [], VideoModelConfig.debug()
    cfg = dataclasses.replace(cfg, encoder=dataclasses.replace(cfg.encoder, depths=(1, 1)))
    clip = np.random.default_rng(1).uniform(-1, 1, (2, 4, 16, 16, 3)).astype(np.float32)
    for remat in (False, True):
        wanted = dataclasses.replace(cfg, remat=remat)
        model = drawn(lambda cfg=wanted: VideoModel(cfg, rngs=nnx.Rngs(0)))
        graphdef, *split = nnx.split(training_view(model, nnx.Param), nnx.Param, ...)

        def loss_fn(params, rest, graphdef=graphdef):
            model = nnx.merge(graphdef, params, rest, copy=True)
            loss, _ = video_loss(model(clip, nnx.Rngs(dropout=3)), clip, jnp.array([0.2, 0.7]))
            return loss, nnx.state(model, nnx.BatchStat)

        results.append(jax.jit(jax.value_and_grad(loss_fn, has_aux=True))(*split))
        pullback = jax.eval_shape(lambda p, r: jax.vjp(loss_fn, p, r, has_aux=True)[1], *split)
        kept.append(num_bytes(pullback) - num_bytes(split))  # the weights are kept in any case
    # the same float32 operations, which XLA may fuse in another order
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), *results)
    np.testing.assert_allclose(results[0][0][0], results[1][0][0], rtol=1e-6)  # the loss
    assert kept[1] < 0.6 * kept[0]


def num_bytes(tree) -> int:
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))
