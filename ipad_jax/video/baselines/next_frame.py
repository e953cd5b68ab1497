"""What methods share that predict a frame from the four before it (ASTNet, DMAD)."""

import jax
import jax.numpy as jnp

CONTEXT = 4  # frames that the next one is predicted from; ENCODED_FRAMES of ASTNet's code


def check_sizes(clip_len: int, image_size: tuple[int, int], stride: int) -> None:
    """Raises ValueError for a clip without a frame to predict, or a picture that `stride` does not divide."""
    if clip_len <= CONTEXT:
        raise ValueError(
            f"data.clip_len={clip_len} must be at least {CONTEXT + 1}: a frame is predicted "
            f"from the {CONTEXT} before it."
        )
    if any(side % stride for side in image_size):
        raise ValueError(f"data.size={image_size} must be a multiple of {stride}.")


def stack_context(x: jax.Array) -> jax.Array:
    """Each four frames in a row, on the channels: those that the next one is predicted from.

    Args:
        x: [b, t, h, w, c], t at least 4; a clip without its last frame, which predicts none.

    Returns:
        [b * (t - 3), h, w, 4 * c].
    """
    made = x.shape[1] - CONTEXT + 1
    x = jnp.concatenate([x[:, k : k + made] for k in range(CONTEXT)], axis=-1)
    return x.reshape(-1, *x.shape[2:])
