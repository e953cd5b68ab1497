"""A detector of images from an exported file and the JSON beside it, without the run folder.

This file imports neither JAX nor the methods: an ONNX file runs by onnxruntime alone, a StableHLO file by
JAX alone. What is outside the graph (how an image is cut, its map joined, blurred and reduced) is the code
that the run itself takes.
"""

import hashlib
import json
import os
from pathlib import Path

import numpy as np

from ipad_jax.data_builders.photos import read_photo
from ipad_jax.image.inspection import Inspection
from ipad_jax.image.views import Views
from ipad_jax.run.graph_file import FORMAT, FORMATS, RUNNERS, description_of


class ExportedDetector:
    """A file of `ipad-jax export` that judges images; see `inspection.Inspector`.

    Attributes:
      facts: the JSON beside it.
      graph: from pictures uint8 [t, h, w, 3] of an image to raw maps float32 [t, h', w'] alone.
      views: how an image is cut.
      threshold: alarm above it; None = no alarms.
    """

    def __init__(self, path: str | os.PathLike[str], threshold: float | None = None):
        """Reads the file.

        Args:
          path: of the graph; the JSON lies beside it.
          threshold: instead of the JSON's.

        Raises:
          FileNotFoundError: one of the two files is not there.
          ModuleNotFoundError: what runs it is not installed.
          ValueError: another format, or the two do not belong together.
        """
        path = Path(path)
        runners = {Path(name).suffix: kind for kind, name in FORMATS.items()}
        if path.suffix not in runners:
            raise ValueError(f"--model {path}: expected a file of {', '.join(FORMATS.values())}.")
        beside = description_of(path)
        for needed in (path, beside):
            if not needed.is_file():
                raise FileNotFoundError(f"{needed}: no such file; `ipad-jax export` writes both.")
        data, facts = path.read_bytes(), json.loads(beside.read_text())
        if facts.get("format") != FORMAT:
            raise ValueError(f"{beside}: format {facts.get('format')!r}, expected {FORMAT}.")
        if hashlib.sha256(data).hexdigest() != facts["sha256"]:
            raise ValueError(
                f"{beside} belongs to another {path.name}: its SHA-256 is not that file's."
            )
        if "picture" not in facts:
            raise ValueError(
                f"{beside} describes the network of a run of footage, whose raw outputs it names; "
                "`--model` judges images. For footage: ipad-jax detect --workdir RUN --video FILE."
            )
        self.facts, self.views = facts, Views(**facts["picture"])
        self.threshold = facts["threshold"] if threshold is None else threshold
        self.graph = RUNNERS[runners[path.suffix]](data)

    @property
    def heat(self) -> tuple[float, float] | None:
        """Colour scale of maps; None in files from before 0.3."""
        found = self.facts.get("heat")
        return None if found is None else (found[0], found[1])

    def threshold_statement(self) -> str:
        """What the threshold rests on."""
        if self.threshold is None or self.threshold == self.facts["threshold"]:
            return self.facts["threshold_statement"]
        return (
            f"Threshold {self.threshold:g}, given by hand; the file's is {self.facts['threshold']}."
        )

    def read(self, path: str | os.PathLike[str]) -> np.ndarray:
        """An image file as the run reads it."""
        return read_photo(Path(path), self.facts.get("bit_depth"))

    def reference(self, image: np.ndarray, found: Inspection) -> None:
        """An exported file gives maps alone."""

    def inspect(self, image: np.ndarray) -> Inspection:
        """Judges an image, uint8 [h, w, 3] RGB of any size.

        Raises:
          ValueError: an array of another kind.
        """
        (maps,) = self.graph(self.views.cut(image))
        found = self.views.join(maps, image.shape[:2], self.facts["blur_px"])
        score = float(found.mean() if self.facts["score"] == "mean" else found.max())
        if not np.isfinite(score):
            raise FloatingPointError("the map of an image is not finite: export the run again.")
        return Inspection(score, self.threshold is not None and score > self.threshold, found)
