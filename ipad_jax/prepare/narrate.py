"""What a build shows of its progress, and the description of a dataset that is there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ipad_jax.run.progress import Bar, Bars


class BuildProgress:
    """What a builder reports to: bars of frames stored and, for `factory`, rendered."""

    def __init__(self, bars: Bars, name: str, unit: str = "frames"):
        self._bars, self._name, self._unit = bars, name, unit
        self._shown: dict[str, Bar] = {}

    def start(self, total: int | None) -> None:
        self._bar("store").update(0, total)

    def advance(self, count: int) -> None:
        self._bar("store").advance(count)

    def render(self, done: int, total: int) -> None:
        self._bar("render").update(done, total)

    def _bar(self, work: str) -> Bar:
        if work not in self._shown:
            self._shown[work] = self._bars.add(f"{work} {self._name}", unit=self._unit)
        return self._shown[work]


def describe(builder: Any) -> list[str]:
    """What a prepared dataset holds, and what an evaluation has to know of it, in lines."""
    metadata, lines = builder.info.metadata, []
    for split, info in builder.info.splits.items():
        videos = metadata.get("videos", {}).get(split)
        if videos is None:
            kinds = metadata.get("images", {}).get(split, {})
            by_kind = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
            lines.append(f"{split}: {info.num_examples:,} images{by_kind and f': {by_kind}'}")
            continue
        line = f"{split}: {_count(videos, 'videos')}, {info.num_examples:,} frames"
        lines.append(line + (f": {by_label(videos, metadata['kinds'])}" if split == "test" else ""))
    if metadata.get("mislabelled"):
        lines.append(
            "label count disagrees with the frames in test "
            f"{', '.join(metadata['mislabelled'])}: kept; surplus labels dropped, missing ones "
            "unknown (-1); the strict protocol leaves these out"
        )
    if metadata.get("no_phase"):
        names = ", ".join(metadata["no_phase"])
        lines.append(f"far shorter than the median, so without phase: train {names}")
    if metadata.get("without_mask") and "images" in metadata:
        lines.append(
            f"{metadata['without_mask']} defective images have no mask: judged as images alone"
        )
    return lines + [f"note: {note}" for note in metadata.get("notes", ())]


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
