"""A table of methods as plain numbers, and its text and CSV; `table_page.py` makes the page of the same."""

import csv
import io
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ipad_jax.reproduce.plan import Words
from ipad_jax.run.table import Table

NONE = "–"


@dataclass(frozen=True)
class Number:
    """One AUC of the table.

    Attributes:
      estimate: in [0, 1], mean over the seeds and scenes that are there; NaN if none is.
      low, high: 95 % interval over videos and seeds.
      seeds: of each seed that is there in all scenes of the column.
      done, wanted: cells (scene and seed).
      published: the paper's, in percent as printed; None if it has none.
    """

    estimate: float
    low: float
    high: float
    seeds: tuple[float, ...]
    done: int
    wanted: int
    published: float | None = None

    @property
    def is_whole(self) -> bool:
        """Whether all its cells are there."""
        return self.done == self.wanted

    @property
    def seed_spread(self) -> float:
        """Standard deviation over seeds; NaN with fewer than two."""
        return statistics.stdev(self.seeds) if len(self.seeds) > 1 else math.nan


@dataclass(frozen=True)
class TableRow:
    """One method.

    Attributes:
      name, text: short, and as printed.
      numbers: by column.
      kinds: mean over scenes by fault kind, each against all normal frames.
      alarms: what happens at the threshold, over all cells: `normal_time_in_alarm`,
        `false_alarms_per_hour`, `false_alarms_interval`, `event_recall`, `event_recall_interval`,
        `detection_delay_s`; empty without a threshold.
      measures: those of the table's words: mean over seeds, then scenes.
      facts: `parameters`, `trainable`, `steps`, `train_seconds`: medians over trainings; empty for a row
        that needs none.
      is_main: the one that others are compared with.
      is_untrained: needs no training.
      losses: (steps [n], loss [n]) of each training, for the page.
      is_beside: judges another row's cells in another way.
    """

    name: str
    text: str
    numbers: Mapping[str, Number]
    kinds: Mapping[str, Number] = field(default_factory=dict)
    alarms: Mapping[str, Any] = field(default_factory=dict)
    measures: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, float] = field(default_factory=dict)
    is_main: bool = False
    is_untrained: bool = False
    losses: Sequence[tuple[Sequence[float], Sequence[float]]] = ()
    is_beside: bool = False


@dataclass(frozen=True)
class Difference:
    """A paired difference of two rows.

    Attributes:
      text: what it says.
      number: AUC of the first less the second, with its interval; `done` and `wanted` count pairs of cells.
      num_better: scenes in which the first is above.
      num_scenes: scenes compared.
    """

    text: str
    number: Number
    num_better: int
    num_scenes: int

    @property
    def verdict(self) -> str:
        """What the interval allows to say."""
        if not math.isfinite(self.number.low):  # cells missing, or too few videos for an interval
            missing = not self.number.is_whole or not math.isfinite(self.number.estimate)
            return "not known yet" if missing else "cannot be told"
        if self.number.low > 0:
            return "yes"
        return "no, the other way round" if self.number.high < 0 else "cannot be told"


@dataclass(frozen=True)
class Appendix:
    """Something below a table: its title, monospaced lines, and a plot as SVG or ""."""

    title: str
    lines: tuple[str, ...]
    figure: str = ""


