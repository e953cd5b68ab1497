"""Whole files or none: a reader never sees half a file, nor a crash leaves one behind."""

import os
import re
import time
from collections.abc import Sequence

from etils import epath


def in_bucket(path: str | os.PathLike[str]) -> bool:
    """Whether a path has a scheme, as gs:// is one."""
    return "://" in os.fspath(path)


def absolute(path: str | os.PathLike[str]) -> epath.Path:
    """The path from the root on. A bucket's is that already, and `resolve` would make it a local folder."""
    return epath.Path(path) if in_bucket(path) else epath.Path(path).resolve()


# Names of devices, which Windows gives no folder whatever the case.
_RESERVED = re.compile(r"con|prn|aux|nul|(com|lpt)[0-9]", re.IGNORECASE)


def check_name(name: str, what: str) -> str:
    """The name, if a folder may be called so: letters, digits, _ and -, at most 100, not - or _ first.

    Args:
      name: as a user gave it.
      what: the option or leaf it was given with, for the message.

    Raises:
      ValueError: it would lead to another folder, is empty or hidden, or no system-independent name.
    """
    if not re.fullmatch(r"[^\W_][\w-]{0,99}", name) or _RESERVED.fullmatch(name):
        raise ValueError(
            f"{what}={name!r} cannot name a folder: use at most 100 letters, digits, _ and -, a letter or "
            "digit first, and no name that Windows reserves (CON, NUL, ...)."
        )
    return name


def write_atomic(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `path` beside it under another name first, then rename.

    Args:
      path: file to write, local or `gs://`; its folder must exist.
      data: the whole content.

    Raises:
      OSError: the folder is missing, or the disk is full; an older file at `path` is then intact.
    """
    target = epath.Path(path)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(data)
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


class LineFile:
    """A text file that grows by lines, each of them on the disk when `add` returns.

    An object in a bucket cannot grow (gcsfs would replace it by what is appended): there it is written
    whole, again and again, at most every half minute and when closed.
    """

    def __init__(self, path: str | os.PathLike[str], text: str = "", every_s: float = 30.0):
        """Writes `text` to `path`, to which lines are then added.

        Args:
          path: local or `gs://`; its folder must exist.
          text: what the file holds first; an older content is replaced.
          every_s: seconds between two writings, where there is no appending.

        Raises:
          OSError: the folder is missing, or the disk is full.
        """
        self.path, self.every_s = epath.Path(path), every_s
        write_atomic(self.path, text.encode())
        self._text, self._written = [text], time.monotonic()
        self._file = None if in_bucket(path) else self.path.open("a")

    def add(self, line: str) -> None:
        """Adds a line, its end included; raises OSError where the disk is full."""
        if self._file is not None:
            self._file.write(line)
            self._file.flush()
            return
        self._text.append(line)
        if time.monotonic() - self._written >= self.every_s:
            self._write()

    def close(self) -> None:
        """Writes what is not yet written."""
        if self._file is not None:
            self._file.close()
        else:
            self._write()

    def _write(self) -> None:
        self.path.write_text("".join(self._text))
        self._written = time.monotonic()


def fresh_folder(parent: epath.Path, name: str, stale: Sequence[str]) -> epath.Path:
    """A folder, made if need be, without what an earlier command of its name left there.

    Nothing that is written later, or not at all (--no-report, a killed run), may pass for this one's.

    Args:
      parent: of the folder.
      name: of the folder; a person may have typed it.
      stale: patterns of the files and folders that go.

    Raises:
      ValueError: the name would lead out of the parent.
    """
    folder = parent / check_name(name, "name")
    folder.mkdir(parents=True, exist_ok=True)
    for path in (path for pattern in stale for path in folder.glob(pattern)):
        if path.is_dir():
            path.rmtree()
        else:
            path.unlink()
    return folder
