"""The normal frames a run compares with (video/nearest.py), kept in the run folder."""

import os

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from ipad_jax.input.frames import FrameSource
from ipad_jax.video.normal.frames import MAX_FRAMES, MAX_WITHOUT_PHASE, NormalFrames
from ipad_jax.video.normal.small_pictures import made_with, small_pictures_of
from ipad_jax.video.normal.stored import Arrays, fitted_frames, kept_arrays

PARTS = 4  # of a single video's normal frames: each is compared with those of the others


def normal_frames_of(workdir: str | os.PathLike[str], config: ConfigDict) -> NormalFrames | None:
    """A run's normal frames, from normal_frames_<...>.npz or, the first time, from its dataset.

    Args:
      workdir: run folder.
      config: of the run; `data` and, of `eval`, `nearest_px`, `nearest_share` and `register` count.

    Returns:
      None where `eval.nearest_px` is 0.

    Raises:
      FileNotFoundError: neither is there.
      ValueError: the file is damaged.
    """
    side, share = config.eval.nearest_px, config.eval.nearest_share
    if not side:
        return None
    view = small_pictures_of(workdir, config, side)

    def make(source: FrameSource) -> Arrays:
        places, phase = fitted_frames(config, source, MAX_FRAMES, MAX_WITHOUT_PHASE)
        pictures = np.stack([view(source.frames(v, [f])[0]) for v, f in places])
        return {"pictures": pictures, "phase": phase, "group": _groups([v for v, _ in places])}

    path = epath.Path(workdir) / f"normal_frames_{made_with(view)}.npz"
    lacking = "there are no normal frames to compare with"
    found = kept_arrays(path, config, ("pictures", "phase", "group"), make, lacking)
    assert found is not None  # a run was fitted on something
    return NormalFrames(found["pictures"], found["phase"], share, view, found["group"])


def _groups(videos: list[int]) -> np.ndarray:
    """Each frame's video or, where all are from one, its part of it: int32 [n]."""
    if len(set(videos)) > 1:
        return np.array(videos, np.int32)
    return (np.arange(len(videos)) * PARTS // len(videos)).astype(np.int32)