@dataclass(frozen=True)
class TableData:
    """Everything that is printed.

    Attributes:
      title, subtitle: what it shows, and how.
      columns: scenes and groups, in order; `groups` are those that are means.
      rows, differences: see there.
      kinds: names of the fault kinds, in order.
      trainings: (done, wanted).
      notes: sentences that a reader must know.
      words: of what is counted.
      appendices: what stands below the table.
    """

    title: str
    subtitle: str
    columns: tuple[str, ...]
    groups: tuple[str, ...]
    rows: tuple[TableRow, ...]
    differences: tuple[Difference, ...]
    kinds: tuple[str, ...]
    trainings: tuple[int, int]
    notes: tuple[str, ...] = ()
    words: Words = field(default_factory=Words)
    appendices: tuple[Appendix, ...] = ()

    @property
    def cells(self) -> tuple[int, int]:
        """(done, wanted) cells of the rows that have cells of their own."""
        own = [row for row in self.rows if not (row.is_untrained or row.is_beside)]
        whole = [row.numbers[self.groups[-1]] for row in own]
        return sum(n.done for n in whole), sum(n.wanted for n in whole)

    @property
    def counts(self) -> str:
        """How much of the table is there."""
        (done, wanted), (trained, trainings) = self.cells, self.trainings
        text = f"{done} of {wanted} cells, {trained} of {trainings} trainings"
        if done == wanted:
            return text
        return f"UNFINISHED: {text}; * marks numbers of which cells are missing"


def percent(value: float | None, digits: int = 1) -> str:
    """A share as a number of per cent, or a dash."""
    return NONE if value is None or not math.isfinite(value) else f"{100 * value:.{digits}f}"


def value_text(number: Number) -> str:
    """'52.3', '52.3*' where cells are missing, or a dash."""
    text = percent(number.estimate)
    return text if number.is_whole or text == NONE else f"{text}*"


def interval_text(low: float, high: float, digits: int = 0) -> str:
    """'48-57', or '' where there is none."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f"{100 * low:.{digits}f}-{100 * high:.{digits}f}"


def table_text(data: TableData) -> str:
    """The whole table as monospaced text."""
    lines = [data.title, data.subtitle, data.counts, "", *_main_block(data), ""]
    if data.kinds:
        lines += [*_kind_block(data), ""]
    if any(row.measures for row in data.rows):
        lines += [*_measure_block(data), ""]
    if any(row.alarms for row in data.rows):
        lines += [*_alarm_block(data), ""]
    if any(row.facts for row in data.rows):
        lines += [*_fact_block(data), ""]
    if data.differences:
        lines += [*_difference_block(data), ""]
    lines += [f"note: {note}" for note in data.notes]
    for appendix in data.appendices:
        lines += ["", appendix.title, "", *appendix.lines]
    return "\n".join(lines).rstrip() + "\n"


def _main_block(data: TableData) -> list[str]:
    """Values, intervals and the paper's numbers by column."""
    head = [
        [f"{data.words.measure}, %"],
        *(column.split("_", 1) for column in data.columns),
        ["seed", "sd"],
    ]
    depth = max(map(len, head))
    grid = [[parts[i] if i < len(parts) else "" for parts in head] for i in range(depth)]
    for row in data.rows:
        numbers = [row.numbers[column] for column in data.columns]
        spread = percent(row.numbers[data.groups[-1]].seed_spread)
        grid.append([row.text, *map(value_text, numbers), spread])
        grid.append(["  95 %", *(interval_text(n.low, n.high) for n in numbers), ""])
        if any(n.published is not None for n in numbers):
            printed = ["" if n.published is None else f"{n.published:.1f}" for n in numbers]
            grid.append(["  the paper", *printed, ""])
    return aligned(grid)


def _kind_block(data: TableData) -> list[str]:
    grid = [[f"by kind of {data.words.fault}, mean over {data.words.place}s", *data.kinds]]
    for row in data.rows:
        texts = []
        for n in (row.kinds.get(kind) for kind in data.kinds):
            ends = interval_text(n.low, n.high) if n else ""
            texts.append((value_text(n) if n else NONE) + (f" ({ends})" if ends else ""))
        grid.append([row.text, *texts])
    return aligned(grid)


def _measure_block(data: TableData) -> list[str]:
    words = data.words
    grid = [[f"other measures, %, mean over {words.place}s", *words.measures.values()]]
    grid += [
        [row.text, *(percent(row.measures[name]) for name in words.measures)]
        for row in data.rows
        if row.measures
    ]
    return aligned(grid)


