"""A trained run marks a video as its evaluation scores it: real model, real files."""

import cv2
import numpy as np
import pytest

import ipad_jax
from ipad_jax import detect, prepare
from ipad_jax.calibrate import open_split
from ipad_jax.config import load_config
from ipad_jax.input.split import whole_videos
from ipad_jax.input.video_file import open_video
from ipad_jax.predict import predict_segments
from ipad_jax.train import train

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


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(workdir, faulty video) of a run with two steps of training."""
    root = tmp_path_factory.mktemp("detect_run")
    write_square(root / "in" / "train" / "normal" / "long.avi", 200)
    video = write_square(root / "in" / "test" / "square" / "b.avi", NUM_FRAMES, range(20, 40))
    arguments = ["--name", "square", "--source", str(root / "in"), "--size", "32"]
    assert prepare.main(["video_folder", *arguments, "--data-dir", str(root / "data")]) == 0
    overrides = {"total_steps": 2, "eval_every": 0, "num_devices": 1}
    data = {"data.scene": "square", "data.data_dir": str(root / "data")}
    train(load_config("video_folder:tiny", overrides | data), root / "run")
    return root / "run", video


@pytest.mark.slow
def test_detection_equals_evaluation(run):
    workdir, video = run
    detector = ipad_jax.load_detector(workdir)
    source = open_split(detector.config, "test")
    table = predict_segments(
        detector.predictor, detector.config, source, whole_videos(source.videos)
    )
    size = detector.config.eval.batch_size
    rows = list(detector.stream((f for _, f in open_video(video)), batch_size=size))
    assert len(rows) == NUM_FRAMES
    for name, column in table.components.items():
        found = np.array([row.components[name] for row in rows], np.float32)
        np.testing.assert_array_equal(found, column, err_msg=name)
    # Another batch size or program (pictures) adds floats in another order: a few units in the last
    # place of a PSNR near 20 dB.
    for arguments in ({"batch_size": 1}, {"batch_size": size, "pictures": True}):
        others = detector.stream((f for _, f in open_video(video)), **arguments)
        np.testing.assert_allclose(
            [row.components["psnr_mean"] for row in others],
            table.components["psnr_mean"],
            atol=1e-4,
        )


@pytest.mark.slow
def test_the_command_needs_the_dataset_only_once(run, tmp_path, capsys):
    workdir, video = run
    arguments = ["--workdir", str(workdir), "--video", str(video), "--no-side-by-side"]
    assert detect.main([*arguments, "--out", str(tmp_path / "first")]) == 0
    assert "Threshold" in capsys.readouterr().out
    data = workdir.parent / "data"
    data.rename(workdir.parent / "elsewhere")
    try:
        assert detect.main([*arguments, "--out", str(tmp_path / "second")]) == 0
        with pytest.raises(FileNotFoundError, match="of another checkpoint, stride"):
            detect.main([*arguments, "--stride", "1"])
    finally:
        (workdir.parent / "elsewhere").rename(data)
    first, second = ((tmp_path / n / "scores.csv").read_bytes() for n in ("first", "second"))
    assert first == second
