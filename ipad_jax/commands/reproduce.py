"""Runs the trainings behind a table of the paper, each once, and prints the table beside its numbers.

The same command resumes. Exit status 0: this share is complete; 1: a training failed or data are missing;
143 or 130: stopped by a signal.
"""

import argparse
import os
from typing import TYPE_CHECKING, Any

from ipad_jax.commands import prepare
from ipad_jax.commands.parsing import DEFAULT_DATA_DIR, UsageError, new_parser, positive

if TYPE_CHECKING:
    from etils import epath

    from ipad_jax.reproduce.share import Request
    from ipad_jax.reproduce.table import TableData

# Of a factory training by default: all three tables then fit into a night on two cores.
SECONDS = 100.0


def make_parser() -> argparse.ArgumentParser:
    """Parser of `ipad-jax reproduce`."""
    parser = new_parser(
        "reproduce",
        __doc__,
        "--table {2,3,4} [--data {factory,ipad,video_folder}] [options]",
        "ipad-jax reproduce --table 2 --seeds 0 --list",
    )
    parser.add_argument("--table", type=int, required=True, choices=(2, 3, 4), help="of the paper")
    parser.add_argument(
        "--data",
        choices=("factory", "ipad", "video_folder"),
        default="factory",
        help="rendered machines (default), the IPAD archive, or your own footage (table 2, with --scenes "
        "NAME); the last two are prepared before",
    )
    parser.add_argument(
        "--scenes", nargs="+", metavar="SCENE", help="judged on (default: all of the table)"
    )
    parser.add_argument(
        "--rows", nargs="+", metavar="ROW", help="some rows only, by the names that --list shows"
    )
    parser.add_argument(
        "--seeds",
        nargs="+",
        type=int,
        metavar="N",
        help="of the trainings (default: 0 1 2)",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=0.0,
        metavar="S",
        help=f"length of a training on one scene (default: {SECONDS:g} on factory, else as the config says)",
    )
    parser.add_argument(
        "--steps", type=int, default=0, metavar="N", help="the same in steps, in place of --seconds"
    )
    parser.add_argument(
        "--protocol",
        choices=("paper", "strict"),
        help="of scoring (default: paper on ipad, else strict)",
    )
    parser.add_argument(
        "--workdir",
        default="runs/tables",
        metavar="DIR",
        help="folder of all tables (default: %(default)s)",
    )
    parser.add_argument(
        "--data-dir",
        default="",
        metavar="DIR",
        help=f"of prepared datasets (default: {DEFAULT_DATA_DIR})",
    )
    parser.add_argument(
        "--data-seed", type=int, metavar="N", help="of the factory's videos (default: 1)"
    )
    parser.add_argument(
        "--index", type=int, default=0, metavar="I", help="this machine's share, from 0"
    )
    parser.add_argument(
        "--of", type=positive, default=1, metavar="N", help="number of machines (default: 1)"
    )
    parser.add_argument(
        "--list", action="store_true", help="print what would run and how long, and leave"
    )
    parser.add_argument(
        "--show",
        action="store_true",
        help="print the table of what is there, write it as text, CSV and page, and leave",
    )
    parser.add_argument(
        "--tiny",
        action="store_true",
        help="tiny models on tiny pictures: tries the way, no numbers",
    )
    return parser


def request_of(args: argparse.Namespace) -> "Request":
    """What the arguments ask for."""
    from ipad_jax.reproduce.methods import DATA_SEED, SEEDS, Setting, default_scenes
    from ipad_jax.reproduce.plan import Budget
    from ipad_jax.reproduce.share import Request

    budget = Budget(args.seconds, args.steps)
    if args.data == "factory" and budget == Budget():
        budget = Budget(SECONDS)
    data_seed = DATA_SEED if args.data_seed is None else args.data_seed
    setting = Setting(
        args.data,
        tuple(dict.fromkeys(args.scenes or default_scenes(args.data, args.table))),
        tuple(dict.fromkeys(args.seeds or SEEDS)),  # named twice, wanted once
        args.protocol or ("paper" if args.data == "ipad" else "strict"),
        f"seed{data_seed}" if data_seed else "",
        args.tiny,
    )
    return Request(args.table, setting, budget, args.workdir, args.data_dir, data_seed)


def run(args: argparse.Namespace) -> int:
    """Runs this machine's share of a table and prints what is there."""
    if not 0 <= args.index < args.of:
        raise UsageError(f"--index {args.index} must be in 0..{args.of - 1} (--of {args.of}).")
    from ipad_jax.reproduce import share
    from ipad_jax.reproduce.collect import collect, look
    from ipad_jax.reproduce.methods import make_table
    from ipad_jax.reproduce.plan import jobs_of, shares
    from ipad_jax.reproduce.table import table_text

    request = request_of(args).with_known_cycles()
    root, setting = request.root, request.setting
    whole, pretrainings = make_table(args.table, setting)
    table = whole.only(args.rows) if args.rows else whole
    jobs = jobs_of(table, pretrainings)
    configs = share.configs_of(root, jobs, request.budget, args.data_dir)
    own = shares(jobs, args.of)[args.index]
    folder = look(root, jobs, configs)
    if args.list:
        of = f"share {args.index} of {args.of}: " if args.of > 1 else ""
        print(share.plan_text(request, table, jobs, own, folder, configs, of))
        return 0
    status = 0
    if not args.show:
        todo = [job for job in own if not share.is_done(root, job, folder, configs)]
        done = len(own) - len(todo)
        print(f"{len(own)} trainings in this share, {done} of them complete", flush=True)
        if todo:
            status = run_share(root, todo, configs, args.data)
        folder = look(root, jobs, configs)
    trained = share.trained_of(root, jobs, configs)
    data = collect(folder, table, trained, share.subtitle(request), list(setting.seeds))
    print(table_text(data))
    if any(done for done, _ in (data.cells, data.trainings)):
        write(root / share.file_name(request, table, whole), data)
    return status


def run_share(root: "epath.Path", todo: Any, configs: Any, data: str) -> int:
    """Prepares the data and runs what is to do; the exit status."""
    from ipad_jax.reproduce import share
    from ipad_jax.reproduce.cells import missing_data
    from ipad_jax.run.compile_cache import enable_compile_cache

    missing = missing_data(todo, configs)
    if data != "factory" and missing:
        lines = [f"  {line}" for line in share.prepare_lines(missing)]
        print(f"not prepared yet ({share.DIR_HOLDS[data]}):\n" + "\n".join(lines))
        return 1
    for words, scenes in missing:
        if prepare.main([*words, "--scene", *scenes]):
            return 1
    enable_compile_cache()
    return share.run_jobs(root, todo, configs, lambda text: print(text, flush=True))


def write(stem: "os.PathLike[str]", data: "TableData") -> None:
    """Text, CSV and page beside each other."""
    from ipad_jax.reproduce.table import table_csv, table_text
    from ipad_jax.reproduce.table_page import write_table_page
    from ipad_jax.run.files import write_atomic

    write_atomic(f"{stem}.txt", table_text(data).encode())
    write_atomic(f"{stem}.csv", table_csv(data).encode())
    write_table_page(data, f"{stem}.html")
    print(f"written to {stem}.txt, .csv and .html")


def main(argv: list[str]) -> int:
    """The command; see `ipad-jax reproduce --help`."""
    return run(make_parser().parse_args(argv))
