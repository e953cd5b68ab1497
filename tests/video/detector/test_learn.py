"""What a person marks: normal events raise no alarm any more, faults do, and there is a way back."""

import csv
import json
import shutil

import numpy as np
import pytest
from fake_detector import SIZE, FakePredictor, write_avi
from ml_collections import ConfigDict

from ipad_jax.commands import review
from ipad_jax.input.live import open_video
from ipad_jax.run.config import load_config, save_config
from ipad_jax.run.provenance import made_with
from ipad_jax.training.fitted import FILE, save_fitted, stored_fitted
from ipad_jax.video.clip_task import make_clip_task
from ipad_jax.video.detector.calibration_files import calibration_in_force
from ipad_jax.video.detector.detect import detect
from ipad_jax.video.detector.detector import Detector, Footage
from ipad_jax.video.detector.fresh_calibration import calibrate_on
from ipad_jax.video.detector.learn import LEARNT, learn, undo
from ipad_jax.video.detector.marks import add_marks, listed, marks_of
from ipad_jax.video.detector.rescored import rescored
from ipad_jax.video.evaluation.judge_run import check_learnt
from ipad_jax.video.normal.motion import LAGS, changes_at
from ipad_jax.video.normal.small_picture import small_picture
from ipad_jax.video.normal.stored import FIT_LEAVES, normal_of
from ipad_jax.video.scores.frame_scores import PREDICTION_LEAVES, FrameScores

STEP, FPS = 7, 10.0
HARMLESS = [(start, start + 15) for start in range(60, 660, 60)]  # ten: somebody's hand, upper left
FAULTS = [(15, 30), (690, 705)]  # a red part, lower right


def filmed(spots=(), faults=(), count=720, seed=3):
    """A plate under a little noise, with a white spot or a red one for a while."""
    plate = np.random.default_rng(0).integers(60, 120, (*SIZE, 3))
    rng = np.random.default_rng(seed)
    for i in range(count):
        frame = (plate + rng.normal(0, 3, plate.shape)).astype(np.uint8)
        if any(start <= i < stop for start, stop in spots):
            frame[2:7, 2:8] = 255
        if any(start <= i < stop for start, stop in faults):
            frame[9:14, 14:21] = (255, 0, 0)
        yield frame


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    """(folder, config): in run/ a run that compares with pictures, calibrated on half a minute.

    It has detected in day.avi: ten false alarms and two faults.
    """
    folder = tmp_path_factory.mktemp("day")
    run = folder / "run"
    run.mkdir()
    changes = {"eval.nearest_px": 24, "eval.motion_px": 24, "eval.register": False}
    config = load_config("video_folder:tiny", {**changes, "eval.features": ""})
    with config.ignore_type(), config.unlocked():
        config.data.size, config.data.clip_len, config.eval.stride = SIZE, 8, 2
        config.eval.components = type(config)({"nearest": 1.0, "motion": 0.2, "pooled_mean": 0.1})
    save_config(run, config)
    save_fitted(run / FILE, normal_pictures(config), made_with(config, FIT_LEAVES))
    calm = open_video(write_avi(run / "calm.avi", filmed(count=300)))
    calibrate_on(run, detector_of(run, config), [calm], name="fresh", config=config)
    detected(run, config, write_avi(folder / "day.avi", filmed(HARMLESS, FAULTS)))
    return folder, config


def normal_pictures(config):
    """What `fit_normal` makes, of drawn frames."""
    small = [small_picture(frame, config.eval.nearest_px) for frame in filmed(count=80, seed=1)]
    moved = [changes_at([small[i - lag] for lag in (0, *LAGS)]) for i in range(16, 80)]
    unknown = np.full(80, np.nan, np.float32)
    return {
        "frames_pictures": np.stack(small),
        "frames_phase": unknown,
        "frames_group": np.arange(80, dtype=np.int32) // 20,
        "motion_changes": np.stack(moved),
        "motion_phase": unknown[16:],
    }


def detector_of(run, config):
    _, arrays, _ = stored_fitted(run, config, make_clip_task(config), STEP)
    predictor = FakePredictor(normal_of(config, arrays))
    found = calibration_in_force(run, config, STEP)
    return Detector(predictor, config, Footage(FPS, None), found, step=STEP)


@pytest.fixture
def run(day, tmp_path):
    """(run folder, config, video, events.csv), a copy of its own."""
    folder, config = day
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    detection = tmp_path / "run" / "detect" / "day"
    path = detection / "source.json"
    path.write_text(path.read_text().replace(str(folder), str(tmp_path)))
    return tmp_path / "run", config, tmp_path / "day.avi", detection / "events.csv"


