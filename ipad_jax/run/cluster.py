"""Which processes and cores belong to a run, from what surrounds it alone; no JAX.

Variables say it; without them Slurm, GKE and Cloud TPU VMs are recognised:

    IPAD_JAX_COORDINATOR=host:port IPAD_JAX_NUM_PROCESSES=16 IPAD_JAX_PROCESS_ID=0..15   by hand
    IPAD_JAX_DISTRIBUTED=auto     whatever `jax.distributed.initialize()` finds (also Open MPI)
    IPAD_JAX_DISTRIBUTED=off      this process alone, wherever it runs
    IPAD_JAX_TIMEOUT=300          seconds to wait for the others at the start
"""

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

COORDINATOR = "IPAD_JAX_COORDINATOR"
NUM_PROCESSES = "IPAD_JAX_NUM_PROCESSES"
PROCESS_ID = "IPAD_JAX_PROCESS_ID"

T = TypeVar("T")


def num_cores() -> int:
    """Cores this process may use (a scheduler such as Slurm may allow only some)."""
    allowed = getattr(os, "sched_getaffinity", None)  # macOS has none
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def arguments(environ: Mapping[str, str]) -> dict[str, Any] | None:
    """What `jax.distributed.initialize` is to be given; None: this process is alone.

    Args:
      environ: environment variables; see the module's text.

    Returns:
      Keyword arguments; {} lets JAX find the others by itself.

    Raises:
      ValueError: variables that are half set, or make no sense.
    """
    mode = environ.get("IPAD_JAX_DISTRIBUTED", "")
    if mode not in ("", "auto", "off"):
        raise ValueError(f"IPAD_JAX_DISTRIBUTED={mode!r}: set auto, off or nothing.")
    if mode == "off":
        return None
    if any(name in environ for name in (COORDINATOR, NUM_PROCESSES, PROCESS_ID)):
        return _by_hand(environ)
    if mode == "auto":
        return {}
    if _is_slurm(environ):
        return _slurm(environ)
    return {} if _is_tpu(environ) else None


def whole_number(environ: Mapping[str, str], name: str, default: str = "") -> int:
    """The value of an environment variable that is a whole number, 0 or more.

    Raises:
      ValueError: it is none; names the variable.
    """
    text = environ.get(name, default)
    if not re.fullmatch(r"[0-9]+", text):
        raise ValueError(f"{name}={text!r} must be a whole number, 0 or more.")
    return int(text)


def _by_hand(environ: Mapping[str, str]) -> dict[str, Any] | None:
    """The three variables, checked."""
    names = (COORDINATOR, NUM_PROCESSES, PROCESS_ID)
    if missing := [name for name in names if not environ.get(name)]:
        there = ", ".join(name for name in names if environ.get(name))
        raise ValueError(
            f"{', '.join(missing)} is not set, but {there or 'another of the three'} is: set all of "
            f"{', '.join(names)} in every process, or none (IPAD_JAX_DISTRIBUTED=off ignores them)."
        )
    address = environ[COORDINATOR]
    if not re.fullmatch(r"\S+:\d+", address):
        raise ValueError(f"{COORDINATOR}={address!r} is not host:port, such as 10.0.0.2:8476.")
    count, index = whole_number(environ, NUM_PROCESSES), whole_number(environ, PROCESS_ID)
    if not 0 <= index < count:
        raise ValueError(
            f"{PROCESS_ID}={index} must be in 0..{count - 1} ({NUM_PROCESSES}={count})."
        )
    if count == 1:
        return None
    return _given(address, count, index)


def _given(address: str, count: int, index: int, local: list[int] | None = None) -> dict[str, Any]:
    """Arguments that leave nothing to find."""
    return {
        "coordinator_address": address,
        "num_processes": count,
        "process_id": index,
        "local_device_ids": local,
        "cluster_detection_method": "deactivate",
    }


def _is_slurm(environ: Mapping[str, str]) -> bool:
    """Whether this is one of several tasks that `srun` started, not a batch script or an `salloc` shell."""
    names = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_PROCID", "SLURM_NTASKS")
    return all(name in environ for name in names) and whole_number(environ, "SLURM_NTASKS") > 1


def _slurm(environ: Mapping[str, str]) -> dict[str, Any]:
    """Slurm's variables.

    JAX's own detection gives every task one GPU, also where one task a node is to have them all
    (and fails where Slurm shows each task its GPU alone); so the devices are chosen here.
    """
    host = first_host(environ["SLURM_STEP_NODELIST"])
    # two jobs of one node take two ports
    port = 61440 + whole_number(environ, "SLURM_JOB_ID") % 4096
    tasks = environ.get("SLURM_STEP_TASKS_PER_NODE") or environ.get("SLURM_TASKS_PER_NODE") or "1"
    one_a_node = set(re.findall(r"(\d+)(?:\(x\d+\))?(?:,|$)", tasks)) == {"1"}  # such as 1(x4)
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    takes_all = one_a_node or (visible is not None and "," not in visible)
    local = None if takes_all else [whole_number(environ, "SLURM_LOCALID", "0")]
    count, index = (whole_number(environ, name) for name in ("SLURM_NTASKS", "SLURM_PROCID"))
    return _given(f"{host}:{port}", count, index, local)


def first_host(nodes: str) -> str:
    """The first of Slurm's node list, such as rack1n03 of "rack[1-2]n[03,05-09],login".

    Brackets count up from the right, so the first host has the first number of each.

    Raises:
      ValueError: the list names no host, or one in a form that is not known here.
    """
    found = re.match(r"((?:[^,\[\]]|\[[^\[\]]+\])+)(?:,|$)", nodes)
    host = re.sub(r"\[([0-9]+)(?:[-,][0-9,-]*)?\]", r"\1", found[1]) if found else ""
    if not re.fullmatch(r"[\w.-]+", host):
        raise ValueError(
            f"SLURM_STEP_NODELIST={nodes!r}: no first host can be read from it. Set {COORDINATOR}, "
            f"{NUM_PROCESSES} and {PROCESS_ID} (see launch/), or IPAD_JAX_DISTRIBUTED=off."
        )
    return host


def _is_tpu(environ: Mapping[str, str]) -> bool:
    """Whether this is a host of a TPU slice on GKE, or a Cloud TPU VM; JAX then knows the rest."""
    platforms = environ.get("JAX_PLATFORMS", "")
    if platforms and "tpu" not in platforms.split(","):
        return False
    if "," in environ.get("TPU_WORKER_HOSTNAMES", "") or environ.get("MEGASCALE_NUM_SLICES"):
        return True
    # What importing JAX sets where it sees TPU chips, and where it sees none.
    return environ.get("TPU_ML_PLATFORM") == "JAX" and "TPU_SKIP_MDS_QUERY" not in environ


def own_share(items: Sequence[T], environ: Mapping[str, str]) -> list[T]:
    """This process's share of things that need no word between processes: every n-th of them.

    All of them where the process is alone, or where only JAX would know its number (TPU hosts).
    """
    found = arguments(environ) or {}
    return list(items[found.get("process_id", 0) :: found.get("num_processes", 1)])
