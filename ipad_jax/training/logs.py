"""What a run writes down as it goes: metrics.jsonl, TensorBoard events, a progress line."""

import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Callable
from typing import Any, Self

import jax
import numpy as np
from etils import epath
from ml_collections import ConfigDict

from ipad_jax.run.files import LineFile
from ipad_jax.run.progress import Bars
from ipad_jax.run.stopwatch import Stopwatch
from ipad_jax.training.budget import Budget
from ipad_jax.training.optim import make_schedule
from ipad_jax.training.state import check_finite
from ipad_jax.training.task import Metrics

# What a caller may pass to follow a run: called with {"step", "total_steps", "loss", "clips_per_second",
# "seconds_left", "phase"}; `phase` is "starting", "compiling", "training", "evaluating" or "saving".
ProgressFn = Callable[[dict[str, Any]], None]


class MetricsWriter:
    """metrics.jsonl (one object a line, with its step) and TensorBoard events. Only one process has one."""

    def __init__(self, workdir: str | os.PathLike, first_step: int):
        """Opens the files for a run whose first step is `first_step`; lines from that step on are dropped.

        A run that was killed after its last checkpoint repeats steps; their lines must not stand twice.
        """
        from tensorboardX.event_file_writer import EventsWriter

        folder = epath.Path(workdir)
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "metrics.jsonl"
        kept = [row for row in read_metrics(workdir) if row["step"] < first_step]
        self._file = LineFile(self.path, "".join(json.dumps(row) + "\n" for row in kept))
        # Not its SummaryWriter: when a write fails, the thread behind it dies, and its queue blocks.
        self._events = EventsWriter(os.path.join(folder, "events"))
        self._flushed = -math.inf
        self._event(first_step, session_log={"status": "START"})  # drops curves from that step on

    def write(self, step: int, values: dict[str, float]) -> None:
        """Adds one line, on the disk when this returns (see `LineFile`), and one point to each curve.

        Raises:
          OSError: the disk is full, or the folder has gone.
        """
        row = json.dumps({"step": step, **values}) + "\n"
        points = [{"tag": name, "simple_value": value} for name, value in values.items()]
        try:
            self._file.add(row)
            self._event(step, summary={"value": points})
        except OSError as error:
            raise OSError(
                f"step {step} could not be written to {self.path.parent}: {error}. "
                "Make room; the same command goes on from the last checkpoint."
            ) from error

    def _event(self, step: int, **content: Any) -> None:
        """Adds one event; on the disk at most half a minute later."""
        from tensorboardX.proto import event_pb2

        make: Any = vars(event_pb2)["Event"]  # made at run time, unseen by type checkers
        self._events.write_event(make(wall_time=time.time(), step=step, **content))
        if time.monotonic() - self._flushed > 30:
            self._events.flush()
            self._flushed = time.monotonic()

    def close(self) -> None:
        """Flushes and closes both."""
        self._file.close()
        self._events.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exc_type, *_) -> None:
        # what is still to be written fails as the write did; that error is the one to report
        with contextlib.suppress(OSError) if exc_type else contextlib.nullcontext():
            self.close()


