"""Period head: where in the machine's cycle does a clip start (IPAD paper, sec. 4.2, eq. 2).

Phase classes divide the cycle evenly; class k covers [k, k + 1) / classes. Two heads:

`PooledHead` (default) keeps a coarse grid of a few channels, since in a machine's picture the place
of the moving part is the phase. `PublishedHead` is IPAD's code, model/video_swin_transformer.py: at
the paper's size 226M of its 263M parameters, which its own 35.9M cannot have counted.

Both start as Flax's layers do, with variance 1 / inputs, where PyTorch's default has a third of it: the
phase of held-out clips was nearer after the same steps (docs/results.md, "What the paper's network is worth
here"; measured of the pooled head).
"""

import jax
import jax.numpy as jnp
from flax import nnx

from ipad_jax.nn.conv_layers import BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM
from ipad_jax.video.ipad.decoder import LEAKY_SLOPE

POOLED_GRID = 4  # positions an axis that the pooled head keeps of h and w
POOLED_CHANNELS = 32  # channels it keeps
POOLED_HIDDEN = 256


def phase_probabilities(phase_logits: jax.Array) -> jax.Array:
    """Softmax over the classes in float32: [b, classes] -> [b, classes]."""
    return jax.nn.softmax(phase_logits.astype(jnp.float32), axis=-1)


def circular_mean(probabilities: jax.Array) -> jax.Array:
    """Mean direction of a distribution over the phase classes, as a phase.

    Args:
        probabilities: float32 [..., classes], summing to 1; a class counts at its middle.

    Returns:
        float32 [...] in [0, 1). Smoother than the class of the maximum, and right across the end of
        a cycle. Arbitrary where the distribution has no direction (uniform).
    """
    classes = probabilities.shape[-1]
    angle = (jnp.arange(classes) + 0.5) * (2 * jnp.pi / classes)
    east = probabilities @ jnp.cos(angle)
    north = probabilities @ jnp.sin(angle)
    phase = jnp.arctan2(north, east) / (2 * jnp.pi)
    phase = jnp.where(phase < 0, phase + 1.0, phase)
    return jnp.where(phase >= 1.0, 0.0, phase)  # -1e-9 + 1 rounds to 1


def _pool_edges(size: int, parts: int) -> list[tuple[int, int]]:
    """Borders of adaptive pooling: part i is [floor(i s / p), ceil((i + 1) s / p))."""
    return [(i * size // parts, -((-(i + 1) * size) // parts)) for i in range(parts)]


def adaptive_pool(x: jax.Array, grid: int) -> jax.Array:
    """Average [b, t, h, w, c] over a grid of at most `grid` x `grid` parts of h and w."""
    _, _, h, w, _ = x.shape
    x = jnp.stack([x[:, :, a:z].mean(axis=2) for a, z in _pool_edges(h, min(grid, h))], axis=2)
    return jnp.stack(
        [x[:, :, :, a:z].mean(axis=3) for a, z in _pool_edges(w, min(grid, w))], axis=3
    )


class PooledHead(nnx.Module):
    """Reduce channels, pool to a coarse grid, two dense layers.

    Args:
        size: (t, h, w) of the features.
        features: their channels.
        num_classes: phase classes.
        dtype: of the matrix products.

    Call: [b, t, h, w, c] -> float32 [b, num_classes].
    """

    def __init__(
        self,
        size: tuple[int, int, int],
        features: int,
        num_classes: int,
        *,
        dtype: jnp.dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        t, h, w = size
        flat = t * min(h, POOLED_GRID) * min(w, POOLED_GRID) * POOLED_CHANNELS
        self.reduce = nnx.Linear(features, POOLED_CHANNELS, dtype=dtype, rngs=rngs)
        self.hidden = nnx.Linear(flat, POOLED_HIDDEN, dtype=dtype, rngs=rngs)
        self.out = nnx.Linear(POOLED_HIDDEN, num_classes, dtype=dtype, rngs=rngs)

    def __call__(self, features: jax.Array) -> jax.Array:
        x = jax.nn.leaky_relu(self.reduce(features), LEAKY_SLOPE)
        x = adaptive_pool(x, POOLED_GRID).reshape(x.shape[0], -1)
        x = jax.nn.leaky_relu(self.hidden(x), LEAKY_SLOPE)
        return self.out(x).astype(jnp.float32)


class PublishedHead(nnx.Module):
    """Convolution of stride (1, 2, 2), BatchNorm, then dense 4096, 2048, num_classes.

    Call: [b, t, h, w, c] -> float32 [b, num_classes].
    """

    def __init__(
        self,
        size: tuple[int, int, int],
        features: int,
        num_classes: int,
        *,
        dtype: jnp.dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        t, h, w = size
        flat = t * -(-h // 2) * -(-w // 2) * features
        self.conv = nnx.Conv(
            features,
            features,
            kernel_size=(3, 3, 3),
            strides=(1, 2, 2),
            padding=1,
            dtype=dtype,
            rngs=rngs,
        )
        self.norm = nnx.BatchNorm(
            features,
            momentum=BATCH_NORM_MOMENTUM,
            epsilon=BATCH_NORM_EPSILON,
            dtype=jnp.float32,
            rngs=rngs,
        )
        self.fc1 = nnx.Linear(flat, 4096, dtype=dtype, rngs=rngs)
        self.fc2 = nnx.Linear(4096, 2048, dtype=dtype, rngs=rngs)
        self.fc3 = nnx.Linear(2048, num_classes, dtype=dtype, rngs=rngs)

    def __call__(self, features: jax.Array) -> jax.Array:
        x = jax.nn.leaky_relu(self.norm(self.conv(features)), LEAKY_SLOPE)
        # Channels first before flattening, as the reference, so that its weights would fit.
        x = jnp.moveaxis(x, -1, 1).reshape(x.shape[0], -1)
        x = jax.nn.relu(self.fc2(jax.nn.relu(self.fc1(x))))
        return self.fc3(x).astype(jnp.float32)
