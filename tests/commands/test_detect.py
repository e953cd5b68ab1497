import csv
import json
import signal
import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
from fake_detector import (
    CYCLE,
    FAR_ABOVE,
    FakePredictor,
    faulty,
    frames,
    interrupted,
    make_config,
    make_detector,
    write_avi,
    write_frames,
)

from ipad_jax.commands import detect as command_line
from ipad_jax.commands import prepare
from ipad_jax.commands.parsing import UsageError
from ipad_jax.input import live
from ipad_jax.input.frames import open_source
from ipad_jax.input.live import open_video
from ipad_jax.input.split import whole_videos
from ipad_jax.main import main
from ipad_jax.run import compile_cache
from ipad_jax.run.config import load_config, save_config
from ipad_jax.video.detector import detect, detector, wording
from ipad_jax.video.detector import record as detect_record
from ipad_jax.video.detector.calibration_files import calibration_made_with
from ipad_jax.video.detector.detector import Footage
from ipad_jax.video.detector.predictor import score_segments
from ipad_jax.video.detector.timeline import Timeline
from ipad_jax.video.evaluation.judge_run import override_eval
from ipad_jax.video.scores.calibration import Calibration


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A video file of 61 frames at 10 fps, and the dataset that was prepared from it."""
    root = tmp_path_factory.mktemp("detect")
    path = root / "footage" / "train" / "normal" / "line.avi"
    write_avi(path, frames(61, size=(32, 48)))
    arguments = ["--name", "line", "--source", str(root / "footage"), "--size", "24x16"]
    assert prepare.main(["video_folder", *arguments, "--data-dir", str(root / "data")]) == 0
    return path, root / "data" / "video_folder" / "line_24x16_q95" / "1.0.0"


@pytest.fixture(scope="module")
def calibration(prepared):
    return calibrate(prepared[1], stride=1)


def calibrate(dataset, stride):
    source = open_source(dataset, "train")
    config = make_config(stride)
    scores = score_segments(FakePredictor(), 7, config, source, whole_videos(source.videos))
    return Calibration.fit(scores, {"pooled_mean": 1.0, "psnr_mean": 0.5, "diff_pooled": 0.02})


@pytest.mark.parametrize("stride", [1, 3, 8])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_rows_are_those_of_the_evaluation(prepared, stride, batch_size):
    path, dataset = prepared
    source = open_source(dataset, "train")
    source.metadata["videos"]["train"][0]["cycle_frames"] = CYCLE
    table = score_segments(
        FakePredictor(), 7, make_config(stride), source, whole_videos(source.videos)
    )
    rows = list(
        make_detector(stride).stream((f for _, f in open_video(path)), batch_size=batch_size)
    )
    assert [row.frame for row in rows] == table.frame.tolist() == list(range(61))
    assert [row.time_s for row in rows] == table.time_s.tolist()
    assert rows[0].components.keys() == table.components.keys()
    for name, column in table.components.items():
        np.testing.assert_array_equal(
            np.array([row.components[name] for row in rows], np.float32), column, err_msg=name
        )
    assert np.isfinite(table.components["period_error"]).any()


def test_the_score_is_the_calibrated_one(prepared, calibration):
    path, dataset = prepared
    source = open_source(dataset, "train")
    table = score_segments(FakePredictor(), 7, make_config(), source, whole_videos(source.videos))
    marked = make_detector(cycle_frames=None, calibration=calibration)
    rows = list(marked.stream(f for _, f in open_video(path)))
    fused = detector.fuse(table, calibration)
    np.testing.assert_array_equal([row.score for row in rows], fused)
    assert [row.alarm for row in rows] == (fused > calibration.threshold).tolist()
    for row in rows[1:]:
        assert sum(row.shares.values()) == pytest.approx(row.score)  # float64 sums


@pytest.mark.slow
def test_events_are_found_with_cause_and_place(tmp_path, calibration):
    marked = make_detector(cycle_frames=None, calibration=calibration, threshold=FAR_ABOVE)
    source = open_video(write_avi(tmp_path / "a.avi", faulty(size=(32, 48))))
    record = detect.detect(marked, source, tmp_path / "out", batch_size=4, side_by_side=True)
    (alarm,) = record.alarms
    # clips that see the fault give part of it to the frames before and after: at most a clip each way
    assert 20 - 8 < alarm.event.start <= 20
    assert 28 <= alarm.event.stop < 28 + 8
    assert 20 <= alarm.event.peak < 28
    assert alarm.place == "bottom right"
    said = detect.summary(record, source)
    assert "1 alarm:" in said
    assert "peak 0:0" in said
    assert "x threshold, timing or movement, bottom right" in said  # it comes and goes at once
    events = list(csv.DictReader((tmp_path / "out" / "events.csv").open()))
    assert [float(e["start_s"]) for e in events] == [alarm.event.start / 10]
    box = [float(events[0][edge]) for edge in ("left", "top", "right", "bottom")]
    assert box == pytest.approx([0.75, 0.75, 1, 1], abs=0.1)  # the corner that is bright
    assert float(events[0]["strength"]) == pytest.approx(
        alarm.event.peak_score / FAR_ABOVE, rel=1e-5
    )
    scores = list(csv.DictReader((tmp_path / "out" / "scores.csv").open()))
    assert [int(s["frame"]) for s in scores] == list(range(40))
    above = [int(s["alarm"]) for s in scores]
    assert above == [int(float(s["score"] or "nan") > FAR_ABOVE) for s in scores]
    assert scores[0]["diff_mean"] == ""
    timeline = cv2.imread(str(tmp_path / "out" / "timeline.png"))
    assert timeline.shape[1] > 1000
    video = cv2.VideoCapture(str(tmp_path / "out" / "side_by_side.webm"))
    count = 0
    while video.read()[0]:
        count += 1
    assert count == 40  # at 10 fps none is left out


def test_without_calibration_scores_are_written_and_no_events(tmp_path):
    marked = make_detector()
    source = open_video(write_avi(tmp_path / "a.avi", faulty()))
    record = detect.detect(marked, source, tmp_path / "out")
    assert "no events: the run has no calibration" in detect.summary(record, source)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["scores.csv", "timeline.png"]
    rows = list(csv.DictReader((tmp_path / "out" / "scores.csv").open()))
    assert all(row["score"] == row["pooled_mean"] for row in rows)
    with_threshold = make_detector(threshold=0.9)
    record = detect.detect(with_threshold, source, tmp_path / "other")
    assert record.num_alarms == 1
    assert "Threshold 0.9 of pooled_mean" in with_threshold.threshold_statement()


def test_a_killed_process_leaves_readable_files(tmp_path):
    with detect_record.Record(tmp_path, "x", make_detector(threshold=0.9)) as record:
        for i, row in enumerate(make_detector(threshold=0.9).stream(faulty())):
            record.add(row)
            written = list(csv.reader((tmp_path / "scores.csv").open()))
            assert len(written) == i + 2
            assert len(written[-1]) == len(written[0])
        assert len((tmp_path / "events.csv").read_text().splitlines()) == 1 + record.num_alarms


def test_footage_of_another_rate_is_resampled_or_refused(tmp_path):
    marked = make_detector()
    source = open_video(write_avi(tmp_path / "a.avi", frames(60), fps=30))
    stream, fps, note = detect.frames_at_rate(source, marked)
    assert fps == 10
    assert note == "30 frames a second resampled to the training's 10"
    assert len(list(stream)) == 20
    same = open_video(write_avi(tmp_path / "b.avi", frames(60), fps=10))
    stream, _, note = detect.frames_at_rate(same, marked)
    assert (note, len(list(stream))) == ("", 60)
    lying = open_video(tmp_path / "b.avi", fps=20.0)  # states 10, as the detector wants
    stream, _, note = detect.frames_at_rate(lying, marked)
    assert note == "20 frames a second resampled to the training's 10"
    assert len(list(stream)) == 30
    with pytest.raises(ValueError, match=r"no frame rate of its own; pass --fps"):
        detect.frames_at_rate(replace(same, fps=None), marked)


def test_times_are_the_sources_own_where_its_rate_is_almost_the_trainings(tmp_path):
    source = replace(open_video(write_avi(tmp_path / "a.avi", frames(60), fps=10)), fps=10 * 0.999)
    record = detect.detect(make_detector(), source, tmp_path / "out")
    rows = (tmp_path / "out" / "scores.csv").read_text().splitlines()
    assert len(rows) == 61
    assert float(rows[-1].split(",")[1]) == pytest.approx(59 / 9.99, abs=5e-4)  # three digits
    assert "at 9.99 fps" in detect.summary(record, source)


def test_frames_are_prepared_as_their_dataset_stored_them(tmp_path):
    """A rendered machine's JPEG files are its dataset's images; once more through JPEG is another image."""
    frame = next(frames(1))
    again = make_detector()
    as_is = detector.Detector(
        FakePredictor(), make_config(), Footage(10.0, CYCLE, stored_as_is=True)
    )
    assert not np.array_equal(again.prepare_file(frame), frame)
    np.testing.assert_array_equal(again.prepare_file(frame), again.prepare(frame))
    np.testing.assert_array_equal(as_is.prepare_file(frame), frame)
    large = next(frames(1, size=(32, 48)))
    np.testing.assert_array_equal(as_is.prepare_file(large), as_is.prepare(large))
    source = open_video(write_frames(tmp_path / "frames", frames(20)), fps=10.0)
    table = {}
    for name, marked in (("again", again), ("as_is", as_is)):
        detect.detect(marked, source, tmp_path / name)
        with (tmp_path / name / "scores.csv").open() as file:
            table[name] = [row["diff_mean"] for row in csv.DictReader(file)]
    assert table["again"] != table["as_is"]
    raw = list(as_is.stream(frames(20), prepare=lambda frame: frame))
    np.testing.assert_allclose(
        [float(value) for value in table["as_is"][1:]],
        [row.components["diff_mean"] for row in raw[1:]],
        rtol=1e-5,  # six digits in the file
    )


def test_footage_is_remembered_in_the_run_folder(prepared, tmp_path):
    data_dir = prepared[1].parents[2]
    config = make_config(data_dir=str(data_dir), name="line")
    assert detector.footage_of(tmp_path, config) == Footage(10.0, None, source_size=(48, 32))
    nowhere = make_config(data_dir=str(tmp_path), name="line")
    assert detector.footage_of(tmp_path, nowhere) == Footage(10.0, None, source_size=(48, 32))
    (tmp_path / "footage.json").write_text("{")
    with pytest.raises(ValueError, match=r"footage.json is damaged"):
        detector.footage_of(tmp_path, config)
    (tmp_path / "footage.json").unlink()
    with pytest.raises(FileNotFoundError, match="frame rate is unknown"):
        detector.footage_of(tmp_path, nowhere)


def test_a_calibration_is_found_wherever_it_was_made_and_one_of_another_stride_never_used(
    tmp_path, calibration
):
    config = load_config("video_folder:tiny")
    config.data.data_dir = str(tmp_path / "nowhere")
    save_config(tmp_path, config)

    def found():
        return detector._calibration(tmp_path, config, None, 7, None)

    with pytest.raises(FileNotFoundError, match=r"no calibration of checkpoint 7 at stride 2"):
        found()
    folder = tmp_path / "eval" / "coarse"
    folder.mkdir(parents=True)
    for stride in (1, 2):
        made = calibration_made_with(override_eval(config, {"stride": stride}), 7)
        there = replace(calibration, made_with=made)
        there.save(folder / "calibration.json")
        if stride == 1:
            with pytest.raises(FileNotFoundError, match="evaluate` where the dataset is"):
                found()
    assert found() == there
    config.eval.stride, config.data.holdout_share = 4, 0.0
    assert found() is None  # nothing was held out


def test_the_timeline_keeps_every_peak():
    rng = np.random.default_rng(0)
    for count in (0, 1, 10, 11, 1000):
        scores = rng.normal(size=count)
        scores[::7] = np.nan
        timeline = Timeline(points=10)
        for frame, score in enumerate(scores):
            timeline.add(frame, score)
        time_s, highest = timeline.curve(fps=2.0)
        assert len(time_s) == len(highest) <= 10
        if count:
            assert np.nanmax(highest) == np.nanmax(scores) if count > 1 else True
            each = round((time_s[1] - time_s[0]) * 2) if len(time_s) > 1 else count
            parts = [scores[i : i + each] for i in range(0, count, each)]
            slow = [np.nan if np.isnan(p).all() else np.nanmax(p) for p in parts]
            np.testing.assert_array_equal(highest, slow)


def test_clock():
    assert wording.clock(75.25) == "1:15.2"
    assert wording.clock(0) == "0:00.0"
    assert wording.clock(59.96) == "0:59.9"
    assert wording.clock(3600 + 62) == "1:01:02.0"


@pytest.fixture
def command(prepared, calibration, monkeypatch, tmp_path):
    """Runs the command on a run folder whose model is the fake one."""
    config = make_config(data_dir=str(prepared[1].parents[2]), name="line")
    monkeypatch.setattr(detector, "restore_for_inference", lambda *_: (config, None, None, 7))
    monkeypatch.setattr(detector, "load_predictor", lambda *_: FakePredictor())
    monkeypatch.setattr(detector, "_calibration", lambda *_: calibration)
    monkeypatch.setattr(compile_cache, "enable_compile_cache", lambda: None)
    workdir = tmp_path / "run"
    save_config(workdir, load_config("video_folder:tiny"))
    return lambda *argv: command_line.main(["--workdir", str(workdir), *map(str, argv)])


def test_command(prepared, command, tmp_path, capsys):
    path = write_avi(tmp_path / "fault.avi", faulty(size=(32, 48)))
    assert command("--video", path, "--threshold", FAR_ABOVE) == 0
    said = capsys.readouterr().out
    assert "a frame is judged 7 frames (0.7 s) after it is seen" in said
    assert "Threshold 3 of the score 1 pooled_mean + 0.5 psnr_mean" in said
    assert "in spreads (1.48 MAD) from its median on normal footage" in said
    assert "1 alarm:" in said
    folder = tmp_path / "run" / "detect" / "fault"
    assert {p.name for p in folder.iterdir()} == {
        "scores.csv",
        "events.csv",
        "source.json",
        "timeline.png",
        "alarms",
    }
    assert json.loads((tmp_path / "run" / "footage.json").read_text())["fps"] == 10.0
    assert command("--video", prepared[0], "--out", tmp_path / "quiet", "--no-side-by-side") == 0
    said = capsys.readouterr().out
    assert "Alarm above" in said
    assert "no alarm: no score above" in said
    assert (tmp_path / "quiet" / "scores.csv").exists()
    (folder / "notes.txt").touch()
    assert command("--video", path, "--no-side-by-side") == 0  # the calibration's threshold
    said = capsys.readouterr().out
    assert "in place of earlier results: scores.csv, events.csv, timeline.png" in said
    assert not (folder / "side_by_side.webm").exists()
    assert (folder / "notes.txt").exists()


def test_fail_on_alarm_needs_a_threshold(command, prepared, monkeypatch, tmp_path):
    monkeypatch.setattr(detector, "_calibration", lambda *_: None)
    with pytest.raises(UsageError, match=r"--threshold X.*calibrate --workdir .* --video FILE"):
        command("--video", prepared[0], "--fail-on-alarm")
    assert not (tmp_path / "run" / "detect").exists()


def test_a_damaged_frame_loses_neither_its_alarm_nor_the_next_source(
    command, tmp_path, monkeypatch, capsys
):
    write_avi(tmp_path / "in" / "a.avi", frames(40))
    write_avi(tmp_path / "in" / "b.avi", frames(40))
    broken = write_frames(tmp_path / "frames", faulty(40, start=15, stop=40))
    (broken / "35.png").write_bytes((broken / "35.png").read_bytes()[:-20])
    opened = {"a.avi": open_video(broken, fps=10.0), "b.avi": open_video(tmp_path / "in" / "b.avi")}
    monkeypatch.setattr(live, "open_video", lambda path, _: opened[path.name])
    arguments = ("--video", tmp_path / "in", "--no-side-by-side", "--threshold", FAR_ABOVE)
    assert command(*arguments) == 1
    said = capsys.readouterr()
    assert "35.png: truncated PNG" in said.err
    assert "b: 40 frames" in said.out
    results = tmp_path / "run" / "detect" / "frames"
    assert len((results / "events.csv").read_text().splitlines()) == 2
    assert (results / "timeline.png").exists()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_command_in_good_order(
    command, tmp_path, monkeypatch, capsys, number, status
):
    for name in ("a", "b"):
        write_avi(tmp_path / "in" / f"{name}.avi", frames(60))
    opened = interrupted(open_video(tmp_path / "in" / "a.avi"), number, after=30)
    monkeypatch.setattr(live, "open_video", lambda path, _: replace(opened, name=path.stem))
    before = signal.getsignal(number)
    assert command("--video", tmp_path / "in", "--no-side-by-side") == status
    assert signal.getsignal(number) == before
    said = capsys.readouterr().out
    assert "a: 29 frames" in said  # to pick by time, one frame is read ahead
    assert "interrupted at 0:02.9" in said
    assert "b: " not in said
    results = tmp_path / "run" / "detect" / "a"
    assert len((results / "scores.csv").read_text().splitlines()) == 30
    assert (results / "timeline.png").exists()


def test_command_on_a_folder_of_videos_and_a_truncated_one(command, tmp_path, capsys):
    write_avi(tmp_path / "in" / "a.avi", frames(40))
    cut = write_avi(tmp_path / "in" / "b.avi", frames(40))
    data = cut.read_bytes()
    # the header keeps the count of frames, the second half of them is gone
    cut.write_bytes(data[: len(data) // 2])
    assert command("--video", tmp_path / "in", "--no-side-by-side") == 1
    said = capsys.readouterr().out
    assert "a: 40 frames" in said
    assert "WARNING" in said
    assert "stops early" in said
    assert (tmp_path / "run" / "detect" / "b" / "scores.csv").exists()


def test_command_refuses_before_it_loads_a_model(tmp_path, monkeypatch):
    monkeypatch.setattr(detector, "load", lambda *_, **__: pytest.fail("loaded"))
    save_config(tmp_path, load_config("video_folder:tiny"))
    base = ["--workdir", str(tmp_path)]
    with pytest.raises(FileNotFoundError, match="does not exist"):
        command_line.main([*base, "--video", str(tmp_path / "none.mp4")])
    path = write_avi(tmp_path / "a.avi", frames(3))
    (tmp_path / "notes.txt").touch()
    for place in (tmp_path / "notes.txt", tmp_path / "notes.txt" / "deep"):
        with pytest.raises(ValueError, match=r"--out: .*notes.txt is a file; give another folder"):
            command_line.main([*base, "--video", str(path), "--out", str(place)])


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--video", "x", "--fps", "0"],
        ["--video", "x", "--batch-size", "0"],
        ["--video", "x", "--batch-size", "-3"],
        ["--video", "x", "--camera", "0"],
    ],
)
def test_wrong_arguments_are_refused_by_the_parser(words, capsys):
    assert main(["detect", "--workdir", "run", *words]) == 2
    assert "usage: ipad-jax detect --workdir DIR" in capsys.readouterr().err


def test_import_stays_light():
    code = "import ipad_jax, sys; sys.exit('jax' in sys.modules or 'cv2' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
