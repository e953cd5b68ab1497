"""A run's network as one file gives the run's raw outputs for a clip, or is not written."""

import hashlib
import json

import cv2
import numpy as np
import pytest

from ipad_jax.commands import detect
from ipad_jax.commands import export as command
from ipad_jax.run.graph_file import RUNNERS, run_stablehlo
from ipad_jax.video.detector import export as exporting
from ipad_jax.video.detector.detector import load


@pytest.mark.slow
def test_the_file_alone_gives_the_outputs_of_a_new_clip(run, tmp_path, capsys):
    workdir, _ = run
    assert command.main(["--workdir", str(workdir), "--out", str(tmp_path)]) == 0
    assert "normal clips they differ" in capsys.readouterr().out
    data = (tmp_path / "model.stablehlo").read_bytes()
    facts = json.loads((tmp_path / "model.stablehlo.json").read_text())
    assert facts["sha256"] == hashlib.sha256(data).hexdigest()
    shape = (1, *(facts["clip"][side] for side in ("frames", "height", "width")), 3)
    clip = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    right = load(workdir).predictor.scores(clip)
    for name, found in zip(facts["outputs"], run_stablehlo(data)(clip), strict=True):
        np.testing.assert_allclose(found, right[name], rtol=facts["bound"])
    assert set(facts["outputs"]) >= {"mse", "pooled"}
    cv2.imwrite(str(tmp_path / "part.png"), clip[0, 0])
    with pytest.raises(ValueError, match="judges images"):
        detect.main(["--model", str(tmp_path / "model.stablehlo"), "--images", str(tmp_path)])


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [lambda found: found * 1.001, lambda found: found * np.nan])
def test_a_file_that_gives_something_else_is_not_written(run, tmp_path, monkeypatch, wrong):
    def run_wrong(data):
        right = run_stablehlo(data)
        return lambda clip: tuple(wrong(found) for found in right(clip))

    monkeypatch.setitem(RUNNERS, "stablehlo", run_wrong)
    with pytest.raises(ValueError, match="outputs differ from the run's"):
        exporting.export(run[0], "stablehlo", folder=tmp_path)
    assert not list(tmp_path.iterdir())
