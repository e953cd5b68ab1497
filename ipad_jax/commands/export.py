"""Writes a run as one file that runs without this package, checked on held-out images or clips.

Of images the graph gives raw maps; the threshold and how a map becomes a score lie in a JSON file beside it.
Of footage it gives the network's raw outputs for a clip, which the JSON names. Nothing is written unless the
file gives what the run gives. Exit status 1: it does not.
"""

import argparse

from ipad_jax.commands.next_step import detection, print_next
from ipad_jax.commands.parsing import UsageError, config_and_family, new_parser


def make_parser() -> argparse.ArgumentParser:
    """Parser of `ipad-jax export`."""
    parser = new_parser(
        "export",
        __doc__,
        "--workdir DIR [--format {stablehlo,onnx}] [--out DIR] [--step N]",
        "ipad-jax export --workdir runs/bottle --format onnx",
    )
    parser.add_argument("--workdir", required=True, metavar="DIR", help="run folder")
    parser.add_argument(
        "--format",
        choices=("stablehlo", "onnx"),
        default="stablehlo",
        help="stablehlo (default) for JAX, onnx for onnxruntime; both need the extra `export`",
    )
    parser.add_argument("--out", metavar="DIR", help="folder (default: export/ in the run folder)")
    parser.add_argument("--step", type=int, metavar="N", help="checkpoint (default: the newest)")
    return parser


def run(args: argparse.Namespace) -> int:
    """Exports."""
    _, family = config_and_family(args.workdir)
    if family == "image":
        from ipad_jax.image.export import export

        note = "the same verdicts, by the run itself"
    elif family == "video":
        from ipad_jax.video.detector.export import export

        note = "verdicts: they rest on more than the network"
    else:
        raise UsageError(
            f"{args.workdir} is a run of the {family} family, which cannot be exported; "
            "`ipad-jax detect` runs it as it is."
        )
    print(export(args.workdir, args.format, folder=args.out, step=args.step).summary())
    print_next(*detection(args.workdir, family), note=note)
    return 0


def main(argv: list[str]) -> int:
    """The command; see `ipad-jax export --help`."""
    return run(make_parser().parse_args(argv))
