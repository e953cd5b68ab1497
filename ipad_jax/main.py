"""The command line: `ipad-jax COMMAND ...`; each command is one module's `main(argv) -> status`."""

import importlib
import os
import sys
import traceback
from collections.abc import Callable

COMMANDS = {
    "demo": "render a machine, train, evaluate, write a report: the whole system in six minutes",
    "prepare": "build a dataset (ipad, mad, video_folder, factory) that training reads",
    "validate": "check a downloaded archive or your own folders before preparing them",
    "train": "train a config; the same --workdir resumes",
    "evaluate": "score a test split: scores, metrics, report",
    "detect": "mark faults in any video, folder of frames or camera",
    "reproduce": "Tables 2, 3 and 4 of the paper: run what is missing, print them beside its numbers",
    "merge": "make an ordinary run of one trained with adapters",
    "compile": "what a TPU slice would need for a config: memory, FLOPs, collectives, fit",
    "bench": "how fast this machine is: model against PyTorch, input, detection, start-up, growth",
}
MANY_PROCESSES = ("train", "evaluate")  # commands that spread over the processes of `distributed`


def usage() -> str:
    """The help text: one line a command."""
    lines = ["usage: ipad-jax COMMAND [ARGUMENTS]", "", "commands:"]
    lines += [f"  {name:<10}{text}" for name, text in COMMANDS.items()]
    lines += ["", "`ipad-jax COMMAND --help` shows a command's arguments; the README has recipes."]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Runs one command.

    Args:
      argv: arguments without the program's name; the process's own by default.

    Returns:
      The exit status: 0 done, 1 the input or run is at fault (one line on stderr says what), 2 usage,
      130 after Ctrl-C.
    """
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if argv else 2
    name, *rest = argv
    if name not in COMMANDS:
        print(f"ipad-jax: unknown command {name!r}\n\n{usage()}", file=sys.stderr)
        return 2
    _parse_absl_flags()
    command = importlib.import_module(f"ipad_jax.commands.{name}").main
    if name in MANY_PROCESSES:
        return _run_together(name, command, rest)
    return _run(name, lambda: command(rest))[0]


def _run(name: str, command: Callable[[], int]) -> tuple[int, str]:
    """A command's exit status, and what made it fail; "" if it came to its end by itself."""
    try:
        return command(), ""
    except KeyboardInterrupt:
        print(f"ipad-jax {name}: interrupted", file=sys.stderr)
        return 130, "interrupted"
    except BrokenPipeError:  # `ipad-jax ... | head`
        return 0, ""
    except (ValueError, FileNotFoundError, FloatingPointError, OSError) as error:
        if os.environ.get("IPAD_JAX_TRACEBACK"):
            raise
        print(f"ipad-jax {name}: {error}", file=sys.stderr)
        print("(IPAD_JAX_TRACEBACK=1 shows where this was raised)", file=sys.stderr)
        return 1, str(error)


def _run_together(name: str, command: Callable[[list[str]], int], argv: list[str]) -> int:
    """The same as one of several processes, if there are: they end together, and none waits in vain."""
    # Here: it imports jax, which other commands may do without.
    from ipad_jax.run import processes as distributed

    def start_and_run() -> int:
        distributed.start(saves_on_sigterm=name == "train")
        return command(argv)

    try:
        status, why = _run(name, start_and_run)
    except SystemExit as leaving:  # argparse, or SIGTERM
        if not distributed.is_many():
            raise
        status, why = int(leaving.code or 0), f"it left with status {leaving.code}"
    except Exception as error:
        if not distributed.is_many():
            raise
        said = distributed.failure()  # then this is only its echo, such as a connection closed
        print(f"ipad-jax {name}: {said}" if said else traceback.format_exc(), file=sys.stderr)
        status, why = 1, repr(error)
    return distributed.fail(status, why) if why else distributed.leave(status)


def _parse_absl_flags() -> None:
    """grain's worker processes read an absl flag, which raises unless flags were parsed once."""
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS(["ipad-jax"])


if __name__ == "__main__":
    sys.exit(main())
