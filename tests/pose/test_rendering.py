"""Compositing against a slow loop, and what it and the importance samples must hold for any field."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipad_jax.pose import rendering

# Compiled whole: op by op, each shape would compile a dozen small programs.
composite = jax.jit(rendering.composite)
compositing_weights = jax.jit(rendering.compositing_weights)
interval_lengths = jax.jit(rendering.interval_lengths)
inverse_cdf = jax.jit(rendering.inverse_cdf)
stratified_distances = jax.jit(rendering.stratified_distances, static_argnums=2)
importance_distances = jax.jit(rendering.importance_distances, static_argnums=2)
WHITE = jnp.ones(3)


def drawn_rays(n=5, k=8, seed=0, thickness=3.0):
    rng = np.random.default_rng(seed)
    distances = np.sort(rng.uniform(2, 6, (n, k)), axis=1).astype(np.float32)
    density = np.maximum(rng.normal(0, thickness, (n, k)), 0).astype(np.float32)
    rgb = rng.uniform(0, 1, (n, k, 3)).astype(np.float32)
    directions = rng.standard_normal((n, 3)).astype(np.float32)
    return density, rgb, distances, directions


def slow_render(density, rgb, distances, directions, background, last=1e10):
    """Light that is left goes from sample to sample, ray by ray (eq. 3)."""
    found = {"rgb": [], "opacity": [], "depth": [], "weights": []}
    for ray in range(len(density)):
        left, colour, depth, weights = 1.0, np.zeros(3), 0.0, []
        for i in range(density.shape[1]):
            end = distances[ray, i] + last
            if i + 1 < density.shape[1]:
                end = distances[ray, i + 1]
            length = (float(end) - float(distances[ray, i])) * np.linalg.norm(directions[ray])
            alpha = 1 - np.exp(-float(density[ray, i]) * length)
            weights.append(left * alpha)
            colour = colour + weights[-1] * rgb[ray, i]
            depth += weights[-1] * distances[ray, i]
            left *= 1 - alpha
        found["rgb"].append(colour + left * background)
        found["opacity"].append(1 - left)
        found["depth"].append(depth)
        found["weights"].append(weights)
    return {name: np.array(values) for name, values in found.items()}


@pytest.mark.parametrize("last", [1e10, 0.25])
@pytest.mark.parametrize("background", [(1.0, 1.0, 1.0), (0.2, 0.0, 0.7)])
def test_compositing_equals_a_slow_loop(last, background):
    density, rgb, distances, directions = drawn_rays()
    lengths = interval_lengths(distances, directions, last)
    found = composite(density, rgb, distances, lengths, jnp.asarray(background))
    expected = slow_render(density, rgb, distances, directions, np.array(background), last)
    for name, array in found._asdict().items():
        # float32 against float64; distances reach 6
        np.testing.assert_allclose(array, expected[name], rtol=0, atol=5e-6, err_msg=name)


def test_each_ray_may_have_its_own_background():
    density, rgb, distances, directions = drawn_rays(n=3)
    lengths = interval_lengths(distances, directions, 0.1)
    behind = np.random.default_rng(1).uniform(0, 1, (3, 3)).astype(np.float32)
    together = composite(density, rgb, distances, lengths, behind).rgb
    for ray in range(3):
        one = slice(ray, ray + 1)
        alone = composite(density[one], rgb[one], distances[one], lengths[one], behind[ray])
        np.testing.assert_allclose(together[one], alone.rgb, rtol=0, atol=1e-6)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 1e-6, 1.0, 1e3, 1e8]))
def test_weights_are_shares(seed, thickness):
    density, _, distances, directions = drawn_rays(seed=seed, thickness=thickness)
    weights = compositing_weights(density, interval_lengths(distances, directions))
    assert (weights >= 0).all()
    assert (weights.sum(axis=1) <= 1 + 1e-6).all()  # 8 float32 roundings of numbers below 1
    assert np.isfinite(weights).all()


def test_an_opaque_wall_hides_what_is_behind_and_nothing_shows_the_background():
    _, rgb, distances, directions = drawn_rays(n=2)
    density = np.zeros((2, 8), np.float32)
    density[0, 3:] = 1e6  # a wall in the first ray, nothing in the second
    lengths = interval_lengths(distances, directions)
    found = composite(density, rgb, distances, lengths, WHITE)
    np.testing.assert_array_equal(found.opacity, [1, 0])
    np.testing.assert_array_equal(found.rgb, [rgb[0, 3], np.ones(3)])
    np.testing.assert_array_equal(found.depth, [distances[0, 3], 0])
    changed = rgb.copy()
    changed[0, 4:] = 0
    again = composite(density, changed, distances, lengths, WHITE)
    np.testing.assert_array_equal(found.rgb, again.rgb)


@pytest.mark.slow
def test_a_constant_density_absorbs_by_its_length_whatever_the_number_of_samples():
    """Beer-Lambert: 1 - exp(-density * length), for fields that end at `far`."""
    near, far = jnp.asarray([1.0]), jnp.asarray([3.0])
    direction = jnp.asarray([[0.0, 0.0, -2.0]])  # 2 units of the world a unit of distance
    for count in (2, 7, 50):
        distances = stratified_distances(near, far, count, jax.random.key(count))
        lengths = interval_lengths(distances, direction, far - distances[:, -1])
        start = (
            distances[0, 0] - near[0]
        ) * 2  # nothing stands for what is before the first sample
        opacity = compositing_weights(jnp.full((1, count), 0.3), lengths).sum()
        np.testing.assert_allclose(opacity, 1 - np.exp(-0.3 * (4 - start)), rtol=1e-5)


def test_rays_do_not_depend_on_the_others_or_on_their_order():
    density, rgb, distances, directions = drawn_rays(n=6)
    order = np.random.default_rng(3).permutation(6)

    @jax.jit
    def render(density, rgb, distances, directions):
        lengths = interval_lengths(distances, directions)
        found = composite(density, rgb, distances, lengths, WHITE)
        return found, importance_distances(distances, found.weights, 5)

    straight = render(density, rgb, distances, directions)
    turned = render(density[order], rgb[order], distances[order], directions[order])
    for a, b in zip(jax.tree.leaves(straight), jax.tree.leaves(turned)):
        np.testing.assert_array_equal(a[order], b)


def test_gradients_are_finite_at_empty_and_at_opaque_rays():
    _, rgb, distances, directions = drawn_rays(n=2)
    density = jnp.zeros((2, 8)).at[1].set(1e4)

    def loss(density, rgb, directions):
        lengths = interval_lengths(distances, directions)
        return composite(density, rgb, distances, lengths, jnp.zeros(3)).rgb.sum()

    gradients = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(
        density, jnp.asarray(rgb), jnp.asarray(directions)
    )
    assert all(np.isfinite(g).all() for g in gradients)
    assert (gradients[0][0, :-1] > 0).all()  # denser is brighter before black


@pytest.mark.parametrize("count", [2, 9])
def test_stratified_samples_stay_in_their_strata(count):
    near, far = jnp.asarray([1.0, 2.0, -1.0]), jnp.asarray([5.0, 2.5, 7.0])
    even = np.linspace(near, far, count, axis=1)
    np.testing.assert_allclose(stratified_distances(near, far, count), even, rtol=0, atol=1e-6)
    middle = (even[:, 1:] + even[:, :-1]) / 2
    low, high = np.c_[even[:, :1], middle], np.c_[middle, even[:, -1:]]
    draws = [stratified_distances(near, far, count, jax.random.key(i)) for i in range(30)]
    for drawn in draws:
        assert (drawn >= low - 1e-6).all()
        assert (drawn <= high + 1e-6).all()
        assert (np.diff(drawn, axis=1) >= 0).all()
    spread = np.ptp(np.stack(draws), axis=0) / (high - low)
    assert (spread > 0.7).all()  # 30 uniform draws span less than that once in 3,000 strata


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6))
def test_the_cdf_inverts(seed):
    """F(F^-1(u)) = u, with F from np.interp; pieces of no mass are passed over."""
    rng = np.random.default_rng(seed)
    edges = np.cumsum(rng.uniform(0.1, 1, (1, 7)), axis=1).astype(np.float32)
    weights = rng.uniform(0.05, 1, (1, 6)).astype(np.float32) * (rng.random((1, 6)) < 0.7)
    weights[0, rng.integers(6)] = 1
    u = np.sort(rng.random((1, 9)), axis=1).astype(np.float32)
    u[0, 0], u[0, -1] = 0, 1
    found = inverse_cdf(edges, weights.astype(np.float32), u)
    cdf = np.concatenate([[0], np.cumsum(weights[0].astype(np.float64))])
    np.testing.assert_allclose(
        np.interp(found[0], edges[0], cdf / cdf[-1]), u[0], rtol=0, atol=2e-6
    )
    assert (np.diff(found[0]) >= 0).all()
    assert found[0, -1] == edges[0, -1]


def test_all_mass_in_one_piece_puts_the_samples_there():
    edges = jnp.arange(5.0)[None]
    weights = jnp.asarray([[0.0, 0.0, 2.0, 0.0]])
    u = jnp.linspace(0.01, 0.99, 7)[None]
    np.testing.assert_allclose(inverse_cdf(edges, weights, u), 2 + u, rtol=0, atol=1e-6)


def test_random_importance_samples_follow_the_inner_weights():
    distances = jnp.arange(7.0)[None]
    weights = jnp.asarray([[9.0, 0.1, 0.4, 0.0, 0.3, 0.2, 9.0]])  # both ends do not count
    drawn = importance_distances(distances, weights, 4000, jax.random.key(0))[0]
    share = np.histogram(drawn, bins=np.arange(6) + 0.5)[0] / 4000
    # four standard errors of a share of 4,000 draws
    np.testing.assert_allclose(share, weights[0, 1:-1], rtol=0, atol=4 * (0.25 / 4000) ** 0.5)


def test_importance_samples_of_an_empty_ray_are_even_and_give_no_gradient():
    distances = jnp.arange(2.0, 8.0)[None]
    found = importance_distances(distances, jnp.zeros((1, 6)), 9)
    np.testing.assert_allclose(found[0], np.linspace(2.5, 6.5, 9), rtol=0, atol=1e-5)
    gradient = jax.grad(lambda w: importance_distances(distances, w, 9).sum())(jnp.ones((1, 6)))
    np.testing.assert_array_equal(gradient, 0)
