"""Checkpoints that are whole or not there: asynchronous Orbax saves, each with its own digests.

`checkpoints/<step>/` holds what Orbax wrote (`model`: every array of the model by name; `training`:
step and optimizer slots; of an adapted run only what trains, see frozen_base.py) and `digests.json`, written
after the save is finished: SHA-256 of every file. A folder without it is an unfinished save and is
passed over by name; a file that does not match its digest raises, since Orbax itself loads flipped
bytes without a word. The plain `ocp.save_checkpointables_async` is used, not Orbax's `Checkpointer`, whose
policy may skip a save.
"""

import dataclasses
import json
import logging
import os
import threading
from functools import partial
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from flax import nnx
from jax.sharding import SingleDeviceSharding
from ml_collections import ConfigDict
from orbax.checkpoint import v1 as ocp

from ipad_jax.run.config import read_config
from ipad_jax.run.files import absolute
from ipad_jax.run.processes import on_first_process
from ipad_jax.training.checkpoint_files import (
    DIGESTS,
    DamagedCheckpointError,
    choose_step,
    complete_steps,
    drop_newer,
    remove_leftovers,
    verify,
    weights_folder,
    write_digests,
)
from ipad_jax.training.frozen_base import Base
from ipad_jax.training.sharding import from_host
from ipad_jax.training.state import (
    TrainState,
    inference_view,
    model_arrays,
    named_leaves,
    replace_leaves,
    with_model_arrays,
)
from ipad_jax.training.task import Records, Task, make_task

__all__ = [
    "DIGESTS",
    "Checkpoints",
    "DamagedCheckpointError",
    "complete_steps",
    "drop_newer",
    "latest_step",
    "load_model_arrays",
    "remove_leftovers",
    "restore_for_inference",
]

SHARED_BYTES = 2**20  # of a share, at least, where several copies of an array are saved in shares


