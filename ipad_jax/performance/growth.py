"""How time and memory of a forward pass grow with clip length, resolution and batch.

Each axis is doubled from the config's smallest sensible size, the others held; the exponent k of
cost = c * size^k is printed, 1 where cost grows in proportion. Memory is what the compiler reserves
for what lies between input and output.
"""

import argparse
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from ipad_jax.performance.step import describe_machine
from ipad_jax.performance.timing import Table, alternate, exponent, number
from ipad_jax.run.config import load_config
from ipad_jax.training.state import inference_view
from ipad_jax.video.clip_task import make_clip_task

AXES = ("clip length", "pixels", "batch")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `ipad-jax bench growth`."""
    parser.add_argument("--config", default="video_folder", help="whose model (%(default)s)")
    parser.add_argument("--clip-len", type=int, default=16, help="smallest, frames (%(default)s)")
    parser.add_argument("--size", type=int, default=128, help="smallest, pixels (%(default)s)")
    parser.add_argument("--doublings", type=int, default=2, help="of each axis (%(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="counted rounds (%(default)s)")
    parser.add_argument("--only", nargs="+", choices=AXES, default=list(AXES), help="axes")


def run(args: argparse.Namespace) -> Table:
    """Compiles and times every size."""
    if args.doublings < 1:
        raise ValueError(f"--doublings {args.doublings} must be at least 1: a slope needs two.")
    rows: list[tuple[str, ...]] = []
    for axis in args.only:
        factors = [2**i for i in range(args.doublings + 1)]
        programs: dict[str, Any] = {}
        memory: list[float] = []
        for factor in factors:
            # twice the pixels is root 2 of the side: sides grow by 2, pixels by 4
            clip_len = args.clip_len * (factor if axis == "clip length" else 1)
            size = args.size * (factor if axis == "pixels" else 1)
            batch = factor if axis == "batch" else 1
            programs[f"{batch} x {clip_len} x {size} x {size}"], used = forward(
                args.config, clip_len, size, batch
            )
            memory.append(used)
        timings = alternate(programs, args.repeats)
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
        f"Growth of a forward pass ({args.config}, {describe_machine()})",
        ("axis", "b x t x h x w", "s", "MB", "exponent of s", "of MB"),
        tuple(rows),
    )


def forward(config: str, clip_len: int, size: int, batch: int) -> tuple[Any, float]:
    """A compiled forward pass, to be called without arguments, and the bytes it works in."""
    leaves = {"data.clip_len": clip_len, "data.size": size}
    task = make_clip_task(load_config(config, leaves))
    model = inference_view(task.init_model(jax.random.key(0)))
    graphdef, state = nnx.split(model)
    clip = jnp.zeros((batch, clip_len, size, size, 3), jnp.uint8)

    def predict(state: nnx.State, clip: jax.Array) -> dict[str, jax.Array]:
        return task.predict_fn(nnx.merge(graphdef, state), {"clip": clip})

    compiled = jax.jit(predict).lower(state, clip).compile()
    memory: Any = compiled.memory_analysis()
    return lambda: jax.block_until_ready(compiled(state, clip)), float(memory.temp_size_in_bytes)
