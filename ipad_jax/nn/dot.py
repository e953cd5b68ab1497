"""Matrix products in a compute dtype: operands rounded to it, sums in float32, backwards too.

Accelerators and CPUs with matrix units (AMX) are several times faster on bfloat16 operands. Left to
itself, JAX derives the backward products of such a mixed product with one float32 operand, which no
matrix unit takes; here every product, forwards and backwards, has both operands in the compute
dtype. What comes out is float32: rounding it, or not, is the caller's choice.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx


def check_dtype(name: str, dtype: str) -> None:
    """Raises ValueError unless a config's compute dtype is one that products can be taken in."""
    if dtype not in ("float32", "bfloat16"):  # float16 loses the gradient of a mean over a clip
        raise ValueError(f"{name}={dtype!r} must be 'float32' or 'bfloat16'.")


def einsum(spec: str, x: jax.Array, y: jax.Array, dtype: Any) -> jax.Array:
    """`jnp.einsum` of two arrays, operands in `dtype`, sums and result float32.

    Args:
        spec: such as "bhnd,bhmd->bhnm"; every letter stands in exactly two of the three terms, or
            in all of them.
        x: float, any dtype; its gradient has the same.
        y: the same.
        dtype: of the operands of this product and of the two of its gradient.

    Raises:
        ValueError: a spec whose gradient is no product of the same kind.
    """
    a, b, c = _terms(spec)
    odd = {letter for letter in a + b + c if sum(letter in term for term in (a, b, c)) < 2}
    if odd or any(len(set(term)) < len(term) for term in (a, b, c)):
        raise ValueError(
            f"einsum: spec={spec!r} must name each letter once a term, in at least two of the three "
            f"terms; {sorted(odd)} is not."
        )
    return _einsum(spec, jnp.dtype(dtype), x.dtype, y.dtype, x, y)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2, 3))
def _einsum(spec: str, dtype: Any, x_dtype: Any, y_dtype: Any, x: jax.Array, y: jax.Array):
    return _product(spec, x.astype(dtype), y.astype(dtype))


def _einsum_fwd(spec: str, dtype: Any, x_dtype: Any, y_dtype: Any, x: jax.Array, y: jax.Array):
    x, y = x.astype(dtype), y.astype(dtype)
    return _product(spec, x, y), (x, y)


def _einsum_bwd(
    spec: str, dtype: Any, x_dtype: Any, y_dtype: Any, saved: tuple[jax.Array, jax.Array], grad: Any
):
    x, y = saved
    grad = grad.astype(dtype)
    a, b, c = _terms(spec)
    grad_x = _product(f"{c},{b}->{a}", grad, y).astype(x_dtype)
    return grad_x, _product(f"{a},{c}->{b}", x, grad).astype(y_dtype)


_einsum.defvjp(_einsum_fwd, _einsum_bwd)


def _product(spec: str, x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.einsum(spec, x, y, preferred_element_type=jnp.float32)


def _terms(spec: str) -> tuple[str, str, str]:
    """ "ab,bc->ac" -> ("ab", "bc", "ac")."""
    operands, result = spec.split("->")
    a, b = operands.split(",")
    return a, b, result


def matmul(x: jax.Array, kernel: jax.Array, dtype: Any) -> jax.Array:
    """Rows times a matrix, by the rule above: [..., a] and [a, c] -> float32 [..., c]."""
    if jnp.dtype(dtype) == jnp.float32:
        # One axis of rows: with more, XLA:CPU copies both operands for the kernel's gradient.
        rows = x.astype(jnp.float32).reshape(-1, x.shape[-1])
        return (rows @ kernel.astype(jnp.float32)).reshape(*x.shape[:-1], -1)
    # Two axes of rows: with one, XLA:CPU takes the kernel's gradient in float32.
    rows = x.reshape(-1, x.shape[-2] if x.ndim > 1 else 1, x.shape[-1])
    return einsum("rna,ac->rnc", rows, kernel, dtype).reshape(*x.shape[:-1], -1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def add_bias(x: jax.Array, bias: jax.Array, dtype: Any) -> jax.Array:
    """[..., c] + [c], the dtype of x; the bias' gradient, a sum over rows, is a product with ones as above.

    XLA:CPU sums over several axes at once on one core and against the order of memory.
    """
    return x + bias.astype(x.dtype).reshape((1,) * (x.ndim - 1) + (-1,))


def _add_bias_fwd(x: jax.Array, bias: jax.Array, dtype: Any):
    return add_bias(x, bias, dtype), bias


def _add_bias_bwd(dtype: Any, bias: jax.Array, grad: jax.Array):
    rows = grad.astype(dtype).reshape(-1, grad.shape[-1])
    return grad, _product("n,nc->c", jnp.ones(len(rows), dtype), rows).astype(bias.dtype)


add_bias.defvjp(_add_bias_fwd, _add_bias_bwd)


class Linear(nnx.Linear):
    """`nnx.Linear` whose products follow the rule above: [..., a] -> [..., c] in `dtype`.

    Args: those of nnx.Linear; `dtype` must be given.
    """

    def __call__(self, x: jax.Array) -> jax.Array:  # type: ignore[override]
        return self.add_bias(matmul(x, self.kernel[...], self.dtype))

    def add_bias(self, product: jax.Array) -> jax.Array:
        """The layer's second half, for a product that is moved or padded between: `dtype` then."""
        if self.bias is not None:
            product = add_bias(product, self.bias[...], self.dtype)
        return product.astype(self.dtype)
