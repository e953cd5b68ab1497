"""Calibration of a run: what held-out normal footage scores, and the threshold that follows.

It belongs to one checkpoint and one way of scoring, so both are kept beside it; `evaluate` and `detect`
make it anew when either has changed.
"""

import json
import os

from etils import epath
from ml_collections import ConfigDict

from ipad_jax.config import leaves
from ipad_jax.files import write_atomic
from ipad_jax.input.source import FrameSource, dataset_dir, open_source
from ipad_jax.input.split import Segment, hold_out
from ipad_jax.predict import Predictor, Progress, predict_segments
from ipad_jax.video.calibration import Calibration
from ipad_jax.video.frame_scores import FrameScores

# Leaves of `eval` that change what a frame scores; the others only change how it is judged or shown.
SCORING_LEAVES = ("stride", "window", "spacing", "pool_px", "components", "alpha")


def open_split(config: ConfigDict, split: str) -> FrameSource:
    """The split "train" or "test" of the dataset a config names."""
    data = config.data
    path = dataset_dir(
        data.data_dir, data.builder, data.scene, data.size, data.quality, data.variant
    )
    return open_source(path, split)


def held_out(config: ConfigDict, source: FrameSource) -> list[Segment]:
    """Normal footage of the training split that the model was not fitted on."""
    data = config.data
    return hold_out(source.videos, data.holdout_share, data.holdout_min, data.clip_len)[1]


def scoring_key(config: ConfigDict, step: int) -> dict[str, object]:
    """What a calibration depends on: the checkpoint and the leaves that change scores."""
    values = leaves(config.eval)
    chosen = {name: value for name, value in values.items() if name.split(".")[0] in SCORING_LEAVES}
    return {"checkpoint_step": step, **chosen}


def calibrate(
    workdir: str | os.PathLike[str],
    config: ConfigDict,
    predictor: Predictor,
    step: int,
    progress: Progress | None = None,
) -> Calibration | None:
    """The run's calibration, from its file if that still fits, else made and saved.

    Args:
      workdir: run folder; gets calibration.json and calibration_scores.npz.
      config: of the run, with the `eval` section in force.
      predictor: the restored model.
      step: its checkpoint.
      progress: told how many frames are done.

    Returns:
      None if the run held out no normal footage.
    """
    folder = epath.Path(workdir)
    paths = folder / "calibration.json", folder / "calibration_scores.npz"
    key = scoring_key(config, step)
    if is_current(folder, key):
        return Calibration.load(paths[0])
    source = open_split(config, "train")
    segments = held_out(config, source)
    if not segments:
        return None
    scores = predict_segments(predictor, config, source, segments, progress)
    calibration = fit(config, scores)
    # Without the key the files count as none: a stop between two writes leaves no wrong pair behind.
    (folder / "calibration_key.json").unlink(missing_ok=True)
    scores.save(paths[1])
    calibration.save(paths[0])
    write_atomic(folder / "calibration_key.json", json.dumps(key, indent=2).encode())
    return calibration


def is_current(workdir: epath.Path, key: dict[str, object]) -> bool:
    """Whether the run folder holds a calibration made with this key."""
    path = workdir / "calibration_key.json"
    if not (path.exists() and (workdir / "calibration.json").exists()):
        return False
    try:
        return json.loads(path.read_text()) == key
    except json.JSONDecodeError:
        return False


def fit(config: ConfigDict, scores: FrameScores) -> Calibration:
    """Fits a calibration with the config's components and share of alarms."""
    return Calibration.fit(scores, config.eval.components.to_dict(), config.eval.alpha)
