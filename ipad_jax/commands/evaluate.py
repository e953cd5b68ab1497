"""`ipad-jax evaluate`: score a run's test split."""

import argparse
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from ipad_jax.run.config import read_config
from ipad_jax.run.progress import frame_progress
from ipad_jax.video.evaluation import evaluate, rescore
from ipad_jax.video.evaluation.measure import summary_text
from ipad_jax.video.scores.protocols import PROTOCOLS


def parse(argv: list[str]) -> tuple[argparse.Namespace, dict[str, Any]]:
    """Own arguments with `scene`, and the leaves of `eval` that `--config.eval.x=V` and `--protocol` set."""
    parser = argparse.ArgumentParser(
        "ipad-jax evaluate",
        description="Score a run's test split. Any leaf of the config's eval section can be changed "
        "with --config.eval.LEAF=VALUE, such as --config.eval.stride=1; --config.data.name=SCENE judges "
        "another scene, or one of several.",
    )
    parser.add_argument("--workdir", required=True, help="run folder made by `ipad-jax train`")
    parser.add_argument(
        "--name",
        help="results go to WORKDIR/eval/NAME (default: the protocol, with --scores PROTOCOL_rescored)",
    )
    parser.add_argument("--step", type=int, help="checkpoint (default: the newest)")
    parser.add_argument("--protocol", choices=PROTOCOLS, help="default: the config's")
    parser.add_argument("--scores", help="score this scores.npz again, without the model")
    parser.add_argument("--no-report", action="store_true", help="numbers only, no page, no videos")
    args, rest = parser.parse_known_args(argv)
    config = read_config(args.workdir)
    flag_values = flags.FlagValues()
    section = config.eval.to_dict()
    try:  # an override of a leaf that there is not fails when the flags are defined
        config_flags.DEFINE_config_dict(
            "config",
            ConfigDict({"eval": section, "data": {"name": config.data.name}}),
            flag_values=flag_values,
            sys_argv=rest,
        )
        unknown = flag_values(["evaluate", *rest])[1:]
    except (flags.Error, AttributeError, KeyError) as error:
        raise ValueError(
            f"{error}; only leaves of eval can be changed ({', '.join(sorted(section))}), and data.name"
        ) from error
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    # What is said counts as a wish even where it says what the config holds anyway.
    said = {name.split(".")[2] for name in flag_values if name.startswith("config.eval.")}
    overrides = {leaf: flag_values.config.eval.to_dict()[leaf] for leaf in sorted(said)}
    if args.protocol:
        overrides["protocol"] = args.protocol
    args.scene = flag_values.config.data.name
    return args, overrides


def main(argv: list[str]) -> int:
    """The command; see `ipad-jax evaluate --help`."""
    args, overrides = parse(argv)
    choices: dict[str, Any] = {"name": args.name or "", "overrides": overrides}
    if args.scores:
        evaluation = rescore(args.workdir, args.scores, **choices)
    else:
        evaluation = evaluate(
            args.workdir,
            **choices,
            step=args.step,
            report=not args.no_report,
            data_name=args.scene,
            stages=frame_progress,
        )
    if evaluation is not None:  # not the first process
        print("\n".join([*evaluation.notes, summary_text(evaluation)]))
        print(f"\nwritten to {evaluation.folder}")
    return 0
