"""Compiles the real train and predict steps for a TPU slice, on a machine that has none.

It says whether they fit the slice's chips: memory by kind, FLOPs, bytes of each collective, and the least
time that the published peaks allow. With --devices N the same for N virtual CPU devices, which have
no peaks. No data is needed and nothing is run. Compiling the paper's model takes minutes.
Of objects it compiles the training step and the rays that a rendering follows at once; of images, training.
--config.LEAF=VALUE sets any leaf of the config, such as --config.batch_size=256.
Exit status: 0 it fits (or has no limit: CPU), 3 it does not fit.
"""

import argparse
import json

from ipad_jax.commands.next_step import print_next
from ipad_jax.commands.parsing import UsageError, add_config, load_with_leaves, new_parser

DOES_NOT_FIT = 3  # exit status


def make_parser() -> argparse.ArgumentParser:
    """Parser of `ipad-jax compile`."""
    parser = new_parser(
        "compile",
        __doc__,
        "--config FILE[:ARG] (--topology NAME | --devices N) [OPTIONS]",
        "ipad-jax compile --config ipad:tpu --topology v5e:4x4 --largest-batch",
        takes_leaves=True,
    )
    add_config(parser)
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument(
        "--topology",
        default="",
        metavar="NAME",
        help="a slice, such as v5e:4x4, v5p:2x2x4 or v6e:4x4 (needs the extra `compile`)",
    )
    place.add_argument(
        "--devices", type=int, default=0, metavar="N", help="so many devices of this CPU"
    )
    parser.add_argument(
        "--only", default="", choices=("train", "predict"), help="one step (default: both)"
    )
    parser.add_argument(
        "--largest-batch",
        action="store_true",
        help="compile a second size; a line through both gives the largest batch that fits",
    )
    parser.add_argument("--json", metavar="FILE", help="write the same figures there")
    return parser


def run(args: argparse.Namespace) -> int:
    """Compiles and prints; DOES_NOT_FIT where a step needs more memory than there is."""
    if args.largest_batch and not args.topology:
        raise UsageError("--largest-batch needs --topology: a CPU has no limit to fill.")
    config = load_with_leaves(args.config, args.leaves)

    import jax

    from ipad_jax.performance import compile_ahead
    from ipad_jax.performance.compile_report import format_report
    from ipad_jax.run.files import write_atomic

    jax.config.update("jax_platforms", "cpu")  # libtpu compiles and must not look for a chip
    name = args.topology or f"cpu:{args.devices}"
    devices = (
        compile_ahead.tpu_devices(name)
        if args.topology
        else compile_ahead.cpu_devices(args.devices)
    )
    report = compile_ahead.report_slice(
        config, devices, name, only=args.only, largest=args.largest_batch
    )
    print(format_report(report))
    if args.json:
        write_atomic(args.json, (json.dumps(report.to_dict(), indent=1) + "\n").encode())
    given = ("--config", args.config, *args.leaves)
    if report.fits:
        print_next("train", *given, "--workdir", "runs/first", note="there")
        return 0
    place = ("--topology", args.topology) if args.topology else ("--devices", args.devices)
    print_next("compile", *given, *place, f"--config.batch_size={max(1, config.batch_size // 2)}")
    return DOES_NOT_FIT


def main(argv: list[str]) -> int:
    """The command; see `ipad-jax compile --help`."""
    return run(make_parser().parse_args(argv))
