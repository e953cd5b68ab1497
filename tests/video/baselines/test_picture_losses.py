"""Losses of pictures: against slow versions written as their sources write them."""

import jax
import numpy as np
import pytest

from ipad_jax.video.baselines import picture_losses as losses


def picture(seed, size=(24, 20), count=1):
    return np.random.default_rng(seed).uniform(-1, 1, (count, *size, 3))


def test_gradient_losses_against_loops():
    made, true = picture(0, (4, 5)), picture(1, (4, 5))
    sizes, signed = [], []
    for axis in (1, 2):
        after = [np.concatenate([x, 0 * x.take([0], axis)], axis) for x in (made, true)]
        before = [np.concatenate([0 * x.take([0], axis), x], axis) for x in (made, true)]
        a, b = (np.abs(np.diff(x, axis=axis)) for x in after)
        sizes.append(np.abs(a - b).mean())
        a, b = (np.diff(x, axis=axis).sum(axis=-1) for x in before)
        signed.append(np.abs(a - b).mean())
    for loss, expected in ((losses.gradient_loss, sizes), (losses.signed_gradient_loss, signed)):
        np.testing.assert_allclose(jax.jit(loss)(made, true), sum(expected), rtol=1e-5)


def slow_ssim(a, b):
    """One channel, one scale: every window by itself."""
    side = min(11, *a.shape)
    gauss = np.exp(-((np.arange(side) - side // 2) ** 2) / (2 * 1.5**2))
    window = np.outer(gauss, gauss) / gauss.sum() ** 2
    c1, c2 = 0.02**2, 0.06**2
    similar, contrasts = [], []
    for i in range(a.shape[0] - side + 1):
        for j in range(a.shape[1] - side + 1):
            x, y = (p[i : i + side, j : j + side] for p in (a, b))
            mx, my = (window * x).sum(), (window * y).sum()
            vx, vy = (window * x * x).sum() - mx**2, (window * y * y).sum() - my**2
            cov = (window * x * y).sum() - mx * my
            contrast = (2 * cov + c2) / (vx + vy + c2)
            contrasts.append(contrast)
            similar.append((2 * mx * my + c1) / (mx**2 + my**2 + c1) * contrast)
    return (np.mean(similar) + 1) / 2, (np.mean(contrasts) + 1) / 2


ms_ssim = jax.jit(losses.ms_ssim)


def test_ms_ssim_against_a_loop_over_windows_and_scales():
    made, true = picture(0, (32, 32)), picture(0, (32, 32)) + 0.3 * picture(1, (32, 32))
    weights, contrasts = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333), []
    a, b = made, true
    for _ in weights:
        pairs = [slow_ssim(a[0, ..., c], b[0, ..., c]) for c in range(3)]
        similar, contrast = np.mean(pairs, axis=0)
        contrasts.append(contrast)
        halve = [x.reshape(1, x.shape[1] // 2, 2, x.shape[2] // 2, 2, 3) for x in (a, b)]
        a, b = (x.mean(axis=(2, 4)) for x in halve)
    expected = np.prod([c**w * similar ** weights[-1] for c, w in zip(contrasts[:-1], weights)])
    found = ms_ssim(made, true)
    np.testing.assert_allclose(found, expected, rtol=1e-3)  # variances are small differences


@pytest.mark.parametrize("size", [(8, 8), (33, 20), (64, 64)])
def test_ms_ssim_of_any_size_is_one_for_equals_and_falls(size):
    true, noise = picture(0, size), picture(1, size)
    values = [float(ms_ssim(true + s * noise, true)) for s in (0.0, 0.1, 0.5)]
    assert values[0] == pytest.approx(1, abs=1e-5)
    assert values[0] > values[1] > values[2] > 0
