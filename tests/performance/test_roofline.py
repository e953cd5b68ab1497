"""Chip arithmetic: products, tiles, rooflines, rings, the line to the largest batch."""

import pytest

from ipad_jax.performance.roofline import (
    CHIPS,
    GIB,
    Chip,
    Product,
    largest_batch,
    roofline,
    sent_bytes,
)

CHIP = Chip(hbm_gib=16, peak_flops=100.0, hbm_bytes_per_s=10.0, link_bytes_per_s=2.0, tile=128)


def test_a_product_counts_both_operations():
    assert Product("part", count=3, m=5, k=7, n=11).flops == 2 * 3 * 5 * 7 * 11


@pytest.mark.parametrize(
    ("sizes", "filled"),
    [
        ((8, 128, 128), (8, 128, 128)),  # whole already
        ((98, 32, 98), (128, 128, 104)),  # a window of 2x7x7 and a head of 32
        (
            (128, 32, 128),
            (128, 128, 128),
        ),  # a window of 2x8x8: a third more pairs for nearly the same
        ((10**6, 96, 3), (10**6, 128, 8)),  # the decoder's last layer streams its few channels
    ],
)
def test_tiles_are_filled_up(sizes, filled):
    m, k, n = filled
    up = -(-m // 128) * 128 if n < 128 else m
    assert Product("part", 1, *sizes).tiled_flops(128) == 2 * up * k * n


def test_the_slowest_of_three_bounds_a_step():
    bound = roofline(CHIP, flops=300.0, bytes_moved=50.0, link_bytes=8.0)
    assert bound == (3.0, 5.0, 4.0)
    assert (bound.seconds, bound.bound_by) == (5.0, "memory")
    assert roofline(CHIP, 900.0, 50.0, 8.0).bound_by == "compute"
    assert roofline(CHIP, 0.0, 0.0, 8.0).bound_by == "collectives"


def ring_steps(kind: str, chips: int) -> float:
    """Bytes that a chip of a ring sends, played through: an array of one byte a chip."""
    sent = 0
    if kind in ("all-reduce", "reduce-scatter"):
        sent += chips - 1  # partial sums of one piece after the other go round
    if kind in ("all-reduce", "all-gather"):
        sent += chips - 1  # then the finished pieces
    return sent


@pytest.mark.parametrize("kind", ["all-reduce", "reduce-scatter", "all-gather"])
def test_a_ring_sends_what_it_sends_step_by_step(kind):
    assert sent_bytes(kind, payload=4.0, group=4) == pytest.approx(ring_steps(kind, 4))
    assert sent_bytes(kind, payload=4.0, group=1) == 0


def test_a_permute_sends_all_it_has():
    assert sent_bytes("collective-permute", 5.0, 2) == 5.0


def test_the_largest_batch_lies_on_the_line():
    weights, clip = 3.0 * GIB, 0.5 * GIB
    used = tuple(weights + n * clip for n in (4, 2))
    assert largest_batch((4, 2), used, 16 * GIB) == 26  # 3 + 26 / 2 = 16
    assert largest_batch((4, 2), used, 16 * GIB - 1) == 25
    assert largest_batch((4, 2), used, 2 * GIB) == 0


@pytest.mark.parametrize(("sizes", "used"), [((2, 2), (1.0, 2.0)), ((2, 4), (5.0, 5.0))])
def test_points_without_a_line_are_named(sizes, used):
    with pytest.raises(ValueError, match="give no rising line"):
        largest_batch(sizes, used, 10.0)


def test_published_peaks_have_their_known_order():
    assert CHIPS["v5e"].peak_flops < CHIPS["v5p"].peak_flops < CHIPS["v6e"].peak_flops
    assert CHIPS["v5e"].hbm_gib < CHIPS["v6e"].hbm_gib < CHIPS["v5p"].hbm_gib
