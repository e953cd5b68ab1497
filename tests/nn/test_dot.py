"""Products in a compute dtype: equal to rounding by hand, in both directions, sums in float32."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ipad_jax.nn.dot import Linear, add_bias, einsum, matmul


def normal(seed: int, *shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def rounded(x) -> np.ndarray:
    return np.asarray(jnp.asarray(x).astype(jnp.bfloat16), np.float64)


@pytest.mark.parametrize(
    ("spec", "x_shape", "y_shape"),
    [
        ("ab,bc->ac", (3, 5), (5, 4)),
        ("bhnd,bhmd->bhnm", (2, 3, 4, 5), (2, 3, 6, 5)),
        ("bhnm,bhmd->bhnd", (2, 3, 4, 6), (2, 3, 6, 5)),
        ("bnc,mc->bnm", (2, 4, 5), (7, 5)),
    ],
)
def test_bfloat16_rounds_operands_and_nothing_else(spec, x_shape, y_shape):
    x, y = normal(0, *x_shape), normal(1, *y_shape)
    out_shape = jax.eval_shape(lambda x, y: einsum(spec, x, y, jnp.bfloat16), x, y).shape
    grad = normal(2, *out_shape)

    @jax.jit
    def forth_and_back(x, y):
        out, vjp = jax.vjp(lambda x, y: einsum(spec, x, y, jnp.bfloat16), x, y)
        return out, vjp(grad)

    out, (grad_x, grad_y) = forth_and_back(x, y)
    assert out.dtype == jnp.float32
    # sums of at most 42 exact products in float32
    np.testing.assert_allclose(out, np.einsum(spec, rounded(x), rounded(y)), rtol=1e-5, atol=1e-5)
    a, b, c = (
        spec[: spec.index(",")],
        spec[spec.index(",") + 1 : spec.index("-")],
        spec[-out.ndim :],
    )
    assert (grad_x.dtype, grad_y.dtype) == (jnp.float32, jnp.float32)
    expected = np.einsum(f"{c},{b}->{a}", rounded(grad), rounded(y))
    np.testing.assert_allclose(grad_x, expected, rtol=1e-5, atol=1e-5)
    expected = np.einsum(f"{a},{c}->{b}", rounded(x), rounded(grad))
    np.testing.assert_allclose(grad_y, expected, rtol=1e-5, atol=1e-5)


def test_no_product_backwards_mixes_dtypes():
    x, y = normal(0, 2, 4, 8), normal(1, 8, 3)
    text = str(
        jax.make_jaxpr(jax.grad(lambda x, y: matmul(x, y, jnp.bfloat16).sum(), (0, 1)))(x, y)
    )
    products = [line for line in text.splitlines() if "dot_general" in line]
    assert len(products) == 3, text
    assert all("preferred_element_type=float32" in line for line in products) or text.count(
        "preferred_element_type=float32"
    ) == len(products)


@pytest.mark.parametrize("shape", [(8,), (5, 8), (2, 3, 8), (2, 3, 2, 2, 8)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_linear_is_nnx_linear(shape, dtype):
    x = normal(0, *shape)

    @jax.jit
    def run(x):
        found = []
        for layer in (Linear, nnx.Linear):
            made = layer(8, 3, dtype=jnp.dtype(dtype), rngs=nnx.Rngs(0))
            made.bias[...] = jnp.arange(3.0)
            found.append(made(x))
        return found

    out, expected = run(x)
    assert out.dtype == jnp.dtype(dtype)
    assert out.shape == (*shape[:-1], 3)
    # flax rounds the product and the bias each, we round their sum: one unit of bfloat16 at size 4
    tolerance = 1e-6 if dtype == "float32" else 0.04
    np.testing.assert_allclose(
        np.asarray(out, np.float32), np.asarray(expected, np.float32), rtol=0, atol=tolerance
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_gradient_of_a_bias_is_the_sum_over_rows(dtype):
    x, bias = normal(0, 2, 3, 4, 5).astype(dtype), normal(1, 5)
    grad = normal(2, 2, 3, 4, 5).astype(dtype)

    @jax.jit
    def forth_and_back(x, bias, grad):
        out, vjp = jax.vjp(lambda x, bias: add_bias(x, bias, jnp.dtype(dtype)), x, bias)
        return out, vjp(grad)

    out, (grad_x, grad_bias) = forth_and_back(x, bias, grad)
    assert out.dtype == jnp.dtype(dtype)
    np.testing.assert_array_equal(grad_x, grad)
    assert grad_bias.dtype == jnp.float32  # of the parameter, not of the sum's terms
    expected = np.asarray(grad, np.float64).sum((0, 1, 2))
    np.testing.assert_allclose(grad_bias, expected, rtol=1e-5, atol=1e-5)  # 24 terms, float32 sum


def test_a_letter_that_stands_alone_is_named():
    with pytest.raises(ValueError, match=r"at least two of the three terms; \['b'\]"):
        einsum("ab,cd->acd", jnp.ones((2, 3)), jnp.ones((4, 5)), jnp.bfloat16)
