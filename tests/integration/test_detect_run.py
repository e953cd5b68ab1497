"""A trained run marks a video as its evaluation scores it: real model, real files."""

import numpy as np
import pytest

import ipad_jax
from ipad_jax.commands import detect
from ipad_jax.input.live import open_video
from ipad_jax.input.split import whole_videos
from ipad_jax.video.detector.calibration_files import open_split
from ipad_jax.video.detector.predictor import score_segments


@pytest.mark.slow
def test_detection_equals_evaluation(run):
    workdir, video = run
    detector = ipad_jax.load_detector(workdir)
    source = open_split(detector.config, "test")
    names = [v.name for v in source.videos]
    segments = [whole_videos(source.videos)[names.index("square-b")]]
    table = score_segments(detector.predictor, 2, detector.config, source, segments)
    size = detector.config.eval.batch_size
    rows = list(detector.stream((f for _, f in open_video(video)), batch_size=size))
    assert len(rows) == len(table)
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
    assert "Alarm above" in capsys.readouterr().out
    data = workdir.parent / "data"
    data.rename(workdir.parent / "elsewhere")
    try:
        assert detect.main([*arguments, "--out", str(tmp_path / "second")]) == 0
        with pytest.raises(FileNotFoundError, match="no calibration of checkpoint 2 at stride 3"):
            detect.main([*arguments, "--stride", "3"])  # which no test of this run evaluates at
    finally:
        (workdir.parent / "elsewhere").rename(data)
    first, second = ((tmp_path / n / "scores.csv").read_bytes() for n in ("first", "second"))
    assert first == second
