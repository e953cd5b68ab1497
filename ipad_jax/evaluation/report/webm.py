"""VP9 `.webm` files, picture by picture: what browsers play, from PyAV's wheels without further software.

Encoded as libvpx does for live calls: 4 ms of CPU for a picture of 704x354 where its usual way takes 100, at
half the size and 0.8 dB less (docs/results.md, "Speed on two CPU cores").
"""

import os
import tempfile
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from etils import epath

from ipad_jax.run.files import write_atomic

# The quickest of libvpx's ways; crf: quality, 0 to 63, less is better; b: no limit to the bit rate
OPTIONS = {"deadline": "realtime", "cpu-used": "8", "crf": "24", "b": "0"}


class WebmWriter:
    """A video that grows under another name beside `path` and gets its name when the block ends.

    An error inside the block, or no picture, leaves nothing behind.
    """

    def __init__(self, path: str | os.PathLike[str], size: tuple[int, int], fps: float):
        """Prepare.

        Args:
          path: ends in .webm; local, or where epath can write.
          size: (width, height) of the pictures, even numbers.
          fps: pictures a second.

        Raises:
          ValueError: another ending, odd sides.
          FileNotFoundError: no such folder.
        """
        self.path, self.size = epath.Path(path), size
        if self.path.suffix != ".webm":
            raise ValueError(f"{path} must end in .webm: VP9 is the codec that browsers play.")
        if size[0] % 2 or size[1] % 2:
            raise ValueError(f"pictures of {size[0]}x{size[1]}: VP9 takes even sides only.")
        if not self.path.parent.is_dir():
            raise FileNotFoundError(f"No folder {self.path.parent} to write {self.path.name} into.")
        self._fps = fps
        self._is_remote = "://" in os.fspath(path)
        # Encoders write local files only: a video for gs:// grows in the temporary folder
        folder = Path(tempfile.gettempdir()) if self._is_remote else Path(self.path.parent)
        self._partial = folder / f".{self.path.stem}.{os.getpid()}.partial.webm"
        self.num_pictures = 0

    def __enter__(self) -> "WebmWriter":
        self._file = av.open(str(self._partial), "w", format="webm")
        rate = Fraction(self._fps).limit_denominator(1000)
        self._stream = self._file.add_stream("libvpx-vp9", rate=rate, options=OPTIONS)
        self._stream.width, self._stream.height = self.size
        self._stream.pix_fmt = "yuv420p"
        return self

    def write(self, picture: np.ndarray) -> None:
        """Adds a picture, uint8 [h, w, 3] RGB."""
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        self._file.mux(self._stream.encode(frame))
        self.num_pictures += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None and self.num_pictures:
                self._file.mux(self._stream.encode(None))
            self._file.close()
            if kind is None and self.num_pictures:
                if self._is_remote:
                    write_atomic(self.path, self._partial.read_bytes())
                else:
                    self._partial.replace(self.path)
        except OSError:
            if kind is None:  # else the first error is the one to tell
                raise
        finally:
            self._partial.unlink(missing_ok=True)