def read_metrics(workdir: str | os.PathLike) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl; a last line that was cut short by a kill is left out."""
    path = epath.Path(workdir) / "metrics.jsonl"
    rows = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


class ProgressLine:
    """One line that follows the run: a bar on a terminal, else a plain line at each report.

    The bar shows the share of the steps or of the time budget that is gone, whichever is more.
    """

    def __init__(
        self,
        total_steps: int,
        max_seconds: float = 0.0,
        callback: ProgressFn | None = None,
        unit: str = "clips",
    ):
        self.total, self.max_seconds, self.unit = total_steps, max_seconds, unit
        self.callback = callback
        self.latest: dict[str, Any] = {"step": 0, "total_steps": total_steps}
        self.bars = Bars(sys.stdout)
        watched = callback is None and self.bars.progress
        self.bar = self.bars.add("", total_steps) if watched else None

    def __enter__(self) -> Self:
        if self.bar:
            self.bars.__enter__()
        return self

    def __exit__(self, *_) -> None:
        if self.bar:
            self.bars.__exit__()

    def phase(self, phase: str, step: int) -> None:
        """Says what the run is doing now."""
        if self.bar:
            self.bar.update(step, what=phase)
        elif phase == "compiling":  # the long wait before the first report
            self.say("compiling ...")
        self._tell(step=step, phase=phase)

    def move(self, step: int, elapsed: float) -> None:
        """Moves the bar: `step` steps are done after `elapsed` seconds of the budget."""
        if self.bar:
            share = step / self.total
            if self.max_seconds:
                share = max(share, elapsed / self.max_seconds)
            self.bar.update(step, what="training", share=min(share, 1.0))

    def report(self, step: int, loss: float, clips_per_second: float, seconds_left: float) -> None:
        """Shows the newest figures."""
        left = f"{int(seconds_left) // 60}:{int(seconds_left) % 60:02d} left"
        rate = f"{clips_per_second:,.{1 if clips_per_second < 100 else 0}f} {self.unit}/s"
        note = f"loss {loss:.5f}  {rate}  {left}"
        if self.bar:
            self.bar.note(note)
        else:
            self.say(f"step {step}/{self.total}  {note}")
        self._tell(
            step=step,
            phase="training",
            loss=loss,
            clips_per_second=clips_per_second,
            seconds_left=seconds_left,
        )

    def say(self, text: str) -> None:
        """A line of its own, above the bar."""
        if self.callback is None:
            self.bars.say(text)

    def _tell(self, **values: Any) -> None:
        """Hands the newest figures to the caller's callback."""
        self.latest |= values
        if self.callback:
            self.callback(dict(self.latest))


class Reports:
    """Fetches a step's figures one step late, checks them, writes them down (process 0 only)."""

    def __init__(
        self,
        config: ConfigDict,
        workdir: str,
        first_step: int,
        total_steps: int,
        line: ProgressLine,
        clock: Stopwatch,
        budget: Budget,
    ):
        self.config, self.line, self.clock, self.budget = config, line, clock, budget
        self.total_steps = total_steps
        # All at once and now: computed in the loop, each would wait behind the step that runs.
        self.every = config.log_every or total_steps
        steps = np.append(np.arange(self.every, total_steps, self.every), total_steps)
        rates = make_schedule(config.optim, total_steps)(steps - 1)
        self.rates = np.broadcast_to(np.asarray(rates), steps.shape)
        self.writer = MetricsWriter(workdir, first_step) if jax.process_index() == 0 else None
        self.latest: dict[str, float] = {}
        self._pending: tuple[int, Metrics, float] | None = None
        self._mark = (first_step - 1, self._busy())

    def hold(self, step: int, metrics: Metrics) -> None:
        """Keeps a step's figures, still on the device, until the next one runs."""
        self._pending = (step, metrics, self._busy())

    def flush(self, elapsed: float) -> None:
        """Reports the step that is held, if any.

        Raises:
          FloatingPointError: a step up to it was not finite.
        """
        if self._pending is None:
            return
        step, on_device, now = self._pending
        self._pending = None
        check_finite(on_device)
        values = {
            name: value.item()
            for name, value in jax.device_get(on_device).items()
            if name != "first_bad"
        }
        steps, busy = step - self._mark[0], max(now - self._mark[1], 1e-9)
        self._mark = (step, now)
        rate = steps * self.config.batch_size / busy
        left = (self.total_steps - step) * busy / steps
        left = min(left, self.budget.left())
        values["learning_rate"] = float(self.rates[math.ceil(step / self.every) - 1])
        values |= {"clips_per_second": rate, "train_seconds": elapsed}
        self.latest = values
        if self.writer:
            self.writer.write(step, values)
        self.line.report(step, values["loss"], rate, left)

    def held_out(self, step: int, values: dict[str, float]) -> None:
        """Writes the loss on held-out examples down."""
        values = {f"val/{name}": value for name, value in values.items()}
        self.latest |= values
        if self.writer:
            self.writer.write(step, values)
        self.line.say(f"step {step}  held-out loss {values['val/loss']:.5f}")

    def _busy(self) -> float:
        """Seconds so far in steps and in waiting for input."""
        return self.clock.seconds["steps"] + self.clock.seconds["input"]

    def __enter__(self) -> "Reports":
        return self

    def __exit__(self, *error) -> None:
        if self.writer:
            self.writer.__exit__(*error)
