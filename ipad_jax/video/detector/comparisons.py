"""A run's model with all that its frames are compared with: the same for evaluation and detection."""

import os

from flax import nnx
from ml_collections import ConfigDict

from ipad_jax.video.clip_task import make_clip_task
from ipad_jax.video.detector.predictor import Predictor
from ipad_jax.video.normal.normal_features import prototypes_of
from ipad_jax.video.normal.normal_frames import normal_frames_of
from ipad_jax.video.normal.normal_motion import normal_motion_of
from ipad_jax.video.normal.phase_tracking import PhaseMap


def predictor_of(
    workdir: str | os.PathLike[str], config: ConfigDict, model: nnx.Module
) -> Predictor:
    """The model ready to score, with the run's normal frames, features and motion where `eval` asks for them.

    Args:
      workdir: run folder.
      config: of the run, with the `eval` section in force.
      model: as `restore_for_inference` gives it.

    Raises:
      FileNotFoundError: what is compared with is neither in the run folder nor its dataset here.
      ValueError: a file of it is damaged, or `eval` asks for what cannot be.
    """
    # the run's own task knows nothing of leaves of `eval` that were changed since
    predictor = Predictor(make_clip_task(config), model)
    predictor.normal = normal = normal_frames_of(workdir, config)
    if config.eval.get("track_phase", False) and normal is not None and normal.has_phase:
        assert normal.group is not None  # a run's normal frames have groups
        predictor.phase_map = PhaseMap(normal.pictures, normal.phase, normal.group)
    predictor.prototypes = prototypes_of(workdir, config)
    predictor.motion = normal_motion_of(workdir, config)
    return predictor
