"""The matrix products that an example needs, read from a method's traced program; nothing is computed."""

import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import jax
from flax import nnx
from jax.interpreters.partial_eval import dce_jaxpr

from ipad_jax.performance.roofline import Product
from ipad_jax.training.state import inference_view, training_view
from ipad_jax.training.task import Task

REST = "model"  # the part of what lies in no named scope


def train_products(task: Task) -> list[Product]:
    """The products of a training step for one example: the loss and its gradient by what trains.

    What is frozen, and what adapters leave as it is, needs no gradient and has none here.
    """

    def make() -> Any:
        model = training_view(task.init_model(jax.random.key(0)), task.trainable)
        return nnx.split(model, task.trainable, ...)

    graphdef, trainable, rest = nnx.eval_shape(make)

    def step(trainable: Any, rest: Any, batch: Any) -> Any:
        def loss_fn(trainable: Any) -> jax.Array:
            model = nnx.merge(graphdef, trainable, rest, copy=True)
            return task.loss_fn(model, batch, jax.random.key(0))[0]

        return jax.value_and_grad(loss_fn)(trainable)

    parts = _parts(trainable, rest)
    return traced_products(step, trainable, rest, task.batch_shapes(1), parts=parts)


def predict_products(task: Task) -> list[Product]:
    """The products of inference for one example: of `task.predict_fn`, else of the loss alone."""
    graphdef, state = nnx.eval_shape(
        lambda: nnx.split(inference_view(task.init_model(jax.random.key(0))))
    )
    predict_fn = getattr(task, "predict_fn", None)

    def predict(state: Any, batch: Any) -> Any:
        model = nnx.merge(graphdef, state, copy=True)
        if predict_fn is not None:
            return predict_fn(model, batch)
        return task.loss_fn(model, batch, jax.random.key(0))[0]

    return traced_products(predict, state, task.batch_shapes(1), parts=_parts(state))


def flops_by_part(products: list[Product]) -> dict[str, int]:
    """Multiplications and additions of each part, in the order in which they come."""
    sums: dict[str, int] = {}
    for product in products:
        sums[product.part] = sums.get(product.part, 0) + product.flops
    return sums


def describe_work(task: Task) -> str:
    """One line for `train --describe`: GFLOP of one example (a clip, a ray), forward and in a step."""
    forward, step = flops_by_part(predict_products(task)), flops_by_part(train_products(task))
    parts = ", ".join(f"{name.replace('_', ' ')} {n / 1e9:.3g}" for name, n in forward.items())
    example = task.unit.removesuffix("s")
    text = f"matrix products of one {example}: {sum(forward.values()) / 1e9:.3g} GFLOP forward"
    text += f" ({parts})" if len(forward) > 1 else ""
    return f"{text}, {sum(step.values()) / 1e9:.3g} in a training step"


def traced_products(
    fn: Callable[..., Any], *args: Any, parts: frozenset[str] = frozenset()
) -> list[Product]:
    """The products and convolutions that the results of a function need.

    Counted as they are computed: with the tokens that fill up windows, and in a convolution every tap
    of every output, also those that meet zeros at the border. What `jax.checkpoint` computes again
    counts once, a scan as often as it runs, a `while` once, of a `cond` the costliest branch.
    Not counted is what no matrix unit does: norms, softmax, activations, factorisations.

    Args:
      fn: the function.
      *args: arrays or shapes.
      parts: names of `jax.named_scope`s; the first around a product is its `part`, without one REST.
    """
    jaxpr = jax.make_jaxpr(fn)(*args).jaxpr
    # a custom gradient traces products that nobody uses; the compiler drops them
    used, _ = dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    return list(_products(used, parts, REST))


def _parts(*states: Any) -> frozenset[str]:
    """Attributes of the model that have variables."""
    return frozenset(str(name) for state in states for name in state)


def _products(jaxpr: Any, parts: frozenset[str], around: str) -> Iterator[Product]:
    """Those of one run of a program inside the part `around`."""
    for eqn in jaxpr.eqns:
        scopes = re.split(r"[/()]+", str(eqn.source_info.name_stack))
        if "rematted_computation" in scopes:
            continue
        part = around if around != REST else next((s for s in scopes if s in parts), REST)
        name = eqn.primitive.name
        if name == "dot_general":
            if min(v.aval.ndim for v in eqn.invars) < 2:  # sums or spreads a bias
                continue
            yield _dot(eqn, part)
        elif name == "conv_general_dilated":
            yield _convolution(eqn, part)
        elif name == "cond":
            branches = [list(_products(b.jaxpr, parts, part)) for b in eqn.params["branches"]]
            yield from max(branches, key=lambda products: sum(p.flops for p in products))
        else:
            rounds = eqn.params["length"] if name == "scan" else 1
            for value in eqn.params.values():
                inner = getattr(value, "jaxpr", value)
                if hasattr(inner, "eqns"):
                    for product in _products(inner, parts, part):
                        yield product._replace(count=rounds * product.count)


def _dot(eqn: Any, part: str) -> Product:
    (contracted, _), (batch, _) = eqn.params["dimension_numbers"]
    lhs, rhs = (v.aval.shape for v in eqn.invars)
    k, count = math.prod(lhs[a] for a in contracted), math.prod(lhs[a] for a in batch)
    m, n = math.prod(lhs) // (k * count), math.prod(rhs) // (k * count)
    return Product(part, count, m, k, n)


def _convolution(eqn: Any, part: str) -> Product:
    numbers = eqn.params["dimension_numbers"]
    rhs, out = eqn.invars[1].aval.shape, eqn.outvars[0].aval.shape
    n = rhs[numbers.rhs_spec[0]]
    holes = math.prod(eqn.params["lhs_dilation"])  # places that hold nothing
    m = math.prod(out) // n // holes
    return Product(part, 1, max(1, m), math.prod(rhs) // n, n)
