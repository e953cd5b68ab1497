"""Where a training step's time goes, by part of the model and kind of work, from JAX's own profiler.

The compiled program names for each operation the line of the model that it came from, and the profiler
how long it took. A fusion counts as what its last operation is. Beside them: the model's own count of
its matrix products, and how fast one large product is on this machine, which is what bounds them.
"""

import collections
import gzip
import json
import re
import resource
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from ipad_jax.performance.hlo import operations
from ipad_jax.performance.products import flops_by_part, train_products
from ipad_jax.performance.step import compiled_step, describe_machine, random_clips
from ipad_jax.performance.timing import number
from ipad_jax.run.config import load_config
from ipad_jax.run.table import Table
from ipad_jax.video.clip_task import make_clip_task
from ipad_jax.video.ipad.task import PARTS, VideoTask

REST = "loss, gradients, Adam"  # what no part of the model claims
# Kinds of work, by the last word of the operation's name in JAX; anything else is arithmetic.
KINDS = {
    "products": r"dot_general|conv_general_dilated",
    "moving": r"concatenate|stack|slice|dynamic_slice|pad|transpose|copy|broadcast_in_dim|reshape|gather"
    r"|scatter(-add)?|squeeze|rev|roll|split|rearrange|select_and_scatter_add|iota",
    "reductions": r"reduce_\w+|argm\w+|cumsum|sort",
}
ARITHMETIC = "arithmetic"
CALLERS = ("while", "call", "conditional")  # what they call is counted itself
PEAK_SIDE = 2048  # of the square matrices whose product shows the machine's speed


def profile_step(*, config: str, size: int | None, batch: int, dtype: str, steps: int) -> Table:
    """Compiles a config's training step, profiles so many of them and adds up.

    Args:
      config: name of a config of IPAD's model.
      size: of the frames, pixels; None: the config's.
      batch: clips.
      dtype: "float32" or "bfloat16".
      steps: profiled, at least 1.
    """
    if steps < 1:
        raise ValueError(f"steps={steps} must be at least 1.")
    leaves = {"batch_size": batch, "model.dtype": dtype}
    task = make_clip_task(load_config(config, leaves | ({"data.size": size} if size else {})))
    if not isinstance(task, VideoTask):
        raise ValueError(
            f"config={config!r} is no video model of ours, whose parts are known; take one such as ipad."
        )
    # a program from the cache names its operations as they were called when it was compiled
    before = jax.config.jax_compilation_cache_include_metadata_in_key  # type: ignore[attr-defined]
    jax.config.update("jax_compilation_cache_include_metadata_in_key", True)
    step, state, *rest = compiled_step(task, random_clips(task, batch))
    jax.config.update("jax_compilation_cache_include_metadata_in_key", before)

    def some_steps(count: int) -> None:
        nonlocal state
        for _ in range(count):
            state, metrics = step(state, *rest)
        jax.block_until_ready(metrics)

    some_steps(2)  # the second finds the memory that the first freed
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    some_steps(steps)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    wall, system = wall / steps, (after.ru_stime - before.ru_stime) / steps
    cpu = system + (after.ru_utime - before.ru_utime) / steps
    spent = times_of(lambda: some_steps(steps))
    where = places(step.as_text())
    shares: dict[tuple[str, str], float] = collections.defaultdict(float)
    unnamed = 0.0
    for name, seconds in spent.items():
        if plain(name) in where:
            shares[where[plain(name)]] += seconds / steps
        elif jax.default_backend() == "gpu":
            unnamed += seconds / steps
    if not shares:
        raise ValueError(
            f"the profiler named no operation of the program on {jax.devices()[0].platform}; "
            "look at the step with jax.profiler.trace and its viewer."
        )
    counted = flops_by_part(train_products(task))
    flops = {part: batch * counted.get(part, 0) for part in (*PARTS, REST)}
    kinds = (*KINDS, ARITHMETIC)
    total, all_flops = sum(shares.values()), sum(flops.values())

    def row(name: str, parts: tuple[str, ...], flops: float) -> tuple[str, ...]:
        in_kind = [sum(shares[part, kind] for part in parts) for kind in kinds]
        rate = flops / in_kind[0] / 1e9 if flops and in_kind[0] else 0.0
        return (
            name.replace("_", " "),
            *(f"{seconds / total:.0%}" for seconds in (sum(in_kind), *in_kind)),
            number(flops / 1e9) if flops else "",
            number(rate) if rate else "",
        )

    there = [part for part in PARTS if any((part, kind) in shares for kind in kinds)]
    rows = [row(part, (part,), flops[part]) for part in (*there, REST)]
    rows.append(row("all", (*PARTS, REST), all_flops))
    peak = product_speed(dtype)
    cfg = task.model_config
    shape = f"{batch} x {cfg.clip_len}x{cfg.image_size[0]}x{cfg.image_size[1]}"
    beside = f", kernels without a name (cuBLAS) to {number(unnamed)} s" if unnamed else ""
    return Table(
        f"Where a training step's time goes ({config}, {shape}, {dtype}, {describe_machine()})",
        ("part", "time", *kinds, "GFLOP", "GFLOP/s in products"),
        tuple(rows),
        (
            f"a step takes {number(wall)} s, {number(all_flops / wall / 1e9)} GFLOP/s; operations add up to "
            f"{number(total)} s{beside}",
            f"CPU: {number(cpu)} s a step, {system / cpu:.0%} of it in the kernel, with "
            f"{(after.ru_minflt - before.ru_minflt) // steps:,} pages of memory handed out anew",
            f"one {PEAK_SIDE}x{PEAK_SIDE} product: {number(peak / 1e9)} GFLOP/s; at that speed all "
            f"products would take {all_flops / peak / wall:.0%} of the step",
            "GFLOP: the products of the traced step, forward and backward, padding of windows counted",
        ),
    )


