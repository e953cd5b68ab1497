"""Whole files or none: a reader never sees half a file, nor a crash leaves one behind."""

import os

from etils import epath


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
