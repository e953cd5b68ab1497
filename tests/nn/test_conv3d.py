"""3-D convolutions: against PyTorch's definitions, both ways."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipad_jax.nn import conv3d

STRIDES = [(1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 1, 2)]


def scatter(x: np.ndarray, kernel: np.ndarray, strides: tuple[int, int, int]) -> np.ndarray:
    """PyTorch's ConvTranspose3d: every input adds its kernel-weighted self to the outputs."""
    b, *size, _ = x.shape
    full = [s * (n - 1) + 3 for s, n in zip(strides, size)]  # before padding is cut away
    out = np.zeros((b, *full, kernel.shape[-1]))
    for t, h, w in itertools.product(*map(range, size)):
        st, sh, sw = strides
        place = out[:, st * t : st * t + 3, sh * h : sh * h + 3, sw * w : sw * w + 3]
        place += np.einsum("bc,thwcd->bthwd", x[:, t, h, w], kernel)
    # padding 1 cuts one from both ends, output padding 1 gives one back at the end (stride 2)
    extended = np.pad(out, [(0, 0), *((0, 1) for _ in range(3)), (0, 0)])
    st, sh, sw = (s * n for s, n in zip(strides, size))
    return extended[:, 1 : 1 + st, 1 : 1 + sh, 1 : 1 + sw]


def example(cin: int, cout: int, size: tuple[int, int, int] = (2, 3, 4)):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, *size, cin)).astype(np.float32)
    return x, rng.standard_normal((3, 3, 3, cin, cout)).astype(np.float32)


# one program each: one operation after another they take ten times as long to compile
transposed = jax.jit(conv3d.conv_transpose3d, static_argnums=2, static_argnames="method")


@pytest.mark.parametrize("method", ["dilated", "phases"])
@pytest.mark.parametrize("strides", STRIDES)
@pytest.mark.parametrize(
    ("cin", "cout"), [(4, 5), (16, 2), (3, 20)], ids=["wide", "narrow", "above SHORT_RUN"]
)
def test_equals_the_definition(method, strides, cin, cout):
    x, kernel = example(cin, cout)
    out = transposed(x, kernel, strides, method=method)
    # float32 sums of up to 27 * 16 products of size 1
    np.testing.assert_allclose(out, scatter(x, kernel, strides), rtol=1e-5, atol=5e-5)


@pytest.mark.parametrize("strides", STRIDES)
@pytest.mark.parametrize(
    ("cin", "cout"), [(4, 5), (16, 2), (3, 20)], ids=["wide", "narrow", "above SHORT_RUN"]
)
def test_gradients_of_both_ways_agree(strides, cin, cout):
    x, kernel = example(cin, cout)
    size = [s * n for s, n in zip(strides, x.shape[1:4])]
    weight = np.random.default_rng(1).standard_normal((2, *size, cout)).astype(np.float32)

    @jax.jit
    def gradients(x, kernel):
        return [
            jax.vjp(lambda *a, m=m: conv3d.conv_transpose3d(*a, strides, method=m), x, kernel)[1](
                weight
            )
            for m in ("phases", "dilated")
        ]

    for ours, library in zip(*gradients(x, kernel)):
        np.testing.assert_allclose(ours, library, rtol=1e-4, atol=1e-4)  # sums of ~400 products


def test_sides_of_one():
    x, kernel = example(4, 5, size=(1, 1, 1))
    out = transposed(x, kernel, (2, 2, 2), method="phases")
    np.testing.assert_allclose(out, scatter(x, kernel, (2, 2, 2)), rtol=0, atol=2e-5)


def test_bfloat16_stays_bfloat16():
    x, kernel = (jnp.asarray(a, jnp.bfloat16) for a in example(4, 5))
    for method in ("dilated", "phases"):
        out = jax.eval_shape(lambda *a, m=method: transposed(*a, (1, 2, 2), method=m), x, kernel)
        assert out.dtype == jnp.bfloat16


