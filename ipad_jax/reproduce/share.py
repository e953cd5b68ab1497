"""Runs a share of a table's trainings, and says beforehand what would run."""

import dataclasses
import hashlib
import statistics
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from etils import epath
from ml_collections import ConfigDict

from ipad_jax.reproduce import cells
from ipad_jax.reproduce.collect import Folder
from ipad_jax.reproduce.methods import SEEDS, Setting, default_scenes
from ipad_jax.reproduce.plan import Budget, Job, Table
from ipad_jax.run.config import load_config

# What a cell takes beside its seconds (starting, compiling, scoring) where none has been run yet:
# a guess for 64x64 on two cores.
OVERHEAD_S = 60.0
MAX_NAMES = 60  # characters of a file's name that say which rows, scenes or seeds a table has
# How `ipad-jax prepare` is told where the footage lies.
DIR_HOLDS = {
    "ipad": "DIR holds the archive",
    "video_folder": "DIR holds the footage",
    "image": "DIR holds the images",
    "mad": "DIR holds the archive",
}
DIR_OPTION = {
    "mad": " --manual-dir DIR",
    "ipad": " --manual-dir DIR",
    "video_folder": " --source DIR",
    "image_folder": " --source DIR",
}


@dataclass(frozen=True)
class Request:
    """A table to make.

    Attributes:
      number: of the paper's table, or a name.
      setting: what it is made on; see `with_known_cycles`.
      budget: of each training.
      workdir: folder of all tables.
      data_dir: of prepared datasets.
      data_seed: of the factory's videos.
    """

    number: int | str
    setting: Setting
    budget: Budget
    workdir: str
    data_dir: str
    data_seed: int

    @property
    def root(self) -> epath.Path:
        """Folder of all cells that may stand in one table."""
        setting = self.setting
        words = [setting.data, setting.variant if setting.data == "factory" else ""]
        words += [
            "" if setting.is_of_images else setting.protocol,
            self.budget.name,
            "tiny" if setting.tiny else "",
        ]
        return epath.Path(self.workdir).expanduser() / "_".join(word for word in words if word)

    def with_known_cycles(self) -> "Request":
        """The same, with own footage trained with its phase where a cycle was prepared."""
        setting = self.setting
        if setting.data != "video_folder":
            return self
        own = load_config(setting.spec(setting.data), {"data.data_dir": self.data_dir})
        cycles = cells.scenes_with_cycle(self.root, own, setting.scenes)
        return dataclasses.replace(self, setting=dataclasses.replace(setting, cycles=cycles))


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


def run_jobs(
    root: epath.Path,
    jobs: Sequence[Job],
    configs: Mapping[str, ConfigDict],
    say: Callable[[str], None],
) -> int:
    """Runs trainings and judges their cells; returns the exit status.

    Args:
      root: folder of the table's cells.
      jobs: what is not there yet, in order.
      configs: of each training, by its folder.
      say: called with where it is.

    Returns:
      0 all done; 1 some failed, each with its traceback on standard error; 143 or 130 after a signal.
    """
    failed: list[str] = []
    for number, job in enumerate(jobs, 1):
        name = job.training.folder
        if job.training.start in failed:
            failed.append(name)
            say(f"[{number}/{len(jobs)}] {name}: left out, what it starts from failed")
            continue
        say(f"[{number}/{len(jobs)}] {name}")
        try:
            cells.run_job(root, job, configs[name], say=say)
        except cells.InterruptedRunError as stop:
            say(f"interrupted in {name}, which is saved; the same command goes on")
            return stop.status
        except Exception:  # one cell must not cost the night
            failed.append(name)
            traceback.print_exc()
    if failed:
        say(f"{len(failed)} of {len(jobs)} failed: {', '.join(failed)}")
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


def prepare_lines(missing: Sequence[tuple[Sequence[str], Sequence[str]]]) -> list[str]:
    """The commands that make missing datasets, see `cells.missing_data`."""
    lines = []
    for words, scenes in missing:
        start, end = f"ipad-jax prepare {' '.join(words)}", DIR_OPTION.get(words[0], "")
        if words[0] in ("video_folder", "image_folder"):  # each lies in a folder of its own
            lines += [f"{start} --name {scene}{end}" for scene in scenes]
        else:
            lines.append(f"{start} --scene {' '.join(scenes)}{end}")
    return lines


def plan_text(
    request: Request,
    table: Table,
    jobs: Sequence[Job],
    share: Sequence[Job],
    folder: Folder,
    configs: Mapping[str, ConfigDict],
    of: str,
) -> str:
    """What would run: rows, trainings, time.

    Args:
      request, table: what is asked for.
      jobs, share: all trainings of the table, and those of this machine.
      folder: what is there.
      configs: of each training, by its folder.
      of: names the share, "" where it is all.
    """
    root, setting = request.root, request.setting
    protocol = "" if setting.is_of_images else f" (protocol {table.protocol})"
    texts = [f"{table.title}{protocol}, in {root}", ""]
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
        f"{len(table.scenes)} {table.words.place}s x {len(setting.seeds)} seeds; {len(jobs)} trainings in "
        f"all (rows share some), {sum(len(job.cells) for job in jobs)} cells"
    )
    texts.append(
        f"{of}{len(share)} trainings, {len(share) - len(todo)} complete, {len(untrained)} to train, "
        f"{len(todo) - len(untrained)} only to judge"
    )
    texts.append(time_text(folder, jobs, untrained, request.budget))
    if missing := cells.missing_data(todo, configs):
        by = DIR_HOLDS.get(setting.data, "made by the run itself")
        texts += [f"not prepared yet ({by}): {line}" for line in prepare_lines(missing)]
    return "\n".join([*texts, *(f"note: {note}" for note in table.notes)])


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


def subtitle(request: Request) -> str:
    """How the table was made, in a line."""
    setting, budget = request.setting, request.budget
    place = {"image": "set"}.get(setting.data, "object" if setting.is_of_images else "scene")
    length = "each training as long as its config says"
    if budget.seconds:
        length = f"{budget.seconds:g} s of training a {place}"
    elif budget.steps:
        length = f"{budget.steps} steps of training a {place}"
    data = f", videos of data seed {request.data_seed}" if setting.data == "factory" else ""
    seeds = ", ".join(map(str, setting.seeds))
    protocol = "" if setting.is_of_images else f"protocol {setting.protocol}, "
    return f"{protocol}{length}, training seeds {seeds}{data}"


def file_name(request: Request, table: Table, whole: Table) -> str:
    """Name of a table's files, without suffix: with other rows, scenes or seeds than usual it says which.

    A whole table's files are thus never replaced by a part. Own footage has no usual scenes.

    Args:
      table: that is written.
      whole: with all its rows.
    """
    setting = request.setting
    parts = {
        "rows": ([line.name for line in table.lines], [line.name for line in whole.lines]),
        "scenes": (table.scenes, default_scenes(setting.data, request.number)),
        "seeds": (setting.seeds, SEEDS),
    }
    number = request.number
    words = [f"table{number}" if isinstance(number, int) else number]
    for what, (chosen, usual) in parts.items():
        if set(chosen) != set(usual):
            names = "+".join(sorted(map(str, chosen)))
            if len(names) > MAX_NAMES:  # a file's name has at most 255 bytes
                names = f"{len(chosen)}-{hashlib.sha256(names.encode()).hexdigest()[:8]}"
            words.append(f"{what}-{names}")
    return "_".join(words)
