"""2-D layers: against the library's own convolutions and slow, obvious versions, both ways."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from ipad_jax.nn import conv2d as layers


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def library(x, kernel, stride=1, dilation=1):
    pad = (kernel.shape[0] - 1) // 2 * dilation
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(pad, pad)] * 2,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def library_transposed(x, kernel):
    """PyTorch's ConvTranspose2d of stride 2: an input with holes, the kernel turned round."""
    side = kernel.shape[0]
    pads = [{2: (1, 1), 3: (1, 2), 4: (2, 2)}[side]] * 2
    return lax.conv_general_dilated(
        x,
        kernel[::-1, ::-1],
        (1, 1),
        pads,
        lhs_dilation=(2, 2),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def same_with_gradients(ours, theirs, *arrays):
    weight = normal(*jax.eval_shape(ours, *arrays).shape, seed=9)

    @jax.jit
    def both(*arrays):
        found = []
        for f in (ours, theirs):
            out, vjp = jax.vjp(f, *arrays)
            found.append((out, vjp(weight)))
        return found

    (out, found), (expected_out, expected) = both(*arrays)
    np.testing.assert_allclose(out, expected_out, atol=2e-5)  # dozens of products
    for a, b in zip(found, expected):
        np.testing.assert_allclose(a, b, atol=1e-4)


@pytest.mark.parametrize(
    ("side", "stride", "dilation"),
    [(1, 1, 1), (1, 2, 1), (3, 1, 1), (3, 2, 1), (3, 1, 2), (4, 2, 1)],
)
def test_convolution_and_its_gradients(side, stride, dilation):
    same_with_gradients(
        lambda x, k: layers.conv2d(x, k, stride=stride, dilation=dilation),
        lambda x, k: library(x, k, stride, dilation),
        normal(2, 6, 4, 3),
        normal(side, side, 3, 5, seed=1),
    )


@pytest.mark.parametrize(("side", "stride"), [(3, 2), (7, 2), (1, 2), (7, 1)])
def test_odd_sides_are_padded_as_pytorch_pads_them(side, stride):
    same_with_gradients(
        lambda x, k: layers.conv2d(x, k, stride=stride),
        lambda x, k: library(x, k, stride),
        normal(2, 7, 9, 3),
        normal(side, side, 3, 5, seed=1),
    )


def test_groups_see_nothing_of_each_other():
    x, kernel = normal(1, 5, 4, 6), normal(3, 3, 2, 9, seed=1)
    parts = [
        layers.conv2d(x[..., 2 * i : 2 * i + 2], kernel[..., 3 * i : 3 * i + 3], stride=2)
        for i in range(3)
    ]
    found = layers.conv2d(x, kernel, stride=2, groups=3)
    np.testing.assert_allclose(found, np.concatenate(parts, -1), atol=2e-5)  # dozens of products


@pytest.mark.parametrize("side", [2, 3, 4])
def test_transposed_convolution_and_its_gradients(side):
    same_with_gradients(
        layers.conv_transpose2d,
        library_transposed,
        normal(2, 3, 4, 5),
        normal(side, side, 5, 2, seed=1),
    )


def test_nothing_is_dilated_on_the_cpu():
    def loss(x, down, up):
        return jnp.sum(layers.conv_transpose2d(layers.conv2d(x, down, stride=2), up) ** 2)

    arrays = normal(1, 4, 4, 3), normal(3, 3, 3, 3), normal(3, 3, 3, 3)
    text = str(jax.make_jaxpr(jax.grad(loss, (0, 1, 2)))(*arrays))
    assert "conv_general_dilated" not in text
    for side in (4, 7):
        kernel = normal(side, side, 3, 3)
        stem = jax.grad(lambda x, k: jnp.sum(layers.conv2d(x, k, stride=2) ** 2), (0, 1))
        grow = jax.grad(lambda x, k: jnp.sum(layers.conv_transpose2d(x, k) ** 2), (0, 1))
        for way in (stem, grow)[: 2 if side == 4 else 1]:
            text = str(jax.make_jaxpr(way)(normal(1, 8, 8, 3), kernel))
            dilations = [line for line in text.splitlines() if "hs_dilation" in line]
            assert dilations
            assert all("(1, 1)" in line for line in dilations)


def test_pools_against_loops():
    odd = normal(1, 5, 7, 2)
    larger = jnp.pad(odd, [(0, 0), (0, 1), (0, 1), (0, 0)], constant_values=-9.0)
    np.testing.assert_array_equal(layers.max_pool3(odd), layers.max_pool3(larger))
    x = np.asarray(normal(2, 6, 4, 3))
    two, three = np.empty((2, 3, 2, 3)), np.empty((2, 3, 2, 3))
    for i in range(3):
        for j in range(2):
            two[:, i, j] = x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].max(axis=(1, 2))
            around = x[:, max(2 * i - 1, 0) : 2 * i + 2, max(2 * j - 1, 0) : 2 * j + 2]
            three[:, i, j] = around.max(axis=(1, 2))
    found = jax.jit(lambda x: (layers.max_pool2(x), layers.max_pool3(x)))(x)
    for pooled, expected in zip(found, (two, three)):
        np.testing.assert_array_equal(pooled, expected)


