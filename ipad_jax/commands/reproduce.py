"""The command line of `ipad-jax reproduce`."""

import argparse
import dataclasses
import hashlib
import statistics
import traceback
from collections.abc import Mapping, Sequence

from etils import epath
from ml_collections import ConfigDict

from ipad_jax.commands import prepare
from ipad_jax.prepare.arguments import DEFAULT_DATA_DIR
from ipad_jax.reproduce import cells
from ipad_jax.reproduce.collect import Folder, collect, look
from ipad_jax.reproduce.methods import DATA_SEED, SEEDS, Setting, default_scenes, make_table
from ipad_jax.reproduce.plan import Budget, Job, Table, jobs_of, shares
from ipad_jax.reproduce.table import TableData, table_csv, table_text
from ipad_jax.reproduce.table_page import write_table_page
from ipad_jax.run.compile_cache import enable_compile_cache
from ipad_jax.run.config import load_config
from ipad_jax.run.files import write_atomic

SECONDS = (
    100.0  # of a factory training by default: all three tables then fit into a night on two cores
)
# What a cell takes beside its seconds (starting, compiling, scoring) where none has been run yet:
# a guess for 64x64 on two cores.
OVERHEAD_S = 60.0
MAX_NAMES = 60  # characters of a file's name that say which rows, scenes or seeds a table has
# How `ipad-jax prepare` is told where the footage lies.
DIR_HOLDS = {"ipad": "DIR holds the archive", "video_folder": "DIR holds the footage"}
DIR_OPTION = {"ipad": " --manual-dir DIR", "video_folder": " --source DIR"}


