"""The training loop, read from top to bottom; it knows no model (task.py does).

It ends after `total_steps`, after `max_seconds` (see budget.py), or on SIGTERM or Ctrl-C; each of them
leaves a checkpoint of the last step.
"""

import dataclasses
import json
import math
import time

import jax
import numpy as np
from etils import epath
from ml_collections import ConfigDict

from ipad_jax.run.config import check_workdir, claim_workdir
from ipad_jax.run.files import write_atomic
from ipad_jax.run.interrupt import Interrupt, stop_reason
from ipad_jax.run.processes import locked_by_first, on_first_process
from ipad_jax.run.stopwatch import RunSummary, Stopwatch
from ipad_jax.training.budget import Budget
from ipad_jax.training.checkpoints import Checkpoints, drop_newer, remove_leftovers
from ipad_jax.training.frozen_base import Base, has_base
from ipad_jax.training.held_out import HeldOutLoss
from ipad_jax.training.logs import ProgressFn, ProgressLine, Reports
from ipad_jax.training.pretrained import Pretrained, load_pretrained
from ipad_jax.training.setup import TrainSetup
from ipad_jax.training.sharding import (
    batch_sharding,
    check_batch_size,
    from_host,
    make_mesh,
    to_global,
)
from ipad_jax.training.state import (
    TrainState,
    check_finite,
    model_arrays,
    named_leaves,
    with_model_arrays,
)
from ipad_jax.training.task import Fits, Records, Task, make_task


def train(
    config: ConfigDict,
    workdir: str,
    *,
    step: int | None = None,
    started: float | None = None,
    progress: ProgressFn | None = None,
) -> RunSummary:
    """Trains a config in a run folder, going on where an earlier run of it stopped.

    Args:
      config: see configs/; every leaf is explained there.
      workdir: the run folder.
      step: go on from this checkpoint instead of the newest; newer ones are set aside, not deleted.
      started: when the command began, by `time.perf_counter`: `max_seconds` is then all its wall time, a
        calibration after it included. None: time in the loop over all resumes, without compiling.
      progress: called with the run's figures instead of printing (see `logs.ProgressFn`).

    Returns:
      How it ended.

    Raises:
      ValueError: a config that cannot be, or a folder that belongs to another config or that another
        process trains in.
      DamagedCheckpointError: the newest checkpoint's files were changed.
      FloatingPointError: the loss or a gradient was not finite; names the first step and term.
    """
    clock = Stopwatch()
    process = (jax.process_index(), jax.process_count())

    # ---- Set-up: task, mesh, shapes and shardings; no array is made ----
    task = make_task(config)
    examples = task.num_examples  # opens the data: a wrong scene is refused before anything is made
    config = with_fingerprint(config, task)
    only_fits = isinstance(task, Fits) and not hasattr(task, "loss_fn")
    total_steps = (
        1
        if only_fits
        else config.total_steps or steps_of(config.epochs, examples, config.batch_size)
    )
    mesh = make_mesh(config.fsdp, config.num_devices)
    check_batch_size(config.batch_size, mesh)
    check_workdir(workdir, config)  # refused now, or claimed when all can be had
    claim = claim_workdir if process[0] == 0 else check_workdir
    setup = TrainSetup.make(config, task, mesh, total_steps)
    key, init_key = setup.make_keys(config.seed)

    with (
        locked_by_first(workdir),
        Interrupt() as interrupt,
        Checkpoints(workdir, config.checkpoint.keep) as checkpoints,
        ProgressLine(total_steps, config.max_seconds, progress, task.unit) as line,
    ):
        # ---- State: the folder's checkpoint, else init_from, else fresh ----
        line.phase("starting", 0)
        state, train_seconds, notes = restore_or_init(config, setup, init_key, checkpoints, step)
        first_step = int(jax.device_get(state.step)) + 1
        for note in notes:
            line.say(note)
        if first_step > total_steps:
            claim(workdir, config)
            line.say(f"{workdir} is at step {first_step - 1} of {total_steps}: nothing to do")
            return RunSummary(first_step - 1, total_steps, "finished", clock.read(), train_seconds)

        # ---- A method that only fits: its start is its model, saved as step 1 ----
        if only_fits:
            claim(workdir, config)
            write_record(task, workdir, process[0])
            line.phase("saving", 1)
            with clock("saving"):
                checkpoints.save(1, dataclasses.replace(state, step=state.step + 1), 0.0)
                checkpoints.wait()
            line.say("this method has no steps: it fits arrays to normal data when first used")
            return RunSummary(1, 1, "finished", clock.read(), 0.0)

        # ---- Input: its place is the step alone ----
        data = task.train_data(first_step, *process)
        rows = batch_sharding(mesh)
        with clock("input"):
            batch = to_global(next(data), rows)
        claim(workdir, config)
        if first_step == 1:
            write_record(task, workdir, process[0])

        # ---- Step: compiled ahead, for the batch that comes first ----
        line.phase("compiling", first_step - 1)
        with clock("compiling"):
            step_fn = setup.compile_step(batch)
        evaluate_fn = HeldOutLoss(setup, config, clock)
        if config.eval_every and not evaluate_fn.available:
            line.say("no held-out normal clips, so no loss on them (data.holdout_share is 0?)")
        done, saved, reason = first_step - 1, first_step - 1, "finished"
        start, compiled = time.perf_counter(), clock.seconds["compiling"]

        def elapsed() -> float:
            """Time in the loop over all runs, compiling (of the evaluation) left out."""
            here = time.perf_counter() - start - (clock.seconds["compiling"] - compiled)
            return train_seconds + here

        budget = Budget(config.max_seconds, elapsed, started)
        budget.hold_back(compiled)
        if text := budget.describe(compiled):
            line.say(text)
        logs = Reports(config, workdir, first_step, total_steps, line, clock, budget)

        def save() -> None:
            with clock("saving"):
                check_finite(metrics)  # a broken state is never saved
                with jax.transfer_guard("allow"):  # Orbax copies to the host as it likes
                    checkpoints.save(done, state, elapsed())

        # ---- Loop: the order is load-bearing ----
        with logs, jax.set_mesh(mesh), jax.transfer_guard("disallow"):
            line.phase("training", done)
            previous = None
            for current in range(first_step, total_steps + 1):
                # what set-up took of the command's time never leaves a run without a step
                used = 0.0 if started is not None and current == 1 else budget.used()
                if reason := stop_reason(interrupt, current, used, config.max_seconds):
                    break
                if current > first_step:
                    with clock("input"):
                        batch = to_global(next(data), rows)
                with clock("steps"):
                    state, metrics = step_fn(state, batch, key)
                    if previous is not None:  # one step ahead of the device, never more
                        jax.block_until_ready(previous)
                    previous = metrics["loss"]
                clock.stepping(previous)
                logs.flush(elapsed())  # the step before, while this one runs
                done = current
                line.move(done, budget.used())
                if is_time(done, config.log_every, total_steps):
                    logs.hold(done, metrics)
                if is_time(done, config.eval_every, total_steps) and evaluate_fn.available:
                    line.phase("evaluating", done)
                    with clock("steps"):
                        jax.block_until_ready(metrics)
                    logs.held_out(done, evaluate_fn(state))
                if config.checkpoint_every and done % config.checkpoint_every == 0:
                    save()
                    saved = done
            with clock("steps"):
                jax.block_until_ready(state.step)
            logs.flush(elapsed())
            if done > saved:
                line.phase("saving", done)
                save()
        with clock("saving"):
            checkpoints.wait()
        summary = RunSummary(
            done, total_steps, reason or "finished", clock.read(), elapsed(), logs.latest
        )
    line.say(str(summary))
    return summary


