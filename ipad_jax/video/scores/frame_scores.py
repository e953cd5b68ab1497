"""FrameScores: what the model said about every frame, raw, before any protocol or threshold.

Everything after it (normalisation, fusion, threshold, metrics) is a pure function of this table,
so a protocol can be changed without running the model again (`evaluate --scores FILE`).
"""

import dataclasses
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from etils import epath

from ipad_jax.run.files import write_atomic
from ipad_jax.run.provenance import MadeWith, mismatch
from ipad_jax.video.normal.stored import FIT_LEAVES
from ipad_jax.video.scores.aggregate import FrameRows

FORMAT = 4  # 4: what they were made with, the dataset included
# Leaves of a config that the values depend on; the others of `eval` only judge or show them.
PREDICTION_LEAVES = (
    "eval.stride",
    "eval.window",
    "eval.spacing",
    "eval.pool_px",
    "eval.track_phase",
    *FIT_LEAVES,
)
COLUMNS = {
    "video": np.int32,  # index into video_names
    "frame": np.int32,  # index in the video
    "time_s": np.float64,
    "label": np.int8,  # 1 anomalous, 0 normal, -1 unknown
    "kind": np.int8,  # index into kinds, 0 normal, -1 unknown
    "cycle": np.int32,  # number of the cycle in the video, -1 unknown
    "position": np.int16,  # smallest place in a clip; the calibration class when stride > 1
}