def make_parser() -> argparse.ArgumentParser:
    """Parser of `ipad-jax reproduce`."""
    parser = argparse.ArgumentParser(
        "ipad-jax reproduce",
        description="Run the trainings behind a table of the paper, each once, and print the table "
        "beside the paper's numbers. The same command resumes.",
    )
    parser.add_argument("--table", type=int, required=True, choices=(2, 3, 4), help="of the paper")
    parser.add_argument(
        "--data",
        choices=("factory", "ipad", "video_folder"),
        default="factory",
        help="rendered machines (default), the IPAD archive, or your own footage (table 2, with --scenes "
        "NAME); the last two prepared before",
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
        default=list(SEEDS),
        help=f"of the trainings (default: {' '.join(map(str, SEEDS))})",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=0.0,
        help=f"length of a training on one scene (default: {SECONDS:g} on factory, else as the config says)",
    )
    parser.add_argument(
        "--steps", type=int, default=0, help="the same in steps, in place of --seconds"
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
        "--data-seed", type=int, default=DATA_SEED, help="of the factory's videos (default: 1)"
    )
    parser.add_argument("--index", type=int, default=0, help="this machine's share, from 0")
    parser.add_argument("--of", type=int, default=1, help="number of machines (default: 1)")
    parser.add_argument(
        "--list", action="store_true", help="say what would run and how long, and leave"
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


def main(argv: list[str]) -> int:
    """The command; 0: this share is complete, 1: a cell failed or data are missing, 143 or 130: stopped."""
    args = make_parser().parse_args(argv)
    args.seeds = list(dict.fromkeys(args.seeds))  # named twice, wanted once
    if args.of < 1:
        raise ValueError(f"--of {args.of} must be at least 1.")
    if not 0 <= args.index < args.of:
        raise ValueError(f"--index {args.index} must be in 0..{args.of - 1} (--of {args.of}).")
    budget = Budget(args.seconds, args.steps)
    if args.data == "factory" and budget == Budget():
        budget = Budget(SECONDS)
    setting = _setting(args)
    root = epath.Path(args.workdir).expanduser() / _name(args, setting, budget)
    if setting.data == "video_folder":
        own = load_config(setting.spec(setting.data), {"data.data_dir": args.data_dir})
        cycles = cells.scenes_with_cycle(root, own, setting.scenes)
        setting = dataclasses.replace(setting, cycles=cycles)
    whole, pretrainings = make_table(args.table, setting)
    table = whole.only(args.rows) if args.rows else whole
    jobs = jobs_of(table, pretrainings)
    configs = configs_of(root, jobs, budget, args.data_dir)
    share = shares(jobs, args.of)[args.index]
    folder = look(root, jobs, configs)
    if args.list:
        print(plan_text(root, table, jobs, share, folder, configs, budget, args))
        return 0
    status = 0
    if not args.show:
        status = run_share(root, share, folder, configs, args)
        folder = look(root, jobs, configs)
    data = collect(
        folder, table, trained_of(root, jobs, configs), subtitle(args, setting, budget), args.seeds
    )
    print(table_text(data))
    if any(done for done, _ in (data.cells, data.trainings)):
        write(root / file_name(table, whole, args), data)
    return status


def configs_of(
    root: epath.Path, jobs: Sequence[Job], budget: Budget, data_dir: str
) -> dict[str, ConfigDict]:
    """The config of each training, by its folder.

    Raises:
      ValueError: there is no such config, or it lacks a leaf; names all rows that cannot be.
    """
    found, wrong = {}, {}
    for job in jobs:
        training = job.training
        if training.config in wrong:
            continue
        try:
            found[training.folder] = cells.training_config(root, training, budget, data_dir)
        except (FileNotFoundError, ValueError) as error:
            wrong[training.config] = str(error)
    if wrong:
        lines = [f"  {config}: {text}" for config, text in wrong.items()]
        raise ValueError(
            "these configs of the table cannot be loaded:\n"
            + "\n".join(lines)
            + "\nLeave their rows out with --rows."
        )
    return found


def run_share(
    root: epath.Path,
    share: Sequence[Job],
    folder: Folder,
    configs: Mapping[str, ConfigDict],
    args: argparse.Namespace,
) -> int:
    """Runs what is not there of a share; the exit status."""
    todo = [job for job in share if not is_done(root, job, folder, configs)]
    print(
        f"{len(share)} trainings in this share, {len(share) - len(todo)} of them complete",
        flush=True,
    )
    if not todo:
        return 0
    if not prepare_data(todo, configs, args):
        return 1
    enable_compile_cache()
    failed: list[str] = []
    for number, job in enumerate(todo, 1):
        name = job.training.folder
        if job.training.start in failed:
            failed.append(name)
            print(
                f"[{number}/{len(todo)}] {name}: left out, what it starts from failed", flush=True
            )
            continue
        print(f"[{number}/{len(todo)}] {name}", flush=True)
        try:
            cells.run_job(root, job, configs[name], say=lambda text: print(text, flush=True))
        except cells.InterruptedRunError as stop:
            print(f"interrupted in {name}, which is saved; the same command goes on")
            return stop.status
        except Exception:  # one cell must not cost the night
            failed.append(name)
            traceback.print_exc()
    if failed:
        print(f"{len(failed)} of {len(todo)} failed: {', '.join(failed)}")
    return 1 if failed else 0


def is_done(root: epath.Path, job: Job, folder: Folder, configs: Mapping[str, ConfigDict]) -> bool:
    """Whether all cells of a job are there; of a pretraining, its training."""
    if job.cells:
        return all(folder.has(cell) for cell in job.cells)
    return cells.is_trained(root, job.training, configs[job.training.folder])


def trained_of(
    root: epath.Path, jobs: Sequence[Job], configs: Mapping[str, ConfigDict]
) -> tuple[int, int]:
    """(trainings that are done, trainings)."""
    done = [cells.is_trained(root, job.training, configs[job.training.folder]) for job in jobs]
    return sum(done), len(jobs)


def prepare_data(
    jobs: Sequence[Job], configs: Mapping[str, ConfigDict], args: argparse.Namespace
) -> bool:
    """Renders factory scenes that are not there; says what to do about others. Whether all are there."""
    missing = cells.missing_data(jobs, configs)
    if args.data != "factory" and missing:
        lines = [f"  {line}" for line in prepare_lines(missing)]
        print(f"not prepared yet ({DIR_HOLDS[args.data]}):\n" + "\n".join(lines))
        return False
    return all(prepare.main([*words, "--scene", *scenes]) == 0 for words, scenes in missing)


def prepare_lines(missing: Sequence[tuple[Sequence[str], Sequence[str]]]) -> list[str]:
    """The commands that make missing datasets, see `cells.missing_data`."""
    lines = []
    for words, scenes in missing:
        start, end = f"ipad-jax prepare {' '.join(words)}", DIR_OPTION.get(words[0], "")
        if words[0] == "video_folder":  # each lies in a folder of its own
            lines += [f"{start} --name {scene}{end}" for scene in scenes]
        else:
            lines.append(f"{start} --scene {' '.join(scenes)}{end}")
    return lines


def plan_text(
    root: epath.Path,
    table: Table,
    jobs: Sequence[Job],
    share: Sequence[Job],
    folder: Folder,
    configs: Mapping[str, ConfigDict],
    budget: Budget,
    args: argparse.Namespace,
) -> str:
    """What would run: rows, trainings, time."""
    texts = [f"{table.title} (protocol {table.protocol}), in {root}", ""]
    width = max(len(line.name) for line in table.lines)
    for line in table.lines:
        if line.is_untrained:
            state = "no training: from the cells of the others"
        else:
            done = sum(folder.has(cell) for cell in line.cells)
            trainings = {cell.training.folder for cell in line.cells}
            state = f"{done} of {len(line.cells)} cells, {len(trainings)} trainings"
        texts.append(f"  {line.name:<{width}}  {line.text}: {state}")
    todo = [job for job in share if not is_done(root, job, folder, configs)]
    untrained = [
        job
        for job in todo
        if not cells.is_trained(root, job.training, configs[job.training.folder])
    ]
    texts.append("")
    texts.append(
        f"{len(table.scenes)} scenes x {len(args.seeds)} seeds; {len(jobs)} trainings in all (rows share "
        f"some), {sum(len(job.cells) for job in jobs)} cells"
    )
    of = f"share {args.index} of {args.of}: " if args.of > 1 else ""
    texts.append(
        f"{of}{len(share)} trainings, {len(share) - len(todo)} complete, {len(untrained)} to train, "
        f"{len(todo) - len(untrained)} only to judge"
    )
    texts.append(time_text(folder, jobs, untrained, budget))
    if missing := cells.missing_data(todo, configs):
        by = DIR_HOLDS.get(args.data, "made by the run itself")
        texts += [f"not prepared yet ({by}): {line}" for line in prepare_lines(missing)]
    return "\n".join(texts)


def time_text(folder: Folder, jobs: Sequence[Job], untrained: Sequence[Job], budget: Budget) -> str:
    """How long the trainings take, from those that are done where there are any."""
    if not budget.seconds:
        return "time: unknown, since the trainings are limited by steps"
    overhead, basis = OVERHEAD_S, "a guess"
    seen = []
    for job in jobs:
        facts = [cells.load_facts(folder.root, cell) for cell in job.cells if folder.has(cell)]
        if facts and facts[0]["training"]:
            judging = sum(f["cell"].get("judging_seconds", 0.0) for f in facts)
            wall = facts[0]["training"]["wall_seconds"] - facts[0]["training"]["train_seconds"]
            seen.append(max(wall, 0.0) + judging)
    if seen:
        overhead, basis = statistics.mean(seen), f"the mean of {len(seen)} done here"
    training = sum(budget.scaled(job.training.footage).seconds for job in untrained)
    hours = (training + overhead * len(untrained)) / 3600
    return (
        f"time: {training / 3600:.1f} h of training, {hours:.1f} h with {overhead:.0f} s each for compiling "
        f"and judging ({basis})"
    )


def subtitle(args: argparse.Namespace, setting: Setting, budget: Budget) -> str:
    """How the table was made, in a line."""
    length = "each training as long as its config says"
    if budget.seconds:
        length = f"{budget.seconds:g} s of training a scene"
    elif budget.steps:
        length = f"{budget.steps} steps of training a scene"
    data = f", videos of data seed {args.data_seed}" if args.data == "factory" else ""
    return f"protocol {setting.protocol}, {length}, training seeds {', '.join(map(str, args.seeds))}{data}"


def file_name(table: Table, whole: Table, args: argparse.Namespace) -> str:
    """Name of a table's files, without suffix: with other rows, scenes or seeds than usual it says which.

    A whole table's files are thus never replaced by a part. Own footage has no usual scenes.

    Args:
      table: that is written.
      whole: with all its rows.
      args: of the command.
    """
    parts = {
        "rows": ([line.name for line in table.lines], [line.name for line in whole.lines]),
        "scenes": (table.scenes, default_scenes(args.data, args.table)),
        "seeds": (args.seeds, SEEDS),
    }
    words = [f"table{args.table}"]
    for what, (chosen, usual) in parts.items():
        if set(chosen) != set(usual):
            names = "+".join(sorted(map(str, chosen)))
            if len(names) > MAX_NAMES:  # a file's name has at most 255 bytes
                names = f"{len(chosen)}-{hashlib.sha256(names.encode()).hexdigest()[:8]}"
            words.append(f"{what}-{names}")
    return "_".join(words)


def write(stem: epath.Path, data: TableData) -> None:
    """Text, CSV and page beside each other."""
    write_atomic(stem.with_suffix(".txt"), table_text(data).encode())
    write_atomic(stem.with_suffix(".csv"), table_csv(data).encode())
    write_table_page(data, stem.with_suffix(".html"))
    print(f"written to {stem}.txt, .csv and .html")


def _setting(args: argparse.Namespace) -> Setting:
    scenes = default_scenes(args.data, args.table)
    return Setting(
        args.data,
        tuple(dict.fromkeys(args.scenes or scenes)),
        tuple(args.seeds),
        args.protocol or ("paper" if args.data == "ipad" else "strict"),
        f"seed{args.data_seed}" if args.data_seed else "",
        args.tiny,
    )


def _name(args: argparse.Namespace, setting: Setting, budget: Budget) -> str:
    """Folder of all cells that may stand in one table."""
    words = [setting.data, setting.variant if setting.data == "factory" else "", setting.protocol]
    words += [budget.name, "tiny" if setting.tiny else ""]
    return "_".join(word for word in words if word)
