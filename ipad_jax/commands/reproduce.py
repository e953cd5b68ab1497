"""Runs the trainings behind a table of the paper, each once, and prints the table beside its numbers.

The same command resumes. Exit status 0: this share is complete; 1: a training failed or data are missing;
143 or 130: stopped by a signal.
"""

import argparse
import dataclasses
import os
from typing import TYPE_CHECKING, Any

from ipad_jax.commands import prepare
from ipad_jax.commands.next_step import print_next
from ipad_jax.commands.parsing import DEFAULT_DATA_DIR, UsageError, new_parser, positive

if TYPE_CHECKING:
    from etils import epath

    from ipad_jax.reproduce.alarm_footage import Plan
    from ipad_jax.reproduce.plan import Budget
    from ipad_jax.reproduce.share import Request
    from ipad_jax.reproduce.table import TableData

ALARM, IMAGE, MAD = "alarm", "image", "mad"
OBJECTS = ("toys", "mad")  # what --table mad is made on
VIDEO_DATA = ("factory", "ipad", "video_folder")
ALARM_HOURS = 2.5  # of each machine: ten of the four
# Of a factory training by default: all three tables then fit into a night on two cores.
SECONDS = 100.0
IMAGE_SECONDS = 240.0  # of each method on a set of images; three of their schedules end in it


