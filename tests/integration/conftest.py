"""One trained run of a drawn video, shared by the tests of what comes after training."""

import numpy as np
import pytest
from footage import write_square

from ipad_jax.commands import prepare
from ipad_jax.run.config import load_config
from ipad_jax.training.loop import train

NUM_FRAMES = 61


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """(workdir, faulty video) of a run with two steps of training."""
    root = tmp_path_factory.mktemp("detect_run")
    write_square(root / "in" / "train" / "normal" / "long.avi", 200)
    write_square(root / "in" / "test" / "normal" / "a.avi", NUM_FRAMES)
    video = write_square(root / "in" / "test" / "square" / "b.avi", NUM_FRAMES, range(20, 40))
    np.save(
        video.with_suffix(".npy"), np.isin(np.arange(NUM_FRAMES), range(20, 40)).astype(np.int8)
    )
    arguments = ["--name", "square", "--source", str(root / "in"), "--size", "32"]
    assert prepare.main(["video_folder", *arguments, "--data-dir", str(root / "data")]) == 0
    overrides = {"total_steps": 2, "eval_every": 0, "num_devices": 1}
    data = {"data.name": "square", "data.data_dir": str(root / "data")}
    train(load_config("video_folder:tiny", overrides | data), root / "run")
    return root / "run", video
