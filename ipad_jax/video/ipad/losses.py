"""Losses of the video model, in float32 (IPAD, train.py: MSE + 0.0002 entropy + 0.02 period)."""

import jax
import jax.numpy as jnp

from ipad_jax.video.ipad.model import VideoOutput
from ipad_jax.video.ipad.period_head import circular_mean, phase_probabilities

ENTROPY_WEIGHT = 0.0002  # train.py of IPAD's code
PERIOD_WEIGHT = 0.02


def reconstruction_loss(reconstruction: jax.Array, clip: jax.Array) -> jax.Array:
    """Mean squared error over everything, values in [-1, 1]: two [b, t, h, w, 3] -> []."""
    return jnp.mean(jnp.square(reconstruction.astype(jnp.float32) - clip.astype(jnp.float32)))


def attention_entropy(attention: jax.Array) -> jax.Array:
    """Mean over tokens of the entropy over slots, in nats: [b, n, M] -> []."""
    attention = attention.astype(jnp.float32)
    return -jnp.mean(jnp.sum(attention * jnp.log(attention + 1e-12), axis=-1))


def phase_class(phase: jax.Array, num_classes: int) -> jax.Array:
    """Class floor(num_classes * phase): float [b] in [0, 1) -> int32 [b]; NaN gives 0."""
    classes = jnp.floor(jnp.nan_to_num(phase) * num_classes).astype(jnp.int32)
    return jnp.clip(classes, 0, num_classes - 1)


def known_mean(values: jax.Array, known: jax.Array) -> jax.Array:
    """Mean of [b] over the known ones, bool [b]; 0 where none is."""
    return jnp.sum(jnp.where(known, values, 0.0)) / jnp.maximum(jnp.sum(known), 1)


def phase_target(phase: jax.Array, num_classes: int, width: float) -> jax.Array:
    """What the phase classes' probabilities should be: float [b] in [0, 1) -> [b, num_classes].

    Args:
        phase: float32 [b]; NaN counts as 0.
        num_classes: phase classes.
        width: standard deviation in cycles of a Gaussian around the phase, on the circle. 0: all of it
            on the phase's own class, as published. Above 0 (ours) a clip teaches its class's neighbours
            too, which otherwise need footage of their own.
    """
    if width == 0:
        return jax.nn.one_hot(phase_class(phase, num_classes), num_classes)
    middle = jnp.arange(num_classes) + 0.5
    away = jnp.abs(middle[None] - jnp.nan_to_num(phase)[:, None] * num_classes)
    away = jnp.minimum(away, num_classes - away)
    return jax.nn.softmax(-0.5 * jnp.square(away / (width * num_classes)), axis=-1)


def period_loss(phase_logits: jax.Array, phase: jax.Array, width: float = 0.0) -> jax.Array:
    """Cross-entropy against the phase of the clip's first frame, mean over known phases.

    Args:
        phase_logits: [b, classes] float.
        phase: float32 [b] in [0, 1), NaN where unknown: such a sample has no loss.
        width: of the target in cycles, see `phase_target`.

    Returns:
        float32 []; 0 where no phase of the batch is known.
    """
    target = phase_target(phase, phase_logits.shape[-1], width)
    log_probability = jax.nn.log_softmax(phase_logits.astype(jnp.float32), axis=-1)
    return known_mean(-jnp.sum(target * log_probability, axis=-1), jnp.isfinite(phase))


def phase_error(predicted: jax.Array, phase: jax.Array) -> jax.Array:
    """Mean circular distance in cycles, over known phases: two float32 [b] -> [], at most 0.5."""
    gap = jnp.abs(predicted - jnp.nan_to_num(phase))
    return known_mean(jnp.minimum(gap, 1.0 - gap), jnp.isfinite(phase))


def video_loss(
    output: VideoOutput,
    clip: jax.Array,
    phase: jax.Array,
    *,
    entropy_weight: float = ENTROPY_WEIGHT,
    period_weight: float = PERIOD_WEIGHT,
    period_width: float = 0.0,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The whole loss; terms of parts that the model lacks are left out.

    Args:
        output: of the model, for `clip` [b, t, h, w, 3] in [-1, 1].
        phase: float32 [b] in [0, 1) of each clip's first frame, NaN where unknown.
        entropy_weight: of the attention's entropy.
        period_weight: of the phase's cross-entropy.
        period_width: of its target in cycles, see `phase_target`.

    Returns:
        The loss, float32 [], and its parts unweighted: `loss`, `mse`, and where they exist
        `entropy`, `period` and `phase_error` (in cycles; not part of the loss).
    """
    mse = reconstruction_loss(output.reconstruction, clip)
    loss, metrics = mse, {"mse": mse}
    if output.attention is not None:
        metrics["entropy"] = attention_entropy(output.attention)
        loss = loss + entropy_weight * metrics["entropy"]
    if output.phase_logits is not None:
        metrics["period"] = period_loss(output.phase_logits, phase, period_width)
        loss = loss + period_weight * metrics["period"]
        predicted = circular_mean(phase_probabilities(output.phase_logits))
        metrics["phase_error"] = jax.lax.stop_gradient(phase_error(predicted, phase))
    return loss, {"loss": loss, **metrics}
