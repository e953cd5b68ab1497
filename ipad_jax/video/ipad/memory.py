"""Periodic memory: features are replaced by mixtures of stored ones (IPAD, sec. 4.2, eq. 1-6).

One function an equation, in the paper's symbols:

    eq. 1  address        w = F M^T
    eq. 2  phase_argmax   t_p and its probability P
    eq. 3  phase_slot     t_p -> slot of the memory
    eq. 4  boost_slot     raise w at that slot by what the period head believes
    eq. 5  attend         softmax (and hard shrink)
    eq. 6  read           F_out = w_hat M

Where the paper and its published code (IPAD, model/memory_module.py) disagree, or where what they
write does not do what they mean, `MemoryConfig` has a switch; the defaults are ours. Gradient: t_p
and the slot are integers and pass none; the probability P passes gradient from the reconstruction
to the period head through eq. 4.
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx

from ipad_jax.nn.dot import einsum

Boost = Literal["log", "multiply", "as_published", "none"]
PUBLISHED_REACH = 7  # slots on either side; model/memory_module.py
PUBLISHED_CYCLE = 126  # frames in a cycle of scene S01, hard-coded there

_BOOSTS = ("log", "multiply", "as_published", "none")


@dataclasses.dataclass(frozen=True)
class MemoryConfig:
    """Size and switches of the memory.

    Raises:
        ValueError: a value that cannot be, naming the field and the choices.
    """

    num_slots: int = 2000  # M; paper sec. 5.2
    boost: Boost = "log"  # eq. 4: log(1 + P) added; paper: factor 1 + P; "none" ignores the phase
    softmax_over: Literal["slots", "tokens"] = "slots"  # eq. 5 as printed sums over tokens
    shrink: float = 1.0  # weights up to shrink / M become 0 (published 0.0025 = 5 / M); 0 = off

    def __post_init__(self):
        if not isinstance(self.num_slots, int) or self.num_slots < 1:
            raise ValueError(f"MemoryConfig.num_slots={self.num_slots!r} must be at least 1.")
        if self.boost not in _BOOSTS:
            raise ValueError(f"MemoryConfig.boost={self.boost!r} must be one of {_BOOSTS}.")
        if self.softmax_over not in ("slots", "tokens"):
            raise ValueError(
                f"MemoryConfig.softmax_over={self.softmax_over!r} must be 'slots' or 'tokens'."
            )
        if not 0.0 <= self.shrink < self.num_slots:
            raise ValueError(
                f"MemoryConfig.shrink={self.shrink} must be in [0, num_slots={self.num_slots}): "
                "it is counted in units of 1 / num_slots."
            )
        if self.softmax_over == "tokens" and self.shrink > 0:
            raise ValueError(
                f"MemoryConfig.shrink={self.shrink} needs softmax_over='slots' (weights over "
                "tokens are not compared with 1 / num_slots): set shrink=0."
            )


def address(features: jax.Array, memory: jax.Array) -> jax.Array:
    """Eq. 1, w = F M^T: [b, n, c] and [M, c] -> similarities float32 [b, n, M]."""
    return einsum("bnc,mc->bnm", features, memory, memory.dtype)


def phase_argmax(phase_logits: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Eq. 2, the phase t_p that the period head believes in, and how much.

    Args:
        phase_logits: [b, classes] float.

    Returns:
        t_p int32 [b], and its probability float32 [b] (the softmax over the classes).
    """
    logits = phase_logits.astype(jnp.float32)
    phase = jnp.argmax(logits, axis=-1)
    return phase, at_phase(jax.nn.softmax(logits, axis=-1), phase)


def at_phase(values: jax.Array, phase: jax.Array) -> jax.Array:
    """The value of each row's phase: [b, classes], int [b] -> [b].

    Taken, not maximised: the gradient of a maximum divides by how many values equal it, and there are none
    where the compiler computes the values once more with another rounding.
    """
    return jnp.take_along_axis(values, phase[:, None], axis=-1)[:, 0]


def phase_slot(phase: jax.Array, num_classes: int, num_slots: int) -> jax.Array:
    """Eq. 3, the slot that stands for the middle of a phase class: int [b] -> int32 [b]."""
    # floor((phase + 1/2) / classes * M) in whole numbers: exact for any size
    return ((2 * phase + 1) * num_slots) // (2 * num_classes)


def published_slot(phase: jax.Array, num_slots: int) -> jax.Array:
    """Eq. 3 as the published code has it: int [b] -> int32 [b], beyond M for phases over 126."""
    return (phase * num_slots) // PUBLISHED_CYCLE


