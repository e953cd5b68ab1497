"""What `ipad-jax prepare` shows while it builds a dataset, and says of one that it built or found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)


def new_bar(console: Console) -> Progress:
    """A progress bar of what is done and what is left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        redirect_stdout=False,
    )


class BarProgress:
    """What a builder reports to: progress bars of frames stored and, for `factory`, rendered."""

    def __init__(self, bar: Progress, name: str):
        self._bar = bar
        self._name = name
        self._tasks: dict[str, TaskID] = {}

    def start(self, total: int | None) -> None:
        self._task("store", total)

    def advance(self, count: int) -> None:
        self._bar.advance(self._task("store", None), count)

    def render(self, done: int, total: int) -> None:
        self._bar.update(self._task("render", total), completed=done)

    def _task(self, work: str, total: int | None) -> TaskID:
        if work not in self._tasks:
            self._tasks[work] = self._bar.add_task(f"{work} {self._name}", total=total)
        return self._tasks[work]


def report(builder: Any, console: Console) -> None:
    """Prints what a prepared dataset holds, and names what an evaluation has to know."""
    metadata = builder.info.metadata

    def say(line: str) -> None:
        console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)

    for split, info in builder.info.splits.items():
        videos = metadata.get("videos", {}).get(split)
        if videos is None:  # mad: images, not videos
            say(f"{split}: {info.num_examples:,} images")
            continue
        line = f"{split}: {_count(videos, 'videos')}, {info.num_examples:,} frames"
        say(line + (f": {by_label(videos, metadata['kinds'])}" if split == "test" else ""))
    if metadata.get("mislabelled"):
        say(
            "label count disagrees with the frames in test "
            f"{', '.join(metadata['mislabelled'])}: kept; surplus labels dropped, missing ones "
            "unknown (-1); the strict protocol leaves these out"
        )
    if metadata.get("no_phase"):
        names = ", ".join(metadata["no_phase"])
        say(f"far shorter than the median, so without phase: train {names}")
    for note in metadata.get("notes", ()):
        say(f"note: {note}")


def by_label(videos: Sequence[dict[str, Any]], kinds: Sequence[str]) -> str:
    """Test videos by what their labels say, such as 'normal 3 videos; "jam" 4 videos (...)'.

    Args: a split's videos and the names of the kinds, from the metadata.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for video in videos:
        name = ", ".join(f'"{kinds[kind]}"' for kind in video.get("kinds", ()))
        if not video["labelled"]:
            name = "without labels"
        elif not name:  # IPAD says that there is a fault, not which
            name = "with faults" if video.get("anomalous") else "normal"
        groups.setdefault(name, []).append(video)
    parts = []
    for name, group in groups.items():
        frames = sum(video["length"] for video in group)
        anomalous = sum(video.get("anomalous", 0) for video in group)
        share = "all" if anomalous == frames else f"{anomalous:,}"
        note = f" ({frames:,} frames, {share} anomalous)" if anomalous else ""
        parts.append(f"{name} {_count(group, 'videos')}{note}")
    return "; ".join(parts)


def _count(items: Sequence[Any], noun: str) -> str:
    """'1 video', '2 videos'."""
    return f"{len(items)} {noun[:-1] if len(items) == 1 else noun}"
