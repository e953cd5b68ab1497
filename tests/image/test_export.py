"""An exported file gives the run's maps and scores, or is not written."""

import csv
import hashlib
import json
import subprocess
import sys

import jax
import numpy as np
import onnx
import pytest
from drawn_images import deepen, spot, stripes, trained, write
from jax import export as jax_export

from ipad_jax.commands import detect
from ipad_jax.commands import export as command
from ipad_jax.commands.parsing import UsageError
from ipad_jax.image import export as exporting
from ipad_jax.image.detector import load
from ipad_jax.image.exported import ExportedDetector
from ipad_jax.image.views import Views
from ipad_jax.run.graph_file import write_graph


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


@pytest.fixture(scope="module")
def mean_run(drawn, tmp_path_factory):
    """A method with steps whose score is its map's mean."""
    leaves = {"total_steps": 2, "model.score": "mean"}
    return trained("autoencoder:tiny", drawn, tmp_path_factory.mktemp("mean_run"), **leaves)


@pytest.mark.slow
@pytest.mark.parametrize(("run", "score"), [("pca_run", "max"), ("mean_run", "mean")])
def test_the_json_says_how_a_method_reduces_its_map(request, tmp_path, run, score):
    """Fitted or trained: score and alarm of the file are the run's, though it never sees `task.reduce`."""
    folder = request.getfixturevalue(run)
    found = exporting.export(folder, "stablehlo", folder=tmp_path)
    assert found.difference <= exporting.BOUND
    detector, file = load(folder), ExportedDetector(found.path)
    assert file.facts["score"] == score
    for image in (spot(11)[0], stripes(300, (48, 40))):
        ours, its = detector.inspect(image), file.inspect(image)
        assert its.score == pytest.approx(detector.scorer.task.reduce(its.map), rel=1e-6)
        assert its.score == pytest.approx(ours.score, abs=exporting.BOUND * float(ours.map.max()))
        assert its.alarm == ours.alarm


def brightness(views):
    """An ONNX file of the brightest channel of each pixel of its pictures, as maps."""
    shape = (views.tiles**2, views.height, views.width)
    nodes = [
        onnx.helper.make_node("Cast", ["pictures"], ["numbers"], to=onnx.TensorProto.FLOAT),
        onnx.helper.make_node("ReduceMax", ["numbers", "axes"], ["maps"], keepdims=0),
    ]
    tensor = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "brightness",
        [tensor("pictures", onnx.TensorProto.UINT8, (*shape, 3))],
        [tensor("maps", onnx.TensorProto.FLOAT, shape)],
        [onnx.helper.make_tensor("axes", onnx.TensorProto.INT64, (1,), [3])],
    )
    imports = [onnx.helper.make_opsetid("", 18)]
    return onnx.helper.make_model(graph, opset_imports=imports, ir_version=10).SerializeToString()


def test_an_onnx_file_judges_images_where_jax_is_not_installed(tmp_path):
    """The command from end to end, in a process that cannot import JAX, against the same in numpy."""
    views = Views(64, 48, tiles=3)
    facts = {"picture": vars(views), "blur_px": 2.0, "score": "max", "heat": (0.0, 255.0)}
    facts |= {"threshold": 220.0, "threshold_statement": "by hand", "bit_depth": 12}
    file = write_graph(tmp_path / "export", "onnx", brightness(views), facts)
    for number in range(2):
        write(tmp_path / "day" / f"good{number}.png", stripes(300 + number))
        write(tmp_path / "day" / f"spot{number}.png", spot(number)[0])
    deepen(tmp_path / "day/spot1.png")
    code = "import sys; sys.modules |= dict.fromkeys(('jax', 'jaxlib', 'flax')); "
    code += "from ipad_jax.main import main; sys.exit(main(sys.argv[1:]))"
    words = ["detect", "--model", file, "--images", tmp_path / "day", "--fail-on-alarm"]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True
    )
    assert done.returncode == detect.ALARM, done.stderr
    results = tmp_path / "export/detect/day"
    with (results / "results.csv").open(newline="") as table:
        rows = {row["image"]: row for row in csv.DictReader(table)}
    assert [name for name, row in rows.items() if int(row["alarm"])] == ["spot0.png", "spot1.png"]
    for number, name in enumerate(rows):
        image = spot(number % 2)[0] if "spot" in name else stripes(300 + number)
        maps = views.cut(image).max(-1).astype(np.float32)
        wanted = views.join(maps, image.shape[:2], 2.0)
        assert float(rows[name]["score"]) == pytest.approx(wanted.max(), rel=1e-5)
        assert (results / "overlays" / f"{name}.jpg").exists()


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
