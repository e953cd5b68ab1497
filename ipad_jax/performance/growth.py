"""How time and memory of a forward pass grow with clip length, resolution and batch.

Each axis is doubled from the config's smallest sensible size, the others held; the exponent k of
cost = c * size^k is printed, 1 where cost grows in proportion. Memory is what the compiler reserves
for what lies between input and output.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from ipad_jax.performance.step import describe_machine, drawn_model
from ipad_jax.performance.timing import alternate, exponent, number
from ipad_jax.run.config import load_config
from ipad_jax.run.table import Table
from ipad_jax.video.clip_task import make_clip_task

AXES = ("clip_len", "pixels", "batch")


def measure_growth(
    *, config: str, clip_len: int, size: int, doublings: int, repeats: int, axes: Sequence[str]
) -> Table:
    """Compiles and times a config's forward pass at every size.

    Args:
      config: name of a config of a video method.
      clip_len: smallest, frames.
      size: smallest, pixels.
      doublings: of each axis, at least 1.
      repeats: counted rounds.
      axes: some of AXES.
    """
    if doublings < 1:
        raise ValueError(f"doublings={doublings} must be at least 1: a slope needs two sizes.")
    if unknown := sorted(set(axes) - set(AXES)):
        raise ValueError(f"axes={unknown}: choose from {', '.join(AXES)}.")
    rows: list[tuple[str, ...]] = []
    for axis in axes:
        factors = [2**i for i in range(doublings + 1)]
        programs: dict[str, Any] = {}
        memory: list[float] = []
        for factor in factors:
            frames = clip_len * (factor if axis == "clip_len" else 1)
            side = size * (factor if axis == "pixels" else 1)  # doubled: four times the pixels
            batch = factor if axis == "batch" else 1
            call, used = forward(config, frames, side, batch)
            programs[f"{batch} x {frames} x {side} x {side}"] = call
            memory.append(used)
        timings = alternate(programs, repeats)
        amounts = [factor**2 if axis == "pixels" else factor for factor in factors]
        seconds = [timing.seconds for timing in timings.values()]
        powers = exponent(amounts, seconds), exponent(amounts, memory)
        for index, shape in enumerate(programs):
            last = index == len(programs) - 1
            rows.append(
                (
                    axis if index == 0 else "",
                    shape,
                    number(seconds[index]),
                    number(memory[index] / 1e6),
                    f"{powers[0]:.2f}" if last else "",
                    f"{powers[1]:.2f}" if last else "",
                )
            )
    return Table(
        f"Growth of a forward pass ({config}, {describe_machine()})",
        ("axis", "b x t x h x w", "s", "MB", "exponent of s", "of MB"),
        tuple(rows),
        left=(0, 1),
    )


@functools.cache  # every axis begins at the same size
def forward(config: str, clip_len: int, size: int, batch: int) -> tuple[Any, float]:
    """A compiled forward pass, to be called without arguments, and the bytes it works in."""
    leaves = {"data.clip_len": clip_len, "data.size": size}
    task = make_clip_task(load_config(config, leaves))
    graphdef, state = nnx.split(drawn_model(task))
    clip = jnp.zeros((batch, clip_len, size, size, 3), jnp.uint8)

    def predict(state: nnx.State, clip: jax.Array) -> dict[str, jax.Array]:
        return task.predict_fn(nnx.merge(graphdef, state), {"clip": clip})

    compiled = jax.jit(predict).lower(state, clip).compile()
    memory: Any = compiled.memory_analysis()
    return lambda: jax.block_until_ready(compiled(state, clip)), float(memory.temp_size_in_bytes)
