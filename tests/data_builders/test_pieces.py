"""Pieces in worker processes: the order, the bounds, and every way in which a build can end."""

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest
from etils import epath
from made_pieces import make
from process_group import wait_for_end

from ipad_jax.data_builders.pieces import AHEAD, encode_here, encode_in_processes


def in_processes(pieces, folder, workers=2, advance=lambda count: None):
    return encode_in_processes(pieces, workers, epath.Path(folder), advance)


@pytest.mark.slow
def test_records_come_as_from_one_process(tmp_path):
    counts = []
    # The first pieces take longest, so that later ones are ready before their turn.
    pieces = [make(n, n % 5, wait_s=0.2 * (n < 2)) for n in range(30)]
    found = list(in_processes(pieces, tmp_path / "new", 3, counts.append))
    plain = list(encode_here(pieces, lambda count: None))
    processes = {record.pop("process") for _, record in found}
    assert {record.pop("process") for _, record in plain} == {os.getpid()}
    assert found == plain
    assert len(processes) > 1
    assert os.getpid() not in processes
    assert sum(counts) == len(found)
    assert not list(tmp_path.iterdir())
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_only_a_few_pieces_are_ahead(tmp_path):
    taken = 0

    def pieces():
        nonlocal taken
        for n in range(100):
            taken += 1
            yield make(n, 1)

    for done, (video, _) in enumerate(in_processes(pieces(), tmp_path / "new"), 1):
        assert video == done - 1
        assert taken - done <= 2 * AHEAD
        assert len(list((tmp_path / "new").iterdir())) <= 2 * AHEAD + 1
    assert done == taken == 100


@pytest.mark.slow
def test_the_first_error_in_order_is_raised(tmp_path):
    pieces = [make(0, 4), make(1, 4, "raise", wait_s=0.5), make(2, 4, "raise"), make(3, 4)]
    with pytest.raises(ValueError, match="truncated") as raised:
        list(in_processes(pieces, tmp_path / "new"))
    assert str(raised.value) == "1.jpg: truncated"
    assert "made_pieces.py" in raised.value.__notes__[0]  # where in the worker
    assert not multiprocessing.active_children()


def test_an_error_that_does_not_travel_comes_as_text(tmp_path):
    with pytest.raises(RuntimeError, match=r"(?s)made_pieces.*Odd: an odd error"):
        list(in_processes([make(0, 1, "odd")], tmp_path / "new"))


@pytest.mark.parametrize(
    ("do", "said"),
    [
        ("killed", r"was killed by SIGKILL while it encoded piece 1; memory may have run out"),
        ("exit", r"exited with status 3 while it encoded piece 1\."),
    ],
)
def test_a_worker_that_ends_is_named_with_its_work(tmp_path, do, said):
    pieces = [make(n, 4, do if n == 1 else "") for n in range(6)]
    with pytest.raises(ChildProcessError, match=rf"^worker process \d+ {said}"):
        list(in_processes(pieces, tmp_path / "new"))
    assert not multiprocessing.active_children()


def test_workers_end_with_the_generator(tmp_path):
    found = in_processes([make(n, 9, wait_s=0.05) for n in range(50)], tmp_path / "new")
    next(found)
    assert len(multiprocessing.active_children()) == 2
    found.close()
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_workers_end_when_their_parent_is_killed(tmp_path):
    program = (
        "import sys; from etils import epath\n"
        "from ipad_jax.data_builders.pieces import encode_in_processes\n"
        "from made_pieces import make\n"
        "pieces = (make(n % 9, 1, wait_s=0.05) for n in range(10**6))\n"
        f"folder = epath.Path({str(tmp_path / 'new')!r})\n"
        "for _ in encode_in_processes(pieces, 2, folder, lambda count: None):\n"
        "    print('.', flush=True)\n"
    )
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        cwd=root,
        env={**os.environ, "PYTHONPATH": f"{root}:{root / 'tests'}"},
        start_new_session=True,
    )
    process.stdout.readline()
    process.kill()
    process.communicate()
    wait_for_end(process.pid)
