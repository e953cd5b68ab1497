"""A model's matrix products, counted in its traced program: for methods without a count of their own."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax

from ipad_jax.performance.roofline import Product


def traced_products(fn: Callable[..., Any], *args: Any, part: str = "model") -> list[Product]:
    """The products and convolutions of a function; nothing is computed.

    A convolution counts every tap of every output, also those that meet zeros at the border.

    Args:
      fn: the function.
      *args: arrays or shapes.
      part: the products' `part`.
    """
    return list(_products(jax.make_jaxpr(fn)(*args).jaxpr, part, 1))


def _products(jaxpr: Any, part: str, times: int) -> Iterator[Product]:
    """Those of a program that runs so many times."""
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "dot_general":
            yield _dot(eqn, part, times)
        elif eqn.primitive.name == "conv_general_dilated":
            yield _convolution(eqn, part, times)
        rounds = times * (eqn.params["length"] if eqn.primitive.name == "scan" else 1)
        for value in eqn.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from _products(inner, part, rounds)


def _dot(eqn: Any, part: str, times: int) -> Product:
    (contracted, _), (batch, _) = eqn.params["dimension_numbers"]
    lhs, rhs = (v.aval.shape for v in eqn.invars)
    k, count = math.prod(lhs[a] for a in contracted), math.prod(lhs[a] for a in batch)
    m, n = math.prod(lhs) // (k * count), math.prod(rhs) // (k * count)
    return Product(part, times * count, m, k, n)


def _convolution(eqn: Any, part: str, times: int) -> Product:
    numbers = eqn.params["dimension_numbers"]
    rhs, out = eqn.invars[1].aval.shape, eqn.outvars[0].aval.shape
    n = rhs[numbers.rhs_spec[0]]
    holes = math.prod(eqn.params["lhs_dilation"])  # places that hold nothing
    m = math.prod(out) // n // holes
    return Product(part, times, max(1, m), math.prod(rhs) // n, n)
