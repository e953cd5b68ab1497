"""A camera that is read for weeks: what a network does to it, on loopback."""

import itertools
import json
import subprocess
import sys
import time

import numpy as np
import pytest
from fake_detector import write_avi
from mjpeg_server import HANG, mjpeg_server

from ipad_jax.input import camera as camera_module
from ipad_jax.input.camera import Camera, Gap, Shot, open_camera

SIZE = (24, 32)
FPS = 50.0


def shade(i: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A grey level that says which picture it is; JPEG keeps a flat one exactly enough."""
    return np.full((*size, 3), 10 + 4 * (i % 60), np.uint8)


def number(shot: Shot) -> int:
    return round((int(shot.image[0, 0, 0]) - 10) / 4)


def opened(address: str, **changes) -> Camera:
    camera = open_camera(address, FPS)
    camera.hang_s, camera.waits_s = 0.6, (0.05, 0.2)
    for name, value in changes.items():
        setattr(camera, name, value)
    return camera


def until(camera: Camera, pictures: int, limit_s: float = 20.0) -> list[Shot | Gap]:
    """Events until so many pictures have come."""
    found, start_s = [], time.monotonic()
    for event in camera.events():
        if event is not None:
            found.append(event)
        if sum(isinstance(e, Shot) for e in found) >= pictures:
            break
        assert time.monotonic() - start_s < limit_s, found
    # A busy machine may take longer to open a stream than `hang_s` is here.
    return found[isinstance(found[0], Gap) :]


@pytest.mark.slow
def test_pictures_come_in_order_and_gaps_where_a_line_drops_hangs_or_sends_garbage():
    def play(connection):
        for i in range(20):
            yield shade(20 * connection + i)
        match connection:
            case 0:
                return
            case 1:
                yield HANG
            case 2:
                yield b"\x00\xff garbage \r\n" * 500
            case 3:
                yield from (shade(80 + i, (48, 64)) for i in range(100))

    with mjpeg_server(play, FPS) as address:
        camera = opened(address)
        events = until(camera, 100)
    kinds = ["gap" if isinstance(e, Gap) else "picture" for e in events]
    runs = [(kind, len(list(run))) for kind, run in itertools.groupby(kinds)]
    assert [kind for kind, _ in runs] == ["picture", "gap"] * 3 + ["picture"]
    assert [count for kind, count in runs if kind == "gap"] == [1, 1, 1]
    shots = [e for e in events if isinstance(e, Shot)]
    seen = [number(shot) for shot in shots]
    # What was on its way when a line broke is lost, never repeated nor out of order.
    wanted = [i % 60 for i in range(100)]
    assert len(set(wanted[:60]) - set(seen)) <= 6
    assert [n for n, _ in itertools.groupby(seen)] == seen
    assert shots[-1].image.shape == (48, 64, 3)
    times = np.array([shot.at_s for shot in shots])
    assert (np.diff(times) >= 0).all()
    assert abs(shots[-1].utc_s - time.time()) < 10
    reasons = [e.reason for e in events if isinstance(e, Gap)]
    assert "nothing came for" in reasons[1]
    gaps = [e for e in events if isinstance(e, Gap)]
    assert all(e.since_s in times for e in gaps)  # a gap begins at the last picture


def test_pictures_are_rgb():
    red = np.broadcast_to(np.array([220, 30, 30], np.uint8), (*SIZE, 3))
    with mjpeg_server(lambda _: itertools.repeat(red, 200), FPS) as address:
        events = until(opened(address), 1)
    (shot,) = (e for e in events if isinstance(e, Shot))
    np.testing.assert_allclose(
        shot.image[0, 0], red[0, 0], atol=20
    )  # JPEG's loss, its own rounding


@pytest.mark.slow
def test_a_camera_that_is_not_there_is_tried_again_and_given_up_only_where_wished():
    with mjpeg_server(lambda _: iter(()), FPS) as address:
        pass
    camera = opened(address, give_up_after=4.0, hang_s=10.0)  # a busy machine starts slowly
    start_s = time.monotonic()
    events = list(camera.events())
    assert 4.0 < time.monotonic() - start_s < 60.0
    assert [type(e) for e in events if e] == [Gap]
    assert "refused" in camera.problem
    assert len(events) > 3  # whoever watches need never wait long


def test_whoever_leaves_ends_the_reading_process_at_once_while_the_stream_hangs(monkeypatch):
    def play(_):
        yield from map(shade, range(60))  # FFmpeg looks at a second of it first
        yield HANG

    started = []
    popen = subprocess.Popen

    def start(*arguments, **options):
        started.append(popen(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(camera_module.subprocess, "Popen", start)
    with mjpeg_server(play, FPS) as address:
        events = opened(address, hang_s=60.0).events()
        while next(events) is None:
            pass
        start_s = time.monotonic()
        events.close()
        assert time.monotonic() - start_s < 2.0  # the promise of Ctrl-C
        assert [process.poll() is not None for process in started] == [True]


def test_the_reading_process_ends_with_its_parent():
    """Killed with -9 the parent closes nothing itself."""

    def play(_):
        yield from map(shade, range(60))  # FFmpeg looks at a second of it first
        yield HANG

    code = (
        "import sys, json, time\n"
        "from ipad_jax.input import camera\n"
        "connection = camera._Connection(sys.argv[1], 10)\n"
        "while not connection.arrived_s: time.sleep(0.05)\n"
        "print(json.dumps(connection._process.pid), flush=True)\n"
        "time.sleep(60)"
    )
    with mjpeg_server(play, FPS) as address:
        parent = subprocess.Popen([sys.executable, "-c", code, address], stdout=subprocess.PIPE)
        assert parent.stdout
        child = json.loads(parent.stdout.readline())
        parent.kill()
        parent.wait()
        deadline_s = time.monotonic() + 10
        while running(child) and time.monotonic() < deadline_s:
            time.sleep(0.05)
        assert not running(child)


def running(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return bool(state.stdout.strip()) and not state.stdout.startswith("Z")


@pytest.mark.slow
def test_pictures_that_a_busy_machine_has_no_time_for_are_a_gap_that_counts_them(monkeypatch):
    monkeypatch.setattr(camera_module, "BACKLOG_S", 0.4)  # 20 pictures
    with mjpeg_server(lambda _: map(shade, itertools.count()), FPS) as address:
        camera = opened(address)
        events = camera.events()
        while not isinstance(next(events), Shot):
            pass
        time.sleep(1.0)
        following = [e for e in itertools.islice(events, 15) if e is not None]
        events.close()
    (gap,) = (e for e in following if isinstance(e, Gap))
    assert f"{camera.dropped} pictures dropped" in gap.reason
    assert camera.dropped >= 20
    after = [number(e) for e in following[following.index(gap) + 1 :] if isinstance(e, Shot)]
    assert np.all(np.diff(after) % 60 == 1)


@pytest.mark.slow
def test_a_rate_other_than_stated_and_a_picture_that_never_changes_are_doubted(monkeypatch):
    monkeypatch.setattr(camera_module, "RATE_WINDOW_S", 0.5)
    with mjpeg_server(lambda _: map(shade, itertools.count()), 20.0) as address:
        camera = opened(address)
        until(camera, 40)
        assert "delivers" in camera.problem
        assert "not 50: its scores are not to be trusted" in camera.problem
        assert camera.rate == pytest.approx(20.0, rel=0.2)  # by a clock that other work disturbs
    with mjpeg_server(lambda _: itertools.repeat(shade(1)), FPS) as address:
        camera = opened(address)
        until(camera, 60)
        assert "the same picture bit for bit" in camera.problem


def test_jitter_is_taken_out_of_times_and_drift_is_not():
    camera = Camera("0", "0", "camera-0", 25.0)
    rng = np.random.default_rng(0)
    true_s = 1000.0 + np.arange(5000) / 24.9  # a camera a little slower than it says
    arrived_s = true_s + rng.exponential(0.02, 5000)
    camera._last_s, camera.gap = 1000.0, "opening"
    times = []
    for at_s in np.maximum.accumulate(arrived_s):
        times.append(camera._at(at_s))
        camera.gap = ""
    steps = np.diff(times)
    assert (steps >= 0).all()
    assert steps.std() < np.diff(arrived_s).std() / 5
    # A constant delay is no error: 0.02 s of the network, and what the rate's own error adds.
    assert np.abs(np.array(times[500:]) - true_s[500:]).max() < 0.1


@pytest.mark.slow
def test_a_file_is_played_in_real_time_and_again(tmp_path):
    """Eight frames at 20 a second take 0.35 s at least, however fast they are decoded."""
    path = tmp_path / "day one.avi"
    write_avi(path, [np.full((48, 64, 3), 20 * i, np.uint8) for i in range(8)], fps=20.0)
    camera = open_camera(str(path))
    assert camera.name == "file-day_one.avi"
    runs, gaps, began = [[]], 0, time.monotonic()
    for event in camera.events():
        if isinstance(event, Gap):
            assert event.reason == "the stream ended"
            gaps += 1
            runs.append([])
        elif isinstance(event, Shot):
            runs[-1].append(time.monotonic())
            if len(runs) == 3:
                break
    assert camera.fps == 20
    assert list(map(len, runs)) == [8, 8, 1]
    assert time.monotonic() - began > 2 * 7 / 20


def test_addresses_are_checked_and_passwords_stay_secret():
    camera = open_camera("rtsp://user:password@host/path")
    assert "password" not in repr(camera) + camera.shown + camera.name
    assert open_camera(0).name == "camera-0"
    assert open_camera("/dev/video3").name == "camera-_dev_video3"
    for wrong in ("rstp://host/path", "notes.txt", "", "file:///etc/passwd"):
        with pytest.raises(ValueError, match=r"give a camera's number"):
            open_camera(wrong)
