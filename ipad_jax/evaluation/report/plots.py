"""Plots as figures of their own (no global pyplot state), for the page (SVG) or a file (PNG).

On the page a plot follows the reader's light or dark theme: it is drawn in placeholder colours,
which `to_svg` turns into the page's CSS variables.
"""

import io
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from ipad_jax.evaluation.report.data import Curve
from ipad_jax.run.files import write_atomic

MAX_POINTS = 800  # of a line: more than the pixels it has on the page


@dataclass(frozen=True)
class Palette:
    """Colours by role."""

    ink: str = "#1d2329"
    muted: str = "#6b7580"
    grid: str = "#d9dee3"
    accent: str = "#1f6f8b"
    fault: str = "#c2542d"
    alarm: str = "#b3261e"
    paper: str = "#ffffff"


LIGHT = Palette()
# Each placeholder becomes var(--role) in `to_svg`; none is a colour that matplotlib uses by itself.
THEMED = Palette(
    ink="#010203",
    muted="#010204",
    grid="#010205",
    accent="#010206",
    fault="#010207",
    alarm="#010208",
    paper="#010209",
)


def to_svg(figure: Figure, name: str) -> str:
    """The figure as inline SVG that scales with the page and follows its theme.

    Args:
      figure: drawn with the `THEMED` palette.
      name: unique on the page; every id inside begins with it.
    """
    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # a hundredth of a point is finer than any screen, and halves the page
    svg = re.sub(
        r' d="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), svg, flags=re.DOTALL
    )
    # names such as line2d_1 repeat from figure to figure, and so would collide on the page
    svg = re.sub(r'( id="| xlink:href="#|url\(#)', rf"\1{name}-", svg)
    for role, colour in vars(THEMED).items():
        svg = svg.replace(colour, f"var(--{role})")
    return svg.strip()


def save_png(figure: Figure, path: str | os.PathLike[str], dpi: int = 150) -> None:
    """Write the figure as PNG, whole or not at all."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    write_atomic(path, buffer.getvalue())


def thin(time_s: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most `MAX_POINTS` points; each keeps the LARGEST value of its stretch, so no peak is lost."""
    step = math.ceil(len(values) / MAX_POINTS)
    if step <= 1:
        return time_s, values
    edges = np.arange(0, len(values), step)
    filled = np.where(np.isfinite(values), values, -np.inf)
    highest = np.maximum.reduceat(filled, edges)
    return time_s[edges], np.where(np.isfinite(highest), highest, np.nan)


def style(axes: Axes, palette: Palette) -> None:
    """Quiet axes: no box, thin grid, muted ticks."""
    axes.set_facecolor("none")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(palette.grid)
    axes.tick_params(colors=palette.muted, length=0, labelsize=8)
    axes.grid(axis="y", color=palette.grid, linewidth=0.6)
    axes.set_axisbelow(True)


def spans(mask: np.ndarray, time_s: np.ndarray) -> list[tuple[float, float]]:
    """Stretches of time where `mask` is true, each from its first frame to the frame after its last."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    after = np.append(time_s, time_s[-1] + (time_s[-1] - time_s[-2] if len(time_s) > 1 else 0))
    return [(float(after[a]), float(after[b])) for a, b in zip(edges[::2], edges[1::2])]


def merged(stretches: Sequence[tuple[float, float]], apart: float) -> list[tuple[float, float]]:
    """The same stretches in order, those less than `apart` from the one before joined with it."""
    found: list[tuple[float, float]] = []
    for start, stop in sorted(stretches):
        if found and start - found[-1][1] < apart:
            found[-1] = (found[-1][0], max(found[-1][1], stop))
        else:
            found.append((start, stop))
    return found


def shade(axes: Axes, stretches: Sequence[tuple[float, float]], colour: str) -> None:
    """Stretches of the horizontal axis as a ground: one shape, however many there are."""
    if not stretches:
        return
    corners = [corner for a, b in stretches for corner in ((a, 0), (a, 1), (b, 1), (b, 0), (a, 0))]
    codes = [Path.MOVETO, *[Path.LINETO] * 3, Path.CLOSEPOLY] * len(stretches)
    shape = Path(np.array(corners), codes)
    transform = axes.get_xaxis_transform()
    axes.add_patch(PathPatch(shape, transform=transform, facecolor=colour, alpha=0.18, linewidth=0))


def score_limits(curves: Sequence[Curve], threshold: float | None) -> tuple[float, float]:
    """One vertical scale for all videos: the whole range, but outliers beyond the last 0.1 % are cut."""
    values = np.concatenate([c.score[np.isfinite(c.score)] for c in curves] or [np.zeros(0)])
    if not len(values):
        return 0.0, 1.0
    low, high = float(np.quantile(values, 0.001)), float(np.quantile(values, 0.999))
    if threshold is not None and math.isfinite(threshold):
        low, high = min(low, threshold), max(high, threshold)
    margin = 0.08 * (high - low) or 0.5
    return low - margin, high + margin


def score_curve(
    curve: Curve,
    threshold: float | None = None,
    limits: tuple[float, float] | None = None,
    palette: Palette = THEMED,
) -> Figure:
    """Score over time: true intervals shaded, threshold, alarms as bars below; phase underneath."""
    with_phase = curve.phase is not None and bool(np.isfinite(curve.phase).any())
    figure = Figure(figsize=(5.6, 2.25 if with_phase else 1.6))
    figure.patch.set_alpha(0)
    axes = figure.add_axes(
        (0.075, 0.42 if with_phase else 0.2, 0.915, 0.56 if with_phase else 0.77)
    )
    style(axes, palette)
    low, high = limits or score_limits([curve], threshold)
    axes.set_ylim(low - 0.08 * (high - low), high)
    end = float(curve.time_s[-1]) if len(curve.time_s) else 1.0
    axes.set_xlim(float(curve.time_s[0]) if len(curve.time_s) else 0.0, max(end, 1e-6))
    panels = [axes]
    if with_phase:
        below = figure.add_axes((0.075, 0.13, 0.915, 0.22), sharex=axes)
        style(below, palette)
        panels.append(below)
        axes.tick_params(labelbottom=False)
        for phase, colour, width in (
            (curve.true_phase, palette.grid, 2.6),
            (curve.phase, palette.accent, 0.9),
        ):
            if phase is not None:
                below.plot(*unwrapped_line(curve.time_s, phase), color=colour, linewidth=width)
        below.set_ylim(-0.08, 1.08)
        below.set_yticks([0, 1], ["0", "1"])
        below.set_ylabel("phase", color=palette.muted, fontsize=7, labelpad=2)
    first, last = axes.get_xlim()
    apart = (last - first) / MAX_POINTS  # what stands nearer looks like one
    if curve.label is not None and len(curve.label):
        faulty = merged(spans(curve.label == 1, curve.time_s), apart)
        for panel in panels:
            shade(panel, faulty, palette.fault)
    if threshold is not None and math.isfinite(threshold):
        axes.axhline(threshold, color=palette.alarm, linewidth=0.8, linestyle=(0, (4, 3)))
    time_s, score = thin(curve.time_s, curve.score)
    axes.plot(time_s, np.clip(score, low, high), color=palette.ink, linewidth=0.9)
    if alarms := merged(curve.events, apart):
        ends = np.array([(start, stop, math.nan) for start, stop in alarms]).ravel()
        level = np.full(len(ends), low - 0.04 * (high - low))
        axes.plot(ends, level, color=palette.alarm, linewidth=3, solid_capstyle="butt")
    panels[-1].set_xlabel("seconds", color=palette.muted, fontsize=7, labelpad=1)
    return figure


def unwrapped_line(time_s: np.ndarray, phase: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The phase with a break wherever it jumps over the cycle's end, so no line falls back."""
    step = max(1, math.ceil(len(phase) / MAX_POINTS))
    time_s, phase = np.asarray(time_s, float)[::step], np.asarray(phase, float)[::step]
    jumps = np.flatnonzero(np.abs(np.diff(phase)) > 0.5) + 1
    return np.insert(time_s, jumps, np.nan), np.insert(phase, jumps, np.nan)


