"""The mesh and the one rule that says what is split."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from ipad_jax.training.sharding import (
    batch_sharding,
    check_batch_size,
    fsdp_sharding,
    make_mesh,
    to_global,
)


def spec(shape, fsdp, min_bytes=0):
    mesh = make_mesh(fsdp, 4)
    return fsdp_sharding(jax.ShapeDtypeStruct(shape, jnp.float32), mesh, min_bytes).spec


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((6, 8), P(None, "fsdp")),  # the larger of those that divide
        ((8, 6), P("fsdp", None)),
        ((4, 4), P(None, "fsdp")),  # the last of equals
        ((9, 6), P(None, "fsdp")),  # 9 is larger, but odd
        ((3, 5), P(None, None)),  # nothing divides
        ((8,), P("fsdp")),
        ((), P()),
    ],
)
def test_rule(shape, expected):
    assert spec(shape, 2) == expected


def test_small_arrays_and_one_device_stay_whole():
    assert spec((8, 8), 2, min_bytes=257) == P(None, None)
    assert spec((8, 8), 2, min_bytes=256) == P(None, "fsdp")
    assert spec((8, 8), 1) == P(None, None)


@pytest.mark.parametrize(("fsdp", "shape"), [(1, (4, 1)), (2, (2, 2)), (4, (1, 4))])
def test_mesh_shape_and_batches_over_both_axes(fsdp, shape):
    mesh = make_mesh(fsdp, 4)
    assert mesh.devices.shape == shape
    rows = np.arange(8, dtype=np.float32).reshape(8, 1)
    batch = to_global({"x": rows}, batch_sharding(mesh))["x"]
    assert [s.data.shape for s in batch.addressable_shards] == [(2, 1)] * 4
    np.testing.assert_array_equal(batch, rows)


@pytest.mark.parametrize(
    ("fsdp", "devices", "message"),
    [
        (3, 4, r"config\.fsdp=3 must divide the 4 devices; one of \[1, 2, 4\]"),
        (1, 9, r"config\.num_devices=9, but JAX sees 4"),
        (0, 4, r"config\.fsdp=0"),
    ],
)
def test_impossible_meshes_say_what_is_wrong(fsdp, devices, message):
    with pytest.raises(ValueError, match=message):
        make_mesh(fsdp, devices)


def test_a_batch_that_cannot_be_shared_says_so():
    with pytest.raises(ValueError, match=r"config\.batch_size=6 must be a multiple of the 4"):
        check_batch_size(6, make_mesh(1, 4))
    check_batch_size(8, make_mesh(2, 4))
