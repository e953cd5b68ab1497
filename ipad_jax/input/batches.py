"""Endless shuffled batches with random access by step.

The batch of a step depends on the seed and the step alone, so resuming needs no iterator state, and any
number of workers gives the same batches (grain iterator state saved with one number of workers resumes
silently wrong with another).
"""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator

import grain
import numpy as np

Batch = dict[str, np.ndarray]

_NUM_STEPS = 2**40  # "for ever": grain wants a length
_THREADS = 4  # readers a process; decoding releases the interpreter lock
_PREFETCH = 4  # batches ready ahead in a process


def endless_batches(
    read: Callable[[np.ndarray], Batch],
    num_examples: int,
    *,
    batch_size: int,
    seed: int,
    first_step: int = 1,
    num_workers: int = 0,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[Batch]:
    """Shuffled batches without end; one pass over all examples is an epoch.

    Args:
      read: reads examples by their indices, int64 [n]; must pickle where there are workers.
      num_examples: of an epoch.
      batch_size: examples of a global batch, over all processes.
      seed: fixes the order; each epoch has its own.
      first_step: step of the first batch, counted from 1: a run resumed after step n passes n + 1.
      num_workers: processes that read ahead; 0 uses threads of this one.
      process_index: which contiguous block of every global batch's rows to read.
      process_count: number of such blocks.

    Raises:
      ValueError: a size, step or process number that cannot be.
      ChildProcessError: while iterating, when a worker was killed.
      OSError: while iterating, when a file of the dataset cannot be read.
    """
    if batch_size < 1 or batch_size % process_count:
        raise ValueError(
            f"batch_size={batch_size} must be a positive multiple of the {process_count} processes."
        )
    if not 0 <= process_index < process_count:
        raise ValueError(f"process_index={process_index} must be in 0..{process_count - 1}.")
    if first_step < 1:
        raise ValueError(f"first_step={first_step} must be at least 1: steps are counted from 1.")
    batches = _Batches(read, num_examples, batch_size, seed, process_index, process_count)
    return _iterate(batches, first_step, num_workers)


def spread_batches(
    count: int, batch_size: int, most: int, process_index: int, process_count: int
) -> list[np.ndarray]:
    """Whole batches of `count` examples, evenly spread, the same ones every time; rows of this process.

    Returns:
      At most `most` arrays of example numbers, int64 [batch_size / process_count] each; none of no example.
    """
    if not count:
        return []
    wanted = min(most, max(1, count // batch_size)) * batch_size
    rows = np.linspace(0, count - 1, wanted).round().astype(int)
    local = batch_size // process_count
    first = process_index * local
    return [rows[s + first : s + first + local] for s in range(0, wanted, batch_size)]


def _iterate(batches: "_Batches", first_step: int, num_workers: int) -> Iterator[Batch]:
    """Reads ahead by threads or workers, and takes them down when the consumer stops."""
    options = grain.ReadOptions(num_threads=_THREADS, prefetch_buffer_size=_PREFETCH)
    dataset = grain.MapDataset.source(batches)[first_step - 1 :].to_iter_dataset(options)
    if num_workers:
        options = grain.MultiprocessingOptions(num_workers=num_workers)
        dataset = dataset.mp_prefetch(options, worker_init_fn=_end_with_parent)
    iterator = iter(dataset)
    try:
        yield from iterator
    except RuntimeError as error:
        if "Worker process was terminated" not in str(error):
            raise
        raise ChildProcessError(
            f"a process that reads the data died ({error}). Most often memory ran out: lower "
            f"config.num_workers={num_workers}. The same command goes on from the last checkpoint."
        ) from error
    finally:
        iterator.close()


def _end_with_parent(*_: int) -> None:
    """Lets a worker end when the trainer is killed; grain's own would wait for it for ever."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class _Batches:
    """Random access: index s - 1 is this process's rows of the global batch of step s."""

    def __init__(
        self,
        read: Callable[[np.ndarray], Batch],
        num_examples: int,
        batch_size: int,
        seed: int,
        process_index: int,
        process_count: int,
    ):
        self.read = read
        self.batch_size = batch_size
        self.rows = batch_size // process_count
        self.offset = process_index * self.rows
        # grain's epoch e uses seed + e: unhashed, run seed 1 would be run seed 0 one epoch later.
        hashed = int(np.random.SeedSequence(seed).generate_state(1)[0])
        self.order = grain.MapDataset.range(num_examples).shuffle(seed=hashed).repeat()

    def __len__(self) -> int:
        return _NUM_STEPS

    def __getitem__(self, index: int) -> Batch:
        first = index * self.batch_size + self.offset
        return self.read(np.array([self.order[first + row] for row in range(self.rows)], np.int64))
