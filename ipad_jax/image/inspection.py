"""What every detector of images gives, of a run (detector.py) or of an exported file (exported.py)."""

import os
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True)
class Inspection:
    """What was found in an image.

    Attributes:
      score: anomaly score; higher is more anomalous. NaN where the image was not `inspected`.
      alarm: whether it is above the threshold; False without one.
      map: float32 [h, w] at the image's own size, raw; NaN where the image was not inspected.
      found: what else the method found, such as an object's pose; None.
    """

    score: float
    alarm: bool
    map: np.ndarray
    found: Any = None

    @property
    def inspected(self) -> bool:
        """Whether the image was judged; an object is not from a side that no training view shows."""
        return getattr(self.found, "inspected", True)

    @property
    def note(self) -> str:
        """Why it was not inspected, or what speaks against trusting score and alarm; ""."""
        return getattr(self.found, "note", "")

    @property
    def remark(self) -> str:
        """The note, and what else was not judged; ""."""
        return getattr(self.found, "remark", self.note)


class Inspector(Protocol):
    """What judges image files.

    Attributes:
      threshold: alarm above it; None = no alarms.
      heat: colour scale of maps, where colour begins and is full; None: each map its own.
    """

    threshold: float | None

    @property
    def heat(self) -> tuple[float, float] | None: ...

    def threshold_statement(self) -> str:
        """What the threshold rests on."""
        ...

    def read(self, path: str | os.PathLike[str]) -> np.ndarray:
        """An image file, uint8 [h, w, 3] RGB, upright."""
        ...

    def reference(self, image: np.ndarray, found: Inspection) -> np.ndarray | None:
        """What an image was compared with, uint8 [h, w, 3]; None of most methods."""
        ...

    def inspect(self, image: np.ndarray) -> Inspection:
        """Judges an image, uint8 [h, w, 3] RGB of any size."""
        ...
