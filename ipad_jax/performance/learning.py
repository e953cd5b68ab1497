"""Whether ours learns what PyTorch's learns: both trained from one start, on the same batches, by Adam.

The twin is that of `torch_twin`; it has no stochastic depth, so ours trains without. What each has learned
at a step is judged as `reconstruction` judges a checkpoint.
"""

import importlib.util
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from ipad_jax.performance.reconstruction import (
    SCORES,
    ErrorsFn,
    Rebuilt,
    errors_fn_of,
    pooled_fn_of,
)
from ipad_jax.performance.step import describe_machine
from ipad_jax.performance.timing import cpu_seconds, number
from ipad_jax.performance.torch_twin import TorchTwin, import_torch
from ipad_jax.run.cluster import num_cores
from ipad_jax.run.config import leaves, read_config
from ipad_jax.run.progress import Bars
from ipad_jax.run.table import Table
from ipad_jax.training.setup import TrainSetup
from ipad_jax.training.sharding import batch_sharding, make_mesh, to_global
from ipad_jax.training.state import inference_graphdef
from ipad_jax.training.task import make_task
from ipad_jax.video.clip_task import normalise
from ipad_jax.video.ipad.task import VideoTask

SMOOTHED = 25  # steps whose mean loss is shown
PLAIN = {  # leaves that the twin's training has no other value of
    "optim.schedule": "constant",
    "optim.warmup_steps": 0,
    "optim.clip_norm": 0.0,
    "optim.weight_decay": 0.0,
    "adapters.rank": 0,
    "freeze": [],
    "init_from": "",
}


def compare_learning(*, workdir: str, steps: Sequence[int]) -> Table:
    """Trains a run's model anew, in ours and in PyTorch, and judges both at some steps.

    Args:
      workdir: a run of IPAD's model, for its config; its dataset must be here. It is left as it is.
      steps: after which both are judged; the last one ends the training.

    Raises:
      FileNotFoundError: no run or dataset.
      ValueError: PyTorch is not installed, a run the twin cannot repeat, steps that are not positive.
    """
    if importlib.util.find_spec("torch") is None:
        raise ValueError(
            "bench learning needs PyTorch, which is not installed: uv pip install -e '.[bench]'."
        )
    wanted = sorted(set(steps))
    if wanted[0] < 1:
        raise ValueError(f"steps={list(steps)} must be at least 1.")
    task = repeatable_task(read_config(workdir))
    rebuilt = Rebuilt(task)
    ours = Ours(task)
    theirs = Theirs(task, ours.model())
    batches = task.train_data(1, 0, 1)
    losses: list[tuple[float, float]] = []
    rows = []
    with Bars() as bars:
        bar = bars.add("training both", wanted[-1], "steps")
        for step in range(1, wanted[-1] + 1):
            batch = next(batches)
            losses.append((ours.step(batch), theirs.step(batch)))
            bar.update(step)
            if step in wanted:
                rows += _rows(step, losses, rebuilt, ours, theirs)
                bars.say(f"step {step}: {rows[-2][2]} in ours, {rows[-1][2]} in PyTorch")
    apart = max(abs(a - b) / abs(b) for a, b in losses)
    config = task.config
    return Table(
        f"Learning beside PyTorch's ({workdir}, batch {config.batch_size}, {describe_machine()})",
        ("", "step", "loss", "held-out error", *SCORES, "CPU s"),
        tuple(rows),
        (
            f"one start, the same batches, Adam {config.optim.lr:g}, float32, no stochastic depth; loss: "
            f"mean of the last {SMOOTHED} steps at most",
            f"losses of a step differ by {apart:.1g} of PyTorch's at most",
            f"frame AUC of the error by three scores, %: {rebuilt.count_text} of clips without overlap",
        ),
    )


