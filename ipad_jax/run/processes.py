"""Many processes, one run: how they meet (cluster.py says who), hand each other words, and leave together.

Words pass through the key-value store of JAX's coordinator, not through the devices: a wait of hours
for a process that still scores is no hung collective. A process that fails says so there, and the
others stop within seconds, though they may be stuck in a collective with it; without that, JAX
notices after 100 s and aborts.
"""

import contextlib
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from ipad_jax.run.cluster import COORDINATOR, NUM_PROCESSES, PROCESS_ID, arguments, whole_number
from ipad_jax.run.lock import locked, release_all

T = TypeVar("T")

TOGETHER = (0, 143)  # exit statuses that all processes come to: done, and SIGTERM while training
_PREFIX = "ipad_jax/"  # of our keys in the store that JAX uses too
_POLL_S = 0.5  # seconds between looks at the store
_GRACE_S = 5.0  # seconds in which a process may leave by itself after another one failed


class OtherProcessError(RuntimeError):
    """Another process of the run failed, so this one cannot go on."""


def start(*, saves_on_sigterm: bool) -> None:
    """Meets the other processes, if there are any; before anything else is asked of JAX.

    Args:
      saves_on_sigterm: the command handles SIGTERM itself, at a step that all processes agree on
        (JAX's preemption service then has the signal). Else SIGTERM ends it, and so the others.

    Raises:
      ValueError: variables that are half set or make no sense, or `auto` that finds nothing.
      OSError: the coordinator's port cannot be used.
    """
    given = arguments(os.environ)
    if given is None:
        return
    timeout = whole_number(os.environ, "IPAD_JAX_TIMEOUT", "300")
    if not saves_on_sigterm:
        jax.config.update("jax_enable_preemption_service", False)
        signal.signal(signal.SIGTERM, _terminate)
    # JAX aborts the process when this fails; so we are first, and say what is wrong
    alarm = threading.Timer(timeout, _not_met, (given, timeout))
    alarm.daemon = True
    alarm.start()
    try:
        jax.distributed.initialize(**given, initialization_timeout=timeout + 60)
    except ValueError as error:
        raise ValueError(
            f"IPAD_JAX_DISTRIBUTED=auto, but JAX recognises no cluster here ({error}). Set "
            f"{COORDINATOR}, {NUM_PROCESSES} and {PROCESS_ID}, or IPAD_JAX_DISTRIBUTED=off."
        ) from error
    except jax.errors.JaxRuntimeError as error:
        where = given.get("coordinator_address", "its port")
        raise OSError(f"this process cannot be the coordinator at {where}: {error}") from error
    finally:
        alarm.cancel()
    if is_many():
        threading.Thread(target=_watch, daemon=True).start()
    index, count = _place()
    if index != 0:  # one voice; errors still come out
        print(f"process {index} of {count}: errors only, process 0 says the rest", file=sys.stderr)
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115


def leave(status: int) -> int:
    """The last call of a command that came to its end: waits until every process has, then ends this one.

    JAX's own way out is left aside: there the coordinator may be gone while another process still
    listens to it, which then aborts with status 134.

    Args:
      status: its exit status; one that is not in `TOGETHER` counts as a failure (see `fail`).

    Returns:
      The status, where this is the only process.
    """
    if not is_many():
        return status
    if status not in TOGETHER:
        return fail(status, f"it ended with status {status}")
    index, count = _place()
    tell(f"done/{index}", str(status))
    while len(_client().key_value_dir_get(f"{_PREFIX}done/")) < count:
        time.sleep(_POLL_S)  # without end: the coordinator notices who died, `_watch` who failed
    if index == 0:
        _see_others_off(count)
    _end(status)


def fail(status: int, why: str) -> int:
    """The last call of a command that failed: tells the other processes, which then stop as well.

    One of several processes ends here and now: JAX's own way out would wait for the others, and they
    may be waiting for this one.

    Args:
      status: exit status.
      why: for the others to print.

    Returns:
      The status, where this is the only process.
    """
    if not is_many():
        return status
    index, count = _place()
    with contextlib.suppress(jax.errors.JaxRuntimeError):  # somebody was first
        tell("failed", f"process {index} of {count} failed: {' '.join(why.split())[:500]}")
    if index == 0:
        _see_others_off(count)
    _end(status)


def is_many() -> bool:
    """Whether this is one of several processes; asks no device."""
    return jax.distributed.is_initialized() and _place()[1] > 1


def tell(key: str, text: str) -> None:
    """Hands a text (a few kilobytes) to whoever asks for `key`; a key is told once in a run."""
    _client().key_value_set(_PREFIX + key, text)


