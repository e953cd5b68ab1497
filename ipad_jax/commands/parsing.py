"""What the parsers of several commands share."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ml_collections import ConfigDict

UNITS = {"image": "images", "pose": "images"}  # what progress counts, by family; else frames
IMAGE_FAMILIES = ("image", "pose")  # whose runs judge images; the others footage
DEFAULT_DATA_DIR = "~/tensorflow_datasets"


class UsageError(ValueError):
    """The command line is at fault, not what it names: exit status 2."""


def new_parser(
    name: str, text: str | None, usage: str, example: str, *, takes_leaves: bool = False
) -> argparse.ArgumentParser:
    """A command's parser: `usage` without the program, its text as written, one example below.

    With `takes_leaves` it collects `--config.LEAF=VALUE` as `args.leaves`, a list of words.
    """
    kind = _LeavesParser if takes_leaves else argparse.ArgumentParser
    prog = f"ipad-jax {name}"
    return kind(
        prog,
        usage=f"{prog} {usage}",
        description=text,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def add_named(
    choices: Any, command: str, name: str, text: str, usage: str, example: str
) -> argparse.ArgumentParser:
    """The parser of one of a command's names, such as `prepare factory`, with its own usage and example.

    Args:
      choices: of `parser.add_subparsers`.
      command, name: `ipad-jax COMMAND NAME`.
      text, usage, example: as of `new_parser`.
    """
    return choices.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}",
        usage=f"ipad-jax {command} {name} {usage}",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def config_and_family(workdir: object) -> tuple[ConfigDict, str]:
    """A run's config and the family of its method."""
    from ipad_jax.run.config import read_config
    from ipad_jax.training.task import family_of

    config = read_config(str(workdir))
    return config, family_of(config)


class _LeavesParser(argparse.ArgumentParser):
    """A parser that leaves `--config.LEAF=VALUE` alone: the leaves are known once the config is read."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        found, rest = self.parse_known_args(args, namespace)
        found.leaves = list(_leaf_words(rest))
        if others := [word for word in rest if word not in found.leaves]:
            self.error(f"unrecognized arguments: {' '.join(others)}")
        return found


def _leaf_words(words: Sequence[str]) -> Iterator[str]:
    """`--config.LEAF=VALUE`, and `--config.LEAF VALUE` as two words."""
    waits = False
    for word in words:
        is_leaf = word.startswith(("--config.", "-config.", "--noconfig.", "-noconfig."))
        if is_leaf or (waits and not word.startswith("--")):
            yield word
        waits = is_leaf and "=" not in word


class Once(argparse.Action):
    """An option that is refused when given twice, since the last would win in silence."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        if getattr(namespace, self.dest) is not None:
            parser.error(
                f"{option_string} is given twice, {getattr(namespace, self.dest)} and {values}"
            )
        setattr(namespace, self.dest, values)


def add_config(parser: argparse.ArgumentParser) -> None:
    """Adds `--config FILE[:ARG]`; read it with `load_with_leaves`."""
    parser.add_argument(
        "--config",
        action=Once,
        required=True,
        metavar="FILE[:ARG]",
        help="a config's path, or its name in configs/; ARG is a variant such as tiny",
    )


def load_with_leaves(spec: str, words: Sequence[str]) -> ConfigDict:
    """The config of `--config FILE[:ARG]` with the leaves that `words` set.

    Raises:
      FileNotFoundError or ValueError: see `run.config.load_config`.
      UsageError: there is no such leaf, or its value is of another type.
    """
    from ipad_jax.run.config import config_path, load_config

    return set_leaves(load_config(spec), words, f"see {config_path(spec)}")[0]


def set_leaves(config: ConfigDict, words: Sequence[str], where: str) -> tuple[ConfigDict, set[str]]:
    """The config with the leaves that `--config.LEAF=VALUE` sets, and their dotted names.

    Raises:
      UsageError: there is no such leaf (`where` says which there are), or its value is of another type.
    """
    from absl import flags
    from ml_collections import config_flags

    from ipad_jax.run.config import refuse_old_names

    flag_values = flags.FlagValues()
    try:
        refuse_old_names(word.removeprefix("--config.").partition("=")[0] for word in words)
        config_flags.DEFINE_config_dict(
            "config", config, flag_values=flag_values, sys_argv=list(words)
        )
        flag_values(["ipad-jax", *words])
    except (AttributeError, KeyError) as error:
        text = str(error.args[0]).strip(
            "'\""
        )  # a KeyError's is in quotes, or the leaf's name alone
        text = f"there is no leaf {text}" if text.isidentifier() else text
        raise UsageError(f"{text} ({where})") from error
    except (flags.Error, ValueError) as error:
        raise UsageError(str(error)) from error
    names = {name.removeprefix("config.") for name in flag_values if name.startswith("config.")}
    return flag_values.config, names


def positive(text: str) -> int:
    """'4' -> 4; 1 or more."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"number {text!r}: give 1 or more")
    return int(text)


def share(text: str) -> float:
    """'1%' or '0.01' -> 0.01, above 0 and below 1."""
    try:
        found = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        found = 0.0
    if not 0 < found < 1:
        raise argparse.ArgumentTypeError(f"share {text!r}: give one such as 1% or 0.01")
    return found


HOURS = {"hour": 1.0, "shift": 8.0, "day": 24.0, "week": 168.0}


def false_alarm_rate(text: str) -> tuple[float, str]:
    """'1' -> (1.0, "hour"); '3/week' -> (3.0, "week"); '1/1000cycles' -> (0.001, "cycle")."""
    number, _, per = text.replace(",", "").partition("/")
    per = per or "hour"
    try:
        value = float(number)
        if per.endswith("cycles"):
            value, per = value / float(per.removesuffix("cycles")), "cycle"
    except (ValueError, ZeroDivisionError):
        value = 0.0
    if not 0 < value < float("inf") or per not in (*HOURS, "cycle"):
        raise argparse.ArgumentTypeError(
            f"{text!r}: give a number above 0 an hour, such as 0.5, or 1/shift (8 h), 1/day, 3/week, "
            "1/1000cycles"
        )
    return value, per


def rate(text: str) -> float:
    """'25' -> 25.0 frames a second, above 0 and at most 1000."""
    try:
        fps = float(text)
    except ValueError:
        fps = 0.0
    if not 0 < fps <= 1000:
        raise argparse.ArgumentTypeError(
            f"rate {text!r}: give frames a second, above 0 and at most 1000"
        )
    return fps
