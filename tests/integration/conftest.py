"""One trained run of a drawn video, shared by the tests of what comes after training."""

import cv2
import numpy as np
import pytest

from ipad_jax.commands import prepare
from ipad_jax.run.config import load_config
from ipad_jax.training.loop import train

NUM_FRAMES = 61


def write_square(path, num_frames, fault=range(0)):
    """A white square that moves to and fro; a second one stands where there is a fault."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (64, 48))
    for i in range(num_frames):
        picture = np.full((48, 64, 3), 60, np.uint8)
        left = abs(i % 40 - 20) * 2
        picture[10:26, left : left + 16] = 255
        if i in fault:
            picture[34:46, 40:60] = (0, 0, 255)
        writer.write(picture)
    writer.release()
    return path


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
