"""Freed memory is used again without a page of it being cleared, unless the user says otherwise."""

import ctypes
import os
import resource
import subprocess
import sys

import pytest

from ipad_jax import main
from ipad_jax.run import allocator

needs_glibc = pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc"
)
MEGABYTES = 80  # above the 32 that glibc never keeps by itself
FAULTS = f"""
import resource
from ipad_jax.run.allocator import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    b"x" * ({MEGABYTES} * 10**6)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

kept = keep_freed_memory()
print(kept, faults(), faults())
"""


def freed_twice(**environment):
    """(whether it is kept, page faults of filling a block, of filling the next one) in a new process."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith(allocator.OWN_CHOICE)}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS],
        capture_output=True, text=True, check=True, env=plain | environment,
    )  # fmt: skip
    kept, first, second = done.stdout.split()
    return kept == "True", int(first), int(second)


@needs_glibc
def test_a_freed_block_is_used_again():
    kept, first, second = freed_twice()
    assert kept
    pages = MEGABYTES * 10**6 / resource.getpagesize()
    assert first > pages / 2, "the first block is new memory"
    assert second < pages / 100


@needs_glibc
def test_the_users_own_choice_stands():
    kept, first, second = freed_twice(MALLOC_ARENA_MAX="4")
    assert not kept
    assert second > first / 2, "or the test above shows nothing"


@pytest.mark.parametrize("own", [True, False])
def test_a_command_keeps_it_in_its_own_process_only(monkeypatch, own, tmp_path):
    called = []
    monkeypatch.setattr(allocator, "keep_freed_memory", lambda: called.append(1))
    command = ["evaluate", "--workdir", str(tmp_path / "nothing")]
    monkeypatch.setattr(sys, "argv", ["ipad-jax", *command])
    main.main(None if own else command)
    assert len(called) == own