def make_parser() -> argparse.ArgumentParser:
    """Parser of `ipad-jax reproduce`."""
    parser = new_parser(
        "reproduce",
        __doc__,
        "--table {2,3,4,alarm,image,mad} [--data DATA] [options]",
        "ipad-jax reproduce --table 2 --seeds 0 --list",
    )
    parser.add_argument(
        "--table",
        required=True,
        choices=("2", "3", "4", ALARM, IMAGE, MAD),
        help="of the paper; or alarm: false alarms and faults found on hours of rendered footage; or image: "
        "methods on images; or mad: objects from any side",
    )
    parser.add_argument(
        "--data",
        help="factory, ipad or video_folder: rendered machines (default), the IPAD archive, or your own "
        "footage (table 2, with --scenes NAME); the last two are prepared before; of table image: names of "
        "prepared sets, such as bottle,plate; of table mad: toys (rendered, default) or mad (the archive)",
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
        help=f"length of a training on one scene (default: {SECONDS:g} on factory, {IMAGE_SECONDS:g} of "
        f"table {IMAGE}, else as the config says)",
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
        "--hours",
        type=float,
        metavar="H",
        help=f"table alarm: normal footage of each machine that judges (default: {ALARM_HOURS:g}); it is "
        "calibrated on as much, 20 minutes at most, and sees faults for half of it, 10 minutes at most",
    )
    parser.add_argument(
        "--drift",
        action="store_true",
        help="table alarm: two more hours of normal footage in which light, camera and speed change slowly",
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


def data_of(args: argparse.Namespace) -> str:
    """What a table is made on."""
    return args.data or ("toys" if args.table == MAD else "factory")


def request_of(args: argparse.Namespace) -> "Request":
    """What the arguments ask for."""
    args.data = data_of(args)
    from ipad_jax.reproduce.methods import DATA_SEED, SEEDS, Setting, default_scenes
    from ipad_jax.reproduce.plan import Budget
    from ipad_jax.reproduce.share import Request

    budget = Budget(args.seconds, args.steps)
    if args.table == MAD:
        return mad_request(args, budget)
    if args.table == IMAGE:
        return image_request(args, budget if budget != Budget() else Budget(IMAGE_SECONDS))
    if args.data not in VIDEO_DATA:
        raise UsageError(
            f"--data {args.data}: table {args.table} is made on {', '.join(VIDEO_DATA)}."
        )
    if args.data == "factory" and budget == Budget():
        budget = Budget(SECONDS)
    data_seed = DATA_SEED if args.data_seed is None else args.data_seed
    setting = Setting(
        args.data,
        tuple(dict.fromkeys(args.scenes or default_scenes(args.data, int(args.table)))),
        tuple(dict.fromkeys(args.seeds or SEEDS)),  # named twice, wanted once
        args.protocol or ("paper" if args.data == "ipad" else "strict"),
        f"seed{data_seed}" if data_seed else "",
        args.tiny,
    )
    return Request(int(args.table), setting, budget, args.workdir, args.data_dir, data_seed)


def image_request(args: argparse.Namespace, budget: "Budget") -> "Request":
    """The same for the table of images."""
    from ipad_jax.reproduce.image_table import sets_of
    from ipad_jax.reproduce.methods import SEEDS, Setting
    from ipad_jax.reproduce.share import Request

    if args.scenes or args.protocol or args.data_seed is not None or args.data in VIDEO_DATA:
        raise UsageError(
            f"--table {IMAGE} takes --data NAME[,NAME], the names of prepared sets of images, and neither "
            "--scenes, --protocol nor --data-seed."
        )
    seeds = tuple(dict.fromkeys(args.seeds or SEEDS))
    setting = Setting(IMAGE, tuple(sets_of(args.data)), seeds, variant="", tiny=args.tiny)
    return Request(IMAGE, setting, budget, args.workdir, args.data_dir, 0)


def mad_request(args: argparse.Namespace, budget: "Budget") -> "Request":
    """The same for the table of objects from any side."""
    from ipad_jax.reproduce.methods import SEEDS, Setting, default_scenes
    from ipad_jax.reproduce.share import Request

    if args.data not in OBJECTS or args.protocol or args.data_seed is not None:
        raise UsageError(
            f"--table {MAD} takes --data {' or '.join(OBJECTS)}, --scenes for some of their objects, and "
            "neither --protocol nor --data-seed."
        )
    scenes = tuple(dict.fromkeys(args.scenes or default_scenes(args.data, MAD)))
    seeds = tuple(dict.fromkeys(args.seeds or SEEDS))
    setting = Setting(args.data, scenes, seeds, variant="", tiny=args.tiny)
    return Request(MAD, setting, budget, args.workdir, args.data_dir, 0)


def run(args: argparse.Namespace) -> int:
    """Runs this machine's share of a table, or prints what is there."""
    args.data = data_of(args)
    status = _run(args)
    words = ["reproduce", "--table", args.table, "--data", args.data, "--workdir", args.workdir]
    for name in ("scenes", "rows", "seeds"):
        if values := getattr(args, name):
            words += [f"--{name}", *values]
    if args.data_seed is not None:
        words += ["--data-seed", args.data_seed]
    for name in ("protocol", "hours", "seconds", "steps", "data_dir"):
        if value := getattr(args, name):
            words += [f"--{name.replace('_', '-')}", value]
    words += [f"--{name}" for name in ("drift", "tiny") if getattr(args, name)]
    if args.list or status:
        print_next(*words, note="with the other options as they were given")
    else:
        print_next(*words, "--list" if args.show else "--show")
    return status


def _run(args: argparse.Namespace) -> int:
    """Runs this machine's share of a table and prints what is there."""
    if not 0 <= args.index < args.of:
        raise UsageError(f"--index {args.index} must be in 0..{args.of - 1} (--of {args.of}).")
    if args.table == ALARM:
        return run_alarm(args)
    if args.hours is not None or args.drift:
        option = "--drift" if args.drift else "--hours"
        raise UsageError(f"{option} is of --table {ALARM}, not of table {args.table}.")
    from ipad_jax.reproduce import share
    from ipad_jax.reproduce.collect import collect, look
    from ipad_jax.reproduce.image_table import image_table
    from ipad_jax.reproduce.mad_attributes import appendices_of
    from ipad_jax.reproduce.mad_table import mad_table
    from ipad_jax.reproduce.methods import make_table
    from ipad_jax.reproduce.plan import jobs_of, shares
    from ipad_jax.reproduce.table import table_text

    request = request_of(args).with_known_cycles()
    root, setting = request.root, request.setting
    if isinstance(request.number, int):
        whole, pretrainings = make_table(request.number, setting)
    else:
        make = mad_table if request.number == MAD else image_table
        whole, pretrainings = make(setting), []
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
            status = run_share(root, todo, configs, setting.data)
        folder = look(root, jobs, configs)
    trained = share.trained_of(root, jobs, configs)
    data = collect(folder, table, trained, share.subtitle(request), list(setting.seeds))
    if request.number == MAD:
        data = dataclasses.replace(data, appendices=appendices_of(folder, table, setting))
    print(table_text(data))
    if any(done for done, _ in (data.cells, data.trainings)):
        write(root / share.file_name(request, table, whole), data)
    return status


def run_alarm(args: argparse.Namespace) -> int:
    """Watches this machine's share of the rendered machines and prints the table of what is there."""
    from etils import epath

    from ipad_jax.reproduce.alarm_footage import Plan, plan_text
    from ipad_jax.reproduce.alarm_table import rows_of, table_of
    from ipad_jax.reproduce.alarm_table import write as write_alarm
    from ipad_jax.reproduce.methods import DATA_SEED, default_scenes
    from ipad_jax.reproduce.plan import Budget

    if args.data != "factory" or args.rows or args.protocol or args.seeds:
        raise UsageError(
            f"--table {ALARM} is made on rendered machines, all its rows at once, of one training: leave "
            "--data, --rows, --seeds and --protocol out."
        )
    hours = ALARM_HOURS if args.hours is None else args.hours
    if not 0 < hours < float("inf"):
        raise UsageError(f"--hours {args.hours} must be above 0, e.g. 0.5.")
    budget = Budget(args.seconds, args.steps)
    if budget == Budget():
        budget = Budget(SECONDS)
    length = {"total_steps": budget.steps} if budget.steps else {"max_seconds": budget.seconds}
    seed = DATA_SEED if args.data_seed is None else args.data_seed
    words = [ALARM, f"seed{seed}" if seed else "", budget.name, "tiny" if args.tiny else ""]
    plan = Plan(
        epath.Path(args.workdir).expanduser() / "_".join(filter(None, words)),
        tuple(dict.fromkeys(args.scenes or default_scenes("factory", 2))),
        seed,
        hours,
        length | {"data.data_dir": args.data_dir},
        args.tiny,
        args.drift,
    )
    own = plan.scenes[args.index :: args.of]
    if args.list:
        print(plan_text(plan, own))
        return 0
    if not args.show:
        for scene in own:
            if status := watch(plan, scene):
                return status
    rows = [row for scene in plan.scenes for row in rows_of(plan, scene)]
    if not rows:
        print(f"nothing is there yet in {plan.root}")
        return 0
    table = table_of(rows, f"Alarms, {budget.name} of training, machines of seed {seed}")
    print(table)
    write_alarm(plan.root, table)
    print(f"written to {plan.root / ALARM}.txt and .csv")
    return 0


def watch(plan: "Plan", scene: str) -> int:
    """Prepares a machine's training footage where it is not there, and watches it."""
    from ipad_jax.reproduce import alarm_footage
    from ipad_jax.reproduce.cells import place_of, prepare_words
    from ipad_jax.run.compile_cache import enable_compile_cache

    data = plan.config(scene).data
    is_there = place_of(data, scene).exists()
    if not is_there and prepare.main([*prepare_words(data), "--scene", scene]):
        return 1
    enable_compile_cache()
    return alarm_footage.watch(plan, scene, lambda text: print(text, flush=True))


def run_share(root: "epath.Path", todo: Any, configs: Any, data: str) -> int:
    """Prepares the data and runs what is to do; the exit status."""
    from ipad_jax.reproduce import share
    from ipad_jax.reproduce.cells import missing_data
    from ipad_jax.run.compile_cache import enable_compile_cache

    missing = missing_data(todo, configs)
    if data not in ("factory", "toys") and missing:
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
