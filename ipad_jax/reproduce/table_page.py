"""The page of a table: one HTML file that needs nothing else."""

import dataclasses
import math
import os
from collections.abc import Sequence

from matplotlib.figure import Figure

from ipad_jax.evaluation.report.page import new_environment, number
from ipad_jax.evaluation.report.plots import THEMED, Palette, style, to_svg
from ipad_jax.reproduce.table import (
    Number,
    TableData,
    TableRow,
    interval_text,
    percent,
    points,
    value_text,
)
from ipad_jax.run.files import write_atomic

ROW_INCHES = 0.27  # height of a row of the plot of intervals
LABEL_SHARE = 0.42  # of its width


def write_table_page(data: TableData, path: str | os.PathLike[str]) -> None:
    """Write the page."""
    write_atomic(path, render_table(data).encode())


def render_table(data: TableData) -> str:
    """The whole page as a string."""
    environment = new_environment("ipad_jax.reproduce")
    environment.globals |= {
        "interval": interval_text,
        "number": number,
        "percent": percent,
        "points": points,
        "value": value_text,
    }
    last = data.groups[-1]
    means = [(row.text, row.numbers[last], row.is_main) for row in data.rows]
    differences = [(d.text, in_points(d.number), False) for d in data.differences]
    done, wanted = data.cells
    return environment.get_template("table.html.j2").render(
        data=data,
        whole=done == wanted,
        has_published=any(
            row.numbers[c].published is not None for row in data.rows for c in data.columns
        ),
        figures={
            "means": _svg(means, "means", 0.5),
            "differences": _svg(differences, "differences", 0.0),
        },
        measured=[row for row in data.rows if row.measures],
        names=data.words.measures,
        words=data.words,
        alarms=[row for row in data.rows if row.alarms],
        trained=[row for row in data.rows if row.facts],
        losses=[
            (row.text, to_svg(loss_plot(row), f"loss{index}"))
            for index, row in enumerate(distinct_losses(data.rows))
        ],
    )


def in_points(n: Number) -> Number:
    """A number in points of AUC, as differences are printed."""
    return dataclasses.replace(n, estimate=100 * n.estimate, low=100 * n.low, high=100 * n.high)


def _svg(entries: Sequence[tuple[str, Number, bool]], name: str, line: float) -> str:
    """The plot of intervals; "" where there is no number at all."""
    known = [entry for entry in entries if math.isfinite(entry[1].estimate)]
    return to_svg(interval_plot(known, line), name) if known else ""


def interval_plot(
    entries: Sequence[tuple[str, Number, bool]], line: float, palette: Palette = THEMED
) -> Figure:
    """Estimates with their intervals, one below the other.

    Args:
      entries: (text, number, whether it stands out), from the top.
      line: value of the vertical line: guessing, or no difference.
    """
    height = ROW_INCHES * len(entries) + 0.45
    figure = Figure(figsize=(8.6, height))
    figure.patch.set_alpha(0)
    axes = figure.add_axes((LABEL_SHARE, 0.36 / height, 0.98 - LABEL_SHARE, 1 - 0.4 / height))
    style(axes, palette)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color=palette.grid, linewidth=0.6)
    axes.axvline(line, color=palette.muted, linewidth=0.8)
    for place, (_, n, stands_out) in enumerate(entries):
        y = len(entries) - 1 - place
        colour = palette.accent if stands_out else palette.ink
        if math.isfinite(n.low):
            axes.plot([n.low, n.high], [y, y], color=colour, linewidth=4, alpha=0.35)
        axes.plot(n.seeds, [y] * len(n.seeds), ".", color=colour, markersize=4, alpha=0.7)
        axes.plot([n.estimate], [y], "|", color=colour, markersize=11, markeredgewidth=2)
        if n.published is not None:
            axes.plot([n.published / 100], [y], "D", color=palette.fault, markersize=4)
    axes.set_ylim(-0.6, len(entries) - 0.4)
    axes.set_yticks(
        range(len(entries)), [text for text, _, _ in reversed(entries)], color=palette.ink
    )
    return figure


def distinct_losses(rows: Sequence[TableRow]) -> list[TableRow]:
    """Rows with loss curves; of several that rest on the same trainings, the first."""
    found: list[TableRow] = []
    for row in rows:
        if any(steps for steps, _ in row.losses) and all(
            list(row.losses) != list(other.losses) for other in found
        ):
            found.append(row)
    return found


def loss_plot(row: TableRow, palette: Palette = THEMED) -> Figure:
    """Loss over steps of each training of a row, both logarithmic."""
    figure = Figure(figsize=(3.6, 2.1))
    figure.patch.set_alpha(0)
    axes = figure.add_axes((0.16, 0.17, 0.82, 0.8))
    style(axes, palette)
    for steps, losses in row.losses:
        pairs = [(s, value) for s, value in zip(steps, losses) if s > 0 and value > 0]
        axes.plot(
            *zip(*pairs) if pairs else ([], []), color=palette.accent, linewidth=0.7, alpha=0.6
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.minorticks_off()
    axes.set_xlabel("steps", color=palette.muted, fontsize=7, labelpad=1)
    return figure
