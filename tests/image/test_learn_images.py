"""Thresholds after training and learning from marks, through the commands a person types."""

import csv
import dataclasses
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from drawn_images import spot, stripes, trained, write

from ipad_jax.image.detector import Detector, load
from ipad_jax.image.evaluation import evaluate
from ipad_jax.main import main

pytestmark = pytest.mark.slow  # trains


@pytest.fixture
def run(bank_run, tmp_path):
    """A copy of a run of the bank, and images of a day: good ones, a good kind that is new, two faults."""
    folder = shutil.copytree(bank_run, tmp_path / "run")
    day(tmp_path / "day")
    return folder


def day(folder):
    for number in range(8):
        write(folder / f"good{number}.png", stripes(300 + number))
    write(folder / "new.png", new_kind(0))
    write(folder / "spot0.png", spot(400)[0])
    write(folder / "spot1.png", spot(401)[0])


def new_kind(number):
    """Good, but of stripes that lie the other way."""
    return np.ascontiguousarray(stripes(500 + number)[:, ::-1])


def judged(run, images):
    """Score and alarm of each image, as results.csv has them."""
    assert (
        main(["detect", "--workdir", str(run), "--images", str(images), "--no-side-by-side"]) == 0
    )
    return results(run, images)


def results(run, images):
    """What the last `judged` of these images found."""
    with (run / "detect" / images.name / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {row["image"]: (float(row["score"]), row["alarm"] == "1") for row in rows}


def mark(run, images, **marks):
    """Marks images that were judged, by their names."""
    names = list(results(run, images))
    words = [f"{names.index(f'{name}.png') + 1}={what}" for name, what in marks.items()]
    assert main(["review", "--workdir", str(run), "--events", str(run / "detect" / images.name), "--mark",
                 *words]) == 0  # fmt: skip


def test_good_images_of_another_day_set_the_threshold(run, tmp_path, capsys):
    before = load(run)
    for number in range(20):
        write(tmp_path / "other" / f"{number}.png", new_kind(number))
    assert main(["calibrate", "--workdir", str(run), "--images", str(tmp_path / "other")]) == 0
    assert (
        "at that, 20 of the 20 images added would have raised an alarm" in capsys.readouterr().out
    )
    after = load(run)
    assert after.threshold > before.threshold
    assert after.bound < before.bound  # of more images
    assert load(run, calibration="held_out").threshold == before.threshold
    assert main(["calibrate", "--workdir", str(run), "--images", str(tmp_path / "other")]) == 1
    assert "already" in capsys.readouterr().err
    assert main(["evaluate", "--workdir", str(run), "--no-report"]) == 0
    metrics = json.loads((run / "eval/test/metrics.json").read_text())
    assert metrics["threshold"] == after.threshold


def test_images_whose_verdict_is_doubtful_are_named_and_not_counted(
    run, tmp_path, capsys, monkeypatch
):
    """As of an object whose pose is not found."""
    for number in range(3):
        write(tmp_path / "other" / f"{number}.png", stripes(600 + number))
    inspect, seen = Detector.inspect, []

    def doubting(self, image):
        seen.append(image)
        found = inspect(self, image)
        unsure = SimpleNamespace(note="pose uncertain") if len(seen) in (2, 4) else None
        return dataclasses.replace(found, score=1e6 if unsure else found.score, found=unsure)

    monkeypatch.setattr(Detector, "inspect", doubting)
    words = ["calibrate", "--workdir", str(run), "--images", str(tmp_path / "other")]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "not counted, since the verdict cannot be trusted: 1.png (pose uncertain)" in out
    after = load(run)
    assert len(after.calibration.scores) == 2
    assert after.threshold < 1e6
    assert "Not counted: 1 of 3 images" in after.threshold_statement()
    assert main(words) == 1  # the others are known
    assert "no new image can be counted: 1.png (pose uncertain)" in capsys.readouterr().err


def test_a_wish_is_in_force_until_the_next(run):
    strict = load(run).threshold
    assert (
        main(["calibrate", "--workdir", str(run), "--false-alarms", "50%", "--name", "half"]) == 0
    )
    loose = load(run)
    assert loose.threshold < strict
    assert loose.calibration.alpha == 0.5
    assert main(["calibrate", "--workdir", str(run), "--false-alarms", "5%", "--name", "few"]) == 0
    assert load(run).threshold == strict
    assert load(run, calibration="half").threshold == loose.threshold


def test_the_bank_takes_in_what_is_marked_normal(run, tmp_path, capsys):
    before = judged(run, tmp_path / "day")
    assert before["new.png"][1]
    assert before["spot0.png"][1]
    mark(run, tmp_path / "day", new="normal", spot0="fault")
    rows = load(run).scorer.arrays["rows"]
    assert main(["learn", "--workdir", str(run)]) == 0
    assert "1 of 1 images marked fault are alarms" in capsys.readouterr().out
    after = judged(run, tmp_path / "day")
    assert not after["new.png"][1]
    assert after["new.png"][0] < before["new.png"][0]  # its features are normal now
    assert after["spot0.png"][1]
    assert after["spot1.png"][1]
    learnt = load(run).scorer.arrays["rows"]
    assert len(learnt) == len(rows)  # the budget
    write(tmp_path / "more/next.png", new_kind(1))
    assert judged(run, tmp_path / "more")["next.png"][0] < before["new.png"][0]  # and those like it
    assert main(["learn", "--workdir", str(run), "--undo"]) == 0
    assert judged(run, tmp_path / "day") == before
    assert np.array_equal(load(run).scorer.arrays["rows"], rows)


def test_a_method_without_update_raises_its_threshold(pca_run, tmp_path, capsys):
    run = shutil.copytree(pca_run, tmp_path / "run")
    day(tmp_path / "day")
    before = judged(run, tmp_path / "day")
    least, most = sorted(("new.png", "spot0.png"), key=lambda name: before[name][0])
    normal, fault = (name.removesuffix(".png") for name in (least, most))
    mark(run, tmp_path / "day", **{normal: "normal", fault: "fault"})
    assert main(["learn", "--workdir", str(run)]) == 0
    assert load(run).threshold == pytest.approx(before[least][0], rel=1e-5)  # six digits in the CSV
    after = judged(run, tmp_path / "day")
    assert not after[least][1]
    assert after[most][1]
    mark(
        run, tmp_path / "day", **{normal: "fault", fault: "normal"}
    )  # the weaker one a fault: lost
    capsys.readouterr()
    assert main(["learn", "--workdir", str(run)]) == 1
    assert "would raise no alarm any more" in capsys.readouterr().err
    assert judged(run, tmp_path / "day") == after  # nothing was written


def test_no_label_is_read_before_evaluate(pca_run, no_labels, monkeypatch):
    """Fit and threshold, which made the run, and detection never open the test split."""
    no_labels(monkeypatch)
    assert load(pca_run).inspect(spot(3)[0]).map.shape == (32, 40)


def test_a_method_that_trains_reads_no_label_either(drawn, no_labels, monkeypatch, tmp_path):
    """Nor do its losses on held-out images: those are good ones of training."""
    no_labels(monkeypatch)
    leaves = {"total_steps": 4, "eval_every": 2, "num_devices": 1}
    run = trained("autoencoder:tiny", drawn, tmp_path / "run", **leaves)
    assert load(run).threshold > 0
    assert load(run).inspect(spot(3)[0]).map.shape == (32, 40)
    with pytest.raises(AssertionError, match="labels are read"):
        evaluate(run)  # which alone needs them


def test_a_marked_image_must_be_the_one_that_was_marked(run, tmp_path, capsys):
    judged(run, tmp_path / "day")
    mark(run, tmp_path / "day", new="normal")
    write(tmp_path / "day/new.png", spot(7)[0])
    assert main(["learn", "--workdir", str(run)]) == 1
    assert "another image than the one that was marked" in capsys.readouterr().err
    (tmp_path / "day/new.png").unlink()
    assert main(["learn", "--workdir", str(run)]) == 1
    assert "no longer there" in capsys.readouterr().err
    assert not (run / "calibrations").exists()


def test_learning_needs_no_dataset(run, tmp_path, monkeypatch, capsys):
    """On the machine in the factory the old scores stay, and the output says so."""

    def gone(*_):
        raise FileNotFoundError("no dataset")

    judged(run, tmp_path / "day")
    mark(run, tmp_path / "day", new="normal")
    monkeypatch.setattr("ipad_jax.image.task.open_images", gone)
    assert main(["learn", "--workdir", str(run)]) == 0
    assert "are not here" in capsys.readouterr().out
    assert not judged(run, tmp_path / "day")["new.png"][1]
