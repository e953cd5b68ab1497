"""Low-rank adapters: the identity at first, on q and v alone, and the same when merged."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn_model import drawn
from flax import nnx

from ipad_jax.nn.attention import WindowAttention
from ipad_jax.nn.lora import LowRank, merge_adapters

DIM = 8


def attention(dtype=jnp.float32):
    return drawn(lambda: WindowAttention(DIM, (1, 2, 2), 2, dtype=dtype, rngs=nnx.Rngs(0)))


def trained(adapted):
    """The same with B as it might be after training."""
    for number, part in enumerate((adapted.adapter.q, adapted.adapter.v)):
        part.b[...] = jnp.asarray(normal(number, *part.b.shape))
    return adapted


def arrays_of(module):
    flat = nnx.to_flat_state(nnx.state(module, nnx.Param))
    return {"x." + ".".join(map(str, path)): np.asarray(leaf[...]) for path, leaf in flat}


def tokens(seed=2):
    return normal(seed, 3, 4, DIM)


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


run = nnx.jit(lambda module, x: module(x))


def test_untrained_adapters_change_no_bit():
    plain, adapted = attention(), attention()
    adapted.add_adapter(3, rngs=nnx.Rngs(5))
    np.testing.assert_array_equal(run(adapted, tokens()), run(plain, tokens()))
    assert np.any(adapted.adapter.q.a[...])  # or no gradient would ever reach B
    assert np.any(adapted.adapter.q.a[...] != adapted.adapter.v.a[...])


def test_keys_stay_what_they_are():
    plain, adapted = attention(), trained_attention()
    project = nnx.jit(lambda m, x: m.project(x))
    before, after = (np.split(np.asarray(project(m, tokens())), 3, -1) for m in (plain, adapted))
    np.testing.assert_array_equal(after[1], before[1])
    for part, low_rank in ((0, adapted.adapter.q), (2, adapted.adapter.v)):
        a, b = np.asarray(low_rank.a[...]), np.asarray(low_rank.b[...])
        expected = before[part] + tokens() @ (a @ b)
        np.testing.assert_allclose(after[part], expected, rtol=1e-5, atol=1e-5)


def trained_attention(rank=3):
    made = attention()
    made.add_adapter(rank, rngs=nnx.Rngs(5))
    return trained(made)


def test_merged_kernel_gives_the_same_outputs():
    adapted, merged = trained_attention(), attention()
    arrays = arrays_of(adapted)
    found = merge_adapters(arrays)
    assert found.keys() == arrays_of(merged).keys()
    merged.qkv.kernel[...] = jnp.asarray(found["x.qkv.kernel"])
    # x (W + A B) and x W + x A B round in another order
    out, expected, untrained = (run(m, tokens()) for m in (merged, adapted, attention()))
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)
    assert not np.allclose(out, untrained, atol=1e-2)
    same = {name for name in found if np.array_equal(found[name], arrays[name])}
    assert same == found.keys() - {"x.qkv.kernel"}
    with pytest.raises(ValueError, match="no adapters to merge"):
        merge_adapters(found)


def test_gradient_reaches_b_first_and_the_kernel_only_where_asked():
    adapted = attention()
    adapted.add_adapter(3, rngs=nnx.Rngs(5))
    graphdef, adapters, rest = nnx.split(adapted, nnx.LoRAParam, ...)

    def loss(adapters):
        return jnp.sum(nnx.merge(graphdef, adapters, rest)(tokens()) ** 2)

    found = arrays_of(nnx.merge(graphdef, jax.jit(jax.grad(loss))(adapters), rest))
    for part in "qv":
        assert np.any(found[f"x.adapter.{part}.b"])
        assert not np.any(found[f"x.adapter.{part}.a"])  # B is zero yet


def test_bfloat16_products_come_out_as_float32():
    made = attention(jnp.bfloat16)
    made.add_adapter(2, rngs=nnx.Rngs(0))
    projected, out = nnx.eval_shape(lambda m, x: (m.project(x), m(x)), made, tokens())
    assert projected.dtype == jnp.float32
    assert out.dtype == jnp.bfloat16


def test_a_rank_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"adapters\.rank=0 must be at least 1"):
        LowRank(DIM, 0, dtype=jnp.float32, rngs=nnx.Rngs(0))
