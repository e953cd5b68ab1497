"""The matrix products that an example needs: a method's own count, or those of its traced program."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from ipad_jax.performance.flops import forward_products, train_products
from ipad_jax.performance.roofline import Product
from ipad_jax.video.clip_task import ClipTask
from ipad_jax.video.ipad.task import VideoTask


def products_of(task: ClipTask, *, train: bool, padded: bool = False) -> list[Product]:
    """The work of one clip, forward or in a training step; `padded` with what fills up windows.

    A traced training step counts both gradients of every product, that of the pictures included.
    """
    if isinstance(task, VideoTask):
        rank, freeze = task.adapter_rank, task.config.freeze
        if train:
            return train_products(task.model_config, freeze, padded=padded, adapter_rank=rank)
        return forward_products(task.model_config, padded=padded, adapter_rank=rank)
    model = nnx.view(
        nnx.eval_shape(lambda: task.init_model(jax.random.key(0))),
        raise_if_not_found=False,
        deterministic=True,
        use_running_average=True,
    )
    graphdef, state = nnx.split(model)
    clip = jax.ShapeDtypeStruct((1, task.clip_len, *task.image_size, 3), jnp.float32)
    found = traced_products(lambda s, x: nnx.merge(graphdef, s)(x), state, clip)
    if not train:
        return found
    return [p for q in found for p in (q, q.gradient("m"), q.gradient("n"))]


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
