"""Scores a run's test split and writes scores, metrics and a report.

The numbers are printed and written before the report and its videos are made: Ctrl-C then loses neither.
--config.eval.LEAF=VALUE changes how it is judged, such as --config.eval.stride=1;
--config.data.name=SCENE judges another scene, or one of several, and
--config.data.data_dir=DIR says where prepared datasets are now.
"""

import argparse
from typing import Any

from ipad_jax.commands.next_step import detection, print_next
from ipad_jax.commands.parsing import UNITS, UsageError, new_parser, set_leaves


def make_parser() -> argparse.ArgumentParser:
    """Parser of `ipad-jax evaluate`."""
    parser = new_parser(
        "evaluate",
        __doc__,
        "--workdir DIR [--config.eval.LEAF=VALUE ...] [options]",
        "ipad-jax evaluate --workdir runs/press --protocol strict",
        takes_leaves=True,
    )
    parser.add_argument(
        "--workdir", required=True, metavar="DIR", help="run folder made by `ipad-jax train`"
    )
    parser.add_argument(
        "--name",
        help='results go to WORKDIR/eval/NAME (default: the protocol, of images "test"; with --scores that '
        'and "_rescored")',
    )
    parser.add_argument("--step", type=int, metavar="N", help="checkpoint (default: the newest)")
    parser.add_argument(
        "--protocol", choices=("paper", "strict"), help="of scoring footage (default: the config's)"
    )
    parser.add_argument(
        "--scores", metavar="FILE", help="score this scores.npz again, without the model"
    )
    parser.add_argument(
        "--calibration",
        default="",
        metavar="NAME",
        help='made by `ipad-jax calibrate`, or "held_out" (default: the newest)',
    )
    parser.add_argument(
        "--videos",
        choices=("few", "all", "none"),
        help="side-by-side videos, of the two worst and the two best test videos (few, the default), of all, "
        "or none",
    )
    parser.add_argument(
        "--no-report", action="store_true", help="numbers only, no page and no videos"
    )
    return parser


def chosen(args: argparse.Namespace) -> tuple[dict[str, str], dict[str, Any]]:
    """The dataset to judge, as `data_name` and perhaps `data_dir`, and the leaves of `eval` that are set."""
    from ml_collections import ConfigDict

    from ipad_jax.run.config import read_config

    config = read_config(args.workdir)
    section = config.eval.to_dict()
    data = {"name": config.data.name, "data_dir": config.data.get("data_dir", "")}
    words, leaves = set_leaves(
        ConfigDict({"eval": section, "data": data}),
        args.leaves,
        f"only leaves of eval can be changed, {', '.join(sorted(section))}, data.name and data.data_dir",
    )
    # A leaf that is given counts as a wish even where it says what the config holds anyway.
    given = sorted({name.split(".")[1] for name in leaves if name.startswith("eval.")})
    overrides = {leaf: words.eval.to_dict()[leaf] for leaf in given}
    if args.protocol:
        overrides["protocol"] = args.protocol
    source = {"data_name": words.data.name}
    if "data.data_dir" in leaves:
        source["data_dir"] = words.data.data_dir
    return source, overrides


def run(args: argparse.Namespace) -> int:
    """Evaluates, or rescores where scores are given."""
    if args.scores and args.step is not None:
        raise UsageError(
            f"--scores {args.scores} holds the scores of one checkpoint; --step {args.step} needs the model: "
            "leave one of them out."
        )
    if args.videos and (args.scores or args.no_report):
        other = "--scores" if args.scores else "--no-report"
        raise UsageError(f"--videos {args.videos} belongs to the report, which {other} leaves out.")
    source, overrides = chosen(args)
    if args.scores and "data_dir" in source:
        raise UsageError("--config.data.data_dir: --scores FILE needs no dataset.")
    from functools import partial

    import jax

    from ipad_jax.run.config import read_config
    from ipad_jax.run.progress import frame_progress
    from ipad_jax.training.task import family_module, family_of

    config = read_config(args.workdir)
    family = family_of(config)
    if args.videos and family != "video":
        raise UsageError(
            f"--videos {args.videos} is for video runs; {args.workdir} is of {family}."
        )
    doors = family_module(config, "evaluation")
    choices: dict[str, Any] = {"name": args.name or "", "overrides": overrides}
    choices |= source
    if args.calibration:
        choices["calibration"] = args.calibration
    if args.scores:
        if jax.process_index():
            return 0  # the first process does it alone
        announce(doors.rescore(args.workdir, args.scores, **choices))
    else:
        if args.videos:
            choices["videos"] = args.videos
        evaluation = doors.evaluate(
            args.workdir,
            **choices,
            step=args.step,
            report=not args.no_report,
            stages=partial(frame_progress, unit=UNITS.get(family, "frames")),
            announce=announce,
        )
        if evaluation is None:  # not the first process
            return 0
        if not args.no_report:
            print(f"report: {evaluation.folder / 'report.html'}  (open it in a browser)")
    print_next(*detection(args.workdir, family))
    return 0


def announce(evaluation: Any) -> None:
    """Prints the numbers and where they lie."""
    print("\n".join([*evaluation.notes, evaluation.summary()]))
    print(f"\nwritten to {evaluation.folder}", flush=True)


def main(argv: list[str]) -> int:
    """The command; see `ipad-jax evaluate --help`."""
    return run(make_parser().parse_args(argv))
