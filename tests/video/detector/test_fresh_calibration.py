"""Calibrations on other footage: files add up and count once, the newest that fits is used."""

import json

import numpy as np
import pytest
from fake_detector import FakePredictor, faulty, frames, save_line, write_avi

from ipad_jax.commands.calibrate import hourly
from ipad_jax.commands.parsing import UsageError, false_alarm_rate
from ipad_jax.input.live import open_video
from ipad_jax.video.detector.calibration_files import HELD_OUT, calibration_in_force
from ipad_jax.video.detector.detector import Detector, Footage
from ipad_jax.video.detector.fresh_calibration import calibrate_on, with_wish

STEP = 7


@pytest.fixture
def run(tmp_path):
    """(run folder, its config, a detector without a calibration)."""
    config = save_line(tmp_path)
    return tmp_path, config, Detector(FakePredictor(), config, Footage(10.0, None), step=STEP)


def footage(folder, name, seed, count=300):
    return open_video(write_avi(folder / f"{name}.avi", frames(count, seed)))


def test_files_add_up_and_the_same_one_counts_once(run):
    workdir, config, detector = run
    monday, tuesday = (footage(workdir / "in", n, s) for n, s in (("mon", 1), ("tue", 2)))
    first = calibrate_on(workdir, detector, [monday], name="shift", config=config)
    assert first.calibration.basis.minutes == pytest.approx(0.5)
    assert first.before is None
    detector = Detector(FakePredictor(), config, detector.footage, first.calibration, step=STEP)
    both = calibrate_on(workdir, detector, [monday, tuesday], name="shift", config=config)
    assert both.known == ("mon",)
    assert both.calibration.basis.minutes == pytest.approx(1.0)
    assert both.calibration.minutes_needed <= first.calibration.minutes_needed * 1.5
    assert "there already: mon" in both.summary()
    assert f"above {first.calibration.threshold:.2f} for a frame" in both.summary()
    with pytest.raises(ValueError, match="all 1 files are in the calibration 'shift' already: mon"):
        calibrate_on(workdir, detector, [monday], name="shift", config=config)
    listed = json.loads((workdir / "calibrations" / "shift" / "footage.json").read_text())
    assert [entry["name"] for entry in listed] == ["mon", "tue"]


def test_what_the_old_thresholds_would_have_cost_is_counted(run):
    workdir, config, detector = run
    calm = calibrate_on(workdir, detector, [footage(workdir, "calm", 1)], name="a", config=config)
    detector = Detector(FakePredictor(), config, detector.footage, calm.calibration, step=STEP)
    # brighter than ever before, and normal: what the old calibration calls a fault
    bright = open_video(write_avi(workdir / "bright.avi", faulty(300, 100, 160)))
    found = calibrate_on(workdir, detector, [bright], name="b", config=config)
    assert found.old_alarms >= 1
    assert found.old_alarm_s == pytest.approx(6.0, abs=2.0)
    assert found.calibration.threshold > calm.calibration.threshold


def test_the_newest_that_fits_is_used_unless_one_is_named(run, monkeypatch):
    workdir, config, detector = run
    assert calibration_in_force(workdir, config, STEP) is None
    made = {
        name: calibrate_on(
            workdir, detector, [footage(workdir, name, seed)], name=name, config=config
        ).calibration
        for seed, name in enumerate(("old", "new"))
    }
    listed = workdir / "calibrations" / "old" / "footage.json"
    listed.write_text(
        listed.read_text().replace("20", "19", 1).replace('"added": "20', '"added": "19')
    )
    assert calibration_in_force(workdir, config, STEP) == made["new"]
    assert calibration_in_force(workdir, config, STEP, "old") == made["old"]
    assert calibration_in_force(workdir, config, STEP, HELD_OUT) is None
    # of another checkpoint: not used, and said where it was asked for by name
    assert calibration_in_force(workdir, config, STEP + 1) is None
    with pytest.raises(ValueError, match="checkpoint_step is 7, not 8"):
        calibration_in_force(workdir, config, STEP + 1, "new")
    with pytest.raises(ValueError, match="no calibration 'x' for checkpoint 7: there is no"):
        calibration_in_force(workdir, config, STEP, "x")
    # another wish is met from the same scores
    rare = calibration_in_force(workdir, with_wish(config, 0.1), STEP)
    assert rare.threshold > made["new"].threshold


def test_a_wish_at_calibration_stays_in_force(run):
    workdir, config, detector = run
    source = footage(workdir, "a", 1)
    rare = calibrate_on(workdir, detector, [source], name="a", config=with_wish(config, 0.5))
    assert calibration_in_force(workdir, config, STEP) == rare.calibration
    assert "at most 0.5 false alarms an hour" in rare.summary()


def test_another_checkpoint_does_not_extend_and_nothing_is_written(run):
    workdir, config, detector = run
    calibrate_on(workdir, detector, [footage(workdir, "a", 1)], name="a", config=config)
    before = {p.name: p.read_bytes() for p in (workdir / "calibrations" / "a").iterdir()}
    detector.step = STEP + 1
    with pytest.raises(ValueError, match="take another --name"):
        calibrate_on(workdir, detector, [footage(workdir, "b", 2)], name="a", config=config)
    short = footage(workdir, "short", 3, count=5)
    with pytest.raises(ValueError, match="fewer than a clip of 8"):
        calibrate_on(workdir, detector, [short], name="other", config=config)
    assert {p.name: p.read_bytes() for p in (workdir / "calibrations" / "a").iterdir()} == before
    assert not (workdir / "calibrations" / "other").exists()


def test_wishes_as_people_state_them():
    hours = {"2": 2.0, "1/shift": 1 / 8, "1/day": 1 / 24, "3/week": 3 / 168}
    for text, wanted in hours.items():
        assert hourly(false_alarm_rate(text), None) == pytest.approx(wanted)
    # 1,000 cycles of 3.6 s are an hour
    assert hourly(false_alarm_rate("1/1000cycles"), 3.6) == pytest.approx(1.0)
    assert hourly(false_alarm_rate("1/1,000cycles"), 3.6) == pytest.approx(1.0)
    with pytest.raises(UsageError, match="no known cycle"):
        hourly(false_alarm_rate("1/1000cycles"), None)
    for text in ("0", "-1", "x", "1/moon", "1/cycles", "inf"):
        with pytest.raises(Exception, match="give a number above 0 an hour"):
            false_alarm_rate(text)


def test_scores_are_those_of_detection(run):
    workdir, config, detector = run
    source = footage(workdir, "a", 1)
    calibration = calibrate_on(workdir, detector, [source], name="a", config=config).calibration
    marked = Detector(FakePredictor(), config, detector.footage, calibration, step=STEP)
    rows = list(marked.stream(frame for _, frame in open_video(workdir / "a.avi")))
    score = np.array([row.score for row in rows])
    assert (
        np.nanmax(score) <= calibration.threshold
    )  # a quarter of what it rests on cannot be above
    assert np.median(score) == pytest.approx(calibration.rule.level)
