"""The command line: `ipad-jax COMMAND ...`; each command is a module of `commands`."""

import importlib
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

COMMANDS = {
    "demo": "render a machine, train, evaluate, write a report, in six minutes",
    "prepare": "build a dataset (footage, images or rendered) for training",
    "validate": "check an archive, your own footage or images before preparing it",
    "poses": "camera poses of an object's photos from a printed board; prints it",
    "train": "train a config; the same --workdir resumes",
    "evaluate": "score a test split: scores, metrics, report",
    "calibrate": "set the alarm's thresholds on fresh normal footage",
    "detect": "mark faults in images, a video, a folder of frames or a camera",
    "review": "mark events as normal, fault or unsure",
    "learn": "make events marked normal raise no alarm any more",
    "ui": "a page in the browser: runs, training, threshold, events, live",
    "reproduce": "run what Tables 2, 3 and 4 of the paper need, print them beside its numbers",
    "export": "write a run of images as one file, StableHLO or ONNX, checked against it",
    "merge": "make an ordinary run of one trained with adapters",
    "compile": "what a TPU slice would need for a config: memory, FLOPs, collectives",
    "bench": "how fast this machine is: model, input, detection, start-up, growth",
}
# Commands that a person or a supervisor ends, and waits for: JAX and Python take seconds of CPU to tidy up
# what the system takes back anyway.
LEAVE_AT_ONCE = ("detect",)
MANY_PROCESSES = ("train", "evaluate")  # commands that spread over the processes of a cluster
READS_A_RUN = ("evaluate", "calibrate", "detect", "review", "learn", "export", "merge", "bench")


def usage() -> str:
    """The help text: one line a command."""
    lines = ["usage: ipad-jax COMMAND [ARGUMENTS]", "", "commands:"]
    lines += [f"  {name:<10} {text}" for name, text in COMMANDS.items()]
    lines += [
        "",
        "`ipad-jax COMMAND --help` shows a command's arguments, `ipad-jax --version` the version.",
        "Exit status: 0 done, 1 the input or run is at fault, 2 wrong arguments,",
        "3 an alarm (detect --fail-on-alarm), 130 Ctrl-C, 143 SIGTERM.",
        "IPAD_JAX_TRACEBACK=1 shows where an error was raised.",
        "",
        "example:",
        "  ipad-jax demo --workdir demo_run",
    ]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Runs one command; `argv` is the process's own by default. Returns the exit status, see `usage`."""
    own_process = argv is None
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["help"]:  # `help train` is `train --help`
        argv = [*argv[1:2], "--help"]
    if not argv or argv[0] in ("-h", "--help"):
        print(usage())
        return 0 if argv else 2
    name, *rest = argv
    if name in ("--version", "-V"):
        from importlib.metadata import version  # slow to import

        print(f"ipad-jax {version('ipad_jax')}")
        return 0
    if name not in COMMANDS:
        print(f"ipad-jax: unknown command {name!r}\n\n{usage()}", file=sys.stderr)
        return 2
    command = importlib.import_module(f"ipad_jax.commands.{name}")
    try:
        args = command.make_parser().parse_args(rest)
    except SystemExit as leaving:  # argparse printed the help, or what is wrong
        return int(leaving.code or 0)
    _parse_absl_flags()
    if own_process:
        from ipad_jax.run.allocator import keep_freed_memory

        keep_freed_memory()
    with _log_printed():
        status, why = _run(name, lambda: _check_names(name, vars(args)))
        if why:
            return status
        if name in MANY_PROCESSES:
            return _run_together(name, lambda: command.run(args))
        status, _ = _run(name, lambda: command.run(args))
    if own_process and name in LEAVE_AT_ONCE:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status


def _check_names(name: str, given: Mapping[str, Any]) -> int:
    """Refuses a config or run folder that is not there before JAX is imported, which takes seconds."""
    from ipad_jax.run.config import config_path, read_config

    if given.get("config"):
        config_path(given["config"])
    if given.get("workdir") and name in READS_A_RUN:
        read_config(given["workdir"])
    return 0


def _run(name: str, command: Callable[[], int]) -> tuple[int, str]:
    """A command's exit status, and what made it fail; "" if it came to its end by itself."""
    from ipad_jax.commands.parsing import UsageError

    try:
        return command(), ""
    except KeyboardInterrupt:
        print(f"ipad-jax {name}: interrupted", file=sys.stderr)
        return 130, "interrupted"
    except (
        BrokenPipeError
    ):  # `ipad-jax ... | head`; Python would write what is left, and fail again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0, ""
    except (ValueError, FloatingPointError, OSError) as error:
        if os.environ.get("IPAD_JAX_TRACEBACK"):
            raise
        print(f"ipad-jax {name}: {error}", file=sys.stderr)
        if not _is_ours(error):
            print("(IPAD_JAX_TRACEBACK=1 shows where this was raised)", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1, str(error)


def _is_ours(error: BaseException) -> bool:
    """Whether this package raised an error itself: its text is then a sentence that says what to do."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and frames[-1].f_globals["__name__"].startswith("ipad_jax.")


def _run_together(name: str, command: Callable[[], int]) -> int:
    """The same as one of several processes, if there are: they end together, and none waits in vain."""
    from ipad_jax.run import processes  # imports jax

    def start_and_run() -> int:
        processes.start(saves_on_sigterm=name == "train")
        return command()

    try:
        status, why = _run(name, start_and_run)
    except SystemExit as leaving:  # SIGTERM
        if not processes.is_many():
            raise
        status, why = int(leaving.code or 0), f"it left with status {leaving.code}"
    except Exception as error:
        if not processes.is_many():
            raise
        failure = processes.failure()  # then this is only its echo, such as a connection closed
        print(f"ipad-jax {name}: {failure}" if failure else traceback.format_exc(), file=sys.stderr)
        status, why = 1, repr(error)
    return processes.fail(status, why) if why else processes.leave(status)


class _Printed(logging.Handler):
    """Prints what the rooms log, where standard output is then: above bars, or nowhere in a later process."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), flush=True)


@contextmanager
def _log_printed() -> Iterator[None]:
    """While a command runs, what the rooms log is printed; a program that calls them decides for itself."""
    logger, printed = logging.getLogger("ipad_jax"), _Printed()
    before = logger.level, logger.propagate
    logger.addHandler(printed)
    logger.setLevel(logging.INFO)
    logger.propagate = False  # some library gives the root logger a handler, which would repeat it
    try:
        yield
    finally:
        logger.removeHandler(printed)
        logger.setLevel(before[0])
        logger.propagate = before[1]


def _parse_absl_flags() -> None:
    """grain's worker processes read an absl flag, which raises unless flags were parsed once."""
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS(["ipad-jax"])


if __name__ == "__main__":
    sys.exit(main())
