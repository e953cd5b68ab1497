"""Mesh and shardings: every device, axes (`data`, `fsdp`), arrays split by one rule."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


def make_mesh(fsdp: int = 1, num_devices: int = 0, devices: Sequence[Any] | None = None) -> Mesh:
    """The mesh every array lives on: `data` x `fsdp`.

    Args:
      fsdp: devices over which one copy of the weights is spread; 1 keeps a whole copy on each.
      num_devices: use only the first so many devices; 0 uses all.
      devices: those to take; None: all that JAX sees.

    Raises:
      ValueError: there are fewer devices, or they do not divide by `fsdp`.
    """
    devices = jax.devices() if devices is None else devices
    count = num_devices or len(devices)
    if count > len(devices):
        raise ValueError(
            f"config.num_devices={num_devices}, but JAX sees {len(devices)}; 0 takes them all."
        )
    if jax.process_count() > 1 and count < len(devices):
        raise ValueError(
            f"config.num_devices={num_devices} of {len(devices)}: {jax.process_count()} processes use all "
            "their devices; set 0, or start fewer processes."
        )
    if fsdp < 1 or count % fsdp:
        choices = [n for n in range(1, count + 1) if count % n == 0]
        raise ValueError(f"config.fsdp={fsdp} must divide the {count} devices; one of {choices}.")
    # Auto axes: under Explicit ones the window reshapes of Swin raise ShardingTypeError.
    return jax.make_mesh(
        (count // fsdp, fsdp),
        ("data", "fsdp"),
        axis_types=(AxisType.Auto, AxisType.Auto),
        devices=devices[:count],
    )


def fsdp_sharding(tree: Any, mesh: Mesh, min_bytes: int) -> Any:
    """Shardings of a tree of arrays or shapes: big ones split over `fsdp`, the rest replicated.

    An array of at least `min_bytes` is split along its largest axis that `fsdp` divides (the last
    one of equals). The same rule fits weights and their optimizer slots, so they lie together.
    """
    size = mesh.shape["fsdp"]

    def rule(x: Any) -> NamedSharding:
        spec: list[str | None] = [None] * len(x.shape)
        whole = [axis for axis, length in enumerate(x.shape) if length % size == 0 and length > 1]
        if size > 1 and whole and np.prod(x.shape) * x.dtype.itemsize >= min_bytes:
            spec[max(whole, key=lambda axis: (x.shape[axis], axis))] = "fsdp"
        return NamedSharding(mesh, PartitionSpec(*spec))

    return jax.tree.map(rule, tree)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Rows of a batch, spread over every device: both axes carry data."""
    return NamedSharding(mesh, PartitionSpec(("data", "fsdp")))


def replicated(mesh: Mesh) -> NamedSharding:
    """The same value on every device."""
    return NamedSharding(mesh, PartitionSpec())


def gather(tree: Any) -> Any:
    """Arrays whole on every device of the mesh around (`jax.set_mesh`), inside a program.

    A step calls it on its weights before it uses them. Left to itself the partitioner may leave a large
    weight in shards and gather the activations of the whole batch instead, layer by layer.
    """
    if jax.sharding.get_abstract_mesh().empty:
        return tree
    return jax.lax.with_sharding_constraint(tree, PartitionSpec())


def check_batch_size(batch_size: int, mesh: Mesh) -> None:
    """Raises ValueError unless the rows of a global batch can be shared evenly."""
    if batch_size < 1 or batch_size % mesh.size:
        raise ValueError(
            f"config.batch_size={batch_size} must be a multiple of the {mesh.size} devices "
            "(config.num_devices=N uses only the first N)."
        )


def to_global(batch: Any, sharding: NamedSharding) -> Any:
    """A process's own rows as part of the global array: the one transfer that the loop is meant to do."""
    with jax.transfer_guard_host_to_device("allow"):  # explicit for one process, not for several
        return jax.tree.map(
            lambda rows: jax.make_array_from_process_local_data(sharding, rows), batch
        )


def from_host(x: np.ndarray, sharding: NamedSharding) -> jax.Array:
    """An array that every process holds whole, as a global one; each device gets its part alone."""
    return jax.make_array_from_callback(x.shape, sharding, lambda part: x[part])
