"""An hour of a camera at high speed: lines that break, hang, send garbage and other sizes.

A stand-in says how bright a frame is: the stream is what is tried here. Each fault of the footage has a
brightness of its own, so an alarm's highest score says which fault it is.
"""

import csv
import itertools
import json
import os
import signal
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from fake_detector import SIZE, FakePredictor, make_config
from mjpeg_server import HANG, mjpeg_server, part

from ipad_jax.input import camera as camera_module
from ipad_jax.input.camera import open_camera
from ipad_jax.video.detector.alarm_log import Wanted
from ipad_jax.video.detector.detector import Detector, Footage
from ipad_jax.video.detector.notify import Notifier
from ipad_jax.video.detector.watch import watch

FPS = 300.0  # 12 times that of a camera of 25: an hour in five minutes
HOUR = 3600 * 25  # frames
SHOWN = (4 * SIZE[0], 4 * SIZE[1])
WIDE = (SHOWN[0], 2 * SHOWN[1])  # other proportions, which the detector refuses
LARGE = (2 * SHOWN[0], 2 * SHOWN[1])  # the same proportions, which it takes
LEVELS = range(190, 254, 7)  # of faults, far enough apart for JPEG
THRESHOLD = 0.6
LONG_S = 0.3  # of a fault
APART_S = 2.0  # from a fault to the next; an alarm ends after a second of quiet