class Checkpoints:
    """The checkpoints of one run folder. Use as a context: leaving it waits for the last save.

    Attributes:
      base: where the frozen weights are, which are then left out of every save; None saves all.
    """

    def __init__(self, workdir: str | os.PathLike, keep: int = 2):
        """Opens (and makes) `workdir`/checkpoints; nothing is deleted before a newer one is complete.

        Args:
          workdir: the run folder; a local path or gs://.
          keep: how many complete checkpoints stay; at least 1. With 2, a damaged one has one before it.

        Raises:
          ValueError: keep is below 1.
          OSError: the folder cannot be made.
        """
        if keep < 1:
            raise ValueError(f"checkpoint.keep={keep} must be at least 1.")
        self.folder = absolute(workdir) / "checkpoints"
        try:  # now, not at the first save, where Orbax would wait for minutes
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(
                f"{self.folder} cannot be made a folder of checkpoints: {error}"
            ) from error
        self.keep = keep
        self.base: Base | None = None
        logging.getLogger("absl").addFilter(_is_news)
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exc_type, *_) -> None:
        if exc_type is None:
            self.wait()
        elif self._thread is not None:  # let it end; the error under way is the one to report
            self._thread.join()

    def save(self, step: int, state: TrainState, train_seconds: float = 0.0) -> None:
        """Starts saving a state; returns when its arrays are copied, the files follow meanwhile.

        A save still under way is waited for, never skipped.

        Args:
          step: names the folder.
          state: a state whose values are finite (the trainer sees to it).
          train_seconds: time spent in steps so far, over all runs of the folder.

        Raises:
          OSError and others: what the save before this one died of.
        """
        self.wait()
        path = self.folder / str(step)
        model = model_arrays(state)
        own: dict[str, Any] = {"train_seconds": train_seconds}
        if self.base is not None:
            frozen = named_leaves(state.frozen)
            model = {name: x for name, x in model.items() if name not in frozen}
            own["base"] = dataclasses.asdict(self.base)
        try:
            with _few_slices():
                response = ocp.save_checkpointables_async(
                    path,
                    {
                        "model": model,
                        "training": {"step": state.step, **_slots(state)},
                    },
                    overwrite=not (
                        path / DIGESTS
                    ).exists(),  # an unfinished save of that step may lie there
                    custom_metadata=own,
                )
        except OSError as error:
            raise self._failed(error) from error
        if response is None:  # what Orbax's Checkpointer does while another save runs
            raise self._failed(RuntimeError(f"Orbax skipped step {step}"))
        self._thread = threading.Thread(target=self._finish, args=(path, response), daemon=True)
        self._thread.start()

    @property
    def saving(self) -> bool:
        """Whether files are being written."""
        return self._thread is not None and self._thread.is_alive()

    def wait(self) -> None:
        """Blocks until nothing is being saved.

        Raises:
          OSError and others: what the save died of.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise self._failed(error) from error

    def _failed(self, error: BaseException) -> OSError:
        """What to raise where a save died of `error`."""
        return OSError(
            f"saving a checkpoint in {self.folder} failed: {error}. Complete ones stay: "
            f"{complete_steps(self.folder)}. With the cause mended, the same command goes on."
        )

    def _finish(self, path: epath.Path, response: Any) -> None:
        """In the background: waits for Orbax, writes the digests, removes what is beyond `keep`."""
        try:
            response.result()
            if jax.process_index() == 0:
                write_digests(path)
                for step in complete_steps(self.folder)[: -self.keep]:
                    old = self.folder / str(step)
                    (
                        old / DIGESTS
                    ).unlink()  # first: half removed must look incomplete, not damaged
                    old.rmtree()
        except BaseException as error:  # handed to the main thread by `wait`
            self._error = error

    def restore(self, state: TrainState, shardings: TrainState, step: int | None = None):
        """The newest complete checkpoint as a state on the devices, on any mesh.

        Args:
          state: shapes, as `TrainSetup` has them.
          shardings: where each array shall lie.
          step: a given one instead of the newest.

        Returns:
          (state, train_seconds), or None where there is no complete checkpoint.

        Raises:
          FileNotFoundError: `step` is not there.
          DamagedCheckpointError: its files were changed; names them and the checkpoint before.
          ValueError: names or shapes are not those of this model.
        """
        step = choose_step(self.folder, step)
        if step is None:
            return None
        target = jax.tree.map(
            lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), state, shardings
        )
        on_first_process(f"verifying checkpoint {step}", lambda: verify(self.folder, step))
        self.base = _base(self.folder, step)
        model, frozen = model_arrays(target), {}
        if self.base is not None:
            shapes = named_leaves(target.frozen)
            model = {name: x for name, x in model.items() if name not in shapes}
            arrays = _base_arrays(self.base, self.folder.parent)
            check_same(shapes, arrays, f"the base of {self.folder.parent}")
            frozen = {n: from_host(np.asarray(arrays[n]), x.sharding) for n, x in shapes.items()}
        wanted = {"model": model, "training": {"step": target.step, **_slots(target)}}
        loaded, metadata = _load(self.folder, step, wanted)
        restored = dataclasses.replace(
            with_model_arrays(target, {**loaded["model"], **frozen}),
            step=loaded["training"]["step"],
            opt_state=replace_leaves(
                target.opt_state,
                {k.removeprefix("opt_state."): v for k, v in loaded["training"].items()},
            ),
            first_bad=jax.device_put(jnp.zeros((2,), jnp.int32), shardings.first_bad),
        )
        return restored, float(metadata.get("train_seconds", 0.0))


def latest_step(workdir: str | os.PathLike) -> int:
    """Step of a run's newest complete checkpoint.

    Raises:
      FileNotFoundError: there is none.
    """
    return _existing_step(weights_folder(workdir) / "checkpoints")


def load_model_arrays(
    workdir: str | os.PathLike, step: int | None = None, base: str | os.PathLike = ""
) -> tuple[dict, int]:
    """Every array of a run's model by name, on one device, and the step it is from.

    Each process loads for itself; those that do not call it are not waited for.

    Args:
      workdir: the run folder.
      step: a given checkpoint; the newest complete one by default.
      base: of an adapted run, where its base lies now; by default where it lay.

    Raises:
      FileNotFoundError: there is no complete checkpoint, here or in the base.
      DamagedCheckpointError: its files were changed.
      ValueError: the base is not the one that the run was trained on.
    """
    folder = weights_folder(workdir) / "checkpoints"
    chosen = _existing_step(folder, step)
    verify(folder, chosen)
    with _alone():
        metadata = ocp.checkpointables_metadata(folder / str(chosen)).metadata["model"]
        here = SingleDeviceSharding(jax.local_devices()[0])
        target = {
            name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here)
            for name, x in metadata.items()
        }
        arrays, _ = _load(folder, chosen, {"model": target})
    own = arrays["model"]
    if (needed := _base(folder, chosen)) is not None:
        own |= _base_arrays(needed, folder.parent, base)
    return own, chosen


def restore_for_inference(
    workdir: str | os.PathLike, step: int | None = None
) -> tuple[ConfigDict, Task, nnx.Module, int]:
    """All that evaluation and detection need of a run.

    Args:
      workdir: the run folder.
      step: a given checkpoint; the newest complete one by default.

    Returns:
      (config, task, the model in inference view, step).

    Raises:
      FileNotFoundError: no run, or no complete checkpoint.
      DamagedCheckpointError: its files were changed.
      ValueError: the checkpoint is not of the model that config.json describes.
    """
    config = read_config(workdir)
    task = make_task(config)
    arrays, step = load_model_arrays(workdir, step)
    model = nnx.eval_shape(partial(_start, task, weights_folder(workdir)))
    graphdef, shapes = nnx.split(inference_view(model))
    check_same(named_leaves(shapes), arrays, f"checkpoint {step} of {workdir}")
    return config, task, nnx.merge(graphdef, replace_leaves(shapes, arrays)), step


def _start(task: Task, folder: epath.Path) -> nnx.Module:
    """A task's model before its checkpoint; of a file that was recorded without that file."""
    if isinstance(task, Records):
        found = {name: folder / name for name in task.record_files}
        if found and all(path.exists() for path in found.values()):
            files = {name: json.loads(path.read_text()) for name, path in found.items()}
            return task.init_recorded(jax.random.key(0), files)
    return task.init_model(jax.random.key(0))