def detected(run, config, video):
    """events.csv of a detection."""
    detect(detector_of(run, config), open_video(video), run / "detect" / "day", batch_size=8)
    return run / "detect" / "day" / "events.csv"


def within(event, stretches):
    return any(event.start_s * FPS < b + 5 and event.end_s * FPS > a for a, b in stretches)


def mark(events, normal=HARMLESS, fault=FAULTS):
    said = {}
    for number, event in enumerate(listed(events), 1):
        for name, stretches in (("normal", normal), ("fault", fault)):
            if within(event, stretches):
                said[number] = name
    add_marks(events, said)
    return marks_of(events.parent)


def contents(run):
    """Bytes of everything but detections."""
    paths = (p for p in run.rglob("*") if p.is_file() and "detect" not in p.parts)
    return {str(p.relative_to(run)): p.read_bytes() for p in paths}


@pytest.mark.slow
def test_ten_false_alarms_are_silent_faults_are_not_and_undo_gives_back_the_same_bytes(run):
    folder, config, video, events = run
    before = listed(events)
    assert sum(within(e, HARMLESS) for e in before) == 10
    assert sum(within(e, FAULTS) for e in before) == 2 == len(before) - 10
    state = contents(folder)
    found = learn(folder, detector_of(folder, config), config, mark(events))
    assert not any(judged.alarm for judged in found.normal)
    assert all(judged.alarm and judged.on_footage for judged in found.faults)
    assert found.num_frames > 100
    assert (folder / "fitted.1.npz").read_bytes() == state[FILE]
    after = listed(detected(folder, config, video))
    assert [within(e, FAULTS) for e in after] == [True, True]
    # the same spot at other times: what was learnt is how it looks, not when it was
    another = write_avi(video.with_name("next.avi"), filmed([(33, 48)], [(100, 115)], 160))
    again = listed(detected(folder, config, another))
    assert [within(e, [(100, 115)]) for e in again] == [True]
    assert undo(folder) == 0
    assert contents(folder) == state
    with pytest.raises(ValueError, match="has learnt nothing"):
        undo(folder)


@pytest.mark.slow
def test_scores_from_before_are_no_longer_current_until_it_is_undone(run):
    folder, config, _, events = run
    made = made_with(config, PREDICTION_LEAVES, STEP)

    def scores(**more):
        rows = np.zeros(8)
        return FrameScores(
            *(rows.astype(int), rows.astype(int), rows, rows.astype(int), rows.astype(int)),
            *(rows.astype(int), rows, {}, ("v",), ("normal",), (FPS,)),
            made_with=made | more,
        )

    check_learnt(folder, config, scores(), "scores.npz")
    learn(folder, detector_of(folder, config), config, mark(events))
    with pytest.raises(ValueError, match=r"scores\.npz is from before the last `ipad-jax learn`"):
        check_learnt(folder, config, scores(), "scores.npz")
    learnt = detector_of(folder, config).predictor.normal.learnt
    now = scores(learnt=learnt)
    check_learnt(folder, config, now, "scores.npz")
    undo(folder)
    check_learnt(folder, config, scores(), "scores.npz")
    with pytest.raises(ValueError, match=r"or its --undo"):
        check_learnt(folder, config, now, "scores.npz")


@pytest.mark.slow
def test_each_step_is_undone_by_itself(run):
    folder, config, _, events = run
    states, marks = [contents(folder)], mark(events)
    normal = [m for m in marks if m.mark == "normal"]
    for some in (normal[:3], normal[:5]):
        learn(folder, detector_of(folder, config), config, some)
        states.append(contents(folder))
    listed = json.loads((folder / "calibrations" / LEARNT / "footage.json").read_text())
    assert ["marked" in entry for entry in listed] == [False] + 5 * [True]
    with pytest.raises(ValueError, match="no event marked normal is new"):
        learn(folder, detector_of(folder, config), config, normal[:5])
    assert contents(folder) == states[2]
    for left in (1, 0):
        assert undo(folder) == left
        assert contents(folder) == states[left]


@pytest.mark.slow
def test_a_fault_that_would_be_lost_is_refused_unless_forced(run):
    folder, config, _, events = run
    # one of the spots is called a fault, the others like it normal
    marks = mark(events, normal=HARMLESS[1:4], fault=HARMLESS[:1])
    state = contents(folder)
    with pytest.raises(
        ValueError, match=r"1 events marked fault would raise no alarm.*day\.avi 6\."
    ):
        learn(folder, detector_of(folder, config), config, marks)
    assert contents(folder) == state
    found = learn(folder, detector_of(folder, config), config, marks, force=True)
    assert "NO ALARM ANY MORE: day.avi" in found.summary()


