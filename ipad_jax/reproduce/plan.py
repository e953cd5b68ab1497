"""A table as data: lines, cells, and the trainings behind them; nothing is run or read here.

A training may serve several cells (its scores judged in several ways, or in two tables), and may start
from another training. `shares` divides the trainings over machines so that what starts from one another
stays together.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ipad_jax.training.checkpoint_files import SCENES


@dataclass(frozen=True)
class Budget:
    """How long a training may take.

    Attributes:
      seconds: in the loop, compiling not counted; 0 = not limited so.
      steps: 0 = not limited so. Neither: as long as the config says.
    """

    seconds: float = 0.0
    steps: int = 0

    def __post_init__(self) -> None:
        if self.seconds and self.steps:
            raise ValueError(f"--seconds {self.seconds:g} and --steps {self.steps}: give one.")
        if self.seconds < 0 or self.steps < 0:
            raise ValueError(f"--seconds {self.seconds:g} or --steps {self.steps} is negative.")

    @property
    def name(self) -> str:
        """As part of a folder's name: cells of different budgets never mix."""
        if self.seconds:
            return f"{self.seconds:g}s"
        return f"{self.steps}steps" if self.steps else "full"

    def scaled(self, share: float) -> "Budget":
        """That of a training with another amount of footage, so that all see it equally often."""
        return Budget(self.seconds * share, max(1, round(self.steps * share)) if self.steps else 0)


@dataclass(frozen=True)
class Training:
    """One run folder.

    Attributes:
      folder: below the root of the tables.
      config: FILE[:arg], see `config.load_config`.
      overrides: its leaves; budget, seed and places come on top.
      seed: of weights and of the order of clips.
      start: folder of the training it starts from; "" for none.
      footage: share of the budget, where it sees more or less footage than one scene has.
    """

    folder: str
    config: str
    overrides: Mapping[str, Any]
    seed: int
    start: str = ""
    footage: float = 1.0


@dataclass(frozen=True)
class Scoring:
    """One way of making scores of a trained model: leaves of `eval`, and a name for the folder."""

    name: str
    leaves: Mapping[str, Any]


@dataclass(frozen=True)
class Cell:
    """One number of one seed: a training, judged on a scene in one way.

    Attributes:
      column: "score", or a component that needs no training, which any cell of the scene has.
    """

    training: Training
    scoring: Scoring
    scene: str
    column: str = "score"

    @property
    def folder(self) -> str:
        """Where it lies below the root."""
        return f"{self.run_folder}/eval/{self.scoring.name}"

    @property
    def is_own_scene(self) -> bool:
        """Whether it is judged on the scene that was trained on."""
        return self.training.overrides.get("data.name") == self.scene

    @property
    def run_folder(self) -> str:
        """The run folder, or the scene folder of it (scene_folder.py), below the root."""
        own = self.training.folder
        return own if self.is_own_scene else f"{own}/{SCENES}/{self.scene}"


@dataclass(frozen=True)
class Line:
    """One row of a table.

    Attributes:
      name: of the row, as on the command line.
      text: what is printed.
      cells: one a scene and seed. Of an untrained line: cells of others, to choose from.
      column: see `Cell`.
      beside: whether its column is of its own cells' method, judged in another way: one number a seed.
      published: the paper's numbers by scene or group.
    """

    name: str
    text: str
    cells: tuple[Cell, ...]
    column: str = "score"
    beside: bool = False
    published: Mapping[str, float] = field(default_factory=dict)

    @property
    def is_untrained(self) -> bool:
        """Whether it needs no training."""
        return self.column != "score" and not self.beside


@dataclass(frozen=True)
class Comparison:
    """What the first line's AUC is above the second's, and what that says."""

    first: str
    second: str
    text: str


@dataclass(frozen=True)
class Words:
    """How a table names what it counts.

    Attributes:
      measure: the number of a cell.
      unit: what is drawn anew in intervals.
      place: what a column is.
      fault: what kinds are of.
      measures: name -> text of the numbers beside it.
    """

    measure: str = "frame AUC"
    unit: str = "video"
    place: str = "scene"
    fault: str = "fault"
    measures: Mapping[str, str] = field(
        default_factory=lambda: {
            "auc_macro": "macro AUC",
            "average_precision": "average precision",
            "eer": "EER",
            "fpr_at_95_recall": "FPR at 95 % recall",
        }
    )