def check_same(wanted: dict[str, Any], there: dict[str, Any], what: str) -> None:
    """Raises ValueError naming every array of a model that is missing, too many or of another shape."""
    wrong = [f"{name} is missing" for name in wanted if name not in there]
    wrong += [f"{name} is not in this model" for name in there if name not in wanted]
    wrong += [
        f"{name} has shape {tuple(there[name].shape)}, the model {tuple(x.shape)}"
        for name, x in wanted.items()
        if name in there and tuple(there[name].shape) != tuple(x.shape)
    ]
    if wrong:
        raise ValueError(
            f"{what} does not fit this model ({len(wrong)} differences): {'; '.join(wrong[:8])}"
            + (" ..." if len(wrong) > 8 else "")
        )


def _existing_step(folder: epath.Path, step: int | None = None) -> int:
    """The step to load, see `choose_step`; raises FileNotFoundError where there is none."""
    chosen = choose_step(folder, step)
    if chosen is None:
        raise FileNotFoundError(f"{folder} holds no complete checkpoint; train first.")
    return chosen


def _base(folder: epath.Path, step: int) -> Base | None:
    """What a checkpoint says of the frozen weights it leaves out; None if it leaves out none."""
    found: Any = ocp.checkpointables_metadata(folder / str(step)).custom_metadata or {}
    if "base" not in found:
        return None
    return Base(**{**found["base"], "names": tuple(found["base"]["names"])})


def _base_arrays(base: Base, run: epath.Path, given: str | os.PathLike = "") -> dict[str, Any]:
    """The frozen arrays of a run, from its base and compared with their digest."""
    place = base.find(run, given)
    try:
        arrays, _ = load_model_arrays(place, base.step)
    except (FileNotFoundError, DamagedCheckpointError) as error:
        raise type(error)(
            f"{run} was trained on step {base.step} of {place}, and needs it: {error} Training on there "
            "removes old steps (checkpoint.keep). Put that one back from a copy."
        ) from error
    return base.take(arrays, place, run)


def _load(folder: epath.Path, step: int, wanted: dict[str, dict[str, Any]]):
    """Compares names and shapes, loads; gives the arrays and the save's own metadata."""
    path = folder / str(step)
    metadata = ocp.checkpointables_metadata(path)
    for part, leaves in wanted.items():
        check_same(leaves, metadata.metadata[part], f"{path}/{part}")
    own: Any = metadata.custom_metadata or {}
    return ocp.load_checkpointables(path, wanted), own


def _alone() -> ocp.Context:
    """Orbax for this process by itself: none of several waits for the others."""
    index, context = jax.process_index(), ocp.Context()
    options = context.multiprocessing_options
    options.primary_host, options.active_processes = index, {index}
    options.barrier_sync_key_prefix = f"process{index}"
    return context


def _few_slices() -> ocp.Context:
    """Orbax without a share of every small array for each device of this process that holds a copy.

    It cuts them by a program a shape: the first save of a small model on four devices compiled 141 of them,
    5 s of CPU. Several processes each write their shares.
    """
    context = ocp.Context()
    if jax.process_count() == 1:
        context.array_options.saving.min_slice_bytes_for_replica_parallel = SHARED_BYTES
    return context


def _is_news(record: logging.LogRecord) -> bool:
    """Keeps Orbax from logging pages of tracebacks for what `Checkpoints.wait` raises in one line."""
    return "_SignalingThread.run() raised" not in str(record.msg)


def _slots(state: TrainState) -> dict[str, Any]:
    """The optimizer's arrays by name."""
    return {f"opt_state.{name}": leaf for name, leaf in named_leaves(state.opt_state).items()}
