"""An exported file gives the run's maps and scores, or is not written."""

import csv
import hashlib
import json
import subprocess
import sys

import jax
import numpy as np
import pytest
from drawn_images import spot, stripes, write
from jax import export as jax_export

from ipad_jax.commands import detect
from ipad_jax.commands import export as command
from ipad_jax.commands.parsing import UsageError
from ipad_jax.image import export as exporting
from ipad_jax.image.detector import load


@pytest.mark.slow
def test_the_file_alone_gives_the_maps_of_a_new_image(bank_run, tmp_path, capsys):
    words = ["--workdir", str(bank_run), "--out", str(tmp_path)]
    assert command.main(words) == 0
    assert "good images its scores differ" in capsys.readouterr().out
    data = (tmp_path / "model.stablehlo").read_bytes()
    facts = json.loads((tmp_path / "model.stablehlo.json").read_text())
    detector = load(bank_run)
    assert facts["sha256"] == hashlib.sha256(data).hexdigest()
    assert facts["threshold"] == detector.threshold
    assert facts["checked_images"] == len(detector.scorer.task.indices[1])
    image, views = spot(11)[0], detector.scorer.task.views
    (maps,) = jax.jit(jax_export.deserialize(bytearray(data)).call)(views.cut(image))
    joined = views.join(np.asarray(maps), image.shape[:2], facts["blur_px"])
    found = detector.inspect(image)
    assert abs(joined.max() - found.score) <= facts["bound"] * found.map.max()
    assert (joined.max() > facts["threshold"]) == found.alarm


@pytest.mark.slow
def test_a_file_judges_images_as_its_run_does(bank_run, tmp_path):
    """`detect --model`, where no run folder is at hand."""
    exporting.export(bank_run, "stablehlo", folder=tmp_path / "model")
    for number in range(2):
        write(tmp_path / "day" / f"spot{number}.png", spot(number)[0])
        write(tmp_path / "day" / f"good{number}.png", stripes(300 + number))
    file = tmp_path / "model/model.stablehlo"
    words = ["--images", str(tmp_path / "day"), "--fail-on-alarm", "--out"]
    assert detect.main(["--model", str(file), *words, str(tmp_path / "a")]) == detect.ALARM
    assert detect.main(["--workdir", str(bank_run), *words, str(tmp_path / "b")]) == detect.ALARM
    by_file, by_run = (csv.DictReader((tmp_path / x / "results.csv").open()) for x in "ab")
    for one, two in zip(by_file, by_run, strict=True):
        assert [one[n] for n in ("image", "alarm", "threshold", "x", "y")] == [
            two[n] for n in ("image", "alarm", "threshold", "x", "y")
        ]
        assert float(one["score"]) == pytest.approx(float(two["score"]), rel=exporting.BOUND)
    overlay = "overlays/spot0.png.jpg"
    assert (tmp_path / "a" / overlay).read_bytes() == (tmp_path / "b" / overlay).read_bytes()
    with pytest.raises(UsageError, match="--false-alarms is for --workdir"):
        detect.main(["--model", str(file), *words, "c", "--false-alarms", "1%"])
    file.write_bytes(file.read_bytes() + b"0")
    with pytest.raises(ValueError, match="belongs to another"):
        detect.main(["--model", str(file), *words, str(tmp_path / "c")])


def test_an_exported_file_is_read_without_jax():
    """ONNX by onnxruntime alone: on the machine in the factory JAX need not be installed."""
    code = "import sys, ipad_jax.image.exported, ipad_jax.image.record, ipad_jax.commands.detect as d; "
    code += "sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [lambda maps: maps * 1.001, lambda maps: maps * np.nan])
def test_a_file_that_gives_something_else_is_not_written(bank_run, tmp_path, monkeypatch, wrong):
    run = exporting.RUNNERS["stablehlo"]

    def run_wrong(data):
        return lambda pictures: tuple(wrong(maps) for maps in run(data)(pictures))

    monkeypatch.setitem(exporting.RUNNERS, "stablehlo", run_wrong)
    with pytest.raises(ValueError, match="scores differ from the run's"):
        exporting.export(bank_run, "stablehlo", folder=tmp_path)
    assert not list(tmp_path.iterdir())


# jax2onnx registers its operations under JAX's deprecation warnings, and leaves out those that raise
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_onnx_gives_the_same(bank_run, tmp_path):
    pytest.importorskip("jax2onnx", reason="the extra `export` is not installed")
    pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    found = exporting.export(bank_run, "onnx", folder=tmp_path)
    assert found.difference <= exporting.BOUND
    assert found.num_bytes == (tmp_path / "model.onnx").stat().st_size


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "package"), [("onnx", "jax2onnx"), ("stablehlo", "flatbuffers")])
def test_what_is_missing_is_named(bank_run, monkeypatch, kind, package):
    monkeypatch.setitem(sys.modules, package, None)  # as if not installed
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'ipad_jax\[export\]'"):
        exporting.export(bank_run, kind)
