"""Models with numbers that NumPy drew: a model's own start is a program of its own, compiled for seconds."""

import jax.numpy as jnp
import numpy as np
from flax import nnx

ONES = ("scale", "var")


def drawn(make, seed=0):
    """The model that `make` makes, weights by their fan-in, biases small; normalisations as at the start."""
    rng = np.random.default_rng(seed)
    graphdef, state = nnx.split(nnx.eval_shape(make))

    def draw(shape: tuple[int, ...], name: str) -> np.ndarray:
        if name in ONES:
            return np.ones(shape)
        spread = 0.1 if len(shape) < 2 else np.prod(shape[:-1]) ** -0.5
        return spread * rng.standard_normal(shape)

    filled = []
    for path, leaf in nnx.to_flat_state(state):
        values = (
            draw(leaf.shape, str(path[-1]))
            if isinstance(leaf, nnx.Param)
            else (np.full(leaf.shape, float(str(path[-1]) in ONES)))
        )
        filled.append((path, leaf.replace(jnp.asarray(values, leaf.dtype))))
    return nnx.merge(graphdef, nnx.from_flat_state(filled))
