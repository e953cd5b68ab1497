"""The normal motion a run compares with (video/motion.py), kept in the run folder."""

import os

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from ipad_jax.input.frames import FrameSource
from ipad_jax.video.normal.motion import LAGS, MAX_FRAMES, NormalMotion, change
from ipad_jax.video.normal.small_picture import SmallPictures
from ipad_jax.video.normal.small_pictures import made_with, small_pictures_of
from ipad_jax.video.normal.stored import Arrays, fitted_frames, kept_arrays


def normal_motion_of(workdir: str | os.PathLike[str], config: ConfigDict) -> NormalMotion | None:
    """A run's normal motion, from normal_motion_<...>.npz or, the first time, from its dataset.

    Args:
      workdir: run folder.
      config: of the run; `data`, `model.period_head`, `eval.motion_px` and `eval.register` count.

    Returns:
      None where `eval.motion_px` is 0, or no training video is longer than the longest lag.

    Raises:
      FileNotFoundError: neither is there.
      ValueError: the file is damaged.
    """
    side = config.eval.get("motion_px", 0)  # runs made before the leaf have none
    if not side:
        return None
    view = small_pictures_of(workdir, config, side)

    def make(source: FrameSource) -> Arrays | None:
        places, phase = fitted_frames(config, source, MAX_FRAMES, MAX_FRAMES, skip=max(LAGS))
        if not places:
            return None
        return {
            "changes": np.stack([_changes_at(source, *p, view) for p in places]),
            "phase": phase,
        }

    path = epath.Path(workdir) / f"normal_motion_{made_with(view)}.npz"
    lacking = "there is no normal motion to compare with"
    found = kept_arrays(path, config, ("changes", "phase"), make, lacking)
    return None if found is None else NormalMotion(found["changes"], found["phase"], view)


def _changes_at(source: FrameSource, video: int, number: int, view: SmallPictures) -> np.ndarray:
    """float32 [lags, cells] of one frame."""
    frames = source.frames(video, [number, *(number - lag for lag in LAGS)])
    now, *earlier = map(view, frames)
    return np.stack([change(now, picture) for picture in earlier])