def boost_slot(
    similarity: jax.Array, slot: jax.Array, probability: jax.Array, boost: Boost = "log"
) -> jax.Array:
    """Eq. 4, raise the similarities at each sample's slot.

    Args:
        similarity: w, float32 [b, n, M].
        slot: t_p', int [b].
        probability: P in [0, 1], float32 [b].
        boost: "log" adds log(1 + P), so that the slot's softmax weight gains the factor 1 + P;
            "multiply" is the paper's factor on the similarity itself.

    Returns:
        w', float32 [b, n, M].
    """
    chosen = jax.nn.one_hot(slot, similarity.shape[-1], dtype=similarity.dtype)[:, None, :]
    if boost == "log":
        # Deviation: the paper's factor lowers a negative similarity, which at initialisation is
        # every second one; a factor on the softmax weight raises it always.
        return similarity + chosen * jnp.log1p(probability)[:, None, None]
    if boost == "multiply":
        return similarity * (1.0 + chosen * probability[:, None, None])
    raise ValueError(f"boost_slot: boost={boost!r} must be 'log' or 'multiply'.")


def published_boost(similarity: jax.Array, slot: jax.Array, logit: jax.Array) -> jax.Array:
    """Eq. 4 as in the published code: slots within 7 get the factor 1 + the largest raw logit.

    Args:
        similarity: w, float32 [b, n, M].
        slot: int [b]; those under 7 or beyond M get nothing, as the code's slices come out empty.
        logit: the period head's largest output, float32 [b].

    Returns:
        w', float32 [b, n, M]. The code would give every sample the first one's phase (and stops
        with an error); here each has its own.
    """
    distance = jnp.abs(jnp.arange(similarity.shape[-1])[None] - slot[:, None])
    near = (distance <= PUBLISHED_REACH) & (slot >= PUBLISHED_REACH)[:, None]
    return similarity * (1.0 + jnp.where(near, logit[:, None], 0.0)[:, None, :])


def hard_shrink(weights: jax.Array, threshold: float) -> jax.Array:
    """Zero the weights up to the threshold, then divide each row by its sum.

    A row with nothing above the threshold comes out zero, as in the published code.
    """
    kept = jnp.where(weights > threshold, weights, 0.0)
    return kept / jnp.maximum(kept.sum(axis=-1, keepdims=True), 1e-12)


def attend(similarity: jax.Array, cfg: MemoryConfig) -> jax.Array:
    """Eq. 5, weights w_hat from similarities: float32 [b, n, M] -> the same shape.

    Over slots (the default, and the published code) each token's weights sum to 1; over tokens, as
    eq. 5 is printed, each slot's.
    """
    if cfg.softmax_over == "tokens":
        return jax.nn.softmax(similarity, axis=-2)
    weights = jax.nn.softmax(similarity, axis=-1)
    return hard_shrink(weights, cfg.shrink / cfg.num_slots) if cfg.shrink > 0 else weights


def read(weights: jax.Array, memory: jax.Array) -> jax.Array:
    """Eq. 6, F_out = w_hat M: [b, n, M] and [M, c] -> [b, n, c] in the memory's dtype."""
    return einsum("bnm,mc->bnc", weights, memory, memory.dtype).astype(memory.dtype)


class PeriodicMemory(nnx.Module):
    """Eq. 1-6 in a row.

    Args:
        cfg: size and switches.
        features: channels c.
        dtype: of the two matrix products; similarities and softmax are float32.

    Call: features [b, t, h, w, c], phase_logits [b, classes] or None (no boost then)
    -> features [b, t, h, w, c] and the attention float32 [b, t*h*w, M].
    """

    def __init__(
        self, cfg: MemoryConfig, features: int, *, dtype: jnp.dtype = jnp.float32, rngs: nnx.Rngs
    ):
        self.cfg = cfg
        self.dtype = dtype
        bound = features**-0.5  # model/memory_module.py, reset_parameters
        self.slots = nnx.Param(
            jax.random.uniform(rngs.params(), (cfg.num_slots, features), jnp.float32, -bound, bound)
        )

    def __call__(
        self, features: jax.Array, phase_logits: jax.Array | None
    ) -> tuple[jax.Array, jax.Array]:
        memory = self.slots[...].astype(self.dtype)
        tokens = features.reshape(features.shape[0], -1, features.shape[-1]).astype(self.dtype)
        similarity = address(tokens, memory)
        if phase_logits is not None and self.cfg.boost != "none":
            phase, probability = phase_argmax(phase_logits)
            if self.cfg.boost == "as_published":
                slot = published_slot(phase, self.cfg.num_slots)
                logit = at_phase(phase_logits.astype(jnp.float32), phase)
                similarity = published_boost(similarity, slot, logit)
            else:
                slot = phase_slot(phase, phase_logits.shape[-1], self.cfg.num_slots)
                similarity = boost_slot(similarity, slot, probability, self.cfg.boost)
        weights = attend(similarity, self.cfg)
        return read(weights, memory).reshape(features.shape), weights
