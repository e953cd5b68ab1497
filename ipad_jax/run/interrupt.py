"""Leaving a run together: SIGTERM, Ctrl-C, the time budget and errors, the same on every process."""

import signal
import threading
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils


class Interrupt:
    """Remembers SIGTERM and Ctrl-C until the loop asks; a second one ends the process as usual."""

    def __init__(self) -> None:
        self.received = ""
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interrupt":
        # With several processes JAX's own preemption service has the handler: all must stop at one step.
        if threading.current_thread() is threading.main_thread() and jax.process_count() == 1:
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *_) -> None:
        self._restore()

    def _remember(self, number: int, _) -> None:
        self.received = signal.Signals(number).name
        self._restore()

    def _restore(self) -> None:
        while self._before:
            signal.signal(*self._before.popitem())


def stop_reason(interrupt: Interrupt, step: int, elapsed: float, max_seconds: float) -> str:
    """Why the loop must end before `step`, or ""; the same on every process."""
    out_of_time = bool(max_seconds) and elapsed >= max_seconds
    if jax.process_count() == 1:
        return interrupt.received or ("max_seconds" if out_of_time else "")
    if multihost_utils.reached_preemption_sync_point(step):
        return "SIGTERM"
    if max_seconds:  # process 0's clock counts; asking costs a wait for the device at every step
        with jax.transfer_guard("allow"):
            if multihost_utils.broadcast_one_to_all(np.int32(out_of_time)):
                return "max_seconds"
    return ""