def roc_plot(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]],
    palette: Palette = THEMED,
    what: str = "frames",
) -> Figure:
    """ROC curves of `what`, in the plural; the first is the main one, the others are drawn thinner."""
    figure = Figure(figsize=(4.2, 3.7))
    figure.patch.set_alpha(0)
    axes = figure.add_axes((0.12, 0.12, 0.85, 0.85))
    style(axes, palette)
    axes.grid(axis="x", color=palette.grid, linewidth=0.6)
    axes.plot([0, 1], [0, 1], color=palette.grid, linewidth=0.9)
    looks = [(palette.accent, "-", 1.8), (palette.ink, "-", 0.9), (palette.fault, "-", 0.9)]
    looks += [(palette.muted, "-", 0.9), (palette.muted, "--", 0.9), (palette.muted, ":", 0.9)]
    for (name, (fpr, tpr)), (colour, line, width) in zip(curves.items(), looks):
        keep = np.unique(np.linspace(0, len(fpr) - 1, min(len(fpr), MAX_POINTS)).astype(int))
        axes.plot(fpr[keep], tpr[keep], color=colour, linestyle=line, linewidth=width, label=name)
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
    axes.set_xlabel(f"normal {what} above the threshold", color=palette.muted, fontsize=8)
    axes.set_ylabel(f"anomalous {what} found", color=palette.muted, fontsize=8)
    if curves:
        axes.legend(frameon=False, fontsize=8, labelcolor=palette.ink, loc="lower right")
    return figure


def score_histogram(
    curves: Sequence[Curve],
    threshold: float | None,
    palette: Palette = THEMED,
    what: str = "frames",
) -> Figure:
    """How the scores of normal and of anomalous frames are spread, each class adding up to 1."""
    figure = Figure(figsize=(4.2, 3.7))
    figure.patch.set_alpha(0)
    axes = figure.add_axes((0.12, 0.12, 0.85, 0.85))
    style(axes, palette)
    axes.tick_params(labelleft=False)
    low, high = score_limits(curves, threshold)
    bins = np.linspace(low, high, 41).tolist()
    for value, name, colour in ((0, "normal", palette.muted), (1, "anomalous", palette.fault)):
        parts = [c.score[c.label == value] for c in curves if c.label is not None]
        scores = np.concatenate(parts) if parts else np.zeros(0)
        scores = scores[np.isfinite(scores)]
        if len(scores):
            share = np.full(len(scores), 1 / len(scores))
            axes.hist(
                np.clip(scores, low, high),
                bins,
                weights=share,
                color=colour,
                alpha=0.55,
                label=name,
            )
    if threshold is not None and math.isfinite(threshold):
        axes.axvline(threshold, color=palette.alarm, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.set_xlabel("anomaly score", color=palette.muted, fontsize=8)
    axes.set_ylabel(f"share of {what}", color=palette.muted, fontsize=8)
    if axes.patches:
        axes.legend(frameon=False, fontsize=8, labelcolor=palette.ink, loc="upper right")
    return figure
