"""The calibration files of a run: whose they are, when they still fit, and when they are made anew."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from ipad_jax.input.frames import Video
from ipad_jax.run.config import load_config, save_config
from ipad_jax.run.provenance import made_with
from ipad_jax.video.detector import calibration_files as module
from ipad_jax.video.detector.calibration_files import (
    calibration_made_with,
    calibration_of,
    fit_for,
    is_current,
    with_cycles,
)
from ipad_jax.video.evaluation.judge_run import override_eval
from ipad_jax.video.scores.frame_scores import PREDICTION_LEAVES, FrameScores

FILES = ("calibration.json", "calibration_scores.npz")


COMPONENTS = ("pooled_mean", "nearest", "motion", "fastest")


def table(config, step=20, cycle=-1):
    n = 300
    return FrameScores(
        video=np.repeat([0, 1], n // 2),
        frame=np.tile(np.arange(n // 2), 2),
        time_s=np.zeros(n),
        label=np.full(n, -1),
        kind=np.zeros(n),
        cycle=np.full(n, cycle),
        position=np.zeros(n),
        components=dict(zip(COMPONENTS, np.random.default_rng(0).random((len(COMPONENTS), n)))),
        video_names=("b", "a"),
        fps=(2.0, 2.0),
        made_with=made_with(config, PREDICTION_LEAVES, step),
    )


@pytest.fixture
def run(tmp_path, monkeypatch):
    """(workdir, config, calibrate, strides predicted so far); no model, no dataset."""
    config = load_config("video_folder:tiny")
    save_config(tmp_path, config)
    predicted = []

    def calibrate(workdir, config, step, name=""):
        def score(config, source, segments, progress):
            predicted.append(config.eval.stride)
            return table(config, step)

        return calibration_of(workdir, config, score, step, name=name)

    videos = (Video("a", 0, 150, 2.0, None), Video("b", 150, 150, 2.0, None))
    of = {"train": videos, "calibrate": ()}
    monkeypatch.setattr(module, "open_split", lambda _, split: SimpleNamespace(videos=of[split]))
    monkeypatch.setattr(module, "training_parts", lambda *_: ([], [None]))
    return tmp_path, config, calibrate, predicted


def contents(folder):
    return {name: (folder / name).read_bytes() for name in FILES}


def test_made_once_then_read(run):
    workdir, config, calibrate, predicted = run
    first = calibrate(workdir, config, 20)
    assert calibrate(workdir, config, 20) == first
    assert predicted == [2]
    assert FrameScores.load(workdir / FILES[1]).checkpoint_step == 20


def test_footage_of_another_day_takes_the_place_of_what_is_held_out(run, monkeypatch):
    workdir, config, calibrate, _ = run
    assert not calibrate(workdir, config, 20).basis.another_recording
    videos = (Video("a", 0, 150, 2.0, None), Video("b", 150, 150, 2.0, None))
    monkeypatch.setattr(module, "open_split", lambda *_: SimpleNamespace(videos=videos))
    monkeypatch.setattr(module, "training_parts", lambda *_: pytest.fail("nothing is held out"))
    found = calibrate(workdir, config, 30)
    assert found.basis.another_recording
    assert found.basis.files == ("calibrate/b", "calibrate/a")
    # also where it is fitted again from its scores
    again = calibrate(workdir, override_eval(config, {"false_alarms_per_hour": 9.0}), 30)
    assert again.basis.another_recording


def test_an_overridden_evaluation_keeps_its_files_to_itself(run):
    workdir, config, calibrate, predicted = run
    calibrate(workdir, config, 20)
    own = contents(workdir)
    changed = override_eval(config, {"stride": 1})
    other = calibrate(workdir, changed, 20, name="fine")
    assert other.stride == 1
    assert predicted == [2, 1]
    assert contents(workdir) == own
    assert calibrate(workdir, changed, 20, name="fine") == other
    assert predicted == [2, 1]
    assert contents(workdir / "eval" / "fine").keys() == set(FILES)


def test_another_wish_needs_no_new_scores(run):
    workdir, config, calibrate, predicted = run
    first = calibrate(workdir, config, 20)
    own = contents(workdir)
    other = calibrate(workdir, override_eval(config, {"false_alarms_per_hour": 100.0}), 20)
    assert other.threshold < first.threshold
    assert predicted == [2]
    assert contents(workdir) == own


def test_an_older_checkpoint_does_not_replace_the_newest_ones_calibration(run):
    workdir, config, calibrate, predicted = run
    calibrate(workdir, config, 20)
    own = contents(workdir)
    calibrate(workdir, config, 10)
    assert contents(workdir) == own
    calibrate(workdir, config, 30)
    assert is_current(workdir, calibration_made_with(config, 30))
    assert predicted == [2, 2, 2]


@pytest.mark.parametrize("damage", ["{", '{"format": 1}', None])
def test_a_damaged_calibration_is_made_anew_from_its_scores(run, damage):
    workdir, config, calibrate, predicted = run
    first = calibrate(workdir, config, 20)
    if damage is None:
        (workdir / FILES[0]).unlink()
    else:
        (workdir / FILES[0]).write_text(damage)
    assert not is_current(workdir, calibration_made_with(config, 20))
    assert calibrate(workdir, config, 20) == first
    assert is_current(workdir, calibration_made_with(config, 20))
    assert predicted == [2]


def test_one_of_another_format_is_not_current(run):
    workdir, config, calibrate, predicted = run
    calibrate(workdir, config, 20)
    content = json.loads((workdir / FILES[0]).read_text())
    (workdir / FILES[0]).write_text(json.dumps(content | {"format": content["format"] - 1}))
    assert not is_current(workdir, calibration_made_with(config, 20))
    (workdir / FILES[1]).write_bytes(b"PK")  # nor can the scores be read: all is made anew
    calibrate(workdir, config, 20)
    assert predicted == [2, 2]


def test_a_plain_file_among_the_evaluations_is_passed_over(run):
    workdir, config, calibrate, _ = run
    (workdir / "eval").mkdir()
    (workdir / "eval" / "notes.txt").write_text("mine")
    first = calibrate(workdir, config, 20)
    assert calibrate(workdir, config, 20) == first


def test_a_saved_table_is_only_scored_with_its_own_calibration(run, tmp_path):
    workdir, config, calibrate, _ = run
    assert fit_for(config, table(config), workdir) is None
    first = calibrate(workdir, config, 20)
    assert fit_for(config, table(config), tmp_path / "absent", workdir) == first
    fine = override_eval(config, {"stride": 1})
    replaced = override_eval(config, {})
    replaced.data.fingerprint = "other footage"
    for other, said in (
        (table(config, step=10), "checkpoint_step is 20, not 10"),
        (table(fine), r"eval\.stride is 2, not 1"),
        (table(replaced), "dataset is '', not 'other footage'"),
    ):
        with pytest.raises(ValueError, match=rf"{said}.*without --scores"):
            fit_for(config, other, workdir)


def test_saved_scores_of_an_earlier_format_leave_those_of_the_run_in_force(run, tmp_path):
    workdir, config, calibrate, _ = run
    own = calibrate(workdir, config, 20)
    earlier = tmp_path / "eval"
    earlier.mkdir()
    (earlier / FILES[1]).write_bytes(b"of an earlier version")
    assert fit_for(config, table(config), earlier, workdir) == own
    with pytest.raises(ValueError, match=rf"{FILES[1]}.*Evaluate again without --scores"):
        fit_for(config, table(config), earlier)


def test_a_known_cycle_length_numbers_the_cycles():
    config = load_config("video_folder:tiny")
    videos = (Video("a", 0, 150, 2.0, None), Video("b", 150, 150, 2.0, 12.5))
    numbered = with_cycles(table(config), SimpleNamespace(videos=videos))
    of_b = numbered.cycle[:150]
    np.testing.assert_array_equal(of_b, np.floor(np.arange(150) / 12.5))
    assert (numbered.cycle[150:] == -1).all()
    known = with_cycles(table(config, cycle=3), SimpleNamespace(videos=videos))
    assert (known.cycle == 3).all()
