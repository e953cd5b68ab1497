"""The model's own count of its products against the traced program's, pair by pair."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from jax.interpreters.partial_eval import dce_jaxpr
from jax.sharding import AbstractDevice, AbstractMesh

from ipad_jax.nn.conv3d import default_method
from ipad_jax.performance.flops import PARTS, flops_by_part, forward_products, train_products
from ipad_jax.training.state import inference_view
from ipad_jax.video.ipad.adapters import add_adapters, is_adapted
from ipad_jax.video.ipad.model import VideoModel, VideoModelConfig, make_model_config

# Tracing for this one takes the library's dilated convolution, which can be counted from its arguments.
TPU = AbstractMesh((1,), ("data",), abstract_device=AbstractDevice("TPU v5 lite", 1, "tpu"))

CONFIGS = {
    "debug": {},
    "padded windows": {"encoder": {"window_size": (2, 3, 3)}},
    "clipped windows": {"encoder": {"window_size": (4, 8, 3)}},
    "published head": {"period_head": "published", "image_size": (24, 16)},
    "bare": {"period_head": "none", "use_memory": False},
}


def flops(jaxpr) -> int:
    """Multiplications and additions of every dot and convolution, holes and borders left out."""
    total = 0
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "dot_general":
            (contracted, _), _ = eqn.params["dimension_numbers"]
            (lhs, rhs), out = (v.aval.shape for v in eqn.invars), eqn.outvars[0].aval.shape
            # a product with a vector of ones spreads a bias over rows, or sums its gradient
            if min(len(lhs), len(rhs)) > 1:
                total += 2 * math.prod(out) * math.prod(lhs[axis] for axis in contracted)
        elif eqn.primitive.name == "conv_general_dilated":
            total += conv_flops(eqn)
        for value in eqn.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                total += flops(inner) if hasattr(inner, "eqns") else 0
    return total


def conv_flops(eqn) -> int:
    """A slow loop over output and tap on each axis: does the tap meet an input that is there?"""
    p = eqn.params
    assert p["feature_group_count"] == p["batch_group_count"] == 1
    lhs, rhs = (v.aval.shape for v in eqn.invars)
    out, numbers = eqn.outvars[0].aval.shape, p["dimension_numbers"]
    count = out[numbers.out_spec[0]] * out[numbers.out_spec[1]] * lhs[numbers.lhs_spec[1]]
    for axis, (low, _) in enumerate(p["padding"]):
        size, taps, outputs = (
            shape[spec[2 + axis]]
            for shape, spec in zip(
                (lhs, rhs, out), (numbers.lhs_spec, numbers.rhs_spec, numbers.out_spec)
            )
        )
        holes = p["lhs_dilation"][axis]
        met = [
            o * p["window_strides"][axis] + k * p["rhs_dilation"][axis] - low
            for o in range(outputs)
            for k in range(taps)
        ]
        count *= sum(place % holes == 0 and 0 <= place // holes < size for place in met)
    return 2 * count


def traced(cfg: VideoModelConfig, freeze: tuple[str, ...] | None = None, rank: int = 0) -> int:
    """FLOPs of one more clip: forward, or of a training step where `freeze` is given."""

    def trainable(path, value) -> bool:
        kept = path[0] in (freeze or ()) or (rank and is_adapted(path))
        return isinstance(value, nnx.Param) and not kept

    def make():
        model = VideoModel(cfg, rngs=nnx.Rngs(0))
        if rank:
            add_adapters(model, rank, jax.random.key(1))
        return nnx.split(inference_view(model), trainable, ...)

    graphdef, params, rest = nnx.eval_shape(make)

    def total(params, rest, clip):
        output = nnx.merge(graphdef, params, rest, copy=True)(clip)
        return sum(jnp.sum(jnp.square(x)) for x in output if x is not None)

    def count(batch: int) -> int:
        clip = jax.ShapeDtypeStruct((batch, cfg.clip_len, *cfg.image_size, 3), jnp.float32)
        fn = total if freeze is None else jax.grad(total)
        with jax.sharding.use_abstract_mesh(TPU):
            jaxpr = jax.make_jaxpr(fn)(params, rest, clip).jaxpr
        # a custom gradient traces products that nobody uses; the compiler drops them
        return flops(dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))[0])

    return count(3) - count(2)  # without what is done once a batch


def config(name: str) -> VideoModelConfig:
    return make_model_config({"name": "debug", **CONFIGS[name]})


def test_a_mesh_of_tpus_chooses_their_convolution():
    with jax.sharding.use_abstract_mesh(TPU):
        assert default_method() == "dilated"
    assert default_method() == "phases"  # the tests run on a CPU


@pytest.mark.parametrize("name", CONFIGS)
def test_forward_equals_the_traced_program(name):
    cfg = config(name)
    counted = sum(product.flops for product in forward_products(cfg, padded=True))
    assert counted == traced(cfg)


@pytest.mark.parametrize(
    ("name", "freeze"),
    [("debug", ()), ("debug", ("encoder",)), ("debug", ("decoder",)), ("published head", ())],
)
def test_training_equals_the_traced_program(name, freeze):
    cfg = config(name)
    counted = sum(product.flops for product in train_products(cfg, freeze, padded=True))
    assert counted == traced(cfg, freeze)


@pytest.mark.parametrize("freeze", [(), ("decoder",)])
def test_adapters_are_counted_and_what_they_keep_needs_no_gradient(freeze):
    cfg, rank = config("debug"), 3
    options = {"padded": True, "adapter_rank": rank}
    forward, step = forward_products(cfg, **options), train_products(cfg, freeze, **options)
    assert sum(product.flops for product in forward) == traced(cfg, rank=rank)
    assert sum(product.flops for product in step) == traced(cfg, freeze, rank)
    full = VideoModelConfig()
    adapted = flops_by_part(train_products(full, adapter_rank=16))["encoder"]
    assert adapted < 0.75 * flops_by_part(train_products(full))["encoder"]  # most weights need none


def test_windows_that_divide_waste_nothing():
    cfg = VideoModelConfig()
    whole = dataclasses.replace(
        cfg, encoder=dataclasses.replace(cfg.encoder, window_size=(2, 8, 8))
    )

    def total(cfg, padded):
        return sum(product.flops for product in forward_products(cfg, padded=padded))

    assert total(whole, padded=True) == total(whole, padded=False)
    assert total(cfg, padded=True) > total(cfg, padded=False)


def test_remat_is_no_need_and_frozen_parts_cost_less():
    cfg = VideoModelConfig()
    assert train_products(cfg) == train_products(dataclasses.replace(cfg, remat=True))
    by_part = flops_by_part(train_products(cfg))
    assert list(by_part) == list(PARTS)
    assert flops_by_part(train_products(cfg, ("encoder",)))["encoder"] < by_part["encoder"] / 2
    assert flops_by_part(train_products(cfg, PARTS)) == flops_by_part(forward_products(cfg))
