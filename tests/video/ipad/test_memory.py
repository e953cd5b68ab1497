"""Equations 1 to 6, each alone and all in a row."""

from fractions import Fraction
from functools import partial
from math import floor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ipad_jax.video.ipad import memory as equations
from ipad_jax.video.ipad.memory import MemoryConfig, PeriodicMemory

# each one program: one operation after another they take ten times as long to compile
address, phase_argmax, read = map(
    jax.jit, (equations.address, equations.phase_argmax, equations.read)
)
phase_slot = jax.jit(equations.phase_slot, static_argnums=(1, 2))
published_slot = jax.jit(equations.published_slot, static_argnums=1)
boost_slot = jax.jit(equations.boost_slot, static_argnums=3)
published_boost = jax.jit(equations.published_boost)
attend = jax.jit(equations.attend, static_argnums=1)


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_eq1_is_the_product_with_every_slot():
    features, memory = normal(0, 2, 3, 4), normal(1, 5, 4)
    w = address(features, memory)
    np.testing.assert_allclose(w[1, 2, 3], np.dot(features[1, 2], memory[3]), rtol=1e-5)


def test_eq2_gives_class_and_probability():
    phase, probability = phase_argmax(np.log([[0.2, 0.7, 0.1], [0.5, 0.2, 0.3]]))
    np.testing.assert_array_equal(phase, [1, 0])
    np.testing.assert_allclose(probability, [0.7, 0.5], rtol=1e-5)


@pytest.mark.parametrize(("classes", "slots"), [(200, 2000), (200, 400), (200, 200), (200, 64)])
def test_eq3_takes_the_middle_of_the_class_and_stays_inside(classes, slots):
    slot = np.asarray(phase_slot(np.arange(classes), classes, slots))
    half = Fraction(1, 2)  # exact: in floats 0.145 * 200 falls under 29
    exact = [floor((k + half) / classes * slots) for k in range(classes)]
    np.testing.assert_array_equal(slot, exact)
    assert slot.min() >= 0
    assert slot.max() < slots


def test_eq4_log_raises_the_slots_weight_by_the_factor_whatever_its_sign():
    similarity, slot, p = normal(0, 2, 3, 8), np.array([1, 6]), np.array([0.5, 0.9])
    before, after = similarity, np.asarray(boost_slot(similarity, slot, p))
    for sample in range(2):
        gain = np.exp(after[sample] - before[sample])
        expected = np.ones((3, 8))
        expected[:, slot[sample]] = 1 + p[sample]  # per sample: not the other one's slot
        np.testing.assert_allclose(gain, expected, rtol=1e-5)


def test_eq4_multiply_is_the_papers_factor_and_lowers_negative_ones():
    similarity = np.array([[[-2.0, 3.0, 1.0]]])
    boosted = boost_slot(similarity, np.array([0]), np.array([0.5]), "multiply")
    np.testing.assert_allclose(boosted, [[[-3.0, 3.0, 1.0]]])


def test_published_boost_is_the_loop_of_the_published_code():
    """The code's slices, a sample at a time: they come out empty before slot 7 and beyond M."""
    slots = 60
    phase = np.array([3, 20, 70, 125, 150])  # 1, 9, 33, 59, 71
    similarity, logit = normal(0, 5, 2, slots), np.array([1.0, 2.0, -0.5, 3.0, 4.0])
    index = published_slot(phase, slots)
    expected = np.array(similarity)
    for i, at in enumerate(np.floor(np.asarray(phase) / 126 * slots).astype(int)):
        assert at == index[i]
        expected[i][:, at - 7 : at + 8] += expected[i][:, at - 7 : at + 8] * logit[i]
    np.testing.assert_allclose(published_boost(similarity, index, logit), expected, rtol=1e-5)


def test_eq5_over_slots_sums_to_one_a_token_and_over_tokens_a_slot():
    w = normal(0, 2, 5, 8)
    plain = np.asarray(attend(w, MemoryConfig(num_slots=8, shrink=0.0)))
    np.testing.assert_allclose(plain.sum(-1), np.ones((2, 5)), rtol=1e-5)
    shrunk = np.asarray(attend(w, MemoryConfig(num_slots=8, shrink=1.0)))
    np.testing.assert_allclose(shrunk.sum(-1), np.ones((2, 5)), rtol=1e-5)
    np.testing.assert_array_equal(shrunk > 0, plain > 1 / 8)
    tokens = attend(w, MemoryConfig(num_slots=8, shrink=0.0, softmax_over="tokens"))
    np.testing.assert_allclose(np.asarray(tokens).sum(-2), np.ones((2, 8)), rtol=1e-5)


def test_hard_shrink_of_nothing_left_is_zero_with_finite_gradient():
    def shrink(rows):
        out, vjp = jax.vjp(lambda x: equations.hard_shrink(x, 0.5), rows)
        return out, vjp(jnp.ones_like(rows))[0]

    shrunk, gradient = jax.jit(shrink)(np.full((1, 4), 0.25, np.float32))
    assert not np.any(shrunk)
    assert np.isfinite(gradient).all()


def test_eq6_of_a_one_hot_weight_is_that_slot():
    memory = normal(0, 5, 4)
    weights = np.eye(5, dtype=np.float32)[np.array([[3, 1]])]
    np.testing.assert_array_equal(read(weights, memory)[0], memory[[3, 1]])


@partial(jax.jit, static_argnums=0)
def run(cfg, logits):
    memory = PeriodicMemory(cfg, 6, rngs=nnx.Rngs(0))
    return memory(normal(1, 2, 1, 2, 2, 6), logits)


@pytest.mark.parametrize("boost", ["log", "multiply", "as_published"])
def test_samples_do_not_touch_each_other(boost):
    cfg = MemoryConfig(num_slots=40, boost=boost)
    logits = 3 * normal(2, 2, 20)
    changed = np.stack([logits[0], np.roll(logits[1], 7)])
    (out, _), (other, _) = run(cfg, logits), run(cfg, changed)
    np.testing.assert_array_equal(out[0], other[0])
    assert out.shape == (2, 1, 2, 2, 6)


def test_without_boost_or_head_the_phase_changes_nothing():
    logits = 3 * normal(2, 2, 20)
    off, _ = run(MemoryConfig(num_slots=40, boost="none"), logits)
    headless, _ = run(MemoryConfig(num_slots=40), None)
    np.testing.assert_array_equal(off, headless)
    boosted, _ = run(MemoryConfig(num_slots=40), logits)
    assert not np.array_equal(boosted, headless)


def test_the_probability_passes_gradient_to_the_head():
    def loss(logits):
        return jnp.sum(run(MemoryConfig(num_slots=40), logits)[0] ** 2)

    assert np.abs(jax.jit(jax.grad(loss))(normal(2, 2, 20))).max() > 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_slots": 0}, "num_slots=0 must be at least 1"),
        ({"boost": "add"}, r"boost='add' must be one of \('log', 'multiply'"),
        ({"softmax_over": "both"}, "softmax_over='both' must be 'slots' or 'tokens'"),
        ({"num_slots": 4, "shrink": 4.0}, r"shrink=4.0 must be in \[0, num_slots=4\)"),
        ({"softmax_over": "tokens"}, "set shrink=0"),
    ],
)
def test_switches_that_cannot_be_are_named(values, message):
    with pytest.raises(ValueError, match=message):
        MemoryConfig(**values)
