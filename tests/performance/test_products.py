"""Counting products in a traced program."""

import jax
import jax.numpy as jnp

from ipad_jax.nn.conv2d import conv2d
from ipad_jax.nn.conv3d import conv3d, conv_transpose3d
from ipad_jax.performance.products import traced_products


def flops(fn, *shapes):
    arrays = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return sum(product.flops for product in traced_products(fn, *arrays))


def test_products_with_batch_axes():
    assert flops(lambda x, y: jnp.einsum("bhnd,bhmd->bhnm", x, y), (2, 3, 4, 5), (2, 3, 6, 5)) == (
        2 * 2 * 3 * 4 * 5 * 6
    )


def test_convolutions_in_every_way_they_are_computed():
    pairs = 2 * 3 * 5 * 7  # twice taps by channels
    assert flops(lambda x, k: conv2d(x, k), (1, 4, 6, 5), (3, 3, 5, 7)) == 2 * 24 * 9 * 5 * 7
    assert flops(lambda x, k: conv2d(x, k, stride=2), (1, 4, 6, 5), (3, 3, 5, 7)) == (
        2 * 6 * 9 * 5 * 7
    )
    size, kernel = (1, 2, 4, 6, 5), (3, 3, 3, 5, 7)
    for method in ("phases", "dilated"):
        down = flops(lambda x, k, m=method: conv3d(x, k, (1, 2, 2), method=m), size, kernel)
        up = flops(lambda x, k, m=method: conv_transpose3d(x, k, (1, 2, 2), method=m), size, kernel)
        assert (down, up) == (9 * 12 * pairs, 9 * 48 * pairs)


def test_a_scan_counts_each_round():
    def run(x):
        return jax.lax.scan(lambda carry, _: (carry @ carry, None), x, length=7)[0]

    assert flops(run, (3, 3)) == 7 * 2 * 27


def test_what_is_inside_jit_and_custom_gradients_counts_once():
    @jax.jit
    def run(x):
        return jax.checkpoint(lambda x: x @ x)(x)

    assert flops(run, (3, 3)) == 2 * 27
