"""The loss and its parts, unknown phases included."""

import jax
import jax.numpy as jnp
import numpy as np

from ipad_jax.video.ipad import losses
from ipad_jax.video.ipad.model import VideoOutput
from ipad_jax.video.ipad.period_head import circular_mean

# each one program: one operation after another they take ten times as long to compile
attention_entropy = jax.jit(jax.value_and_grad(losses.attention_entropy))
period_loss = jax.jit(jax.value_and_grad(losses.period_loss))
phase_target = jax.jit(losses.phase_target, static_argnums=(1, 2))
video_loss = jax.jit(losses.video_loss)


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def softmax(x):
    return np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)


def test_reconstruction_is_the_plain_mean_and_float32():
    half = np.full((1, 2, 2, 2, 3), 0.5)
    a, b = jnp.asarray(half, jnp.bfloat16), jnp.asarray(0 * half, jnp.bfloat16)
    loss = jax.jit(losses.reconstruction_loss)(a, b)
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, 0.25)


def test_entropy_of_uniform_and_of_sure_attention():
    entropy, _ = attention_entropy(np.full((2, 3, 8), 1 / 8))
    np.testing.assert_allclose(entropy, np.log(8), rtol=1e-5)
    entropy, gradient = attention_entropy(np.tile(np.eye(8)[0], (2, 3, 1)))
    np.testing.assert_allclose(entropy, 0.0, atol=1e-6)
    assert np.isfinite(gradient).all()


def test_class_is_the_floor_and_the_last_one_is_not_passed():
    phases = np.array([0.0, 0.00499, 0.00501, 0.9999999, 1.0, np.nan])
    found = jax.jit(losses.phase_class, static_argnums=1)(phases, 200)
    np.testing.assert_array_equal(found, [0, 0, 1, 199, 199, 0])


def test_period_loss_is_the_mean_over_known_phases():
    logits = normal(0, 3, 10)
    log_p = np.log(softmax(logits))
    loss, _ = period_loss(logits, np.array([0.25, np.nan, 0.99]))
    np.testing.assert_allclose(loss, -(log_p[0, 2] + log_p[2, 9]) / 2, rtol=1e-5)


def test_a_wide_target_is_centred_on_the_phase_on_the_circle_and_narrows_to_the_class():
    phase = np.array([0.003, 0.51, 0.777, np.nan])
    target = np.asarray(phase_target(phase, 50, 0.06))
    np.testing.assert_allclose(target.sum(1), 1.0, rtol=1e-5)
    assert target[0, 49] > target[0, 3] > 0  # across the cycle's end is near
    # 50 classes sample a Gaussian of 3 classes well: its mean direction is the phase to 1e-3 cycles
    np.testing.assert_allclose(jax.jit(circular_mean)(target)[:3], phase[:3], atol=1e-3)
    narrow = np.asarray(phase_target(phase, 50, 0.001))
    np.testing.assert_allclose(narrow[:3], phase_target(phase, 50, 0.0)[:3], atol=1e-6)


def test_unknown_phases_have_no_loss_and_no_gradient():
    logits = normal(0, 2, 10)
    _, gradient = period_loss(logits, np.array([0.3, np.nan]))
    assert np.abs(gradient[0]).max() > 0
    assert not np.any(gradient[1])
    loss, gradient = period_loss(logits, np.full(2, np.nan))
    assert loss == 0
    assert not np.any(gradient)


def test_phase_error_goes_the_short_way_round():
    there, here = np.array([0.95, 0.5, 0.1]), np.array([0.05, 0.4, np.nan])
    np.testing.assert_allclose(jax.jit(losses.phase_error)(there, here), 0.1, rtol=1e-5)


def test_the_sum_is_weighted_and_of_what_there_is():
    clip, logits, phase = normal(0, 2, 2, 2, 2, 3), normal(1, 2, 10), np.array([0.1, 0.7])
    attention = softmax(normal(2, 2, 4, 6))
    loss, parts = video_loss(VideoOutput(0 * clip, logits, attention), clip, phase)
    np.testing.assert_allclose(
        loss, parts["mse"] + 0.0002 * parts["entropy"] + 0.02 * parts["period"], rtol=1e-6
    )
    assert set(parts) == {"loss", "mse", "entropy", "period", "phase_error"}
    bare, parts = video_loss(VideoOutput(0 * clip, None, None), clip, phase)
    assert set(parts) == {"loss", "mse"}
    np.testing.assert_allclose(bare, np.mean(clip**2), rtol=1e-6)