@pytest.mark.parametrize("strides", [(1, 2, 2), (2, 2, 2)])
def test_bfloat16_input_meets_a_float32_kernel(strides):
    """Values and gradients within the rounding of the operands; the kernel's gradient is not rounded."""
    x, kernel = example(4, 5)

    @jax.jit
    def out_and_gradients(x, kernel):
        def loss(x, kernel):
            out = conv3d.conv_transpose3d(x, kernel, strides, method="phases")
            return jnp.sum(out.astype(jnp.float32) ** 2), out

        gradients, out = jax.grad(loss, (0, 1), has_aux=True)(x, kernel)
        return out, gradients

    out, (grad_x, grad_kernel) = out_and_gradients(jnp.asarray(x, jnp.bfloat16), kernel)
    exact_out, exact_gradients = out_and_gradients(x, kernel)
    # 2^-8 a product, some dozens of size 1 in each sum
    np.testing.assert_allclose(np.asarray(out, np.float32), exact_out, rtol=0.02, atol=0.1)
    assert (grad_x.dtype, grad_kernel.dtype) == (jnp.bfloat16, jnp.float32)
    for ours, exact in zip((grad_x, grad_kernel), exact_gradients):
        scale = float(np.abs(exact).max())
        np.testing.assert_allclose(np.asarray(ours, np.float32), exact, rtol=0, atol=0.02 * scale)


def test_backend_chooses_and_an_argument_overrides(monkeypatch):
    x, kernel = map(jnp.asarray, example(4, 5))

    def operations(method):
        def call(x):
            return conv3d.conv_transpose3d(x, kernel, (2, 2, 2), method=method)

        return str(jax.make_jaxpr(call)(x))

    assert "lhs_dilation=(2, 2, 2)" not in operations(None)
    assert "lhs_dilation=(2, 2, 2)" in operations("dilated")
    for backend, is_dilated in (("gpu", False), ("tpu", True)):
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        assert ("lhs_dilation=(2, 2, 2)" in operations(None)) == is_dilated


def test_bad_input_is_named():
    x, kernel = map(jnp.asarray, example(4, 5))
    with pytest.raises(ValueError, match=r"strides=\(1, 3, 1\) must be three numbers, 1 or 2"):
        conv3d.conv_transpose3d(x, kernel, (1, 3, 1))
    with pytest.raises(ValueError, match=r"\(3, 3, 3, 4, 5\).*input has shape \(2, 2, 3, 4, 3\)"):
        conv3d.conv_transpose3d(x[..., :3], kernel, (1, 2, 2))


@pytest.mark.parametrize("strides", STRIDES)
def test_convolution_is_the_librarys_with_its_gradients(strides):
    x, kernel = example(4, 5, size=(2, 4, 6))
    size = [n // s for s, n in zip(strides, x.shape[1:4])]
    weight = np.random.default_rng(1).standard_normal((2, *size, 5)).astype(np.float32)

    @jax.jit
    def both(x, kernel):
        found = []
        for m in ("phases", "dilated"):
            out, vjp = jax.vjp(lambda *a, m=m: conv3d.conv3d(*a, strides, method=m), x, kernel)
            found.append((out, vjp(weight)))
        return found

    ours, library = both(x, kernel)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(library)):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)  # sums of some hundred products


def test_convolution_is_the_adjoint_of_the_transposed_one():
    """<conv(x), y> = <x, transposed(y)>, the kernel's channels exchanged."""
    x, kernel = example(4, 5, size=(2, 4, 6))
    y = np.random.default_rng(1).standard_normal((2, 1, 2, 3, 5)).astype(np.float32)
    down = jax.jit(lambda x, kernel: conv3d.conv3d(x, kernel, (2, 2, 2)))(x, kernel)
    up = scatter(y, kernel.swapaxes(-1, -2), (2, 2, 2))
    np.testing.assert_allclose(np.vdot(down, y), np.vdot(x, up), rtol=1e-4)


def test_sides_that_a_stride_does_not_divide_are_named():
    x, kernel = map(jnp.asarray, example(4, 5))
    with pytest.raises(ValueError, match=r"must divide the sides .* got \(2, 2, 3, 4, 4\)"):
        conv3d.conv3d(x, kernel, (1, 2, 2))
