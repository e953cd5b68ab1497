"""Counting products in a traced program: layers by hand, what trains, what is computed again."""

import itertools
import re

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from ipad_jax.nn.conv2d import conv2d
from ipad_jax.nn.conv3d import conv3d, conv_transpose3d
from ipad_jax.nn.dot import matmul
from ipad_jax.performance.products import (
    describe_work,
    flops_by_part,
    predict_products,
    traced_products,
    train_products,
)
from ipad_jax.pose.pose_search import FINAL
from ipad_jax.run.config import load_config
from ipad_jax.training.task import make_task
from ipad_jax.video.ipad.task import PARTS


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


def test_of_a_condition_the_costlier_branch_counts():
    def run(x, flag):
        return jax.lax.cond(flag > 0, lambda x: x @ x @ x, lambda x: x @ x, x)

    assert flops(run, (3, 3), ()) == 2 * 2 * 27


def test_a_bias_is_no_product():
    """Its gradient is a sum over rows, which JAX may write as a product with a vector of ones."""

    def loss(bias, x):
        return jnp.sum((x @ x + jnp.einsum("n,m->nm", jnp.ones(3), bias)) ** 2)

    assert flops(jax.grad(loss), (3,), (3, 3)) == 2 * 27


SIZES = (5, 7, 11, 3)  # columns of a row, before and after each of three layers
LAYERS = [2 * a * b for a, b in itertools.pairwise(SIZES)]


class Layers(nnx.Module):
    """Three matrices; with `remat` each is computed again for the gradient."""

    def __init__(self, remat):
        self.remat = remat
        for name, a, b in zip("abc", SIZES[:-1], SIZES[1:]):
            setattr(self, name, nnx.Param(jnp.ones((a, b))))

    def __call__(self, x):
        for name in "abc":

            def layer(x, name=name):
                return jnp.tanh(matmul(x, getattr(self, name)[...], "float32"))

            with jax.named_scope(name):
                x = jax.checkpoint(layer)(x) if self.remat else layer(x)
        return x


class LayersTask:
    """A task of one row an example, of which the layers in `trained` train."""

    unit = "rows"

    def __init__(self, trained, remat=False):
        self.trained, self.remat = trained, remat

    @property
    def trainable(self):
        return lambda path, value: isinstance(value, nnx.Param) and path[0] in self.trained

    def init_model(self, key):
        return Layers(self.remat)

    def batch_shapes(self, batch_size):
        return {"row": jax.ShapeDtypeStruct((batch_size, SIZES[0]), jnp.float32)}

    def loss_fn(self, model, batch, key):
        return jnp.mean(model(batch["row"]) ** 2), {}


@pytest.mark.parametrize("remat", [False, True])
@pytest.mark.parametrize(
    ("trained", "times"),  # forward, gradient by the weights, gradient by the input
    [("abc", (2, 3, 3)), ("b", (1, 2, 2)), ("c", (1, 1, 2)), ("ac", (2, 2, 3)), ("", (1, 1, 1))],
)
def test_only_what_trains_and_what_lies_behind_it_has_gradients(trained, times, remat):
    task = LayersTask(trained, remat)
    expected = {name: n * count for name, n, count in zip("abc", LAYERS, times)}
    assert flops_by_part(train_products(task)) == expected
    # without `predict_fn` inference is the loss
    assert flops_by_part(predict_products(task)) == dict(zip("abc", LAYERS))
    numbers = [float(word) for word in re.findall(r"[\d.e-]*\d", describe_work(task))]
    assert numbers[0] == pytest.approx(sum(LAYERS) / 1e9, rel=5e-3)  # three figures
    assert numbers[-1] == pytest.approx(sum(expected.values()) / 1e9, rel=5e-3)


@pytest.mark.slow
def test_the_encoder_of_the_paper_is_counted_as_by_hand():
    """Windows of 2x7x7 on maps of 64, 32, 16 and 8: attention fills them up, linear layers do not."""
    frames, dim = 4, 96
    expected = 2 * frames * 64**2 * (3 * 4 * 4 * 4) * dim
    for depth, side, padded in ((2, 64, 70), (2, 32, 35), (6, 16, 21), (2, 8, 14)):
        tokens, seen = frames * side**2, frames * padded**2
        linear, attention = 12 * tokens * dim**2, 2 * seen * (2 * 7 * 7) * dim
        expected += 2 * depth * (linear + attention)
        if side > 8:  # four neighbours become one of twice the channels
            expected += 2 * (tokens // 4) * (4 * dim) * (2 * dim)
            dim *= 2
    task = make_task(load_config("ipad"))
    found = flops_by_part(predict_products(task))
    assert found["encoder"] == expected
    # the memory: similarities with the slots, and their mixture
    config = task.model_config
    assert found["memory"] == 2 * 2 * frames * 8**2 * dim * config.memory.num_slots


@pytest.fixture(scope="module")
def tiny():
    """FLOPs by part of a training step of the tiny paper config, with some leaves changed."""

    def count(**leaves):
        overrides = {name.replace("__", "."): value for name, value in leaves.items()}
        return flops_by_part(train_products(make_task(load_config("ipad:tiny", overrides))))

    return count


@pytest.mark.slow
def test_parts_of_the_model_and_what_is_frozen(tiny):
    full = tiny()
    assert full.keys() == set(PARTS)
    assert tiny(model__remat=True) == full
    forward = predict_products(make_task(load_config("ipad:tiny")))
    assert tiny(freeze=PARTS) == flops_by_part(forward)
    frozen = tiny(freeze=("encoder",))
    assert frozen["encoder"] == flops_by_part(forward)["encoder"] < full["encoder"] / 2
    assert (
        tiny(adapters__rank=2)["encoder"] < 0.9 * full["encoder"]
    )  # most weights need no gradient


def test_the_work_of_an_object_is_that_of_one_ray(tmp_path):
    config = load_config("omnipose:tiny", {"data.data_dir": str(tmp_path)})
    task, model = make_task(config), config.model
    looked, compared, _ = FINAL
    first = model.levels * model.features * model.width
    # a density alone is a sum and no matrix product
    multiplied = looked * first + compared * (first + 13 * model.width)
    assert sum(product.flops for product in predict_products(task)) == 2 * multiplied
    assert describe_work(task).startswith("matrix products of one ray: ")
