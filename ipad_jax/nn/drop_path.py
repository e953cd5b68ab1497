"""Stochastic depth: drop a whole residual branch, sample by sample (Huang et al. 2016)."""

import jax
from flax import nnx


class DropPath(nnx.Module):
    """Zero the branch of some samples while training and scale the others by 1 / (1 - rate).

    Holds no key (keys stay out of checkpoints); off in the view with `deterministic=True`.

    Args:
        rate: probability in [0, 1) that a sample loses the branch.

    Call: x [b, ...] float, rngs with a `dropout` stream where it acts -> [b, ...].
    """

    def __init__(self, rate: float, *, deterministic: bool = False):
        if not 0.0 <= rate < 1.0:
            raise ValueError(f"DropPath: rate={rate} must be in [0, 1).")
        self.rate = rate
        self.deterministic = deterministic

    def __call__(self, x: jax.Array, *, rngs: nnx.Rngs | None = None) -> jax.Array:
        if self.deterministic or self.rate == 0.0:
            return x
        if rngs is None:
            raise ValueError(
                f"DropPath(rate={self.rate}) trains without random numbers: pass "
                "rngs=nnx.Rngs(dropout=key), or use nnx.view(model, deterministic=True)."
            )
        keep = 1.0 - self.rate
        shape = (x.shape[0],) + (1,) * (x.ndim - 1)
        kept = jax.random.bernoulli(rngs.dropout(), keep, shape)
        return x * (kept / keep).astype(x.dtype)

    def set_view(self, deterministic: bool | None = None) -> None:
        """Let `nnx.view` switch it."""
        if deterministic is not None:
            self.deterministic = deterministic
