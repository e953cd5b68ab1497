"""The normal frames that a watch took up, kept for its next start: renewed.npz beside its starts' folders.

Without them a start after hours of slow change would begin with an alarm that does not end.
"""

import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread

from etils import epath

from ipad_jax.run.provenance import MadeWith, made_with, mismatch
from ipad_jax.training.fitted import load_fitted, save_fitted
from ipad_jax.video.detector.detector import Detector
from ipad_jax.video.normal.renewed import Arrays, RenewedFrames
from ipad_jax.video.normal.stored import FIT_LEAVES

FILE = "renewed.npz"
SAVE_S = 600.0  # seconds between two savings


class RenewedFile:
    """Renewed frames with their file.

    Attributes:
      frames: taken up so far.
    """

    def __init__(
        self, frames: RenewedFrames, path: epath.Path, made: MadeWith, say: Callable[[str], None]
    ):
        """Goes on with what the file holds; says where it cannot.

        Args:
          frames: without any taken up yet.
          path: the file; need not be there.
          made: what the frames depend on.
          say: called with what a person should read.
        """
        self.frames = frames
        self._path, self._made, self._say = path, made, say
        self._saved_s, self._num_saved = time.monotonic(), 0
        self._writing = Thread()  # the latest, if any
        if not path.exists():
            return
        try:
            arrays, before = load_fitted(path)
            if different := mismatch(before, made):
                raise ValueError(f"{path} is of another run or checkpoint: {different}")
            frames.restore(arrays)
            say(f"normal frames that an earlier start took up are compared with too ({path.name})")
        except (OSError, ValueError, KeyError) as error:
            say(f"no normal frames of an earlier start: {error}")

    @classmethod
    def of(
        cls, detector: Detector, folder: Path, say: Callable[[str], None]
    ) -> "RenewedFile | None":
        """That of a detector in a camera's folder; None where nothing is renewed."""
        frames = detector.renewed_frames()
        if frames is None:
            return None
        made = made_with(detector.config, FIT_LEAVES, detector.step)
        return cls(frames, epath.Path(folder) / FILE, made, say)

    def tick(self) -> None:
        """Saves now and then, beside the stream: a slow disk must not hold the camera up."""
        if time.monotonic() - self._saved_s < SAVE_S or self._writing.is_alive():
            return
        self._writing = Thread(target=self._save, args=self._state(), daemon=True)
        self._writing.start()

    def save(self) -> None:
        """Writes the file, whole or not at all, where more was taken up; a full disk is said, no error."""
        if self._writing.is_alive():
            self._writing.join()
        self._save(*self._state())

    def _state(self) -> tuple[Arrays, int]:
        self._saved_s = time.monotonic()
        return self.frames.arrays(), self.frames.num_taken

    def _save(self, arrays: Arrays, num_taken: int) -> None:
        if num_taken == self._num_saved:
            return
        try:
            # an ending watch has no time to compress
            save_fitted(self._path, arrays, self._made, compressed=False)
            self._num_saved = num_taken
        except OSError as error:
            self._say(f"{self._path.name} could not be written ({error}): the next start lacks it")
