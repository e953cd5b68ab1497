"""The loss and its parts, unknown phases included."""

import jax
import jax.numpy as jnp
import numpy as np

from ipad_jax.video.ipad import losses
from ipad_jax.video.ipad.model import VideoOutput


def test_reconstruction_is_the_plain_mean_and_float32():
    a, b = jnp.full((1, 2, 2, 2, 3), 0.5, jnp.bfloat16), jnp.zeros((1, 2, 2, 2, 3), jnp.bfloat16)
    loss = losses.reconstruction_loss(a, b)
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, 0.25)


def test_entropy_of_uniform_and_of_sure_attention():
    np.testing.assert_allclose(
        losses.attention_entropy(jnp.full((2, 3, 8), 1 / 8)), np.log(8), rtol=1e-5
    )
    sure = jax.nn.one_hot(jnp.zeros((2, 3), int), 8)
    np.testing.assert_allclose(losses.attention_entropy(sure), 0.0, atol=1e-6)
    assert jnp.isfinite(jax.grad(losses.attention_entropy)(sure)).all()


def test_class_is_the_floor_and_the_last_one_is_not_passed():
    phases = jnp.array([0.0, 0.00499, 0.00501, 0.9999999, 1.0, jnp.nan])
    np.testing.assert_array_equal(losses.phase_class(phases, 200), [0, 0, 1, 199, 199, 0])


def test_period_loss_is_the_mean_over_known_phases():
    logits = jax.random.normal(jax.random.key(0), (3, 10))
    log_p = np.asarray(jax.nn.log_softmax(logits))
    loss = losses.period_loss(logits, jnp.array([0.25, jnp.nan, 0.99]))
    np.testing.assert_allclose(loss, -(log_p[0, 2] + log_p[2, 9]) / 2, rtol=1e-5)


def test_a_wide_target_is_centred_on_the_phase_on_the_circle_and_narrows_to_the_class():
    phase = jnp.array([0.003, 0.51, 0.777, jnp.nan])
    target = losses.phase_target(phase, 50, 0.06)
    np.testing.assert_allclose(target.sum(1), 1.0, rtol=1e-5)
    assert target[0, 49] > target[0, 3] > 0  # across the cycle's end is near
    # 50 classes sample a Gaussian of 3 classes well: its mean direction is the phase to 1e-3 cycles
    np.testing.assert_allclose(losses.circular_mean(target)[:3], phase[:3], atol=1e-3)
    narrow = losses.phase_target(phase[:3], 50, 0.001)
    np.testing.assert_allclose(narrow, losses.phase_target(phase[:3], 50, 0.0), atol=1e-6)


def test_unknown_phases_have_no_loss_and_no_gradient():
    logits = jax.random.normal(jax.random.key(0), (2, 10))
    phase = jnp.array([0.3, jnp.nan])
    grad = jax.grad(losses.period_loss)(logits, phase)
    assert jnp.abs(grad[0]).max() > 0
    assert (grad[1] == 0).all()
    none = jnp.full(2, jnp.nan)
    assert losses.period_loss(logits, none) == 0
    assert (jax.grad(losses.period_loss)(logits, none) == 0).all()


def test_phase_error_goes_the_short_way_round():
    error = losses.phase_error(jnp.array([0.95, 0.5, 0.1]), jnp.array([0.05, 0.4, jnp.nan]))
    np.testing.assert_allclose(error, 0.1, rtol=1e-5)


def test_the_whole_is_the_weighted_sum_of_what_there_is():
    clip = jax.random.normal(jax.random.key(0), (2, 2, 2, 2, 3))
    logits = jax.random.normal(jax.random.key(1), (2, 10))
    attention = jax.nn.softmax(jax.random.normal(jax.random.key(2), (2, 4, 6)))
    phase = jnp.array([0.1, 0.7])
    loss, parts = losses.video_loss(VideoOutput(0 * clip, logits, attention), clip, phase)
    np.testing.assert_allclose(
        loss, parts["mse"] + 0.0002 * parts["entropy"] + 0.02 * parts["period"], rtol=1e-6
    )
    assert set(parts) == {"loss", "mse", "entropy", "period", "phase_error"}
    bare, parts = losses.video_loss(VideoOutput(0 * clip, None, None), clip, phase)
    assert set(parts) == {"loss", "mse"}
    np.testing.assert_allclose(bare, jnp.mean(clip**2), rtol=1e-6)