def restore_or_init(
    config: ConfigDict,
    setup: TrainSetup,
    init_key: jax.Array,
    checkpoints: Checkpoints,
    step: int | None,
) -> tuple[TrainState, float, list[str]]:
    """The state to go on from: the folder's own checkpoint, else `init_from`, else a fresh one.

    Returns:
      (state, seconds trained so far, lines that say what was done).
    """
    notes, folder = [], checkpoints.folder
    if left := on_first_process("removing leftovers", lambda: remove_leftovers(folder)):
        notes.append(f"removed what unfinished saves left: {', '.join(left)}")
    if restored := checkpoints.restore(setup.shapes, setup.shardings, step):
        state, seconds = restored
        if step is not None:  # only now: it is there, whole and of this model
            newer = on_first_process("setting checkpoints aside", lambda: drop_newer(folder, step))
            if newer:
                notes.append(f"set aside checkpoints {newer} (renamed to N.set_aside)")
        notes.append(f"resuming from step {int(jax.device_get(state.step))}")
        return state, seconds, notes
    state = setup.create_state(init_key)
    loaded = Pretrained({}, "")
    if config.init_from:
        model = model_arrays(state)
        loaded = load_pretrained(config.init_from, setup.task, model)
        placed = {
            name: from_host(np.asarray(x, model[name].dtype), model[name].sharding)
            for name, x in loaded.arrays.items()
        }
        state = with_model_arrays(state, placed)
        notes.append(loaded.note)
    if has_base(config):
        frozen = named_leaves(state.frozen)
        checkpoints.base = Base.of(loaded.folder, loaded.step, loaded.arrays, frozen)
        notes.append(
            f"checkpoints hold what trains alone; {len(frozen)} frozen arrays stay in {loaded.folder}"
        )
    return state, 0.0, notes


def write_record(task: Task, workdir: str, process: int) -> None:
    """Writes which files the model begins with, on the first process."""
    if process == 0 and isinstance(task, Records):
        for name, found in task.record().items():
            write_atomic(epath.Path(workdir) / name, (json.dumps(found) + "\n").encode())


def with_fingerprint(config: ConfigDict, task: Task) -> ConfigDict:
    """The config with the fingerprint of the dataset that its task reads, where it reads one."""
    fingerprint = getattr(task, "fingerprint", "")
    if not fingerprint:
        return config
    config = config.copy_and_resolve_references()
    config.data.fingerprint = fingerprint
    return config


def steps_of(epochs: float, examples: int, batch_size: int) -> int:
    """Steps that show every one of the training examples `epochs` times.

    Raises:
      ValueError: neither steps nor epochs are given.
    """
    if epochs <= 0:
        raise ValueError(f"total_steps=0 and epochs={epochs}: give one of them.")
    return math.ceil(epochs * examples / batch_size)


def is_time(step: int, every: int, total_steps: int) -> bool:
    """True every so many steps and at the last one; `every` 0 is never."""
    return bool(every) and (step % every == 0 or step == total_steps)
