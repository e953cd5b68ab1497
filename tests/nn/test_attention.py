"""Windows, shifts and the relative position bias."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn_model import drawn
from flax import nnx

from ipad_jax.nn.attention import (
    MASKED,
    WindowAttention,
    clip_window,
    relative_position_index,
    shift_mask,
    window_merge,
    window_partition,
)


def test_partition_inverts_and_keeps_windows_together():
    x = np.arange(2 * 4 * 6 * 4 * 3).reshape(2, 4, 6, 4, 3)
    windows = window_partition(x, (2, 3, 4))
    assert windows.shape == (2 * 2 * 2 * 1, 24, 3)
    np.testing.assert_array_equal(windows[1], x[0, :2, 3:6].reshape(24, 3))
    np.testing.assert_array_equal(window_merge(windows, (2, 3, 4), (4, 6, 4)), x)


def test_windows_shrink_and_stay_where_the_map_is_not_larger():
    assert clip_window((4, 8, 3), (2, 8, 7), (1, 4, 3)) == ((2, 8, 3), (1, 0, 0))


def test_index_counts_offsets_of_query_from_key():
    window = (2, 3, 2)
    index = relative_position_index(window)
    tokens = [(t, h, w) for t in range(2) for h in range(3) for w in range(2)]
    for i, query in enumerate(tokens):
        for j, key in enumerate(tokens):
            t, h, w = (a - b + n - 1 for a, b, n in zip(query, key, window))
            assert index[i, j] == (t * 5 + h) * 3 + w


@pytest.mark.parametrize("shift", [(1, 1, 2), (0, 1, 0), (1, 0, 0)])
def test_mask_parts_exactly_what_the_roll_brought_together(shift):
    size, window = (4, 6, 4), (2, 3, 4)
    place = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), axis=-1)
    wrapped = place < np.array(shift)  # these come in from the other side
    rolled = np.roll(wrapped, [-s for s in shift], axis=(0, 1, 2))
    windows = np.asarray(window_partition(rolled[None], window))
    apart = (windows[:, :, None] != windows[:, None, :]).any(-1)
    np.testing.assert_array_equal(shift_mask(size, window, shift), np.where(apart, MASKED, 0.0))


def test_attention_is_a_mean_where_all_tokens_are_alike():
    attention = drawn(lambda: WindowAttention(8, (1, 2, 2), 2, dtype=jnp.float32, rngs=nnx.Rngs(0)))
    x = np.broadcast_to(np.arange(8, dtype=np.float32), (3, 4, 8))
    found, expected = jax.jit(lambda x: (attention(x), attention.proj(attention.qkv(x)[..., 16:])))(
        x
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_heads_must_divide_channels():
    with pytest.raises(ValueError, match="dim=8 must be a multiple of 3 heads"):
        WindowAttention(8, (1, 2, 2), 3, dtype=jnp.float32, rngs=nnx.Rngs(0))
