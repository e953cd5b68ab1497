"""`ipad-jax merge`: an ordinary run folder from a run with adapters and the base it was trained on."""

import argparse

from ipad_jax.training import merge_adapters
from ipad_jax.training.merge_adapters import merge


def main(argv: list[str]) -> int:
    """The command; see `ipad-jax merge --help`."""
    description = (merge_adapters.__doc__ or "").split("\n\n")[0]
    parser = argparse.ArgumentParser("ipad-jax merge", description=description)
    parser.add_argument("--workdir", required=True, help="run trained with adapters")
    parser.add_argument("--out", required=True, help="new run folder")
    parser.add_argument("--step", type=int, help="checkpoint (default: the newest)")
    parser.add_argument("--base", default="", help="the base's folder, if it was moved")
    args = parser.parse_args(argv)
    step = merge(args.workdir, args.out, step=args.step, base=args.base)
    print(f"{args.out} holds step {step} of {args.workdir} with its adapters merged into the base")
    return 0
