"""Coupling steps of normalising flows as FrEIA's AllInOneBlock, which FastFlow and CFlow are made of.

Ardizzone et al., FrEIA, all_in_one_block.py. A permutation is an index, not a dense matrix: the public codes
multiply by one.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ipad_jax.image.features import Frozen

Subnet = Callable[[int, int, nnx.Rngs], Any]  # channels in and out -> a module


class Coupling(nnx.Module):
    """One step: half of the channels scales and shifts the other half, then all are scaled and permuted.

    Call: x [..., c], condition [..., d] or None -> (z [..., c], log of the Jacobian's determinant [...]),
    a value a cell.

    Args:
      channels: c.
      subnet: makes the network from c - c // 2 (and d) channels to 2 (c // 2).
      clamp: bound of the log of a scale; 2.0 in FastFlow, 1.9 in CFlow.
      num_condition: d, 0 for none.
    """

    def __init__(
        self, channels: int, subnet: Subnet, clamp: float, *, num_condition: int = 0, rngs: nnx.Rngs
    ):
        self.channels, self.clamp = channels, clamp
        self.split = channels - channels // 2
        self.subnet = subnet(self.split + num_condition, 2 * (channels // 2), rngs)
        # softplus with beta 0.5 of it, times 0.1, is 1 at the start
        start = 2 * np.log(np.exp(0.5 * 10.0) - 1)
        self.scale = nnx.Param(jnp.full((channels,), start, jnp.float32))
        self.offset = nnx.Param(jnp.zeros((channels,)))
        self.order = Frozen(jax.random.permutation(rngs.params(), channels))

    def __call__(
        self, x: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        first, second = x[..., : self.split], x[..., self.split :]
        given = first if condition is None else jnp.concatenate([first, condition], axis=-1)
        found = 0.1 * self.subnet(given)
        log_scale = self.clamp * jnp.tanh(found[..., : second.shape[-1]])
        second = second * jnp.exp(log_scale) + found[..., second.shape[-1] :]
        scale = 0.1 * 2 * jax.nn.softplus(0.5 * self.scale[...])
        joined = jnp.concatenate([first, second], axis=-1)
        ones = (1,) * (x.ndim - 1)
        joined = joined * scale.reshape(*ones, -1) + self.offset[...].reshape(*ones, -1)
        log_det = jnp.sum(log_scale, axis=-1) + jnp.sum(jnp.log(scale))
        return joined[..., self.order[...]], log_det


class Flow(nnx.Module):
    """Steps in a row; call as `Coupling`, determinants added."""

    def __init__(self, steps: list[Coupling]):
        self.steps = nnx.List(steps)

    def __call__(
        self, x: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        total = jnp.zeros(x.shape[:-1])
        for step in self.steps:
            x, log_det = step(x, condition)
            total = total + log_det
        return x, total
