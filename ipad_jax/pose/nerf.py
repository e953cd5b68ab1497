"""The published NeRF: an MLP from position and direction to density and colour (arXiv 2003.08934, section 3).

Layers, names and order follow nerf-pytorch (run_nerf_helpers.py), whose checkpoints OmniposeAD uses.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
from flax import nnx

from ipad_jax.nn.dot import Linear, check_dtype


@dataclasses.dataclass(frozen=True)
class NerfConfig:
    """Sizes of a NeRF; the defaults are the published ones.

    Raises:
        ValueError: a size that cannot be built, naming the field.
    """

    depth: int = 8  # layers of the trunk
    width: int = 256  # channels
    skip: int = 4  # layer, from 0, whose output gets the encoded position beside it
    position_frequencies: int = 10  # section 5.1
    direction_frequencies: int = 4
    dtype: str = "float32"  # of the products; what comes out is float32

    def __post_init__(self):
        for name in ("depth", "width"):
            if getattr(self, name) < 2:
                raise ValueError(f"NerfConfig.{name}={getattr(self, name)} must be at least 2.")
        if not 0 <= self.skip < self.depth - 1:
            raise ValueError(
                f"NerfConfig.skip={self.skip} must be a layer from 0 to depth - 2 = {self.depth - 2}: the "
                "last one feeds the heads."
            )
        for name in ("position_frequencies", "direction_frequencies"):
            if getattr(self, name) < 0:
                raise ValueError(f"NerfConfig.{name}={getattr(self, name)} must not be negative.")
        check_dtype("NerfConfig.dtype", self.dtype)


def encode_positions(x: jax.Array, frequencies: int) -> jax.Array:
    """x, sin x, cos x, sin 2x, cos 2x, sin 4x ... (eq. 4, without its pi): [..., 3] -> [..., 3 + 6 f].

    Deviation: no pi, and x itself in front, because the published code has it so and its weights need it.
    """
    parts = [x]
    for power in range(frequencies):
        parts += [jnp.sin(x * 2.0**power), jnp.cos(x * 2.0**power)]
    return jnp.concatenate(parts, axis=-1)


class Nerf(nnx.Module):
    """Call: points [..., 3], unit directions [..., 3] -> density [...], rgb [..., 3] in [0, 1].

    The density is absorption a unit of length, not negative.
    """

    def __init__(self, cfg: NerfConfig, *, rngs: nnx.Rngs):
        self.cfg = cfg
        position = 3 + 6 * cfg.position_frequencies
        direction = 3 + 6 * cfg.direction_frequencies
        width, half = cfg.width, cfg.width // 2
        inputs = [position] + [width] * (cfg.depth - 1)
        inputs[cfg.skip + 1] += position
        self.pts_linears = nnx.List(_linear(n, width, cfg, rngs) for n in inputs)
        self.alpha_linear = _linear(width, 1, cfg, rngs)
        self.feature_linear = _linear(width, width, cfg, rngs)
        self.views_linears = nnx.List([_linear(width + direction, half, cfg, rngs)])
        self.rgb_linear = _linear(half, 3, cfg, rngs)

    def __call__(self, points: jax.Array, directions: jax.Array) -> tuple[jax.Array, jax.Array]:
        raw = self.raw(points, directions)
        return nnx.relu(raw[..., 3]), nnx.sigmoid(raw[..., :3])

    def raw(self, points: jax.Array, directions: jax.Array) -> jax.Array:
        """Colour before its sigmoid, density before its ReLU: [..., 3], unit [..., 3] -> float32 [..., 4]."""
        encoded = encode_positions(points, self.cfg.position_frequencies)
        x = encoded
        for number, layer in enumerate(self.pts_linears):
            x = nnx.relu(layer(x))
            if number == self.cfg.skip:
                x = jnp.concatenate([encoded.astype(x.dtype), x], axis=-1)
        density = self.alpha_linear(x)
        seen_from = encode_positions(directions, self.cfg.direction_frequencies)
        x = self.feature_linear(x)  # no ReLU here, in the paper and in the code
        x = jnp.concatenate([x, seen_from.astype(x.dtype)], axis=-1)
        for layer in self.views_linears:
            x = nnx.relu(layer(x))
        return jnp.concatenate([self.rgb_linear(x), density], axis=-1).astype(jnp.float32)


def _linear(inputs: int, outputs: int, cfg: NerfConfig, rngs: nnx.Rngs) -> Linear:
    """A layer with PyTorch's initial values, kernel and bias uniform in +-1 / sqrt(inputs)."""
    bound = 1 / math.sqrt(inputs)

    def uniform(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return Linear(
        inputs,
        outputs,
        kernel_init=uniform,
        bias_init=uniform,
        dtype=jnp.dtype(cfg.dtype),
        rngs=rngs,
    )
