"""A detector beside a camera: gaps, folders and clocks. The camera's own faults are in tests/input."""

import csv
import itertools
import re
import time
from datetime import datetime

import numpy as np
import pytest
from fake_detector import CYCLE, SIZE, FakePredictor, faulty, frames, make_config, make_detector
from played_camera import FPS, START_S, Played, played
from test_stream import normal_footage

from ipad_jax.video.detector import watch as watch_module
from ipad_jax.video.detector.detect import summary
from ipad_jax.video.detector.detector import Detector, Footage
from ipad_jax.video.detector.watch import start_folder, watch


def rows_of(record) -> list[dict[str, str]]:
    return list(csv.DictReader((record.folder / "scores.csv").open()))


def test_frames_are_judged_clip_by_clip_and_rows_have_their_utc(tmp_path):
    marked = make_detector(threshold=0.9, cycle_frames=None)
    record = watch(marked, played(*faulty(60)), tmp_path)
    assert set(marked.predictor.calls) == {(1, 8, *SIZE, 3)}
    assert len(marked.predictor.calls) == 1 + 53  # one to compile before the camera is read
    rows = rows_of(record)
    assert [int(row["frame"]) for row in rows] == list(range(60))
    times = [datetime.fromisoformat(row["utc"]).timestamp() for row in rows]
    np.testing.assert_allclose(np.diff(times), 1 / FPS, atol=2e-3)  # three digits
    assert abs(times[0] - (time.time() - time.monotonic() + START_S)) < 60
    (event,) = csv.DictReader((record.folder / "events.csv").open())
    start = datetime.fromisoformat(event["start_utc"]).timestamp()
    assert start - times[0] == pytest.approx(float(event["start_s"]), abs=2e-3)
    assert event["end_utc"] > event["start_utc"]


def test_a_gap_is_a_row_ends_what_is_temporal_and_time_goes_on(tmp_path):
    marked = make_detector(threshold=0.9, cycle_frames=None)
    before, after = list(faulty(30, start=20, stop=30)), list(frames(30))
    said = []
    camera = played(*before, "the stream ended", 5.0, "nothing came", *after)
    record = watch(marked, camera, tmp_path, say=said.append)
    rows = rows_of(record)
    notes = [(i, row) for i, row in enumerate(rows) if row["note"]]
    assert [i for i, _ in notes] == [30, 31]
    assert [row["note"] for _, row in notes] == [
        "gap: the stream ended",
        "pictures again after 5.0 s",
    ]
    assert all(row["frame"] == row["score"] == "" and row["utc"] for _, row in notes)
    numbers = [int(row["frame"]) for row in rows if row["frame"]]
    assert numbers == [*range(30), *range(80, 110)]  # 5 s later, at 10 a second
    assert [float(row["time_s"]) for row in rows if row["frame"]] == [n / FPS for n in numbers]
    times = [datetime.fromisoformat(row["utc"]).timestamp() for row in rows]
    assert np.diff(times).min() > -0.005  # two clocks are read one after the other
    # The alarm that was on when the stream ended is over with it; nothing is on after the gap.
    (event,) = csv.DictReader((record.folder / "events.csv").open())
    assert float(event["end_s"]) == 3.0
    assert "no picture since" in " ".join(said)
    assert "1 gaps without pictures" in summary(record, camera)
    # The second stretch is what a camera that starts there would give.
    alone = rows_of(
        watch(make_detector(threshold=0.9, cycle_frames=None), played(*after), tmp_path)
    )
    for name in ("score", "diff_mean", "psnr_mean"):
        assert [row[name] for row in rows[32:]] == [row[name] for row in alone]


def test_pictures_that_do_not_fit_are_a_gap_until_they_fit_again(tmp_path):
    marked = make_detector(threshold=0.9, cycle_frames=None)
    fit = Footage(FPS, None, source_size=SIZE[::-1])
    marked = Detector(marked.predictor, marked.config, fit, threshold=0.9)
    wide = list(frames(10, size=(16, 48)))
    record = watch(marked, played(*frames(20), *wide, *frames(20)), tmp_path)
    rows = rows_of(record)
    assert "frames of 48x16 pixels" in rows[20]["note"]
    assert [int(row["frame"]) for row in rows if row["frame"]] == [*range(20), *range(30, 50)]
    with pytest.raises(ValueError, match=r"frames of 48x16 pixels"):
        watch(marked, played(*wide), tmp_path)