def _alarm_block(data: TableData) -> list[str]:
    head = "normal time in alarm, %", "false alarms an hour", "faults found, %", "delay, s"
    grid = [["at the threshold from normal cycles", *head]]
    for row in data.rows:
        if a := row.alarms:
            low, high = a["false_alarms_interval"]
            recall = (
                f"{percent(a['event_recall'], 0)} ({interval_text(*a['event_recall_interval'])})"
            )
            alarms = f"{a['false_alarms_per_hour']:.0f} ({low:.0f}-{high:.0f})"
            delay = a["detection_delay_s"]
            delay = f"{delay:.2f}" if math.isfinite(delay) else NONE
            grid.append([row.text, percent(a["normal_time_in_alarm"]), alarms, recall, delay])
    return aligned(grid)


def _fact_block(data: TableData) -> list[str]:
    grid = [["training, median", "parameters", "trained", "steps", "seconds"]]
    for row in data.rows:
        if f := row.facts:
            sizes = [f"{f[name] / 1e6:.2f}M" for name in ("parameters", "trainable")]
            grid.append([row.text, *sizes, f"{f['steps']:.0f}", f"{f['train_seconds']:.0f}"])
    return aligned(grid)


def _difference_block(data: TableData) -> list[str]:
    grid = [["paired difference, points of AUC", "", "95 %", f"{data.words.place}s above", "so"]]
    for d in data.differences:
        of = f"{d.num_better} of {d.num_scenes}" if d.num_scenes else ""
        grid.append([d.text, *points(d.number), of, d.verdict])
    return aligned(grid)


def points(number: Number) -> tuple[str, str]:
    """A difference and its interval in points of AUC, with signs."""
    if not math.isfinite(number.estimate):
        return NONE, ""
    value = f"{100 * number.estimate:+.1f}" + ("" if number.is_whole else "*")
    if not math.isfinite(number.low):
        return value, ""
    return value, f"{100 * number.low:+.1f} to {100 * number.high:+.1f}"


def aligned(grid: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines: the first column to the left, the others to the right."""
    count = max(map(len, grid))
    head, *rows = (tuple(row) + ("",) * (count - len(row)) for row in grid)
    return str(Table("", head, tuple(rows))).splitlines()


CSV_HEAD = (
    "row", "quantity", "column", "value", "low", "high", "seed_sd", "seeds", "cells_done",
    "cells_wanted", "paper",
)  # fmt: skip


def table_csv(data: TableData) -> str:
    """One line a number: AUCs in [0, 1], the paper's in percent as printed; empty where unknown."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(CSV_HEAD)

    def plain(value: Any) -> Any:
        if isinstance(value, float):
            return f"{value:.6g}" if math.isfinite(value) else ""
        return "" if value is None else value

    def add(row: str, quantity: str, column: str, n: Number) -> None:
        seeds = " ".join(f"{s:.6g}" for s in n.seeds)
        values = (n.estimate, n.low, n.high, n.seed_spread, seeds, n.done, n.wanted, n.published)
        writer.writerow([row, quantity, column, *map(plain, values)])

    for row in data.rows:
        for column in data.columns:
            add(row.name, "auc", column, row.numbers[column])
        for kind, number in row.kinds.items():
            add(row.name, "auc_of_kind", kind, number)
        for name in ("normal_time_in_alarm", "false_alarms_per_hour", "event_recall",
                     "detection_delay_s"):  # fmt: skip
            if row.alarms:
                ends = {"false_alarms_per_hour": "false_alarms_interval",
                        "event_recall": "event_recall_interval"}.get(name)  # fmt: skip
                low, high = row.alarms[ends] if ends else (None, None)
                values = (row.alarms[name], low, high)
                writer.writerow([row.name, name, "", *map(plain, values), *[""] * 5])
        for name, value in [*row.measures.items(), *row.facts.items()]:
            writer.writerow([row.name, name, "", plain(value), *[""] * 7])
    for d in data.differences:
        add(d.text, "difference", f"{d.num_better} of {d.num_scenes} {data.words.place}s", d.number)
    return buffer.getvalue()