@dataclass(frozen=True)
class Table:
    """Everything that a table is made of.

    Attributes:
      number: of the paper's table, or a name.
      title: what it shows.
      scenes: judged on, in order.
      groups: name -> scenes whose mean is printed; "mean" is that of all.
      lines: its rows.
      comparisons: paired differences to print.
      protocol: "paper" or "strict".
      main: name of the row that stands out.
      notes: what a reader must know.
      words: of what it counts.
    """

    number: int | str
    title: str
    scenes: tuple[str, ...]
    groups: Mapping[str, tuple[str, ...]]
    lines: tuple[Line, ...]
    comparisons: tuple[Comparison, ...]
    protocol: str
    main: str = ""
    notes: tuple[str, ...] = ()
    words: Words = field(default_factory=Words)

    def only(self, names: Sequence[str]) -> "Table":
        """The same with some of its lines.

        Raises:
          ValueError: there is no such line; names those there are.
        """
        known = [line.name for line in self.lines]
        if unknown := [name for name in names if name not in known]:
            raise ValueError(
                f"table {self.number} has no row {', '.join(unknown)}; choose from {', '.join(known)}."
            )
        lines = tuple(line for line in self.lines if line.name in names)
        if not any(not line.is_untrained for line in lines):
            raise ValueError(
                f"{', '.join(names)}: rows that need no training are judged beside trained ones; "
                "name one of those too."
            )
        comparisons = tuple(c for c in self.comparisons if {c.first, c.second} <= set(names))
        return dataclasses.replace(self, lines=lines, comparisons=comparisons)


@dataclass(frozen=True)
class Job:
    """A training with all cells that wait for it; a pretraining may have none."""

    training: Training
    cells: tuple[Cell, ...]


def jobs_of(table: Table, pretrainings: Sequence[Training] = ()) -> list[Job]:
    """The table's trainings, each once, what others start from first.

    Args:
      table: the table.
      pretrainings: trainings that only others start from.

    Raises:
      ValueError: two different trainings claim one folder, or a start is no training of the table.
    """
    cells: dict[str, dict[str, Cell]] = {}
    trainings: dict[str, Training] = {}
    lines = [line for line in table.lines if not line.is_untrained]
    used = [cell for line in lines for cell in line.cells]
    for training in [*pretrainings, *(cell.training for cell in used)]:
        there = trainings.setdefault(training.folder, training)
        if there != training:
            raise ValueError(f"{training.folder}: {there} and {training} claim one folder.")
    for cell in used:
        cells.setdefault(cell.training.folder, {})[cell.folder] = cell
    ordered: dict[str, Training] = {}

    def add(folder: str) -> None:
        if folder not in trainings:
            raise ValueError(f"a training starts from {folder}, which is not in the table.")
        if start := trainings[folder].start:
            add(start)
        ordered.setdefault(folder, trainings[folder])

    needed = {cell.training.folder for cell in used}
    for folder in trainings:
        if folder in needed:
            add(folder)
    return [Job(t, tuple(cells.get(folder, {}).values())) for folder, t in ordered.items()]


def shares(jobs: Sequence[Job], count: int) -> list[list[Job]]:
    """Divides jobs over machines: what starts from one another stays together, in order.

    Args:
      jobs: as `jobs_of` gives them.
      count: machines.

    Returns:
      `count` lists, as even in footage to train on as whole groups allow; some are empty where there
      are fewer groups than machines. Every job is in exactly one of them. Where all groups weigh the same,
      those of a scene lie together: with as many machines as scenes each has one, and needs its data alone.
    """
    if count < 1:
        raise ValueError(f"--of {count} must be at least 1.")
    group = {job.training.folder: job.training.folder for job in jobs}

    def root(folder: str) -> str:
        while group[folder] != folder:
            folder = group[folder]
        return folder

    for job in jobs:
        if job.training.start:
            group[root(job.training.folder)] = root(job.training.start)
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        groups.setdefault(root(job.training.folder), []).append(job)

    def weight(group: list[Job]) -> float:
        return sum(job.training.footage for job in group)

    divided: list[list[Job]] = [[] for _ in range(count)]
    if len({weight(members) for members in groups.values()}) == 1:
        scenes = list(dict.fromkeys(_scene(members) for members in groups.values()))
        together = sorted(groups.values(), key=lambda members: scenes.index(_scene(members)))
        for place, members in enumerate(together):
            divided[place * count // len(together)].extend(members)
        order = {job.training.folder: place for place, job in enumerate(jobs)}
        return [sorted(own, key=lambda job: order[job.training.folder]) for own in divided]
    # stable: the same on all machines
    for members in sorted(groups.values(), key=weight, reverse=True):
        min(divided, key=weight).extend(members)
    return divided


def _scene(members: Sequence[Job]) -> str:
    """What the first training of a group is trained on."""
    return str(members[0].training.overrides.get("data.name", ""))
