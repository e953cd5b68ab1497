#!/usr/bin/env python3
"""A minute on a new machine: trains the paper's model on noise, on every device, and says how fast.

    .venv/bin/python launch/smoke.py                      # GPU or TPU: ipad:paper in bfloat16
    JAX_PLATFORMS=cpu .venv/bin/python launch/smoke.py    # CPU: the same at tiny sizes
    srun .venv/bin/python launch/smoke.py                 # several hosts, found as by `ipad-jax train`

It compiles the step that `ipad-jax train` runs, repeats it for --seconds on one batch, and prints clips/s and
the share of the chips' published peak (FLOPs of the model's products, padding of windows counted, / time /
peak). No data is read, so what it prints is
the step alone. Exit status 1 if the loss is not finite or does not fall.
Run by us on one H100 (README, "One GPU"), never on a TPU.
"""

import argparse
import sys
import time

import jax
import numpy as np

from ipad_jax.performance.products import train_products
from ipad_jax.performance.roofline import CHIPS
from ipad_jax.run import processes as distributed
from ipad_jax.run.config import load_config
from ipad_jax.training.setup import TrainSetup
from ipad_jax.training.sharding import batch_sharding, make_mesh, to_global
from ipad_jax.video.clip_task import make_clip_task

# FLOP/s in bfloat16, dense, by a part of JAX's `device_kind`; the first that fits. GPUs: data sheets.
PEAKS = {
    "TPU v6": CHIPS["v6e"].peak_flops,
    "TPU v5 lite": CHIPS["v5e"].peak_flops,
    "TPU v5e": CHIPS["v5e"].peak_flops,
    "TPU v5": CHIPS["v5p"].peak_flops,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "H200": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L40": 181e12,
    "L4": 121e12,
}


def peak_flops(kind: str) -> float | None:
    """A chip's published peak, or None where the table has none."""
    return next((peak for name, peak in PEAKS.items() if name in kind), None)


def noise(shapes, processes, seed):
    """This process's rows of a batch of noise."""
    rng = np.random.default_rng(seed)

    def rows(x):
        shape = (x.shape[0] // processes, *x.shape[1:])
        if x.dtype == np.uint8:
            return rng.integers(0, 256, shape, dtype=np.uint8)
        return rng.random(shape).astype(x.dtype)

    return jax.tree.map(rows, shapes)


def smoke(args: argparse.Namespace) -> int:
    """Compiles, runs, prints; 0 if the loss fell."""
    devices = jax.devices()
    is_cpu = devices[0].platform == "cpu"
    batch_size = args.clips_per_device * len(devices)
    choices = {"batch_size": batch_size, "fsdp": args.fsdp}
    if not is_cpu:
        choices["model.dtype"] = "bfloat16"
    config = load_config("ipad:tiny" if is_cpu else "ipad:paper", choices)
    task = make_clip_task(config)
    setup = TrainSetup.make(config, task, make_mesh(config.fsdp), 10**6)
    key, init_key = setup.make_keys(0)
    state = setup.create_state(init_key)
    own = noise(task.batch_shapes(batch_size), jax.process_count(), jax.process_index())
    batch = to_global(own, batch_sharding(setup.mesh))

    start = time.perf_counter()
    step_fn = setup.compile_step(batch)
    compiling = time.perf_counter() - start
    state, metrics = step_fn(state, batch, key)
    first = float(metrics["loss"])
    steps, start = 0, time.perf_counter()
    while steps < 10 or (jax.process_count() == 1 and time.perf_counter() - start < args.seconds):
        state, metrics = step_fn(state, batch, key)
        jax.block_until_ready(metrics["loss"])
        steps += 1
    elapsed, last = time.perf_counter() - start, float(metrics["loss"])

    rate = steps * batch_size / elapsed
    flops = rate * sum(product.flops for product in train_products(task))
    peak = peak_flops(devices[0].device_kind)
    share = "unknown" if peak is None else f"{flops / peak / len(devices):.1%}"
    print(f"{len(devices)} x {devices[0].device_kind}, {jax.process_count()} process(es)")
    print(f"step compiled in {compiling:.1f} s; {steps} steps of {batch_size} clips")
    print(f"{rate:.2f} clips/s, {flops / 1e12:.3f} TFLOP/s of the model, share of peak {share}")
    print(f"loss {first:.5f} -> {last:.5f}")
    if not last < first:
        print(
            "the loss is not finite or did not fall: this machine computes wrongly", file=sys.stderr
        )
        return 1
    return 0


def main(argv: list[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--seconds", type=float, default=20.0, help="one process; several: 10 steps"
    )
    parser.add_argument("--clips-per-device", type=int, default=4, metavar="N")
    parser.add_argument("--fsdp", type=int, default=1, metavar="N", help="as config.fsdp")
    args = parser.parse_args(argv)
    distributed.start(saves_on_sigterm=False)
    try:
        status = smoke(args)
    except Exception as error:
        if not distributed.is_many():
            raise
        return distributed.fail(1, repr(error))
    return distributed.leave(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