def ask(key: str) -> str:
    """Waits until a key is told, however long, and gives its text.

    Raises:
      OtherProcessError: another process failed; says what it said.
    """
    while True:
        if (text := _read(key)) is not None:
            return text
        if said := failure():
            raise OtherProcessError(said)
        time.sleep(_POLL_S)


def failure() -> str:
    """What a process that failed said; "" if none did, or this is the only one."""
    return (_read("failed") or "") if is_many() else ""


def on_first_process(what: str, act: Callable[[], T]) -> T | None:
    """Does something to shared files on process 0, while the others wait for it.

    Returns:
      What `act` returned, on process 0; None on the others.

    Raises:
      Exception: what `act` raised, on process 0.
      RuntimeError: on the others, so that none of them waits for one that is gone.
    """
    result, error = None, None
    if jax.process_index() == 0:
        try:
            result = act()
        except Exception as caught:  # raised below, when the others know
            error = caught
    failed = error is not None
    if jax.process_count() > 1:
        failed = bool(multihost_utils.broadcast_one_to_all(np.int32(failed)))
    if error is not None:
        raise error
    if failed:
        raise RuntimeError(f"{what} failed on process 0, which says why.")
    return result


@contextlib.contextmanager
def locked_by_first(workdir: str | os.PathLike[str]) -> Iterator[None]:
    """Process 0 holds the run folder for all (see `lock.locked`); where it cannot, all of them raise."""
    with contextlib.ExitStack() as held:
        on_first_process("locking the run folder", lambda: held.enter_context(locked(workdir)))
        yield


def _place() -> tuple[int, int]:
    """This process's number and how many there are. `jax.process_index()` would start the devices."""
    state = _state()
    return state.process_id, state.num_processes


def _client() -> Any:
    """The client of JAX's coordinator and its key-value store."""
    return _state().client


def _state() -> Any:
    """What `jax.distributed` keeps: private to JAX, yet the one way to its store (Orbax does the same)."""
    from jax._src import distributed

    return distributed.global_state


def _read(key: str) -> str | None:
    """A key's text, or None where nobody told it yet."""
    try:
        return _client().key_value_try_get(_PREFIX + key)
    except jax.errors.JaxRuntimeError as error:
        if "NOT_FOUND" in str(error):
            return None
        raise


def _watch() -> None:
    """In the background: ends this process soon after another one failed, whatever it waits for."""
    while True:
        time.sleep(_POLL_S)
        try:
            text = _read("failed")
        except Exception:  # the coordinator is gone, and JAX itself ends us
            return
        if text:
            time.sleep(_GRACE_S)
            print(f"ipad-jax: {text}; so this one stops", file=sys.stderr)
            _end(1)


def _see_others_off(count: int) -> None:
    """Process 0 ends last, for a while: the coordinator goes with it, and a process that misses it aborts."""
    end = time.monotonic() + 2 * _GRACE_S
    while time.monotonic() < end:
        if len(_client().key_value_dir_get(f"{_PREFIX}gone/")) == count - 1:
            return
        time.sleep(_POLL_S)


def _end(status: int) -> NoReturn:
    """Ends the process at once: no exit handlers, which would wait for the other processes."""
    for child in multiprocessing.active_children():  # readers of the input
        child.terminate()
    index, _ = _place()
    if index != 0:
        with contextlib.suppress(jax.errors.JaxRuntimeError):  # told, or the coordinator is gone
            tell(f"gone/{index}", str(status))
    release_all()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _not_met(given: dict[str, Any], timeout: int) -> NoReturn:
    """Says who is missing, and ends the process before JAX aborts it."""
    address, index = given.get("coordinator_address", ""), given.get("process_id", 0)
    text = f"the processes have not met within {timeout} s (IPAD_JAX_TIMEOUT)"
    if address:
        text = (
            f"the {given['num_processes']} processes have not met at {address} within {timeout} s"
        )
    if index and not _answers(address):
        text += f": nothing answers there. Does process 0 run, and is {COORDINATOR} its host?"
    else:
        text += ": some did not come. Does every one run, with the same variables but its own id?"
    print(f"ipad-jax: {text}", file=sys.stderr, flush=True)
    os._exit(1)


def _answers(address: str) -> bool:
    """Whether somebody listens at host:port."""
    host, port = address.rsplit(":", 1)
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=2):
            return True
    except OSError:
        return False


def _terminate(*_: object) -> NoReturn:
    """SIGTERM in a command that has nothing to save."""
    raise SystemExit(143)
