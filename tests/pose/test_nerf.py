"""The published NeRF against plain NumPy, its files of weights, and stored outputs of the published code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ipad_jax.convert import NerfConfig, load_nerf
from ipad_jax.pose import nerf_weights
from ipad_jax.pose.nerf import Nerf, encode_positions
from ipad_jax.pose.rendering import composite, importance_distances, interval_lengths, inverse_cdf

raw = jax.jit(lambda field, points, directions: field.raw(points, directions))


def drawn_state(cfg, seed=0):
    """Random weights under nerf-pytorch's names, large enough that each one is seen in the output."""
    rng = np.random.default_rng(seed)
    position, direction = 3 + 6 * cfg.position_frequencies, 3 + 6 * cfg.direction_frequencies
    shapes = {}
    for number in range(cfg.depth):
        inputs = position if number == 0 else cfg.width
        inputs += position if number == cfg.skip + 1 else 0
        shapes[f"pts_linears.{number}"] = (cfg.width, inputs)
    shapes["alpha_linear"] = (1, cfg.width)
    shapes["feature_linear"] = (cfg.width, cfg.width)
    shapes["views_linears.0"] = (cfg.width // 2, cfg.width + direction)
    shapes["rgb_linear"] = (3, cfg.width // 2)
    state = {}
    for name, shape in shapes.items():
        state[f"{name}.weight"] = rng.standard_normal(shape) * (2 / shape[1]) ** 0.5
        state[f"{name}.bias"] = 0.3 * rng.standard_normal(shape[0])
    return state


def slow_encoding(vector, frequencies):
    numbers = list(vector)
    for power in range(frequencies):
        numbers += [np.sin(2**power * x) for x in vector] + [np.cos(2**power * x) for x in vector]
    return np.array(numbers)


def slow_nerf(points, directions, state, cfg):
    def layer(x, name):
        return state[f"{name}.weight"] @ x + state[f"{name}.bias"]

    found = []
    for point, direction in zip(points.astype(np.float64), directions.astype(np.float64)):
        encoded = slow_encoding(point, cfg.position_frequencies)
        x = encoded
        for number in range(cfg.depth):
            x = np.maximum(layer(x, f"pts_linears.{number}"), 0)
            if number == cfg.skip:
                x = np.concatenate([encoded, x])
        seen_from = slow_encoding(direction, cfg.direction_frequencies)
        y = np.concatenate([layer(x, "feature_linear"), seen_from])
        y = np.maximum(layer(y, "views_linears.0"), 0)
        found.append(np.concatenate([layer(y, "rgb_linear"), layer(x, "alpha_linear")]))
    return np.stack(found)


def drawn_points(count, seed=1):
    rng = np.random.default_rng(seed)
    points = rng.uniform(-1.5, 1.5, (count, 3)).astype(np.float32)
    directions = rng.standard_normal((count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return points, directions.astype(np.float32)


@pytest.mark.parametrize(
    "cfg",
    [
        NerfConfig(depth=8, width=16, skip=4),
        NerfConfig(depth=3, width=10, skip=0),
        NerfConfig(depth=4, width=12, skip=2, position_frequencies=6, direction_frequencies=0),
    ],
    ids=str,
)
def test_equals_numpy(cfg, tmp_path):
    state = drawn_state(cfg)
    points, directions = drawn_points(7)
    state["alpha_linear.bias"] -= np.median(slow_nerf(points, directions, state, cfg)[:, 3])
    np.savez(tmp_path / "w.npz", **state)
    field = load_nerf(tmp_path / "w.npz", cfg)
    found = raw(field, points, directions)
    # float32 sums of some dozens of products against float64, values of size 1
    np.testing.assert_allclose(found, slow_nerf(points, directions, state, cfg), rtol=0, atol=5e-5)
    apply = jax.jit(lambda field, points, directions: field(points, directions))
    density, rgb = apply(field, points.reshape(7, 1, 3), directions.reshape(7, 1, 3))
    assert density.shape == (7, 1)
    assert rgb.shape == (7, 1, 3)
    np.testing.assert_allclose(density[:, 0], np.maximum(found[:, 3], 0), rtol=0, atol=1e-5)
    np.testing.assert_allclose(rgb[:, 0], 1 / (1 + np.exp(-found[:, :3])), rtol=0, atol=1e-5)
    assert 0 < (density > 0).sum() < 7  # both sides of the ReLU were seen


@pytest.mark.slow
def test_density_does_not_depend_on_the_direction():
    field = Nerf(NerfConfig(depth=3, width=8, skip=1), rngs=nnx.Rngs(0))
    points, directions = drawn_points(5)
    first, second = raw(field, points, directions), raw(field, points, -directions)
    np.testing.assert_array_equal(first[:, 3], second[:, 3])
    assert np.abs(first[:, :3] - second[:, :3]).max() > 1e-4


def test_bfloat16_stays_near_and_gives_float32():
    cfg = NerfConfig(depth=3, width=16, skip=1, position_frequencies=4)
    exact = Nerf(cfg, rngs=nnx.Rngs(0))
    rounded = Nerf(NerfConfig(**{**vars(cfg), "dtype": "bfloat16"}), rngs=nnx.Rngs(0))
    points, directions = drawn_points(50)
    first, second = raw(exact, points, directions), raw(rounded, points, directions)
    assert second.dtype == jnp.float32
    # 5 layers, each rounded by 2^-9 of values below 1
    np.testing.assert_allclose(first, second, rtol=0, atol=0.02)


def test_the_encodings_gradient_is_that_of_its_sines():
    x = jnp.asarray([[0.3, -1.2, 0.0]])
    rows = jax.jacobian(lambda x: encode_positions(x, 2)[0])(x)[:, 0]
    ones = np.concatenate([np.diag(f(np.asarray(x[0]))) for f in (np.ones_like, np.cos)])
    np.testing.assert_allclose(rows[:6], ones, rtol=0, atol=1e-6)
    np.testing.assert_allclose(rows[9:12], np.diag(2 * np.cos(2 * x[0])), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("sizes", "complaint"),
    [
        ({"depth": 1}, "depth=1"),
        ({"width": 0}, "width=0"),
        ({"depth": 4, "skip": 3}, "skip=3 .*depth - 2 = 2"),
        ({"skip": -1}, "skip=-1"),
        ({"direction_frequencies": -1}, "direction_frequencies=-1"),
        ({"dtype": "float16"}, "NerfConfig.dtype"),
    ],
)
def test_sizes_that_cannot_be_built_are_named(sizes, complaint):
    with pytest.raises(ValueError, match=complaint):
        NerfConfig(**sizes)


def test_weights_that_do_not_fit_are_all_named(tmp_path):
    cfg = NerfConfig(depth=4, width=8, skip=1)
    state = drawn_state(cfg)
    del state["rgb_linear.bias"]
    np.savez(tmp_path / "w.npz", **state, extra=np.zeros(2))
    with pytest.raises(ValueError, match=r"(?s)depth, width, skip.*rgb_linear.bias.*extra"):
        load_nerf(tmp_path / "w.npz", cfg)
    np.savez(tmp_path / "w.npz", **drawn_state(cfg))
    with pytest.raises(ValueError, match=r"(?s)pts_linears.2.weight.*pts_linears.3.weight"):
        load_nerf(tmp_path / "w.npz", NerfConfig(depth=4, width=8, skip=2))


def test_a_checkpoint_gives_the_network_asked_for(tmp_path, monkeypatch):
    cfg = NerfConfig(depth=3, width=8, skip=1)
    states = {"coarse": drawn_state(cfg, 1), "fine": drawn_state(cfg, 2)}
    points, directions = drawn_points(3)
    for name in ("coarse", "fine"):
        arrays = {
            f"{nerf_weights.CHECKPOINT_KEYS[key]}.{n}": x
            for key, state in states.items()
            for n, x in state.items()
        }
        np.savez(tmp_path / "both.npz", **arrays)
        found = raw(load_nerf(tmp_path / "both.npz", cfg, name), points, directions)
        expected = slow_nerf(points, directions, states[name], cfg)
        np.testing.assert_allclose(found, expected, rtol=0, atol=5e-5)
    np.savez(tmp_path / "one.npz", **{n: x for n, x in arrays.items() if "fine" not in n})
    with pytest.raises(ValueError, match="no network_fine_state_dict"):
        load_nerf(tmp_path / "one.npz", cfg)


@pytest.mark.slow
@pytest.mark.real_data
def test_equals_the_published_code(real_data):
    path = real_data / "golden" / "nerf_a.npz"
    field = load_nerf(path, NerfConfig(depth=8, width=64, skip=4))
    with np.load(path) as stored:
        golden = {name: stored[name] for name in stored.files if "/" not in name}
    directions, distances = golden["directions"], golden["t"]
    n, k = distances.shape
    unit = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    points = golden["origins"][:, None] + distances[..., None] * directions[:, None]
    every = np.broadcast_to(unit[:, None], points.shape)
    found = raw(field, points.reshape(-1, 3), every.reshape(-1, 3)).reshape(n, k, 4)
    np.testing.assert_allclose(found, golden["raw"], rtol=0, atol=1e-4)

    rendered = composite(
        jnp.maximum(found[..., 3], 0),
        jax.nn.sigmoid(found[..., :3]),
        distances,
        interval_lengths(distances, directions),
        jnp.ones(3),
    )
    for name, array in {"rgb_white": rendered.rgb, **rendered._asdict()}.items():
        if name != "rgb":
            np.testing.assert_allclose(array, golden[name], rtol=0, atol=1e-4, err_msg=name)

    samples, expected = (
        importance_distances(distances, rendered.weights, 16),
        golden["t_importance"],
    )
    np.testing.assert_allclose(samples[:, :-1], expected[:, :-1], rtol=0, atol=1e-4)
    # At the last quantile, 1, the published code meets its own rounding: its float32 sum ends at 1 or one
    # step of 2^-23 above, and then it stops that much before the end, where some pieces have a mass of 1e-5.
    middle = (distances[:, 1:] + distances[:, :-1]) / 2
    before = inverse_cdf(middle, golden["weights"][:, 1:-1] + 1e-5, jnp.full((n, 1), 1 - 2**-23))
    early = np.minimum(
        np.abs(samples[:, -1] - expected[:, -1]), np.abs(before[:, 0] - expected[:, -1])
    )
    np.testing.assert_allclose(early, 0, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(samples[:, -1], middle[:, -1])
