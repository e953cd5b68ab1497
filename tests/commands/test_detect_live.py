"""Detection beside a camera: clip by clip, told as it happens."""

import itertools
import types

from fake_detector import faulty, frames, make_detector, write_avi

from ipad_jax.input import live as video_file
from ipad_jax.input.live import Camera, open_camera
from ipad_jax.video.detector import detect


def test_a_camera_is_judged_clip_by_clip(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(video_file, "RETRY_S", 0.0)
    marked = make_detector(threshold=0.9, cycle_frames=None)
    camera = open_camera(str(write_avi(tmp_path / "a.avi", faulty(60))))  # OpenCV takes any address
    record = detect.detect(
        marked, camera, tmp_path / "out", side_by_side=False, batch_size=4, say=print
    )
    assert set(marked.predictor.calls) == {(1, 8, 16, 24, 3)}
    assert len(marked.predictor.calls) == 1 + 53  # one to compile before the camera is read
    assert record.num_frames == 60
    said = capsys.readouterr().out
    assert said.count("peak") == record.num_alarms == 1
    assert "stopped delivering after 60 frames" in camera.problem  # a camera has no end


def test_a_camera_that_lies_about_its_rate_is_found_out(tmp_path, monkeypatch, capsys):
    now = iter(itertools.count(0.0, 0.2))  # five frames a second, not ten
    clock = types.SimpleNamespace(monotonic=lambda: next(now), sleep=lambda _: None)
    monkeypatch.setattr(video_file, "time", clock)
    camera = open_camera(str(write_avi(tmp_path / "a.avi", frames(60))))
    detect.detect(make_detector(), camera, tmp_path / "out", side_by_side=False, say=print)
    assert "delivers 5" in camera.problem
    assert "not to be trusted" in capsys.readouterr().out


def test_an_alarm_is_told_while_it_is_on(tmp_path, monkeypatch, capsys):
    told = {}

    class Faulty(Camera):
        """A fault that begins at frame 20 and never ends."""

        def __iter__(self):
            for i, frame in enumerate(faulty(60, start=20, stop=60)):
                told[i] = capsys.readouterr().out
                yield i / 10, frame

    marked = make_detector(threshold=0.9, cycle_frames=None)
    camera = Faulty("0", "0", "camera-0", 10.0)
    monkeypatch.setattr(detect, "LIVE_REPORT_S", -1.0)  # a sign of life at every row
    record = detect.detect(marked, camera, tmp_path / "out", side_by_side=False, say=print)
    first = min(i for i, said in told.items() if "ALARM" in said)
    assert 20 <= first <= 20 + 1 + marked.delay_frames
    start = detect.clock(record.alarms[0].event.start / 10)
    assert f"ALARM since {start} (highest score 1.00, 1.1 x threshold)" in told[first]
    assert "   score " in told[59]
    assert f"ALARM since {start}" in told[59]
    assert len((tmp_path / "out" / "events.csv").read_text().splitlines()) == 2
