"""How a run makes frames comparable (video/small_picture.py); the reference is kept in the run folder."""

import os

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from ipad_jax.input.frames import FrameSource
from ipad_jax.video.normal.small_picture import SmallPictures, reference_of, small_picture
from ipad_jax.video.normal.stored import Arrays, fitted_frames, kept_arrays

REFERENCE_FRAMES = 200  # normal frames whose median the reference is, at most; our choice


def small_pictures_of(
    workdir: str | os.PathLike[str], config: ConfigDict, side: int
) -> SmallPictures:
    """How a run makes small pictures of a side, in pixels.

    With `eval.register` they are shifted to the reference picture from reference_<side>px.npz or, the first
    time, from the run's dataset.

    Raises:
      FileNotFoundError: neither is there.
      ValueError: the file is damaged.
    """
    if not config.eval.get("register", False):  # runs made before the leaf have none
        return SmallPictures(side)

    def make(source: FrameSource) -> Arrays:
        places, _ = fitted_frames(config, source, REFERENCE_FRAMES, REFERENCE_FRAMES)
        pictures = [small_picture(source.frames(v, [f])[0], side) for v, f in places]
        return {"reference": reference_of(np.stack(pictures))}

    path = epath.Path(workdir) / f"reference_{side}px.npz"
    lacking = "there is no reference picture to take the camera's shake out by"
    found = kept_arrays(path, config, ("reference",), make, lacking)
    assert found is not None  # a run was fitted on something
    return SmallPictures(side, found["reference"])


def made_with(view: SmallPictures) -> str:
    """How pictures were made, as a part of a file's name."""
    return f"{view.side}px_{'plain' if view.reference is None else 'registered'}"