@dataclass(frozen=True)
class FrameScores:
    """One row a frame.

    Attributes:
      video, frame, time_s, label, kind, cycle, position: [n] columns, types in `COLUMNS`.
      components: float32 [n] each, NaN where unscored (names in aggregate.COMPONENTS; baselines
        such as diff_mean and diff_pooled stand beside them).
      video_names, fps: one entry a video.
      kinds: names of the fault kinds, kinds[0] is "normal".
      made_with: dataset, checkpoint and `PREDICTION_LEAVES` (run/provenance.py).
      mislabelled: names of the split's videos whose label count disagrees with their frames.
    """

    video: np.ndarray
    frame: np.ndarray
    time_s: np.ndarray
    label: np.ndarray
    kind: np.ndarray
    cycle: np.ndarray
    position: np.ndarray
    components: dict[str, np.ndarray]
    video_names: tuple[str, ...]
    kinds: tuple[str, ...] = ("normal",)
    fps: tuple[float, ...] = field(default=())
    made_with: MadeWith = field(default_factory=dict)
    mislabelled: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, dtype in COLUMNS.items():
            column = np.asarray(getattr(self, name), dtype)
            object.__setattr__(self, name, column)
            if column.shape != self.video.shape or column.ndim != 1:
                raise ValueError(
                    f"Column {name} has shape {column.shape}, video has {self.video.shape}."
                )
        components = {k: np.asarray(v, np.float32) for k, v in self.components.items()}
        object.__setattr__(self, "components", components)
        for name, column in components.items():
            if column.shape != self.video.shape:
                raise ValueError(
                    f"Component {name} has shape {column.shape}, expected {self.video.shape}."
                )
        if len(self.fps) != len(self.video_names):
            raise ValueError(f"Got {len(self.fps)} frame rates for {len(self.video_names)} videos.")
        if len(self) and not 0 <= self.video.min() <= self.video.max() < len(self.video_names):
            raise ValueError(
                f"Column video holds {self.video.min()}..{self.video.max()}, but there are "
                f"{len(self.video_names)} video names."
            )

    def __len__(self) -> int:
        return len(self.video)

    @property
    def best_phase(self) -> np.ndarray:
        """float32 [n] in [0, 1): the tracked phase, where there is none the period head's, else NaN."""
        head = self.components["phase"]
        tracked = self.components.get("tracked_phase", np.full_like(head, np.nan))
        return np.where(np.isfinite(tracked), tracked, head)

    @property
    def stride(self) -> int:
        """Frames between the clips that made the scores."""
        return self.made_with.get("eval.stride", 1)

    @property
    def checkpoint_step(self) -> int:
        """Checkpoint that made the scores; -1 unknown."""
        return self.made_with.get("checkpoint_step", -1)

    @classmethod
    def from_rows(
        cls,
        rows: FrameRows,
        *,
        name: str,
        fps: float,
        label: np.ndarray | None = None,
        kind: np.ndarray | None = None,
        cycle: np.ndarray | None = None,
        kinds: Sequence[str] = ("normal",),
        made_with: MadeWith | None = None,
        mislabelled: Sequence[str] = (),
    ) -> "FrameScores":
        """Table of one video (or one segment of it); join several with `concat`.

        Args:
          rows: all of the video's, in frame order.
          name: the video's name.
          fps: its frames a second.
          label, kind, cycle: columns of the WHOLE video, picked by rows.frame; None = unknown (-1).
          kinds: names of the fault kinds.
          made_with, mislabelled: as the attributes.
        """
        n = len(rows)

        def pick(column: np.ndarray | None) -> np.ndarray:
            return np.full(n, -1) if column is None else np.asarray(column)[rows.frame]

        return cls(
            video=np.zeros(n, np.int32),
            frame=rows.frame,
            time_s=rows.frame / fps,
            label=pick(label),
            kind=pick(kind),
            cycle=pick(cycle),
            position=rows.position,
            components=dict(rows.components),
            video_names=(name,),
            kinds=tuple(kinds),
            fps=(float(fps),),
            made_with=made_with or {},
            mislabelled=tuple(mislabelled),
        )

    @staticmethod
    def concat(parts: "Sequence[FrameScores]") -> "FrameScores":
        """One table of several, videos renumbered; segments of the same video stay one video."""
        if not parts:
            raise ValueError("No scores to join: the split holds no video as long as a clip.")
        first = parts[0]
        for part in parts[1:]:
            for name in ("kinds", "mislabelled"):
                if getattr(part, name) != getattr(first, name):
                    raise ValueError(
                        f"Cannot join scores: {name} is {getattr(part, name)} in one table and "
                        f"{getattr(first, name)} in another."
                    )
            if different := mismatch(part.made_with, first.made_with):
                raise ValueError(f"Cannot join scores: in one table {different}.")
            if part.components.keys() != first.components.keys():
                raise ValueError(
                    f"Cannot join scores with components {sorted(part.components)} and "
                    f"{sorted(first.components)}."
                )
        rates: dict[str, float] = {}
        for part in parts:
            rates.update(zip(part.video_names, part.fps))
        index = {name: i for i, name in enumerate(rates)}
        numbers = [np.array([index[name] for name in p.video_names], np.int32) for p in parts]
        columns: dict[str, Any] = {
            name: np.concatenate([getattr(p, name) for p in parts])
            for name in COLUMNS
            if name != "video"
        }
        return FrameScores(
            video=np.concatenate([number[p.video] for number, p in zip(numbers, parts)]),
            components={
                name: np.concatenate([p.components[name] for p in parts])
                for name in first.components
            },
            video_names=tuple(rates),
            kinds=first.kinds,
            fps=tuple(rates.values()),
            mislabelled=first.mislabelled,
            made_with=first.made_with,
            **columns,
        )

    def select(self, keep: np.ndarray) -> "FrameScores":
        """The rows where `keep` (bool [n]) is true; the list of videos stays."""
        return dataclasses.replace(
            self,
            components={name: column[keep] for name, column in self.components.items()},
            **{name: getattr(self, name)[keep] for name in COLUMNS},
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write an `.npz` (no pickled objects), whole or not at all."""
        header = {
            "format": FORMAT,
            "video_names": self.video_names,
            "kinds": self.kinds,
            "fps": self.fps,
            "mislabelled": self.mislabelled,
            "made_with": self.made_with,
        }
        arrays = {name: getattr(self, name) for name in COLUMNS}
        arrays |= {f"component/{name}": column for name, column in self.components.items()}
        arrays["header"] = np.array(json.dumps(header))
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        write_atomic(path, buffer.getvalue())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "FrameScores":
        """Read what `save` wrote.

        Raises:
          FileNotFoundError: no such file.
          ValueError: the file is something else, cut off, or of another version.
        """
        if not epath.Path(path).is_file():
            raise FileNotFoundError(
                f"No scores at {path}. `ipad-jax evaluate` writes scores.npz into eval/<name>/."
            )
        try:
            with np.load(io.BytesIO(epath.Path(path).read_bytes()), allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            header = json.loads(str(arrays["header"]))
        except Exception as error:
            raise ValueError(f"{path} is not a whole scores.npz: {error}") from error
        if header.get("format") != FORMAT:
            raise ValueError(
                f"{path} has format {header.get('format')}, expected {FORMAT}; evaluate again."
            )
        wanted = ("video_names", "kinds", "fps", "mislabelled", "made_with")
        missing = [name for name in COLUMNS if name not in arrays]
        if missing := [*missing, *(name for name in wanted if name not in header)]:
            raise ValueError(f"{path} lacks {', '.join(missing)}; evaluate again.")
        prefix = "component/"
        return cls(
            components={n[len(prefix) :]: a for n, a in arrays.items() if n.startswith(prefix)},
            video_names=tuple(header["video_names"]),
            kinds=tuple(header["kinds"]),
            fps=tuple(header["fps"]),
            mislabelled=tuple(header["mislabelled"]),
            made_with=header["made_with"],
            **{name: arrays[name] for name in COLUMNS},
        )
