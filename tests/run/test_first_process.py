"""What process 0 does for all, and how the others hear of its failure."""

import jax
import pytest
from jax.experimental import multihost_utils

from ipad_jax.run.processes import on_first_process


def fail():
    raise OSError("disk full")


@pytest.fixture
def as_process(monkeypatch):
    """Plays one of two processes; `failed` is what process 0 tells, None takes what is told."""

    def play(index, failed=None):
        monkeypatch.setattr(jax, "process_index", lambda: index)
        monkeypatch.setattr(jax, "process_count", lambda: 2)
        told = []

        def broadcast(x):
            told.append(int(x))
            return x if failed is None else failed

        monkeypatch.setattr(multihost_utils, "broadcast_one_to_all", broadcast)
        return told

    return play


def test_alone_it_is_a_plain_call():
    assert on_first_process("counting", lambda: 3) == 3
    with pytest.raises(OSError, match="disk full"):
        on_first_process("writing", fail)


def test_the_first_tells_before_it_raises(as_process):
    told = as_process(0)
    with pytest.raises(OSError, match="disk full"):
        on_first_process("writing", fail)
    assert on_first_process("counting", lambda: 3) == 3
    assert told == [1, 0]


def test_the_others_act_not_and_raise_too(as_process):
    as_process(1, failed=True)
    with pytest.raises(RuntimeError, match="writing failed on process 0"):
        on_first_process("writing", fail)
    as_process(1, failed=False)
    assert on_first_process("writing", fail) is None
