"""Pictures and clips of alarms: which frames they show, and what happens when there is no room for them."""

import csv
import os
import shutil
import time
from collections import namedtuple

import av
import cv2
import numpy as np
import pytest
from fake_detector import SIZE, faulty, frames, make_detector, write_avi
from played_camera import played

from ipad_jax.input.live import open_video
from ipad_jax.video.detector import clips
from ipad_jax.video.detector import record as record_module
from ipad_jax.video.detector.alarm_log import Wanted
from ipad_jax.video.detector.clips import AlarmFiles, Keep, Shown, alarm_picture, prune
from ipad_jax.video.detector.detect import detect, summary
from ipad_jax.video.detector.stream import Pictures
from ipad_jax.video.detector.watch import watch

FPS = 10.0
HEAT = (0.0, 1.0)
NOTHING = Shown("", b"", None, None)


def shade(i: int) -> np.ndarray:
    return np.full((48, 64, 3), 2 * i, np.uint8)


def shades(path) -> list[int]:
    with av.open(str(path)) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return [round(float(picture[10:-10, 10:-10].mean()) / 2) for picture in pictures]


def followed(files: AlarmFiles, count: int, start: int, stop: int, late: int = 3) -> None:
    """Frames, judged a little later than they are seen, with an alarm in [start, stop)."""
    for frame in range(count):
        files.see(frame, shade(frame))
        judged = frame - late
        if judged == start:
            files.begin("a", start, NOTHING)
        if judged == stop + 5:  # an alarm is over after a quiet time
            files.end(stop)
        if judged >= 0:
            files.judged(judged)


@pytest.mark.parametrize(
    ("count", "start", "stop", "first", "last"),
    [(100, 40, 50, 20, 70), (100, 5, 10, 0, 30), (60, 40, 50, 20, 60)],  # whole; at an end each
)
def test_a_clip_shows_what_lies_around_the_alarm(tmp_path, count, start, stop, first, last):
    files = AlarmFiles(tmp_path / "alarms", FPS, 2.0, HEAT)
    followed(files, count, start, stop)
    files.close()
    seen = shades(tmp_path / "alarms" / "a.mp4")
    # H.264 rounds colours: a level or two.
    assert np.abs(np.array(seen) - np.arange(first, last)).max() <= 2
    assert sorted(path.name for path in (tmp_path / "alarms").iterdir()) == ["a.jpg", "a.mp4"]


def test_an_alarm_that_lasts_has_a_clip_of_bounded_length_and_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(clips, "MOST_CLIP_S", 6.0)
    files = AlarmFiles(tmp_path / "alarms", FPS, 2.0, HEAT)
    files.begin("a", 20, NOTHING)
    most = 0
    for frame in range(3000):
        files.see(frame, shade(frame % 100))
        files.judged(frame)
        most = max(most, len(files._held))
    files.close()
    assert len(shades(tmp_path / "alarms" / "a.mp4")) == 60
    assert most <= 60 + 20 + 2


def test_a_picture_shows_the_box_in_frame_and_heat_map():
    frame = np.full((*SIZE, 3), 90, np.uint8)
    error = np.zeros(SIZE, np.float32)
    error[8:, 12:] = 1.0
    shown = Shown("alarm 1", b"", Pictures(frame, frame, error), (0.5, 0.5, 1.0, 1.0))
    drawn = cv2.imdecode(np.frombuffer(alarm_picture(shown, HEAT), np.uint8), cv2.IMREAD_COLOR_RGB)
    height, width = drawn.shape[0] - clips.CAPTION, drawn.shape[1] // 2
    assert width == clips.SHOWN_PX
    for left in (0, width):
        edge = drawn[round(height * 0.75), left + round(width * 0.5) + 1].astype(int)
        assert np.abs(edge - clips.ALARM).max() < 60  # JPEG
    grey, hot = drawn[height // 4, width + width // 4], drawn[height * 3 // 4, width * 7 // 4]
    assert np.ptp(grey.astype(int)) < 20 < np.ptp(hot.astype(int))


def test_a_disk_that_is_nearly_full_stops_pictures_and_says_so_once(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    free = {"bytes": 10}
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1, 1, free["bytes"]))
    said = []
    files = AlarmFiles(tmp_path / "alarms", FPS, 2.0, HEAT, live=True, say=said.append)
    for name in ("a", "b", "c"):
        files.draw(name, NOTHING)
    assert (files.num_left_out, len(said)) == (3, 1)
    assert "nearly full" in said[0]
    free["bytes"] = clips.FREE_BYTES + 1  # not yet: it would say so again and again
    files.draw("d", NOTHING)
    free["bytes"] = 3 * clips.FREE_BYTES
    files.draw("e", NOTHING)
    files.close()
    assert len(said) == 2
    assert [path.name for path in (tmp_path / "alarms").iterdir()] == ["e.jpg"]


