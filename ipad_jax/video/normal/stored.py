"""Arrays that a run takes from its training footage once and keeps in its folder.

A detector needs what it compares with where the footage is not: on the machine in the factory. All are of
frames the model was fitted on; footage held out for calibration is not among them, so that the threshold
rests on frames that are as new to them as tomorrow's are.
"""

import io
from collections.abc import Callable

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from ipad_jax.input.frames import FrameSource
from ipad_jax.input.split import open_split, training_parts
from ipad_jax.run.files import write_atomic
from ipad_jax.video.normal.frames import spread

Arrays = dict[str, np.ndarray]


def kept_arrays(
    path: epath.Path,
    config: ConfigDict,
    names: tuple[str, ...],
    make: Callable[[FrameSource], Arrays | None],
    lacking: str,
) -> Arrays | None:
    """Arrays of a file in the run folder or, the first time, from the run's dataset.

    Args:
      path: the .npz file.
      config: of the run.
      names: of the arrays.
      make: the arrays from the training split; None if there are none, which is not kept.
      lacking: what is missing without file and dataset, for the error.

    Raises:
      FileNotFoundError: neither is there.
      ValueError: the file is damaged, or lacks an array.
    """
    if path.exists():
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
                return {name: stored[name] for name in names}
        except Exception as error:
            raise ValueError(
                f"{path} is damaged or of an earlier version ({error}); delete it and run again."
            ) from error
    arrays = make(training_footage(path, config, lacking))
    if arrays is not None:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
        write_atomic(path, buffer.getvalue())
    return arrays


def training_footage(path: epath.Path, config: ConfigDict, lacking: str) -> FrameSource:
    """The training split that a missing file of the run folder is made from.

    Raises:
      FileNotFoundError: it is not here; says what is missing without it.
    """
    try:
        return open_split(config, "train")
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{path} does not exist and the training dataset is not here, so {lacking}. "
            f"Run `ipad-jax evaluate` or `detect` once where the dataset is. ({error})"
        ) from error


def fitted_frames(
    config: ConfigDict, source: FrameSource, limit: int, limit_without_phase: int, skip: int = 0
) -> tuple[list[tuple[int, int]], np.ndarray]:
    """Frames that the model was fitted on, evenly spread.

    Args:
      config: of the run; `data` and the model's period head count.
      source: the training split.
      limit: frames at most, where the phase chooses among them; only those with a phase then count.
      limit_without_phase: the same where every one is compared.
      skip: frames left out at the start of each stretch.

    Returns:
      (video, frame) of each, and their phases, float32 [n]; NaN throughout where the footage has no cycle
      or the model no period head, since then nothing could look a phase up.
    """
    fitted, _ = training_parts(config, source)
    phases = source.column("phase")
    places = [(s.video, frame) for s in fitted for frame in range(s.start + skip, s.stop)]
    known = [place for place in places if np.isfinite(phases[place[0]][place[1]])]
    by_phase = bool(known) and config.model.get("period_head", "none") != "none"
    chosen = known if by_phase else places
    chosen = [chosen[i] for i in spread(len(chosen), limit if by_phase else limit_without_phase)]
    return chosen, np.array([phases[v][f] if by_phase else np.nan for v, f in chosen], np.float32)
