"""Slow change: what is usual at each place and phase, followed no faster than faults may be forgotten.

Light over a day, dirt on the lens and a camera that sags move normal frames away from those that a run
remembers: the edge of a shadow by tens of spreads, a wall next to it not at all, and what a part looks like
only while it is there. So each place of the map of distances (frames.py) has a level at each of `PHASES`
phases of the cycle, in spreads of normal frames, that is subtracted. After a frame of a phase

    level += step      where its distance is more than `USUAL` above the level,
    level -= step / 9  elsewhere, and never below 0.

Steps up and down hold each other where one frame in ten is above: on footage like the training's that is at
0 nearly everywhere. The step is a speed limit, `eval.drift_per_hour` spreads an hour, whether the machine
runs or stands. So no alarm need hold a level: ten minutes of a fault take a sixth of that from its distance.
"""

import math

import numpy as np

PHASES = 60  # told apart; chosen on the tuning scene
USUAL = 1.3  # spreads; where distances are normally distributed, one normal frame in ten is above
SHARE = 0.9  # of a phase's frames that are below level + USUAL once the level has come to rest
MOST_S = 60.0  # seconds that a step stands for, at most: hours unseen are not learnt at once


class SlowChange:
    """The levels of a map's places, for the frames of one camera in order.

    Attributes:
      level: float64 [phases, h, w], in spreads, at least 0; a single 0 before the first map.
    """

    def __init__(self, per_hour: float, fps: float, level: np.ndarray | None = None):
        """Begins where footage looks like the training's, or goes on from another stretch.

        Args:
          per_hour: spreads by which a level rises in an hour, at most.
          fps: maps a second.
          level: of an earlier stretch.

        Raises:
          ValueError: a speed or a rate that is not positive.
        """
        check_drift(per_hour)
        if not (per_hour and fps > 0):
            raise ValueError(
                f"{per_hour} spreads an hour at {fps} frames a second: both must be positive."
            )
        self._step = per_hour / 3600 / fps
        self._most = round(MOST_S * fps)  # frames
        self._now = 0  # number of the next frame
        self._seen: dict[int, int] = {}  # last frame of each phase
        self.level = np.zeros(()) if level is None else level

    def add(self, distance: np.ndarray, phase: float = math.nan) -> np.ndarray:
        """The next frame's map less the levels before it.

        Args:
          distance: float32 [h, w] in spreads; NaN throughout changes nothing.
          phase: of the frame, in [0, 1); NaN: the footage has no cycle.

        Returns:
          float32 [h, w].
        """
        frame, self._now = self._now, self._now + 1
        if not np.isfinite(distance).all():
            return distance
        if not self.level.ndim:
            self.level = np.zeros((PHASES, *distance.shape))
        at = int(phase * PHASES) % PHASES if math.isfinite(phase) else 0
        above = distance - self.level[at]
        step = self._step * min(frame - self._seen.get(at, frame - 1), self._most)
        self._seen[at] = frame
        change = np.where(above > USUAL, step, -step * (1 - SHARE) / SHARE)
        np.maximum(self.level[at] + change, 0.0, out=self.level[at])
        return above.astype(np.float32)


def check_drift(per_hour: float) -> None:
    """Raises ValueError for a value of `eval.drift_per_hour` that is no speed."""
    if not 0 <= per_hour < math.inf:
        raise ValueError(f"eval.drift_per_hour={per_hour} must be at least 0 (off).")