def repeatable_task(config: ConfigDict) -> VideoTask:
    """The task of a config in float32 and without stochastic depth.

    Raises:
      ValueError: no video model of ours, or trained in a way that the twin lacks; names the leaves.
    """
    found = leaves(config)
    if others := [f"{k}={found[k]!r}" for k, v in PLAIN.items() if found.get(k, v) != v]:
        raise ValueError(
            "PyTorch's twin trains all weights from their start, by Adam at a constant rate; this run has "
            f"{', '.join(others)}."
        )
    if not isinstance(make_task(config), VideoTask):
        raise ValueError(f"config.task={config.task!r} is not IPAD's model, which the twin is of.")
    config.model.encoder.drop_path, config.model.dtype = 0.0, "float32"
    task = make_task(config)
    assert isinstance(task, VideoTask)
    return task


class Ours:
    """The trainer's step on one device.

    Attributes:
      spent: CPU seconds of its steps.
    """

    def __init__(self, task: VideoTask):
        self._setup = setup = TrainSetup.make(task.config, task, make_mesh(1, 1), 0)
        self._key, init_key = setup.make_keys(task.config.seed)
        self._state = setup.create_state(init_key)
        self._step = setup.compile_step(task.batch_shapes(task.config.batch_size))
        self._graphdef, self._errors_fn = inference_graphdef(task), errors_fn_of(task)
        self.spent = 0.0

    def model(self) -> Any:
        """The inference view as it is now, until the next step."""
        state = self._state
        return nnx.merge(self._graphdef, state.trainable, state.frozen, state.variables)

    def step(self, batch: dict[str, np.ndarray]) -> float:
        """Trains by a batch; its loss."""
        start = cpu_seconds()
        placed = to_global(batch, batch_sharding(self._setup.mesh))
        self._state, metrics = self._step(self._state, placed, self._key)
        loss = float(metrics["loss"])
        self.spent += cpu_seconds() - start
        return loss

    def errors_fn(self) -> ErrorsFn:
        """What it has learned so far."""
        model = self.model()
        return lambda clip: self._errors_fn(model, clip)


class Theirs:
    """The twin by PyTorch's gradients and Adam, on the CPU.

    Attributes:
      spent: CPU seconds of its steps.
    """

    def __init__(self, task: VideoTask, model: Any):
        self._torch = torch = import_torch()
        torch.set_num_threads(num_cores())
        self._task, self._twin = task, TorchTwin(model)
        self._adam = torch.optim.Adam(list(self._twin.parameters.values()), lr=task.config.optim.lr)
        self._pooled = pooled_fn_of(task)
        self.spent = 0.0

    def step(self, batch: dict[str, np.ndarray]) -> float:
        """Trains by a batch; its loss."""
        start, weights = cpu_seconds(), self._task.config.loss
        loss = self._twin.loss(
            self._torch.from_numpy(batch["clip"]),
            self._torch.from_numpy(batch["phase"]),
            entropy=weights.entropy_weight,
            period=weights.period_weight,
            width=weights.get("period_width", 0.0),
        )
        self._adam.zero_grad()
        loss.backward()
        self._adam.step()
        self.spent += cpu_seconds() - start
        return loss.item()

    def errors_fn(self) -> ErrorsFn:
        """What it has learned so far."""

        def errors(clip: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            with self._torch.inference_mode():
                out = self._twin(self._torch.from_numpy(clip), train=False)
            error = out.permute(0, 2, 3, 4, 1).numpy() - np.asarray(normalise(jnp.asarray(clip)))
            return error, self._pooled(error)

        return errors


def _rows(
    step: int, losses: list[tuple[float, float]], rebuilt: Rebuilt, ours: Ours, theirs: Theirs
) -> list[tuple[str, ...]]:
    """Both as they are now."""
    rows = []
    for name, each, loss in zip(
        ("ours", "PyTorch"), (ours, theirs), np.mean(losses[-SMOOTHED:], axis=0)
    ):
        held_out, aucs = rebuilt.judge(each.errors_fn())
        found = (f"{100 * auc.all:.1f}" for auc in aucs)
        rows.append(
            (name, f"{step:,}", f"{loss:.5f}", f"{held_out:.5f}", *found, number(each.spent))
        )
    return rows
