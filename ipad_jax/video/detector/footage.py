"""What a run's detector must know of its training footage, kept in the run folder as footage.json."""

import json
import os
from dataclasses import asdict, dataclass

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from ipad_jax.input.split import open_split
from ipad_jax.run.files import write_atomic
from ipad_jax.video.detector.predictor import scene_cycle
from ipad_jax.video.detector.scene_folder import check_one_scene

SQUEEZE = 0.02  # of the proportions, that is taken for the same: 1088 lines for 1080 are


@dataclass(frozen=True)
class Footage:
    """What a detector must know of the footage it was trained on.

    Attributes:
      fps: frames a second.
      cycle_frames: frames of a normal cycle, None where there is none.
      stored_as_is: whether its frames of the wanted size went into the dataset as the JPEG files they
        were, not through JPEG once more.
      bit_depth: bits that its 16-bit pictures use; None where it has 8-bit ones.
      source_size: usual width and height of its frames before they were resized; None unknown.
    """

    fps: float
    cycle_frames: float | None
    stored_as_is: bool = False
    bit_depth: int | None = None
    source_size: tuple[int, int] | None = None

    @property
    def cycle_s(self) -> float | None:
        """Seconds of a normal cycle, None where there is none."""
        return None if self.cycle_frames is None else self.cycle_frames / self.fps

    def check_shape(self, frame: np.ndarray) -> None:
        """Raises ValueError for a frame of other proportions, which resizing would squeeze.

        Args:
          frame: [h, w, 3] as it came.
        """
        if self.source_size is None:
            return
        height, width = frame.shape[:2]
        usual_width, usual_height = self.source_size
        if not 1 - SQUEEZE < width * usual_height / (height * usual_width) < 1 + SQUEEZE:
            raise ValueError(
                f"frames of {width}x{height} pixels; the footage that the run was trained on has "
                f"{usual_width}x{usual_height}. Other proportions would be squeezed and look faulty: "
                "crop the source to the same proportions, or train on footage like it."
            )


def footage_of(workdir: str | os.PathLike[str], config: ConfigDict) -> Footage:
    """Rate and cycle of a run's footage, from footage.json or, the first time, from its dataset.

    Raises:
      FileNotFoundError: neither is there.
      ValueError: footage.json is damaged, or the run has several scenes.
    """
    check_one_scene(config, workdir)
    path = epath.Path(workdir) / "footage.json"
    if path.exists():
        try:
            content = json.loads(path.read_text())
            if size := content.get("source_size"):
                content["source_size"] = tuple(size)
            return Footage(**content)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path} is damaged ({error}); delete it and run again.") from error
    try:
        source = open_split(config, "train")
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{path} does not exist and the training dataset is not here, so the footage's frame rate is "
            f"unknown. Run `ipad-jax evaluate` or `detect` once where the dataset is. ({error})"
        ) from error
    rates = [video.fps for video in source.videos]
    as_is = bool(source.metadata.get("stored_as_is"))
    depth = source.metadata.get("bit_depth")
    size = source.metadata.get("source_size")
    size = None if size is None else (int(size[0]), int(size[1]))
    footage = Footage(float(np.median(rates)), scene_cycle(source), as_is, depth, size)
    write_atomic(path, json.dumps(asdict(footage)).encode())
    return footage