def times_of(call: Callable[[], Any]) -> Mapping[str, float]:
    """Seconds in each operation of the compiled programs that a call runs, by the operation's name.

    On a GPU, kernels that were recorded into one graph all name the graph; there the kernel's own name is
    the operation's, as far as XLA made it.
    """
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            call()
        found: collections.Counter[str] = collections.Counter()
        for path in Path(folder).rglob("*.trace.json.gz"):
            for event in json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]:
                if event.get("ph") == "X" and (name := event.get("args", {}).get("hlo_op")):
                    in_graph = name.startswith("command_buffer")
                    found[event["name"] if in_graph else name] += event["dur"] / 1e6
    return found


def places(text: str) -> dict[str, tuple[str, str]]:
    """Where the operations of a compiled program belong.

    Args:
      text: the program, from `Compiled.as_text`.

    Returns:
      Operation's name as `plain` has it -> part of the model or REST, and kind of work; operations that
      only call others are left out.
    """
    found = {}
    for operation in operations(text):
        if operation.kind in CALLERS:
            continue
        words = [word for word in re.split(r"[/()]+", operation.source) if word]
        part = next((word for word in words if word in PARTS), REST)
        last = words[-1] if words else operation.kind
        kind = next((k for k, names in KINDS.items() if re.fullmatch(names, last)), ARITHMETIC)
        if operation.kind in ("dot", "convolution"):
            kind = "products"
        found[plain(operation.name)] = part, kind
    return found


def plain(name: str) -> str:
    """An operation's name as GPU kernels have it: `loop_add_fusion.9` -> `loop_add_fusion_9`."""
    return re.sub(r"\W", "_", name)


def product_speed(dtype: str) -> float:
    """FLOPs a second of one large matrix product; the best of a few."""
    a = jnp.ones((PEAK_SIDE, PEAK_SIDE), dtype)
    multiply = jax.jit(lambda a: a @ a)
    multiply(a).block_until_ready()
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        multiply(a).block_until_ready()
        seconds.append(time.perf_counter() - start)
    return 2 * PEAK_SIDE**3 / min(seconds)
