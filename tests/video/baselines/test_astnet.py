"""ASTNet: what is predicted from what, its temporal shift, its backbone, its loss."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn_model import drawn
from flax import nnx
from test_conv_autoencoder import clips

from ipad_jax.training.state import inference_view, training_view
from ipad_jax.video.baselines.astnet import (
    AstNet,
    AstNetConfig,
    AstNetOutput,
    astnet_loss,
    temporal_shift,
)
from ipad_jax.video.baselines.wider_resnet import WiderResNet

DEBUG = AstNetConfig.debug()


@pytest.mark.slow
def test_each_frame_is_predicted_from_the_four_before_it():
    """A clip of six gives what its two clips of five give."""
    model = inference_view(drawn(lambda: AstNet(DEBUG, rngs=nnx.Rngs(0))))
    clip = clips(dataclasses.replace(DEBUG, clip_len=6), count=1)
    run = partial(nnx.jit(lambda m, x: m(x).frames), model)
    both = run(clip)
    assert both.shape == (1, 2, 32, 32, 3)
    parts = np.concatenate([clip[:, :5], clip[:, 1:]])
    blind = parts.copy()
    blind[:, 4] = 0.0  # the frame to predict
    for x in (parts, blind):
        np.testing.assert_allclose(run(x)[:, 0], both[0], atol=1e-4)


def test_training_has_chance_and_the_frame_to_predict_no_part_in_the_normalisation():
    """A batch's statistics are those of the frames it is predicted from; another key, another dropout."""
    network = drawn(lambda: AstNet(DEBUG, rngs=nnx.Rngs(0)))
    graphdef, state = nnx.split(training_view(network, nnx.Param))
    clip = clips(DEBUG, count=2)

    @jax.jit
    def run(state, clip, key):
        return nnx.merge(graphdef, state)(clip, nnx.Rngs(dropout=key)).frames

    frames, key = run(state, clip, jax.random.key(0)), jax.random.key(0)
    for place, same in ((-1, True), (0, False)):
        changed = clip.copy()
        changed[:, place] = 1.0
        assert np.array_equal(run(state, changed, key), frames) == same
    assert np.abs(run(state, clip, jax.random.key(1)) - frames).max() > 1e-3


def test_temporal_shift_against_the_codes_slices():
    x = np.random.default_rng(0).standard_normal((2, 3, 3, 128)).astype(np.float32)
    groups = x.reshape(2, 3, 3, 4, 32)
    out = np.zeros_like(groups)
    out[..., :-1, :2] = groups[..., 1:, :2]
    out[..., 2:] = groups[..., 2:]
    np.testing.assert_array_equal(jax.jit(temporal_shift)(x), out.reshape(x.shape))


@pytest.mark.slow
def test_the_backbone_is_wider_resnet_38():
    cfg = AstNetConfig.full().backbone
    shapes = jax.eval_shape(
        lambda x: inference_view(WiderResNet(cfg, rngs=nnx.Rngs(0)))(x),
        jnp.zeros((1, 64, 64, 3)),
    )
    assert [x.shape for x in shapes] == [(1, 32, 32, 128), (1, 16, 16, 256), (1, 8, 8, 4096)]
    model = nnx.eval_shape(lambda: WiderResNet(cfg, rngs=nnx.Rngs(0)))
    convolutions = [c for stage in model.stages for block in stage for c in block.convs]
    # 38 layers: the first, two or three in each of 3 + 3 + 6 + 3 and 1 + 1 blocks, and the classifier
    assert 1 + len(convolutions) + 1 == 38


def test_loss_terms_and_their_weights():
    clip = clips(DEBUG)
    perfect = AstNetOutput(clip[:, 4:])
    ones = {"gradient_weight": 1.0, "similarity_weight": 1.0, "root_weight": 1.0}
    loss, terms = jax.jit(partial(astnet_loss, **ones))(perfect, clip)
    assert {name: round(float(x), 3) for name, x in terms.items()} == {
        "mse": 0.0, "gradient": 0.0, "dissimilarity": 0.0, "root": 0.0
    }  # fmt: skip
    off = AstNetOutput(clip[:, 4:] + np.float32(0.1))
    other = {"gradient_weight": 2.0, "similarity_weight": 3.0, "root_weight": 4.0}
    loss, terms = jax.jit(partial(astnet_loss, **other))(off, clip)
    assert float(terms["mse"]) == pytest.approx(0.01, rel=1e-4)
    assert float(terms["root"]) == pytest.approx(0.1, rel=1e-4)
    expected = 0.01 + 2 * terms["gradient"] + 3 * terms["dissimilarity"] + 0.4
    assert float(loss) == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clip_len": 4}, "clip_len=4 must be at least 5"),
        ({"image_size": (32, 36)}, "multiple of 8"),
        ({"width": 3}, "must be even and at least 4"),
        ({"blocks": (1, 1)}, "six numbers"),
    ],
)
def test_sizes_that_do_not_fit_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(DEBUG, **changes)
