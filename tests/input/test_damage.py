"""A dataset whose files were cut, changed or lost, and workers that die: one error that says where."""

import itertools
import multiprocessing
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from process_group import wait_for_end

from ipad_jax.input.clips import train_batches
from ipad_jax.input.frames import open_source
from ipad_jax.input.split import whole_videos

REPAIR = "Copy it again .* or prepare the dataset again with --overwrite"


@pytest.fixture
def copy(dataset, tmp_path):
    """A copy of the dataset to damage."""
    return shutil.copytree(dataset, tmp_path / "factory" / "tiny_24x16_q95" / "1.0.0")


def shard(path):
    (file,) = path.glob("*-train.array_record*")
    return file


def read_all(path):
    source = open_source(path, "train")
    return [source.frames(v, range(video.length)) for v, video in enumerate(source.videos)]


def batches(source, num_workers=0):
    arguments = {"clip_len": 16, "batch_size": 4, "seed": 0, "num_workers": num_workers}
    return train_batches(source, whole_videos(source.videos), **arguments)


@pytest.mark.parametrize("damage", ["cut", "cut to nothing", "longer", "gone"])
def test_a_shard_of_another_length_is_named_when_it_is_opened(copy, damage):
    file = shard(copy)
    content = file.read_bytes()
    changed = {
        "cut": content[: len(content) * 2 // 3],
        "cut to nothing": b"",
        "longer": content + b"x" * 100,
    }
    file.unlink()
    if damage != "gone":
        file.write_bytes(changed[damage])
    with pytest.raises(OSError, match=rf"{file} cannot be read: .*\. {REPAIR}"):
        open_source(copy, "train")


def test_no_flipped_bit_is_read_silently(copy):
    """ArrayRecord hashes each record; where a flip does no harm, it lies in the padding."""
    file = shard(copy)
    content, whole = file.read_bytes(), read_all(copy)
    rng = np.random.default_rng(0)
    told = 0
    for place in rng.integers(len(content), size=40).tolist():
        changed = bytearray(content)
        changed[place] ^= 1 << int(rng.integers(8))
        file.write_bytes(changed)
        try:
            frames = read_all(copy)
        except OSError:
            told += 1
        else:
            for before, after in zip(whole, frames):
                np.testing.assert_array_equal(before, after)
    assert told > 10


def test_zeros_in_a_shard_name_the_frame(copy):
    file = shard(copy)
    content = file.read_bytes()
    file.write_bytes(content[:30_000] + bytes(64) + content[30_064:])
    source = open_source(copy, "train")
    said = rf"{file}: video '(\d+)', frame (\d+) cannot be read: .*hash mismatch.*{REPAIR}"
    with pytest.raises(OSError, match=said) as error:
        source.column("label")
    video, frame = (int(number) for number in re.match(said, str(error.value)).groups())
    assert len(source.frames(video - 1, range(frame))) == frame  # what comes before is whole
    for read in (
        lambda: source.frames(video - 1, range(frame + 1)),
        lambda: source.clip(video - 1, frame, 1),
        lambda: list(itertools.islice(batches(source), 50)),
    ):
        with pytest.raises(OSError, match=rf"video '0{video}', frame {frame} cannot be read"):
            read()


@pytest.mark.parametrize("name", ["dataset_info.json", "metadata.json", "features.json"])
@pytest.mark.parametrize("damage", ["cut", "empty", "gone"])
def test_a_damaged_description_is_named(copy, name, damage):
    file = copy / name
    content = file.read_bytes()
    file.unlink()
    if damage != "gone":
        file.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    elif name == "dataset_info.json":  # without it there is no dataset
        with pytest.raises(FileNotFoundError, match="No prepared dataset at"):
            open_source(copy, "train")
        return
    with pytest.raises(OSError, match=rf"{name}.* in {copy} is missing or damaged .*{REPAIR}"):
        open_source(copy, "train")


@pytest.mark.slow
def test_a_worker_hands_on_what_it_died_of(copy):
    file = shard(copy)
    content = bytearray(file.read_bytes())
    content[2000] ^= 1
    file.write_bytes(content)
    with pytest.raises(OSError, match=rf"{file}: video '01', frame \d+ cannot be read"):
        list(itertools.islice(batches(open_source(copy, "train"), num_workers=1), 50))


KILLED = """
import os, signal, sys
from absl import flags
from ipad_jax.input.clips import train_batches
from ipad_jax.input.frames import open_source
from ipad_jax.input.split import whole_videos

if __name__ == "__main__":  # not in the worker
    flags.FLAGS(["test"])
    source = open_source(sys.argv[1], "train")
    next(train_batches(source, whole_videos(source.videos), clip_len=16, batch_size=4, seed=0, num_workers=1))
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_no_worker_outlives_a_trainer_that_is_killed(dataset, tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    command = [sys.executable, str(script), str(dataset)]
    process = subprocess.Popen(command, start_new_session=True)
    assert process.wait() == -signal.SIGKILL
    wait_for_end(process.pid)


@pytest.mark.slow
def test_a_worker_that_is_killed_is_an_error_and_no_hang(dataset):
    iterator = batches(open_source(dataset, "train"), num_workers=1)
    next(iterator)
    (worker,) = multiprocessing.active_children()
    worker.kill()
    with pytest.raises(ChildProcessError, match=r"code -9.*lower config\.num_workers=1"):
        list(itertools.islice(iterator, 100))