@dataclass
class Played:
    """What the camera shows: chapters, one a connection, each with faults and an end of its own."""

    chapter_s: float
    num_chapters: int
    sent: list[int] = field(default_factory=list)  # faults whose last frame was sent

    def __post_init__(self):
        rng = np.random.default_rng(0)
        normal = [rng.normal(90, 8, (*SHOWN, 3)).clip(0, 130).astype(np.uint8) for _ in range(16)]
        self._normal = [part(picture) for picture in normal]
        self._large = [part(np.kron(p, np.ones((2, 2, 1), np.uint8))) for p in normal[:4]]
        self._wide = part(np.full((*WIDE, 3), 90, np.uint8))
        self._fault = {}
        for level in LEVELS:
            picture = normal[0].copy()
            picture[SHOWN[0] // 2 :, SHOWN[1] // 2 :] = level
            self._fault[level] = part(picture)

    def play(self, connection):
        """Pieces of one connection; after the last chapter comes Ctrl-C."""
        if connection >= self.num_chapters:
            os.kill(os.getpid(), signal.SIGINT)
            yield HANG
        pieces = itertools.cycle(self._large if connection % 4 == 3 else self._normal)
        apart, long = round(APART_S * FPS), round(LONG_S * FPS)
        for i in range(round(self.chapter_s * FPS)):
            since = (i - apart // 2) % apart
            if since >= long or i < apart // 2:
                yield next(pieces)
                continue
            level = LEVELS[len(self.sent) % len(LEVELS)]
            yield self._fault[level]
            if since == long - 1:
                self.sent.append(level)
        match connection % 4:
            case 0:
                return  # the line breaks
            case 1:
                yield HANG
            case 2:
                yield b"\x00\xff garbage \r\n" * 500
            case 3:
                for _ in range(round(0.3 * FPS)):
                    yield self._wide


def resident_mb():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def soak(tmp_path, monkeypatch, num_chapters, chapter_s, hang_s):
    """Watches all chapters; returns record, what was played, messages, and [seconds, MB] each second."""
    # Other programs may take the machine for a while; what is tried is order, not speed.
    monkeypatch.setattr(camera_module, "BACKLOG_S", 20.0)
    played = Played(chapter_s, num_chapters)
    predictor = FakePredictor()
    predictor.calls = deque(maxlen=1)
    detector = Detector(
        predictor,
        make_config(stride=4),
        Footage(FPS, None, source_size=SHOWN[::-1]),
        threshold=THRESHOLD,
    )
    messages, sizes, ended = [], [], threading.Event()
    notifier = Notifier("list", lambda message: messages.append(json.loads(message)))

    def sample():
        while not ended.wait(1.0):
            sizes.append((time.monotonic(), resident_mb()))

    sampler = threading.Thread(target=sample)
    sampler.start()
    with mjpeg_server(played.play, FPS) as address:
        camera = open_camera(address, FPS)
        camera.hang_s, camera.waits_s = hang_s, (0.05, 0.2)
        record = watch(
            detector,
            camera,
            tmp_path,
            wanted=Wanted(clip_s=0.3, tell=notifier.put),
            notifiers=[notifier],
            health_file=tmp_path / "health.json",
        )
    notifier.close(10.0)
    ended.set()
    sampler.join()
    assert record.interrupted == "SIGINT"
    assert camera.dropped == 0, "this machine was too slow for the test"
    return record, played, messages, np.array(sizes)


def check(record, played, messages):
    """Every alarm once, in order, everywhere; rows rise; each gap has two rows."""
    rows = list(csv.DictReader((record.folder / "scores.csv").open()))
    events = list(csv.DictReader((record.folder / "events.csv").open()))
    # Faults by their highest score.
    found = [min(LEVELS, key=lambda n: abs(n / 255 - float(e["peak_score"]))) for e in events]
    assert found == played.sent
    assert [int(event["number"]) for event in events] == list(range(1, len(events) + 1))
    assert [(m["number"], m["state"]) for m in messages] == [
        (number + 1, state) for number in range(len(events)) for state in ("on", "over")
    ]
    for event, message in zip(events, messages[1::2]):
        assert message["start_utc"] == event["start_utc"]
        assert Path(message["picture"]).stat().st_size
    # Frames once and in order; times never fall.
    frames = [int(row["frame"]) for row in rows if row["frame"]]
    assert all(a < b for a, b in itertools.pairwise(frames))
    for name, value in (("time_s", float), ("utc", datetime.fromisoformat)):
        times = [value(row[name]) for row in rows if row["frame"]]
        assert all(a <= b for a, b in itertools.pairwise(times))
    notes = [row["note"].partition(":")[0].partition(" after")[0] for row in rows if row["note"]]
    # The last gap is that of the end.
    assert notes == ["gap", "pictures again"] * (len(notes) // 2) + ["gap"] * (len(notes) % 2)
    assert record.num_gaps == notes.count("gap") >= played.num_chapters
    assert record.num_lost == record.num_left_out == 0
    health = json.loads((record.folder.parent / "health.json").read_text())
    assert health["state"] == "ended"
    assert health["alarms"] == len(events)
    return len(frames)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_some_seconds_with_a_line_that_breaks_hangs_and_sends_garbage(tmp_path, monkeypatch):
    record, played, messages, _ = soak(tmp_path, monkeypatch, 4, 2.0, hang_s=1.5)
    assert len(played.sent) == 4
    check(record, played, messages)


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_an_hour(tmp_path, monkeypatch):
    before = {"threads": threading.active_count(), "files": len(os.listdir("/proc/self/fd"))}
    record, played, messages, sizes = soak(tmp_path, monkeypatch, 40, HOUR / 40 / FPS, hang_s=4.0)
    frames = check(record, played, messages)
    after = {"threads": threading.active_count(), "files": len(os.listdir("/proc/self/fd"))}
    # Once all caches are filled, in the first third; the rest is what the allocator does.
    third, rest = np.split(sizes[:, 1], [len(sizes) // 3])
    growth = np.polyfit(np.linspace(0, 1, len(rest)), rest, 1)[0]
    lasted_s = sizes[-1, 0] - sizes[0, 0]
    print(
        f"{frames:,} frames, {len(played.sent)} faults, {record.num_gaps} gaps in {lasted_s:.0f} s; memory "
        f"at most {third.max():.0f} MB in the first third, {rest.max():.0f} MB later, slope {growth:+.1f} "
        f"MB; before {before}, after {after}"
    )
    assert rest.max() < third.max() + 20
    assert frames > 0.95 * HOUR
    assert after["files"] <= before["files"] + 2