def test_max_pools_share_the_gradient_of_equal_places_without_counting_them():
    # reduce_max divides by the number of equal places: 0 / 0 where XLA rounds them otherwise a second time
    x = np.ones((1, 4, 4, 1), np.float32)
    for pool in (layers.max_pool2, layers.max_pool3):
        gradient = jax.jit(jax.grad(lambda x, pool=pool: jnp.sum(pool(x))))
        found = gradient(x)
        assert np.sum(found) == 4
        assert "reduce_max" not in str(jax.make_jaxpr(gradient)(x))
        if pool is layers.max_pool2:
            np.testing.assert_array_equal(found, np.full_like(x, 0.25))


def test_resize_keeps_corners_and_straight_lines():
    y, x = np.meshgrid(np.linspace(0, 1, 3), np.linspace(0, 1, 4), indexing="ij")
    plane = jnp.asarray((2 * y - 3 * x)[None, :, :, None], jnp.float32)
    found = jax.jit(lambda x: layers.resize_corners(x, (7, 5))[0, :, :, 0])(plane)
    y, x = np.meshgrid(np.linspace(0, 1, 7), np.linspace(0, 1, 5), indexing="ij")
    np.testing.assert_allclose(found, 2 * y - 3 * x, atol=1e-6)


def test_warp_by_whole_pixels_moves_and_repeats_the_border():
    x, warp = np.asarray(normal(1, 5, 6, 2)), jax.jit(layers.warp)
    np.testing.assert_allclose(warp(x, np.zeros((1, 5, 6, 2), np.float32)), x, atol=1e-6)
    found = np.asarray(warp(x, np.full((1, 5, 6, 2), [1, -2], np.float32)))
    for row in range(5):
        for column in range(6):
            expected = x[0, min(row + 1, 4), max(column - 2, 0)]
            np.testing.assert_allclose(found[0, row, column], expected, atol=1e-6)


def test_warp_is_linear_between_pixels_and_has_that_gradient():
    ramp = np.broadcast_to(np.arange(6, dtype=np.float32)[:, None], (1, 5, 6, 1))
    at = np.zeros((1, 5, 6, 2), np.float32)
    at[0, 2, 2, 1] = 0.25
    value, slope = jax.jit(jax.value_and_grad(lambda o: layers.warp(ramp, o)[0, 2, 2, 0]))(at)
    assert float(value) == pytest.approx(2.25)
    np.testing.assert_allclose(slope[0, 2, 2], [0.0, 1.0], atol=1e-6)
    assert np.abs(slope).sum() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: layers.conv2d(x, normal(2, 2, 3, 4)), "odd k"),
        (lambda x: layers.conv2d(x, normal(3, 3, 4, 4)), r"input .* of shape \(1, 5, 4, 3\)"),
        (lambda x: layers.conv2d(x, normal(3, 3, 3, 4), stride=2, dilation=2), "dilation 1"),
        (lambda x: layers.conv_transpose2d(x, normal(5, 5, 3, 4)), "expected"),
        (layers.max_pool2, "even"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(normal(1, 5, 4, 3))


@pytest.mark.parametrize("size", [(3, 9), (12, 4), (6, 8), (5, 5)])
def test_linear_resizing_is_jaxs_own(size):
    x = normal(2, 6, 8, 3)
    for array in (x, x[..., 0]):
        expected = jax.image.resize(array, (2, *size, *array.shape[3:]), "linear")
        np.testing.assert_allclose(layers.resize_linear(array, size), expected, atol=1e-6)


def test_gradients_of_many_images_are_those_of_one_product(monkeypatch):
    monkeypatch.setattr(layers, "CACHED", 0)
    x, kernel = normal(3, 9, 8, 5), normal(3, 3, 5, 4)
    same_with_gradients(layers.conv2d, library, x, kernel)
    text = jax.jit(jax.grad(lambda k: layers.conv2d(x, k).sum())).lower(kernel).as_text()
    assert "stablehlo.while" in text  # image by image indeed


@pytest.mark.parametrize("shape", [(6, 1, 1), (6, 2, 2), (6, 1, 7)])
def test_pictures_smaller_than_the_kernel(shape):
    same_with_gradients(layers.conv2d, library, normal(*shape, 8), normal(3, 3, 8, 7))


@pytest.mark.parametrize(
    ("layer", "shape", "kernel"),
    [
        (layers.conv2d, (4, 2, 2, 8), (3, 3, 8, 8)),
        (layers.conv2d, (4, 1, 1, 8), (3, 3, 8, 8)),
        (lambda x, k: layers.conv2d(x, k, stride=2), (4, 8, 8, 8), (4, 4, 8, 8)),
        (layers.conv_transpose2d, (4, 4, 4, 8), (4, 4, 8, 8)),
        (layers.conv_transpose2d, (4, 1, 1, 8), (4, 4, 8, 8)),
    ],
)
def test_no_compiled_convolution_is_a_reversed_one(layer, shape, kernel):
    """XLA:CPU runs those with plain loops, 30 times slower; see the module's text."""

    def loss(x, k):
        return jnp.square(layer(x, k)).sum()

    program = jax.jit(jax.grad(loss, (0, 1))).lower(normal(*shape), normal(*kernel)).compile()
    assert "rhs_reversal" not in program.as_text()
