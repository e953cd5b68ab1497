"""Copies of files from before a step, fitted.1.npz, fitted.2.npz and so on, so that it can be undone."""

import os
import re
from collections.abc import Sequence

from etils import epath

from ipad_jax.run.files import write_atomic


def copy_for_undo(paths: Sequence[epath.Path]) -> None:
    """Copies those of the files that are there, under the next number, beside them."""
    copies = _copies(paths)
    number = 1 + max((n for found in copies.values() for n in found), default=0)
    for path in copies:
        if path.exists():
            stem, suffix = path.name.rsplit(".", 1)
            write_atomic(path.with_name(f"{stem}.{number}.{suffix}"), path.read_bytes())


def undo(
    workdir: str | os.PathLike[str], lasting: Sequence[epath.Path], made: Sequence[epath.Path]
) -> int:
    """Brings the newest copies back; returns the steps that are left.

    Args:
      workdir: run folder, for the error.
      lasting: files that were there before the first step.
      made: those that a step makes where they are missing; one without a copy is removed.

    Raises:
      ValueError: nothing was learnt.
    """
    copies = _copies([*lasting, *made])
    number = max((n for found in copies.values() for n in found), default=0)
    if not number and not any(path.exists() for path in made):
        raise ValueError(f"nothing to undo: {workdir} has learnt nothing.")
    for path, found in copies.items():
        if number in found:
            found[number].replace(path)
        elif path in made:
            path.unlink(missing_ok=True)
    for folder in {path.parent for path in made}:
        if folder.exists() and not any(folder.iterdir()):
            folder.rmdir()
    return max(0, number - 1)


def _copies(paths: Sequence[epath.Path]) -> dict[epath.Path, dict[int, epath.Path]]:
    """Of each file, its copies by number."""
    found = {}
    for path in paths:
        stem, suffix = path.name.rsplit(".", 1)
        pattern = re.compile(rf"{re.escape(stem)}\.(\d+)\.{suffix}")
        beside = path.parent.iterdir() if path.parent.is_dir() else ()
        found[path] = {int(m[1]): other for other in beside if (m := pattern.fullmatch(other.name))}
    return found
