"""The calibration files of a run: whose they are, when they still fit, and when they are made anew."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest

from ipad_jax.input.frames import Video
from ipad_jax.run.config import load_config, save_config
from ipad_jax.video.detector import calibrate as module
from ipad_jax.video.detector.calibration_files import (
    calibrate,
    fit_for,
    is_current,
    scoring_key,
    with_cycles,
)
from ipad_jax.video.evaluation.judge_run import override_eval
from ipad_jax.video.scores.frame_scores import FrameScores

FILES = ("calibration.json", "calibration_scores.npz", "calibration_key.json")


COMPONENTS = ("pooled_mean", "nearest", "motion")


def table(stride=2, step=-1, cycle=-1):
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
        stride=stride,
        checkpoint_step=step,
    )


@pytest.fixture
def run(tmp_path, monkeypatch):
    """(workdir, config, strides predicted so far); no model, no dataset."""
    config = load_config("video_folder:tiny")
    save_config(tmp_path, config)
    predicted = []

    def predict(predictor, config, source, segments, progress):
        predicted.append(config.eval.stride)
        return table(config.eval.stride)

    videos = (Video("a", 0, 150, 2.0, None), Video("b", 150, 150, 2.0, None))
    monkeypatch.setattr(module, "open_split", lambda *_: SimpleNamespace(videos=videos))
    monkeypatch.setattr(module, "training_parts", lambda *_: ([], [None]))
    monkeypatch.setattr(module, "predict_segments", predict)
    return tmp_path, config, predicted


def contents(folder):
    return {name: (folder / name).read_bytes() for name in FILES}


def test_made_once_then_read(run):
    workdir, config, predicted = run
    first = calibrate(workdir, config, None, 20)
    assert calibrate(workdir, config, None, 20) == first
    assert predicted == [2]
    assert FrameScores.load(workdir / FILES[1]).checkpoint_step == 20


def test_an_overridden_evaluation_keeps_its_files_to_itself(run):
    workdir, config, predicted = run
    calibrate(workdir, config, None, 20)
    own = contents(workdir)
    changed = override_eval(config, {"stride": 1})
    other = calibrate(workdir, changed, None, 20, name="fine")
    assert other.stride == 1
    assert predicted == [2, 1]
    assert contents(workdir) == own
    assert calibrate(workdir, changed, None, 20, name="fine") == other
    assert predicted == [2, 1]
    assert contents(workdir / "eval" / "fine").keys() == set(FILES)


def test_another_share_of_alarms_needs_no_new_scores(run):
    workdir, config, predicted = run
    first = calibrate(workdir, config, None, 20)
    own = contents(workdir)
    other = calibrate(workdir, override_eval(config, {"alpha": 0.5}), None, 20)
    assert other.threshold < first.threshold
    assert predicted == [2]
    assert contents(workdir) == own


def test_an_older_checkpoint_does_not_replace_the_newest_ones_calibration(run):
    workdir, config, predicted = run
    calibrate(workdir, config, None, 20)
    own = contents(workdir)
    calibrate(workdir, config, None, 10)
    assert contents(workdir) == own
    calibrate(workdir, config, None, 30)
    assert is_current(workdir, scoring_key(config, 30))
    assert predicted == [2, 2, 2]


def test_a_plain_file_beside_the_evaluations_is_none(run):
    workdir, config, _ = run
    (workdir / "eval").mkdir()
    (workdir / "eval" / "notes.txt").write_text("which threshold to take")
    assert calibrate(workdir, config, None, 20)


@pytest.mark.parametrize("damage", ["{", '{"format": 1}', None])
def test_a_damaged_calibration_is_made_anew_from_its_scores(run, damage):
    workdir, config, predicted = run
    first = calibrate(workdir, config, None, 20)
    if damage is None:
        (workdir / FILES[0]).unlink()
    else:
        (workdir / FILES[0]).write_text(damage)
    assert not is_current(workdir, scoring_key(config, 20))
    assert calibrate(workdir, config, None, 20) == first
    assert is_current(workdir, scoring_key(config, 20))
    assert predicted == [2]


def test_one_of_another_format_is_not_current(run):
    workdir, config, predicted = run
    calibrate(workdir, config, None, 20)
    key = json.loads((workdir / FILES[2]).read_text())
    (workdir / FILES[2]).write_text(json.dumps(key | {"format": key["format"] - 1}))
    assert not is_current(workdir, scoring_key(config, 20))
    (workdir / FILES[1]).write_bytes(b"PK")  # nor can the scores be read: all is made anew
    calibrate(workdir, config, None, 20)
    assert predicted == [2, 2]


def test_a_saved_table_is_only_scored_with_its_own_calibration(run, tmp_path):
    workdir, config, _ = run
    assert fit_for(config, table(step=20), workdir) is None
    first = calibrate(workdir, config, None, 20)
    assert fit_for(config, table(step=20), tmp_path / "absent", workdir) == first
    for other in (table(step=10), table(stride=1, step=20)):
        with pytest.raises(
            ValueError, match=r"with checkpoint_step 20, stride 2.*without --scores"
        ):
            fit_for(config, other, workdir)


def test_a_saved_table_made_with_other_leaves_is_refused(tmp_path):
    config = load_config("video_folder:tiny")
    made = {"window": 5, "spacing": 0, "pool_px": 9, "nearest_px": 64, "nearest_share": 0.04}
    made |= {"motion_px": 64, "register": True, "track_phase": True}
    normal = dataclasses.replace(table(), **made)
    normal.save(tmp_path / FILES[1])
    assert fit_for(config, normal, tmp_path) == fit_for(config, table(), tmp_path)  # an older table
    for leaf, value in made.items():
        other = dataclasses.replace(normal, **{leaf: value + 2})
        with pytest.raises(ValueError, match=rf"made with .*{leaf} {value + 2}.*{leaf} {value}"):
            fit_for(config, other, tmp_path)


def test_saved_scores_of_an_earlier_format_leave_those_of_the_run_in_force(run, tmp_path):
    workdir, config, _ = run
    own = calibrate(workdir, config, None, 20)
    earlier = tmp_path / "eval"
    earlier.mkdir()
    (earlier / FILES[1]).write_bytes(b"of an earlier version")
    assert fit_for(config, table(step=20), earlier, workdir) == own
    with pytest.raises(ValueError, match=rf"{FILES[1]}.*Evaluate again without --scores"):
        fit_for(config, table(step=20), earlier)


def test_a_known_cycle_length_numbers_the_cycles():
    videos = (Video("a", 0, 150, 2.0, None), Video("b", 150, 150, 2.0, 12.5))
    numbered = with_cycles(table(), SimpleNamespace(videos=videos))
    of_b = numbered.cycle[:150]
    np.testing.assert_array_equal(of_b, np.floor(np.arange(150) / 12.5))
    assert (numbered.cycle[150:] == -1).all()
    known = with_cycles(table(cycle=3), SimpleNamespace(videos=videos))
    assert (known.cycle == 3).all()
