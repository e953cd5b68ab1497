"""The files of checkpoints: which ones are whole, which are left over, which are set aside.

A finished save gets SHA-256 and size of each of its files. Orbax itself loads flipped bytes without a word,
so every file is compared before it is read; a folder without digests is an unfinished save.
"""

import hashlib
import json
import logging
import os
import time

from etils import epath

from ipad_jax.run.files import absolute, write_atomic

logger = logging.getLogger(__name__)

DIGESTS = "digests.json"
SCENES = "scenes"  # WORKDIR/scenes/<name>/ is judged on other data with the run's weights


class DamagedCheckpointError(ValueError):
    """A checkpoint whose files are not what was written."""


def complete_steps(folder: epath.Path) -> list[int]:
    """Steps of complete checkpoints in rising order."""
    return [step for step in all_steps(folder) if (folder / str(step) / DIGESTS).exists()]


def choose_step(folder: epath.Path, step: int | None) -> int | None:
    """The step to load: the given one, or the newest complete one; logs which it passes over.

    Raises:
      FileNotFoundError: the given one is not there or incomplete.
    """
    complete = complete_steps(folder)
    if step is not None:
        if step not in complete:
            raise FileNotFoundError(
                f"no complete checkpoint {step} in {folder}; there are {complete}."
            )
        return step
    for other in all_steps(folder):
        if other not in complete:
            path = folder / str(other)
            logger.warning("passing over %s: no %s, its save was not finished", path, DIGESTS)
    return complete[-1] if complete else None


def write_digests(path: epath.Path) -> None:
    """Writes SHA-256 and size of every file of a finished checkpoint beside them, in one move."""
    files = {
        name: {"sha256": sha256_of(path / name), "bytes": (path / name).stat().length}
        for name in files_of(path)
    }
    text = json.dumps({"files": files, "written": time.time()}, indent=1)
    write_atomic(path / DIGESTS, text.encode())


def verify(folder: epath.Path, step: int) -> None:
    """Compares every file of a checkpoint with its digest.

    Raises:
      DamagedCheckpointError: names the files, and the checkpoint before it.
    """
    path = folder / str(step)
    try:
        files = json.loads((path / DIGESTS).read_text())["files"]
        present = set(files_of(path))
        wrong = [f"{name} is missing" for name in files if name not in present]
        wrong += [f"{name} was not written by the save" for name in sorted(present - files.keys())]
        wrong += [
            f"{name} was changed"
            for name in files
            if name in present and sha256_of(path / name) != files[name]["sha256"]
        ]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        wrong = [f"{DIGESTS} cannot be read ({error!r})"]
    if wrong:
        before = [other for other in complete_steps(folder) if other < step]
        raise DamagedCheckpointError(
            f"{path} is damaged and was not loaded: {'; '.join(wrong[:5])}"
            + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else "")
            + (
                f". The checkpoint before it is {before[-1]}: pass --step {before[-1]}, or delete {path}."
                if before
                else ". There is none before it; train anew in another --workdir."
            )
        )


def remove_leftovers(folder: epath.Path) -> list[str]:
    """Removes what killed saves left: Orbax's temporary folders, and old steps half removed.

    An unfinished step after the last complete one stays: it is passed over, and saved anew.

    Returns:
      Their names.
    """
    if not folder.exists():
        return []
    complete = complete_steps(folder)
    newest = max(complete, default=0)
    left = [path for path in folder.iterdir() if ".orbax-checkpoint-tmp" in path.name]
    left += [folder / str(x) for x in all_steps(folder) if x < newest and x not in complete]
    for path in left:
        path.rmtree()
    return sorted(path.name for path in left)


def drop_newer(folder: epath.Path, step: int) -> list[int]:
    """Sets aside the checkpoints after `step`, so that training goes on from it; gives their steps.

    They are renamed to `<step>.set_aside`, never deleted: they may be worth a look.
    """
    newer = [other for other in all_steps(folder) if other > step]
    for other in newer:
        aside = folder / f"{other}.set_aside"
        if aside.exists():
            aside.rmtree()
        (folder / str(other)).rename(aside)
    return newer


def all_steps(folder: epath.Path) -> list[int]:
    """Steps that have a folder, complete or not."""
    if not folder.is_dir():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())


def files_of(path: epath.Path, below: str = "") -> list[str]:
    """Names of the files below a checkpoint, but for its digests and what a killed writer left of them."""
    names = []
    for entry in sorted((path / below).iterdir()):
        name = f"{below}/{entry.name}".lstrip("/")
        if entry.is_dir():
            names += files_of(path, name)
        elif DIGESTS not in entry.name:
            names.append(name)
    return names


def sha256_of(path: epath.Path) -> str:
    """The digest of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def weights_folder(workdir: str | os.PathLike[str]) -> epath.Path:
    """The folder whose checkpoints a run folder or scene folder stands for, as an absolute path."""
    folder = absolute(workdir)
    borrows = folder.parent.name == SCENES and not (folder / "checkpoints").exists()
    return folder.parent.parent if borrows else folder
