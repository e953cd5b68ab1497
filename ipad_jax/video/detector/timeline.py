"""The course of a score over any length, as one picture."""

from pathlib import Path

import numpy as np

from ipad_jax.evaluation.report.data import Curve
from ipad_jax.evaluation.report.plots import LIGHT, save_png, score_curve

TIMELINE_POINTS = 4000  # stretches of time the plot tells apart; each keeps its highest score


class Timeline:
    """The course of a score of any length in at most `TIMELINE_POINTS` stretches, each with its maximum."""

    def __init__(self, points: int = TIMELINE_POINTS):
        if points < 2 or points % 2:
            raise ValueError(f"points={points} must be even and at least 2.")
        self.points = points
        self._frames_each = 1
        self._highest = np.full(points, np.nan)
        self._num_frames = 0

    def add(self, frame: int, score: float) -> None:
        """Takes the score of a frame, indices rise; NaN is none."""
        while frame >= self.points * self._frames_each:
            pairs = self._highest.reshape(-1, 2)
            self._highest = np.full(self.points, np.nan)
            self._highest[: self.points // 2] = np.fmax(pairs[:, 0], pairs[:, 1])
            self._frames_each *= 2
        place = frame // self._frames_each
        self._highest[place] = np.fmax(self._highest[place], score)
        self._num_frames = frame + 1

    def curve(self, fps: float) -> tuple[np.ndarray, np.ndarray]:
        """(seconds at which each stretch starts, its highest score)."""
        used = -(-self._num_frames // self._frames_each)
        return np.arange(used) * self._frames_each / fps, self._highest[:used]

    def save(
        self,
        path: Path,
        name: str,
        fps: float,
        events: list[tuple[float, float]],
        threshold: float | None,
    ) -> None:
        """Draws it as a PNG; `events` are (start, end) in seconds."""
        time_s, score = self.curve(fps)
        figure = score_curve(Curve(name, time_s, score, events=events), threshold, palette=LIGHT)
        figure.set_size_inches(11, 3)
        figure.patch.set(alpha=1, facecolor=LIGHT.paper)
        save_png(figure, path)
