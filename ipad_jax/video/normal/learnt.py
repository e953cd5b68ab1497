"""Frames that a person said are normal, added to what frames are compared with.

They are candidates like all others, but how far normal frames usually lie apart, and what the machine looks
like at each phase, stay what the training footage says: a false alarm is rare by nature.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ipad_jax.video.normal.frames import LEARNT as GROUP
from ipad_jax.video.normal.motion import LAGS, changes_at
from ipad_jax.video.normal.stored import LEARNT, Arrays, Normal

MAX_FRAMES = 25  # of an event; each costs as much as one of the training footage; our choice


@dataclass(frozen=True)
class Sample:
    """A normal frame.

    Attributes:
      frames: uint8 [h, w, 3] each, as the detector prepares them: the frame and those `motion.LAGS` before
        it, or the frame alone where the stretch has not as many.
      phase: in [0, 1); NaN unknown.
    """

    frames: tuple[np.ndarray, ...]
    phase: float


def extended(arrays: Arrays, normal: Normal, samples: Sequence[Sample]) -> Arrays:
    """What `fit_normal` made, with samples added; one without a phase is left out where phases count.

    Args:
      arrays: of `fit_normal`.
      normal: `normal_of` them.
      samples: normal frames.
    """
    arrays = dict(arrays)

    def add(part: str, values: list[np.ndarray], phases: list[float]) -> None:
        old = arrays[part]
        if values:
            arrays[part] = np.concatenate([old, np.stack(values).astype(old.dtype)])
            name = f"{part.partition('_')[0]}_phase"
            arrays[name] = np.concatenate([arrays[name], np.asarray(phases, np.float32)])

    def those(has_phase: bool) -> list[tuple[Sample, float]]:
        if not has_phase:
            return [(sample, np.nan) for sample in samples]
        return [(sample, sample.phase) for sample in samples if np.isfinite(sample.phase)]

    if near := normal.frames:
        chosen = those(near.has_phase)
        add("frames_pictures", [near.view(s.frames[0]) for s, _ in chosen], [p for _, p in chosen])
        group = np.full(len(chosen), GROUP, np.int32)
        arrays["frames_group"] = np.concatenate([arrays["frames_group"], group])
    if moving := normal.motion:
        whole = [(s, p) for s, p in those(moving.has_phase) if len(s.frames) == 1 + len(LAGS)]
        changes = [changes_at([moving.view(frame) for frame in s.frames]) for s, _ in whole]
        add("motion_changes", changes, [p for _, p in whole])
    if alike := normal.features:
        chosen = those(alike.has_phase)
        pictures = [alike.picture(s.frames[0]) for s, _ in chosen]
        cells = [alike.extractor.cells(picture) for picture in pictures]
        add("features_cells", cells, [p for _, p in chosen])
    if samples:
        digest = hashlib.sha256(arrays[LEARNT].tobytes() if LEARNT in arrays else b"")
        for sample in samples:
            digest.update(np.float64(sample.phase).tobytes())
            for frame in sample.frames:
                digest.update(np.ascontiguousarray(frame).tobytes())
        arrays[LEARNT] = np.frombuffer(digest.digest()[:8], np.uint8)
    return arrays