def test_beside_a_camera_a_nearly_full_disk_stops_pictures_and_videos_not_the_alarm(
    tmp_path, monkeypatch
):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1, 1, clips.FREE_BYTES - 1))
    monkeypatch.setattr(record_module, "ROOM_EVERY", 1)
    said, told = [], []
    record = watch(
        make_detector(threshold=0.9, cycle_frames=None),
        played(*faulty(60, start=20, stop=28), *faulty(60, start=30, stop=34)),
        tmp_path,
        side_by_side=True,
        wanted=Wanted(clip_s=1.0, tell=told.append, say=said.append),
        say=said.append,
    )
    assert len(list(csv.DictReader((record.folder / "events.csv").open()))) == 2
    assert len(list(csv.DictReader((record.folder / "scores.csv").open()))) == 120
    assert [message["state"] for message in told] == ["on", "over"] * 2
    assert all(message["picture"] is message["clip"] is None for message in told)
    assert len([text for text in said if "nearly full" in text]) == 1
    assert list((record.folder / "alarms").iterdir()) == []
    assert not list(record.folder.glob("*.webm"))


def test_old_files_go_while_nothing_new_comes(tmp_path, monkeypatch):
    monkeypatch.setattr(clips, "PRUNE_S", 0.05)
    files = AlarmFiles(tmp_path / "start" / "alarms", FPS, 0.0, HEAT, keep=Keep(days=1), live=True)
    old = tmp_path / "earlier" / "alarms" / "1.jpg"
    old.parent.mkdir(parents=True)
    old.touch()
    long_ago_s = time.time() - 2 * 86400
    os.utime(old, (long_ago_s, long_ago_s))
    start_s = time.monotonic()
    while old.exists() and time.monotonic() - start_s < 10:
        time.sleep(0.02)
    files.close()
    assert not old.exists()


def test_a_camera_never_waits_for_pictures_and_a_write_that_fails_ends_nothing(
    tmp_path, monkeypatch
):
    def fail(*_):
        time.sleep(0.05)
        raise OSError("no space left")

    monkeypatch.setattr(clips, "_write", fail)
    files = AlarmFiles(tmp_path / "alarms", FPS, 0.0, HEAT, live=True)
    start_s = time.monotonic()
    for number in range(40):
        files.draw(str(number), NOTHING)
    assert time.monotonic() - start_s < 40 * 0.05 / 2
    files.close()
    assert files.num_left_out == 40


def test_the_oldest_files_go_first_and_nothing_else_goes(tmp_path):
    now_s = time.time()
    ages = {"x/alarms/1.jpg": 5, "x/alarms/2.mp4": 4, "y/alarms/3.jpg": 2, "y/alarms/4.mp4": 1}
    for name, days in {**ages, "x/scores.csv": 9, "x/alarms/notes.txt": 9}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"0" * 1000)
        os.utime(path, (now_s - days * 86400, now_s - days * 86400))

    def left():
        return [name for name in ages if (tmp_path / name).exists()]

    prune(tmp_path, Keep())
    assert left() == list(ages)
    prune(tmp_path, Keep(days=4.5))
    assert left() == list(ages)[1:]
    prune(tmp_path, Keep(gb=2.5e-6))
    assert left() == list(ages)[2:]
    assert (tmp_path / "x/scores.csv").exists()
    assert (tmp_path / "x/alarms/notes.txt").exists()


def test_each_alarm_of_a_file_has_its_picture_clip_and_messages(tmp_path):
    marked = make_detector(threshold=0.9, cycle_frames=None)
    pictures = [*faulty(60, start=20, stop=28), *faulty(60, start=30, stop=34)]
    source = open_video(write_avi(tmp_path / "a.avi", pictures))
    told = []
    record = detect(
        marked, source, tmp_path / "out", wanted=Wanted(clip_s=1.0, tell=told.append), batch_size=4
    )
    assert record.num_alarms == 2
    assert [(message["state"], message["number"]) for message in told] == [
        ("on", 1), ("over", 1), ("on", 2), ("over", 2),
    ]  # fmt: skip
    for message in told:
        assert os.path.getsize(message["picture"])
        assert os.path.getsize(message["clip"])
    files = sorted(path.name for path in (tmp_path / "out" / "alarms").iterdir())
    assert [name[:5] for name in files] == ["00001", "00001", "00002", "00002"]
    assert told[1]["end_s"] > told[1]["start_s"] == told[0]["start_s"]
    assert told[1]["place"] == "bottom right"
    assert "alarms/" in summary(record, source)
    # A second detection leaves none of the first.
    source = open_video(write_avi(tmp_path / "b.avi", frames(60)))
    assert detect(marked, source, tmp_path / "out").num_alarms == 0
    assert list((tmp_path / "out" / "alarms").iterdir()) == []