@pytest.mark.slow
def test_without_footage_an_event_counts_by_its_recorded_scores(run):
    folder, config, video, events = run
    marks = mark(events)
    detector = detector_of(folder, config)
    video.rename(video.with_name("moved.avi"))
    found = learn(folder, detector, config, marks, force=True)
    assert found.num_frames == 0
    assert not any(judged.alarm or judged.on_footage for judged in found.normal)
    assert found.calibration.threshold > detector.calibration.threshold
    assert "have no footage any more" in found.summary()
    (events.parent / "scores.csv").unlink()
    undo(folder)
    with pytest.raises(FileNotFoundError, match="neither footage"):
        learn(folder, detector_of(folder, config), config, marks)


def test_an_event_is_as_near_to_normal_frames_as_its_detection_saw_it(run):
    """Frames that a detection renewed are kept by nobody, but its scores are."""
    folder, config, _, events = run
    marks, detector = mark(events)[:2], detector_of(folder, config)
    path = events.parent / "scores.csv"

    def distances(minutes):
        wanted = ConfigDict({**config.to_dict(), "eval": {**config.eval, "renew_minutes": minutes}})
        found = rescored(detector, wanted, detector.predictor.normal, marks)
        rows = [one.event_rows(0.0, marks) for one in found.values()]
        return np.concatenate([one.components["nearest"] for one in rows])

    without = distances(0.0)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["nearest"] = 0.5
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    assert without.max() > 0.5
    np.testing.assert_array_equal(distances(5.0), np.minimum(without, 0.5))
    np.testing.assert_array_equal(distances(0.0), without)
    path.unlink()
    np.testing.assert_array_equal(distances(5.0), without)


def test_a_source_that_has_changed_is_refused(run):
    folder, config, video, events = run
    marks = mark(events)
    write_avi(video, filmed(count=100))
    with pytest.raises(ValueError, match="is not what the detection read"):
        learn(folder, detector_of(folder, config), config, marks)


@pytest.mark.slow
def test_a_later_calibration_takes_what_was_learnt_along(run):
    folder, config, _, events = run
    normal = [m for m in mark(events) if m.mark == "normal"]
    learn(folder, detector_of(folder, config), config, normal[:3])
    later = open_video(write_avi(folder / "later.avi", filmed(count=200, seed=9)))
    calibrate_on(folder, detector_of(folder, config), [later], name="later", config=config)
    found = learn(folder, detector_of(folder, config), config, normal[:6])
    listed = json.loads((folder / "calibrations" / LEARNT / "footage.json").read_text())
    assert [entry["name"] for entry in listed if "marked" not in entry] == ["later"]
    assert {entry["sha256"] for entry in listed if "marked" in entry} == {m.key for m in normal[:6]}
    assert calibration_in_force(folder, config, STEP) == found.calibration


def test_the_last_mark_of_an_event_counts_and_none_is_overwritten(run, capsys):
    folder, _, _, events = run
    arguments = ["--workdir", str(folder), "--events", str(events)]
    assert review.main([*arguments, "--mark", "1=normal", "2=unsure"]) == 0
    lines = (events.parent / "marks.jsonl").read_bytes()
    assert review.main([*arguments, "--mark", "1=fault"]) == 0
    assert (events.parent / "marks.jsonl").read_bytes().startswith(lines)
    assert [m.mark for m in marks_of(events.parent)] == ["unsure", "fault"]
    assert [event.mark for event in listed(events)][:3] == ["fault", "unsure", ""]
    assert "2 of" in capsys.readouterr().out
    with pytest.raises(ValueError, match="there is no event 99"):
        review.main([*arguments, "--mark", "3=normal", "99=normal"])
    assert len(marks_of(events.parent)) == 2
    # a later detection draws the limits of an event elsewhere: what is said of it replaces the old mark
    text = events.read_text().splitlines()
    start, end, rest = text[1].split(",", 2)
    events.write_text("\n".join([text[0], f"{float(start) + 0.2:.3f},{float(end) + 1:.3f},{rest}"]))
    assert [event.mark for event in listed(events)] == ["fault"]
    add_marks(events, {1: "normal"})
    assert [m.mark for m in marks_of(events.parent)] == ["unsure", "normal"]
