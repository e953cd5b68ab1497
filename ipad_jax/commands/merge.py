"""Makes an ordinary run folder from a run with adapters and the base that it was trained on."""

import argparse

from ipad_jax.commands.next_step import print_next
from ipad_jax.commands.parsing import new_parser


def make_parser() -> argparse.ArgumentParser:
    """Parser of `ipad-jax merge`."""
    parser = new_parser(
        "merge",
        __doc__,
        "--workdir DIR --out DIR [--step N] [--base DIR]",
        "ipad-jax merge --workdir runs/adapted --out runs/merged",
    )
    parser.add_argument("--workdir", required=True, metavar="DIR", help="run trained with adapters")
    parser.add_argument("--out", required=True, metavar="DIR", help="new run folder")
    parser.add_argument("--step", type=int, metavar="N", help="checkpoint (default: the newest)")
    parser.add_argument(
        "--base", default="", metavar="DIR", help="the base's folder, if it was moved"
    )
    return parser


def run(args: argparse.Namespace) -> int:
    """Merges."""
    from ipad_jax.training.merge_adapters import merge

    step = merge(args.workdir, args.out, step=args.step, base=args.base)
    print(f"{args.out} holds step {step} of {args.workdir} with its adapters merged into the base")
    print_next("evaluate", "--workdir", args.out)
    return 0


def main(argv: list[str]) -> int:
    """The command; see `ipad-jax merge --help`."""
    return run(make_parser().parse_args(argv))
