"""What a method's `fit` made of normal data, kept in the run folder: fitted.npz, with its digest.

A detector needs these arrays where the data is not: on the machine in the factory. They are made once, after
training, by whichever command needs them first, and used by all; `merge` takes the file along.
"""

import io
import json
import os
from typing import Any

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from ipad_jax.run.files import write_atomic
from ipad_jax.run.provenance import MadeWith, made_with, mismatch
from ipad_jax.training.frozen_base import digest_of
from ipad_jax.training.task import Fits, Task

FILE = "fitted.npz"
_HEADER = "header"

Arrays = dict[str, np.ndarray]


def fitted_arrays(
    workdir: str | os.PathLike[str], config: ConfigDict, task: Task, model: Any, step: int
) -> Arrays:
    """A run's fitted arrays: from its folder or, the first time, from its data.

    The run folder holds those of its own config; those of other leaves lie below eval/ and never replace
    them.

    Args:
      workdir: run folder.
      config: with the leaves in force.
      task: of this config.
      model: the inference view; a method that does not use it may be given None.
      step: of its checkpoint.

    Returns:
      By name; empty for a method without `fit`.

    Raises:
      FileNotFoundError: neither file nor dataset is here.
      ValueError: the file is damaged.
    """
    if not isinstance(task, Fits):
        return {}
    if found := stored_fitted(workdir, config, task, step):
        return found[1]
    wanted, run = _wanted(config, task, step), epath.Path(workdir)
    try:
        data = task.normal_data()
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{run} has no {FILE} made with these leaves, and the training dataset is not here: run "
            f"`ipad-jax evaluate` or `detect` once where the dataset is. ({error})"
        ) from error
    arrays = task.fit(model, data)
    folder = run
    if (run / FILE).exists() and not _is_older(run / FILE, wanted):
        folder = run / "eval" / f"fitted_{digest_of({'': np.array(json.dumps(wanted))})[:8]}"
        folder.mkdir(parents=True, exist_ok=True)
    save_fitted(folder / FILE, arrays, wanted)
    return arrays


def stored_fitted(
    workdir: str | os.PathLike[str], config: ConfigDict, task: Task, step: int
) -> tuple[epath.Path, Arrays, MadeWith] | None:
    """The file of a run's fitted arrays, they, and what they were made with; None where there is none."""
    if not isinstance(task, Fits):
        return None
    wanted = _wanted(config, task, step)
    for folder in derived_folders(epath.Path(workdir)):
        if (folder / FILE).exists():
            arrays, made = load_fitted(folder / FILE)
            if not mismatch(made, wanted):
                return folder / FILE, arrays, made
    return None


def derived_folders(run: epath.Path) -> list[epath.Path]:
    """Where a run's derived files may lie: its own folder, then those of its evaluations."""
    below = run / "eval"
    return [run, *(sorted(p for p in below.iterdir() if p.is_dir()) if below.is_dir() else [])]


def save_fitted(
    path: epath.Path, arrays: Arrays, made: MadeWith, *, compressed: bool = True
) -> None:
    """Writes the arrays, their digest and what they were made with, whole or not at all.

    Pictures shrink by half when they are `compressed`, and take twelve times as long.
    """
    header = np.array(json.dumps({"made_with": made, "sha256": digest_of(arrays)}))
    buffer = io.BytesIO()
    save = np.savez_compressed if compressed else np.savez
    save(buffer, **{_HEADER: header}, **arrays)  # type: ignore[arg-type]
    write_atomic(path, buffer.getvalue())


def load_fitted(path: epath.Path) -> tuple[Arrays, MadeWith]:
    """Reads what `save_fitted` wrote.

    Raises:
      ValueError: the file is damaged, or of another version.
    """
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files if name != _HEADER}
            header = json.loads(str(stored[_HEADER]))
        if digest_of(arrays) != header["sha256"]:
            raise ValueError("its digest does not fit its arrays")
        return arrays, header["made_with"]
    except Exception as error:
        raise ValueError(
            f"{path} is damaged or of another version ({error}); delete it and run again."
        ) from error


def _wanted(config: ConfigDict, task: Fits, step: int) -> MadeWith:
    return made_with(config, task.fit_leaves, step if task.fit_uses_model else None)


def _is_older(path: epath.Path, wanted: MadeWith) -> bool:
    """Whether a file differs in nothing but an earlier checkpoint, so that it may be replaced."""
    made = load_fitted(path)[1]
    step = made.get("checkpoint_step", -1)
    return not mismatch(made, {**wanted, "checkpoint_step": step}) and step <= wanted.get(
        "checkpoint_step", -1
    )
