"""How fast and how large a program can be on a chip: pure arithmetic, no JAX.

A roofline is a lower bound: the time for the matrix products at peak rate, for the bytes over the
memory's peak bandwidth, and for the collectives over the links, whichever is longest. Nothing here
was measured on a chip.
"""

import math
from typing import NamedTuple

GIB = 2**30


class Chip(NamedTuple):
    """What the maker publishes of one chip.

    Attributes:
      hbm_gib: GiB of memory that a program may use.
      peak_flops: FLOP/s of the matrix units in bfloat16. float32 at JAX's default precision runs in
        them too, its operands rounded to bfloat16, so the same peak holds as a bound.
      hbm_bytes_per_s: of the memory.
      link_bytes_per_s: leaving the chip over all its links to other chips (half of the two-way figure).
      tile: rows and columns of a matrix unit; smaller operands leave part of it idle.
    """

    hbm_gib: float
    peak_flops: float
    hbm_bytes_per_s: float
    link_bytes_per_s: float
    tile: int


# Memory: what libtpu 0.0.52 offers a program (published: 16, 95 and 32 GiB). The rest:
# Google Cloud TPU documentation, docs.cloud.google.com/tpu/docs/{v5e,v5p,v6e}, read in 2026: "peak compute
# per chip (bf16)", "HBM bandwidth per chip", "inter-chip interconnect bandwidth per chip"
# (both ways: 400, 1200, 800 GB/s). Sides of the matrix units: ".../system-architecture-tpu-vm".
CHIPS = {
    "v5e": Chip(15.75, 197e12, 819e9, 200e9, 128),
    "v5p": Chip(95.73, 459e12, 2765e9, 600e9, 128),
    "v6e": Chip(31.24, 918e12, 1640e9, 400e9, 256),
}


class Product(NamedTuple):
    """`count` matrix products [m, k] x [k, n]; `part` of the model is where they belong.

    A convolution counts as one whose m is the number of pairs of input and output that a tap joins.
    """

    part: str
    count: int
    m: int
    k: int
    n: int

    @property
    def flops(self) -> int:
        """Multiplications and additions."""
        return 2 * self.count * self.m * self.k * self.n

    def tiled_flops(self, tile: int) -> int:
        """What a matrix unit spends, contracted side and one other filled up to whole tiles.

        The unit holds a tile of one factor and streams the other one's rows, eight at a time, through
        it; the compiler chooses which factor stays, so the cheaper way counts.
        """

        def up(size: int, multiple: int) -> int:
            return -(-size // multiple) * multiple

        held_n = up(self.n, tile) * up(self.m, 8)
        held_m = up(self.m, tile) * up(self.n, 8)
        return 2 * self.count * up(self.k, tile) * min(held_n, held_m)


class Roofline(NamedTuple):
    """Least seconds of a step on one chip, by what takes them; `compute` counts whole tiles."""

    compute_s: float
    memory_s: float
    links_s: float

    @property
    def seconds(self) -> float:
        """The bound: all three overlapped perfectly."""
        return max(self)

    @property
    def bound_by(self) -> str:
        """The one that takes longest."""
        return ("compute", "memory", "collectives")[self.index(max(self))]


def roofline(chip: Chip, flops: float, bytes_moved: float, link_bytes: float) -> Roofline:
    """The roofline of one chip's share of a step.

    Args:
      chip: its peaks.
      flops: in the matrix units.
      bytes_moved: to and from its memory.
      link_bytes: leaving it (`sent_bytes`).
    """
    return Roofline(
        flops / chip.peak_flops,
        bytes_moved / chip.hbm_bytes_per_s,
        link_bytes / chip.link_bytes_per_s,
    )


def sent_bytes(kind: str, payload: float, group: int) -> float:
    """Bytes that each of a group's chips sends for a collective, by the best algorithm on a ring.

    Args:
      kind: "all-reduce", "all-gather", "reduce-scatter", "all-to-all" or "collective-permute".
      payload: bytes of the whole array: the result of an all-reduce or all-gather, the operand else.
      group: chips that take part.
    """
    if group <= 1:
        return 0.0
    share = (group - 1) / group
    return payload * {"all-reduce": 2 * share, "collective-permute": 1.0}.get(kind, share)


def largest_batch(sizes: tuple[int, int], used: tuple[float, float], limit: float) -> int:
    """The most clips a chip holds, from the line through two compiled steps.

    Args:
      sizes: clips a chip of the two.
      used: bytes a chip of the two.
      limit: bytes a chip has.

    Returns:
      Clips a chip; 0 if not even one fits.

    Raises:
      ValueError: equal sizes, or memory that does not grow with the batch.
    """
    slope = (used[1] - used[0]) / (sizes[1] - sizes[0]) if sizes[1] != sizes[0] else 0.0
    if slope <= 0:
        raise ValueError(
            f"largest_batch: {used[0]:.0f} and {used[1]:.0f} bytes for {sizes[0]} and {sizes[1]} clips "
            "a chip give no rising line; compile larger batches."
        )
    return max(0, math.floor(sizes[0] + (limit - used[0]) / slope))
