"""The optimizer against a few lines of NumPy, and its schedules."""

import itertools

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy import toy_config

from ipad_jax.training.optim import make_optimizer, make_schedule


def optim(**overrides):
    return toy_config(**{f"optim.{name}": value for name, value in overrides.items()}).optim


def run(tx, gradients, x):
    x = jnp.asarray(x)
    state = tx.init(x)
    for gradient in gradients:
        updates, state = tx.update(jnp.asarray(gradient), state, x)
        x = optax.apply_updates(x, updates)
    return np.asarray(x)


def slow_adam(gradients, x, lr, clip=0.0, decay=0.0):
    x, m, v = np.array(x, np.float64), 0.0, 0.0
    for t, gradient in enumerate(gradients, 1):
        g = np.array(gradient, np.float64)
        if clip:
            g = g * min(1.0, clip / np.linalg.norm(g))
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        step = (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        x = x - lr * (step + decay * x)
    return x


@pytest.mark.parametrize(
    "settings", [{}, {"clip": 0.5}, {"decay": 0.1}, {"clip": 0.5, "decay": 0.1}]
)
def test_against_a_slow_adam(settings):
    gradients = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    start = np.array([1.0, -2.0, 3.0], np.float32)
    tx = make_optimizer(
        optim(
            lr=0.01,
            clip_norm=settings.get("clip", 0.0),
            weight_decay=settings.get("decay", 0.0),
        ),
        6,
    )
    expected = slow_adam(gradients, start, 0.01, **settings)
    np.testing.assert_allclose(run(tx, gradients, start), expected, rtol=1e-5)  # float32


def test_constant_is_constant_and_warms_up_if_asked():
    schedule = make_schedule(optim(lr=0.1), 10)
    assert float(schedule(0)) == float(schedule(99)) == pytest.approx(0.1)
    warm = make_schedule(optim(lr=0.1, warmup_steps=4), 10)
    assert [round(float(warm(i)), 4) for i in (0, 2, 4, 9)] == [0.0, 0.05, 0.1, 0.1]


def test_cosine_falls_to_its_end():
    schedule = make_schedule(optim(lr=0.1, schedule="cosine", warmup_steps=2), 12)
    values = [float(schedule(i)) for i in range(13)]
    assert values[0] == 0
    assert values[2] == pytest.approx(0.1)
    assert values[12] == pytest.approx(0.0)
    assert all(a >= b for a, b in itertools.pairwise(values[2:]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"schedule": "linear"}, r"optim\.schedule='linear'; one of constant, cosine"),
        ({"lr": 0.0}, r"optim\.lr=0\.0 must be positive"),
        ({"schedule": "cosine", "warmup_steps": 5}, r"warmup_steps=5 .* below total_steps=5"),
        ({"warmup_steps": 5}, r"warmup_steps=5 .* below total_steps=5"),
        ({"warmup_steps": -1}, r"warmup_steps=-1 must be 0 or more"),
        ({"clip_norm": -1.0}, r"optim\.clip_norm=-1\.0"),
        ({"weight_decay": -1.0}, r"optim\.weight_decay=-1\.0"),
    ],
)
def test_impossible_settings_say_what_is_wrong(settings, message):
    with pytest.raises(ValueError, match=message):
        make_optimizer(optim(**settings), 5)
