"""Freed memory stays with the process, where the system would else hand out the same pages at every step.

XLA:CPU asks for all that a program needs at every call, 289 MB for a training step of the smallest model.
glibc maps a block of more than 32 MB anew and unmaps it when it is freed, so the kernel clears 70,000 pages
a step: 37 % of the CPU time of such a training (docs/results.md, "Speed on two CPU cores").
"""

import ctypes
import os

# <malloc.h>: parameter and value of mallopt, in order
_NO_MAPPING = (-4, 0)  # M_MMAP_MAX: every block comes from the heap
_KEPT = (-1, -1)  # M_TRIM_THRESHOLD: nothing is given back, however much is free at the heap's end
_ONE_HEAP = (-8, 1)  # M_ARENA_MAX: a thread's own heap is too small for such blocks
OWN_CHOICE = ("MALLOC_", "GLIBC_TUNABLES")  # variables by which a user sets the same


def keep_freed_memory() -> bool:
    """Makes glibc reuse what is freed; to be called before the process starts threads.

    It then holds about what it needed at most, until it ends: gaps between blocks can make it more.

    Returns:
      Whether it did: not where the C library is another one, nor where the environment says how
      `malloc` is to behave.
    """
    if any(name.startswith(OWN_CHOICE) for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return False
    return all(mallopt(*each) for each in (_NO_MAPPING, _KEPT, _ONE_HEAP))