def test_a_camera_that_is_not_there_yet_is_waited_for(tmp_path):
    record = watch(make_detector(threshold=0.9), played("refused", 3.0, *frames(20)), tmp_path)
    rows = rows_of(record)
    assert [row["note"] for row in rows[:2]] == ["gap: refused", "pictures again after 3.0 s"]
    assert [int(row["frame"]) for row in rows[2:]] == list(range(30, 50))


def test_another_rate_is_refused_or_resampled_where_a_person_vouches_for_it(tmp_path):
    with pytest.raises(
        ValueError, match=r"states 30 frames a second, the detector was trained at 10"
    ):
        watch(make_detector(), played(*frames(60), fps=30.0), tmp_path)
    with pytest.raises(ValueError, match=r"states no frame rate; pass --fps"):
        watch(make_detector(), played(*frames(60), fps=None), tmp_path)
    camera = played(*frames(60), "gap", 2.0, *frames(60), fps=30.0)
    record = watch(make_detector(), camera, tmp_path, fps_given=True)
    numbers = [int(row["frame"]) for row in rows_of(record) if row["frame"]]
    assert numbers == [*range(20), *range(40, 60)]


def test_each_start_has_a_folder_of_its_own(tmp_path):
    folders = [start_folder(tmp_path / "deep") for _ in range(3)]
    assert len(set(folders)) == 3
    assert all(re.fullmatch(r"\d{8}T\d{6}Z(-\d)?", folder.name) for folder in folders)
    record = watch(make_detector(), played(*frames(20)), tmp_path / "deep")
    assert record.folder.parent == tmp_path / "deep"
    assert not record.replaced


def test_normal_frames_are_taken_up_over_gaps_and_starts(tmp_path):
    config, said = make_config(4), []
    config.eval.renew_minutes = 0.1  # 60 frames
    config.eval.register, config.eval.features = False, ""
    predictor = FakePredictor(normal_footage())
    marked = Detector(predictor, config, Footage(FPS, CYCLE), threshold=1e9)
    stained = list(faulty(100, start=0, stop=100))

    def nearest(*plays):
        rows = rows_of(watch(marked, played(*plays), tmp_path, say=said.append))
        return [float(row["nearest"]) for row in rows if row["frame"]]

    found = nearest(*stained, "the stream ended", 5.0, *stained)
    assert found[100] < found[0] / 2  # the same picture after the gap
    assert not any("earlier start" in text for text in said)
    assert nearest(*stained)[0] < found[0] / 2
    assert any("earlier start" in text for text in said)


def test_an_alarm_is_said_while_it_is_on(tmp_path, monkeypatch):
    monkeypatch.setattr(watch_module, "LIVE_REPORT_S", -1.0)  # a sign of life at every tick
    said, seen = [], {}

    class Noted(Played):
        def events(self):
            for i, event in enumerate(super().events()):
                seen[i] = len(said)
                yield event

    marked = make_detector(threshold=0.9, cycle_frames=None)
    pictures = tuple(faulty(60, start=20, stop=60))
    camera = Noted("0", "0", "camera-0", FPS, plays=pictures)
    record = watch(marked, camera, tmp_path, say=said.append)
    first = next(i for i, text in enumerate(said) if "ALARM" in text)
    at = next(i for i in itertools.count() if seen[i] > first)
    assert 20 <= at <= 20 + 2 + marked.delay_frames
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ  ALARM since", said[first])
    assert "   score " not in said[-1]
    assert any(
        re.search(r"frames/s, 0 dropped, delay -?\d+\.\d s, score \d", text) for text in said
    )
    assert said[-1].count("alarm over")
    assert record.num_alarms == 1
