"""Another rate of false alarms from saved scores: the table, what is saved, and what is then in force."""

import json

import pytest
from fake_detector import FakePredictor, frames, save_line, write_avi

from ipad_jax.input.live import open_video
from ipad_jax.main import main
from ipad_jax.video.detector.calibration_files import calibration_in_force
from ipad_jax.video.detector.detector import Detector, Footage
from ipad_jax.video.detector.fresh_calibration import calibrate_on, with_wish
from ipad_jax.video.detector.other_wish import take_wish, wish_table

STEP = 7


@pytest.fixture
def run(tmp_path):
    """(run folder with a calibration on footage of its own, its config)."""
    config = save_line(tmp_path)
    checkpoint = tmp_path / "checkpoints" / str(STEP)
    checkpoint.mkdir(parents=True)
    (checkpoint / "digests.json").write_text("{}")
    detector = Detector(FakePredictor(), config, Footage(10.0, None), step=STEP)
    video = open_video(write_avi(tmp_path / "monday.avi", frames(300, 1)))
    calibrate_on(tmp_path, detector, [video], name="fresh", config=config)
    return tmp_path, config


def test_what_the_table_shows_is_what_is_saved_and_used(run):
    workdir, config = run
    table = wish_table(workdir, config)
    assert table["calibration"] == "fresh"
    row = next(row for row in table["wishes"] if row["per_hour"] == 10.0)
    _, saved = take_wish(workdir, with_wish(config, 10.0), name="chosen")
    assert saved.threshold == row["threshold"]
    used = calibration_in_force(workdir, config, STEP)
    assert used is not None
    assert (used.threshold, used.wish.false_alarms_per_hour) == (row["threshold"], 10.0)
    assert used.basis == calibration_in_force(workdir, config, STEP, "fresh").basis
    assert wish_table(workdir, config)["calibration"] == "chosen"


def test_more_false_alarms_never_mean_a_higher_threshold(run):
    workdir, config = run
    table = wish_table(workdir, config)
    thresholds = [row["threshold"] for row in table["wishes"]]
    assert thresholds == sorted(thresholds, reverse=True)
    above = [row["above"] for row in table["wishes"]]
    assert above == sorted(above)
    assert max(above) <= len(table["normal"])
    assert table["faults"] == []  # nothing was evaluated


def test_the_command_saves_it_and_changes_nothing_else(run, capsys):
    workdir, _ = run
    before = {p: p.read_bytes() for p in workdir.rglob("*") if p.is_file()}
    out = workdir / "table.json"
    assert main(["calibrate", "--workdir", str(workdir), "--table", str(out)]) == 0
    assert json.loads(out.read_text())["wishes"]
    words = ["calibrate", "--workdir", str(workdir), "--false-alarms-per-hour", "4/day"]
    assert main([*words, "--name", "fresh"]) == 1
    assert "take another --name" in capsys.readouterr().err
    assert main([*words, "--name", "quiet"]) == 0
    assert "0.166667 false alarms an hour" in capsys.readouterr().out
    assert all(path.read_bytes() == content for path, content in before.items())


@pytest.mark.parametrize("words", [[], ["--table", "x.json", "--video", "x.mp4"]])
def test_arguments_that_make_no_sense(run, words, capsys):
    assert main(["calibrate", "--workdir", str(run[0]), *words]) == 2
    capsys.readouterr()


def test_a_run_without_scores_says_so(run):
    workdir, config = run
    for path in (workdir / "calibrations" / "fresh").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match="no scores of normal footage"):
        wish_table(workdir, config)
