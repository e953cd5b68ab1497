"""Which frames of the training footage stand for normal."""

import numpy as np
from ml_collections import ConfigDict

from ipad_jax.input.frames import FrameSource
from ipad_jax.input.split import training_parts


def fitted_frames(
    config: ConfigDict, source: FrameSource, limit: int, limit_without_phase: int, skip: int = 0
) -> tuple[list[tuple[int, int]], np.ndarray]:
    """Frames that the model was fitted on, evenly spread; none that is held out for calibration.

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


def spread(count: int, limit: int) -> np.ndarray:
    """At most `limit` of `count` indices, evenly spread."""
    if count <= limit:
        return np.arange(count)
    return (np.arange(limit) * count) // limit
